"""JPEGs of many kinds, for the zoo of image files: by Pillow's and OpenCV's encoders, and by changing their bytes."""

from __future__ import annotations

import io
import struct
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageCms
from zoo_picture import HEIGHT, PICTURE, WIDTH, Specimen, exif, save

_RGB = Image.fromarray(PICTURE)
PLAIN = save(_RGB, "JPEG", quality=95)
_SAMPLINGS = {"444": 0x111111, "422": 0x211111, "420": 0x221111, "411": 0x411111, "440": 0x121111}


def _cv(**options: int) -> bytes:
    flags = [value for name, option in options.items() for value in (getattr(cv2, f"IMWRITE_JPEG_{name}"), option)]
    return cv2.imencode(".jpg", PICTURE[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95, *flags])[1].tobytes()


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def inserted(data: bytes, *segments: bytes) -> bytes:
    """The JPEG with these segments directly after its first marker."""
    return data[:2] + b"".join(segments) + data[2:]


def without(data: bytes, *markers: int) -> bytes:
    """The JPEG without the segments of these markers before its first scan."""
    position, kept = 2, data[:2]
    while data[position + 1] != 0xDA:
        end = position + 2 + struct.unpack_from(">H", data, position + 2)[0]
        kept += b"" if data[position + 1] in markers else data[position:end]
        position = end
    return kept + data[position:]


def adobe(transform: int) -> bytes:
    return segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform))


def _renamed(data: bytes, names: bytes) -> bytes:
    """The JPEG with other identifiers of its components, in the frame and in the scan."""
    changed = bytearray(data)
    frame = next(data.index(bytes([0xFF, marker])) for marker in (0xC0, 0xC2) if bytes([0xFF, marker]) in data)
    scan = data.index(b"\xff\xda")
    for k, name in enumerate(names):
        changed[frame + 10 + 3 * k] = changed[scan + 5 + 2 * k] = name
    return bytes(changed)


def scan_at(data: bytes) -> int:
    """Where the entropy-coded data of the first scan begin."""
    at = data.index(b"\xff\xda")
    return at + 2 + struct.unpack_from(">H", data, at + 2)[0]


def half_scan(data: bytes) -> bytes:
    """The JPEG whose scan ends half-way, with an end marker: what many tools make of an interrupted download."""
    begin = scan_at(data)
    middle = begin + (len(data) - begin) // 2
    while data[middle - 1] == 0xFF:
        middle -= 1
    return data[:middle] + b"\xff\xd9"


def _mpo() -> bytes:
    file = io.BytesIO()
    _RGB.save(file, "MPO", save_all=True, append_images=[_RGB.rotate(180)], quality=95)
    return file.getvalue()


def jpegs() -> dict[str, Specimen]:
    """Name -> a JPEG; the oracle of the lossy ones is Pillow's decoder."""
    cmyk = save(_RGB.convert("CMYK"), "JPEG", quality=95)
    ycck = _ycck()
    grey = save(_RGB.convert("L"), "JPEG", quality=95)
    as_rgb = save(_RGB, "JPEG", quality=95, keep_rgb=True, subsampling=0)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    files: dict[str, Any] = {
        **{f"quality_{q}": save(_RGB, "JPEG", quality=q) for q in (1, 50, 100)},
        **{f"sampling_{name}": _cv(SAMPLING_FACTOR=value) for name, value in _SAMPLINGS.items()},
        **{f"progressive_{n}": _cv(SAMPLING_FACTOR=v, PROGRESSIVE=1) for n, v in _SAMPLINGS.items()},
        **{f"restart_{n}": _cv(RST_INTERVAL=n) for n in (1, 2, 5)},
        "optimised": save(_RGB, "JPEG", quality=95, optimize=True),
        "restart_progressive": _cv(RST_INTERVAL=2, PROGRESSIVE=1),
        "grey": grey,
        "grey_progressive": save(_RGB.convert("L"), "JPEG", progressive=True),
        "grey_without_jfif": without(grey, 0xE0),
        "without_jfif": without(PLAIN, 0xE0),
        "rgb_adobe": as_rgb,
        "rgb_by_names_of_components": _renamed(without(as_rgb, 0xE0, 0xEE), b"RGB"),
        "rgb_names_but_jfif": _renamed(PLAIN, b"RGB"),
        "ycc_names_0_1_2": _renamed(PLAIN, b"\0\1\2"),
        "ycc_names_0_1_2_without_jfif": _renamed(without(PLAIN, 0xE0), b"\0\1\2"),
        "odd_names_without_jfif": _renamed(without(PLAIN, 0xE0), b"abc"),
        **{f"adobe_{t}_of_ycc_with_jfif": inserted(PLAIN, adobe(t)) for t in (0, 1, 2, 9)},
        **{f"adobe_{t}_of_ycc": inserted(without(PLAIN, 0xE0), adobe(t)) for t in (0, 1, 2, 9)},
        "adobe_too_short": inserted(without(PLAIN, 0xE0), segment(0xEE, b"Adobe\0d")),
        "two_adobes_0_then_1": inserted(without(PLAIN, 0xE0), adobe(0), adobe(1)),
        "two_adobes_1_then_0": inserted(without(PLAIN, 0xE0), adobe(1), adobe(0)),
        "cmyk": cmyk,
        "cmyk_without_adobe": without(cmyk, 0xEE),
        "cmyk_adobe_1": inserted(without(cmyk, 0xEE), adobe(1)),
        "cmyk_with_jfif": inserted(cmyk, segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")),
        "ycck": ycck,
        "ycck_without_adobe": without(ycck, 0xEE),
        "cmyk_progressive": save(_RGB.convert("CMYK"), "JPEG", quality=95, progressive=True),
        "mpo": _mpo(),
        "icc": save(_RGB, "JPEG", quality=95, icc_profile=profile),
        "icc_odd": save(_RGB, "JPEG", quality=95, icc_profile=b"no profile at all"),
        "comment": inserted(PLAIN, segment(0xFE, b"made by a test")),
        "fill_bytes": inserted(PLAIN, b"\xff\xff\xff"),
        "trailing_zeros": PLAIN + bytes(5000),
        "trailing_text": PLAIN + b"\r\n--boundary--\r\n",
        "trailing_jpeg": PLAIN + grey,
        "thumbnail": inserted(PLAIN, segment(0xE1, exif(1) + save(_RGB.resize((8, 6)), "JPEG"))),
        "without_huffman_tables": without(PLAIN, 0xC4),
        "padding_before_a_segment": inserted(PLAIN, segment(0xFE, b"text") + b"\0\0\0"),
        "extraneous_in_the_scan": PLAIN[:-2] + b"\x11\x22\x33" + PLAIN[-2:],
        "two_starts": b"\xff\xd8" + PLAIN,
        "two_ends": PLAIN + b"\xff\xd9",
        "newline_before_end": PLAIN[:-2] + b"\n\xff\xd9",
        "lossless_frame": PLAIN.replace(b"\xff\xc0", b"\xff\xc3"),
        "twelve_bits": PLAIN.replace(b"\xff\xc0\0\x11\x08", b"\xff\xc0\0\x11\x0c"),
        "extended_frame": PLAIN.replace(b"\xff\xc0", b"\xff\xc1"),
        **{
            f"of_{h}_x_{w}": save(_RGB.resize((w, h)), "JPEG")
            for h, w in ((1, 1), (1, 40), (40, 1), (16, 16), (17, 33))
        },
        "half_scan": half_scan(PLAIN),
        "half_scan_restart": half_scan(_cv(RST_INTERVAL=1)),
        "half_scan_grey": half_scan(grey),
    }
    return {f"jpeg_{name}": Specimen(data) for name, data in (files | _turned(cmyk, grey)).items()}


def _turned(cmyk: bytes, grey: bytes) -> dict[str, bytes]:
    """Name -> a JPEG that states an orientation, by EXIF or XMP, as the standard wants it or not."""
    return {
        **{f"exif_{o}{order}": inserted(PLAIN, segment(0xE1, exif(o, order))) for o in range(10) for order in "<>"},
        "exif_long": inserted(PLAIN, segment(0xE1, exif(6, kind=4))),
        "exif_long_big_endian": inserted(PLAIN, segment(0xE1, exif(6, ">", kind=4))),
        "exif_byte": inserted(PLAIN, segment(0xE1, exif(6, kind=1))),
        "exif_two_values": inserted(PLAIN, segment(0xE1, exif(6, count=2))),
        "exif_incomplete": inserted(PLAIN, segment(0xE1, exif(6, entries=500))),
        "exif_short": inserted(PLAIN, segment(0xE1, b"Exif\0\0II*\0")),
        "exif_garbage": inserted(PLAIN, segment(0xE1, b"Exif\0\0garbage garbage")),
        "exif_odd_prefix": inserted(PLAIN, segment(0xE1, b"Exif\0\xff" + exif(6)[6:])),
        "exif_half_a_mark": inserted(PLAIN, segment(0xE1, exif(6, ">").replace(b"MM", b"M\r"))),
        "exif_mark_and_number_differ": inserted(PLAIN, segment(0xE1, exif(6, ">").replace(b"MM", b"II"))),
        "exif_after_frame": PLAIN.replace(b"\xff\xda", segment(0xE1, exif(6)) + b"\xff\xda"),
        "exif_after_tables": PLAIN.replace(b"\xff\xc0", segment(0xE1, exif(3)) + b"\xff\xc0"),
        "exif_6_then_1": inserted(PLAIN, segment(0xE1, exif(6)), segment(0xE1, exif(1))),
        "exif_3_then_1": inserted(PLAIN, segment(0xE1, exif(3)), segment(0xE1, exif(1))),
        "exif_1_then_3": inserted(PLAIN, segment(0xE1, exif(1)), segment(0xE1, exif(3))),
        "exif_after_xmp": inserted(PLAIN, segment(0xE1, xmp(1)), segment(0xE1, exif(3))),
        "exif_before_jfif": PLAIN[:2] + segment(0xE1, exif(8)) + PLAIN[2:],
        "xmp_only": inserted(PLAIN, segment(0xE1, xmp(3))),
        "xmp_only_6": inserted(PLAIN, segment(0xE1, xmp(6))),
        "cmyk_exif_6": inserted(cmyk, segment(0xE1, exif(6))),
        "grey_exif_3": inserted(grey, segment(0xE1, exif(3))),
        "progressive_exif_8": inserted(_cv(PROGRESSIVE=1), segment(0xE1, exif(8))),
    }


def xmp(orientation: int) -> bytes:
    """An XMP packet that states an orientation."""
    description = f'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{orientation}"/>'
    rdf = f'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">{description}</rdf:RDF>'
    return b"http://ns.adobe.com/xap/1.0/\0" + f'<x:xmpmeta xmlns:x="adobe:ns:meta/">{rdf}</x:xmpmeta>'.encode()


def _ycck() -> bytes:
    """A YCCK JPEG as Adobe writes it: inverted inks, the first three as YCbCr; made from a CMYK one of YCC values."""
    inks = 255 - np.asarray(_RGB.convert("CMYK"))
    ycc = np.asarray(Image.fromarray(np.ascontiguousarray(inks[..., :3])).convert("YCbCr"))
    channels = np.dstack([ycc, inks[..., 3]])
    data = save(Image.fromarray(255 - channels, "CMYK"), "JPEG", quality=95)  # Pillow inverts what it writes
    return inserted(without(data, 0xEE), adobe(2))


assert PICTURE.shape == (HEIGHT, WIDTH, 3)
