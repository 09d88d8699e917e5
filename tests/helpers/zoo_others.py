"""PNMs, WebPs, JPEG 2000s and formats that DALI does not have."""

from __future__ import annotations

import struct

import cv2
import numpy as np
from PIL import Image
from zoo_picture import GREY, HEIGHT, PICTURE, WIDTH, Specimen, exif, grey, packed, save, turned

_RGB = Image.fromarray(PICTURE)
_RGBA = Image.fromarray(
    np.dstack([PICTURE, np.linspace(1, 255, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint8)])
)


def _scaled(values: np.ndarray, maximum: int) -> tuple[bytes, np.ndarray]:
    """Samples of a PNM of that maximum, and what they show."""
    samples = np.round(values * (maximum / 255))
    kind = ">u2" if maximum > 255 else "u1"
    return samples.astype(kind).tobytes(), np.round(samples * (255 / maximum)).astype(np.uint8)


def pnms() -> dict[str, Specimen]:
    files = {}
    for maximum in (1, 2, 15, 100, 254, 255, 256, 1023, 4095, 65534, 65535):
        for kind, values in ((5, GREY), (6, PICTURE)):
            samples, shown = _scaled(values, maximum)
            head = f"P{kind}\n{WIDTH} {HEIGHT}\n{maximum}\n".encode()
            files[f"p{kind}_{maximum}"] = Specimen(head + samples, shown if kind == 6 else grey(shown))
    bilevel = GREY >> 7
    size = f"{WIDTH} {HEIGHT}"
    files |= {
        "p4": Specimen(f"P4\n{size}\n".encode() + packed(1 - bilevel, 1), grey(bilevel * 255)),
        "p1": Specimen(f"P1 {size} {' '.join(map(str, (1 - bilevel).ravel()))}".encode(), grey(bilevel * 255)),
        "p2": Specimen(f"P2 {size} 255 {' '.join(map(str, GREY.ravel()))}".encode(), grey(GREY)),
        "p3": Specimen(f"P3 {size} 255 {' '.join(map(str, PICTURE.ravel()))}".encode(), PICTURE),
        "p2_1023": Specimen(
            f"P2 {size} 1023 {' '.join(map(str, GREY.ravel().astype(int) * 4))}".encode(),
            grey(np.round(GREY * (1020 / 1023))),
        ),
        "p6_comments": Specimen(f"P6\n# by a test\n{size}\n# 3 4\n255\n".encode() + PICTURE.tobytes(), PICTURE),
        "p6_comment_within": Specimen(f"P6 {WIDTH}#a\n {HEIGHT} 255\n".encode() + PICTURE.tobytes(), PICTURE),
        "p6_spaces": Specimen(f"P6  {WIDTH}\t{HEIGHT} \r 255 ".encode() + PICTURE.tobytes(), PICTURE),
        "p6_crlf": Specimen(f"P6\r\n{WIDTH} {HEIGHT}\r\n255\n".encode() + PICTURE.tobytes(), PICTURE),
        "p6_trailing": Specimen(f"P6\n{size}\n255\n".encode() + PICTURE.tobytes() + b"\n", PICTURE),
        "p6_leading_zeros": Specimen(f"P6\n0{WIDTH} 0{HEIGHT}\n0255\n".encode() + PICTURE.tobytes(), PICTURE),
        "p7": Specimen(
            f"P7\nWIDTH {WIDTH}\nHEIGHT {HEIGHT}\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n".encode()
            + PICTURE.tobytes()
        ),
        "pf": Specimen(f"PF\n{size}\n-1.0\n".encode() + (PICTURE[::-1] / 255).astype("<f4").tobytes()),
        "p6_cut": Specimen(f"P6\n{size}\n255\n".encode() + PICTURE.tobytes()[:-9]),
    }
    return {f"pnm_{name}": specimen for name, specimen in files.items()}


def webps() -> dict[str, Specimen]:
    lossless = save(_RGB, "WEBP", lossless=True)
    clear = _RGBA.copy()
    clear.putalpha(Image.new("L", (WIDTH, HEIGHT), 0))
    files = {
        "lossy": Specimen(save(_RGB, "WEBP")),
        "lossless": Specimen(lossless, PICTURE),
        "lossless_grey": Specimen(save(Image.fromarray(GREY), "WEBP", lossless=True), grey(GREY)),
        "alpha": Specimen(save(_RGBA, "WEBP")),
        "alpha_lossless": Specimen(save(_RGBA, "WEBP", lossless=True, exact=True), PICTURE),
        "clear": Specimen(save(clear, "WEBP", lossless=True, exact=True), PICTURE),
        **{
            f"exif_{o}": Specimen(save(_RGB, "WEBP", lossless=True, exif=exif(o)), turned(PICTURE, o))
            for o in range(1, 9)
        },
        "exif_without_prefix": Specimen(
            save(_RGB, "WEBP", lossless=True, exif=exif(3, prefix=b"")), turned(PICTURE, 3)
        ),
        "exif_after_odd": Specimen(
            save(_RGB, "WEBP", lossless=True, icc_profile=b"x" * 501, exif=exif(6)), turned(PICTURE, 6)
        ),
        "icc": Specimen(save(_RGB, "WEBP", lossless=True, icc_profile=b"x" * 500), PICTURE),
        "animated": Specimen(
            save(_RGB, "WEBP", lossless=True, save_all=True, append_images=[_RGB.rotate(180)]), PICTURE
        ),
        "animated_alpha": Specimen(
            save(_RGBA, "WEBP", lossless=True, exact=True, save_all=True, append_images=[_RGBA.rotate(180)])
        ),
        "trailing": Specimen(lossless + bytes(100), PICTURE),
        "cut": Specimen(lossless[:-30]),
    }
    return {f"webp_{name}": specimen for name, specimen in files.items()}


def jpeg2000s() -> dict[str, Specimen]:
    grey_16 = cv2.imencode(".jp2", GREY.astype(np.uint16) * 257, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])[1]
    rgb_16 = cv2.imencode(
        ".jp2", PICTURE[..., ::-1].astype(np.uint16) * 257, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000]
    )[1]
    files = {
        "rgb": Specimen(save(_RGB, "JPEG2000"), PICTURE),
        "codestream": Specimen(save(_RGB, "JPEG2000", no_jp2=True), PICTURE),
        "irreversible": Specimen(save(_RGB, "JPEG2000", irreversible=True, quality_mode="rates", quality_layers=[4])),
        "without_mct": Specimen(save(_RGB, "JPEG2000", mct=0), PICTURE),
        "codestream_without_mct": Specimen(save(_RGB, "JPEG2000", mct=0, no_jp2=True), PICTURE),
        "tiles": Specimen(save(_RGB, "JPEG2000", tile_size=(32, 32)), PICTURE),
        "grey": Specimen(save(Image.fromarray(GREY), "JPEG2000"), grey(GREY)),
        "grey_codestream": Specimen(save(Image.fromarray(GREY), "JPEG2000", no_jp2=True), grey(GREY)),
        "grey_alpha": Specimen(save(_RGBA.convert("LA"), "JPEG2000")),
        "rgba": Specimen(save(_RGBA, "JPEG2000"), PICTURE),
        "rgba_codestream": Specimen(save(_RGBA, "JPEG2000", no_jp2=True), PICTURE),
        "ycc": Specimen(save(_RGB.convert("YCbCr"), "JPEG2000")),
        "ycc_codestream": Specimen(save(_RGB.convert("YCbCr"), "JPEG2000", no_jp2=True)),
        "signed": Specimen(save(_RGB, "JPEG2000", signed=True)),
        "signed_codestream": Specimen(save(_RGB, "JPEG2000", signed=True, no_jp2=True)),
        "grey_16": Specimen(grey_16.tobytes(), grey(GREY)),
        "rgb_16": Specimen(rgb_16.tobytes(), PICTURE),
        "pillow_grey_16": Specimen(save(Image.fromarray(GREY.astype(np.uint16) * 257), "JPEG2000"), grey(GREY)),
        "comment": Specimen(save(_RGB, "JPEG2000", comment="by a test"), PICTURE),
        "cut": Specimen(save(_RGB, "JPEG2000")[:-300]),
    }
    return {f"jp2_{name}": specimen for name, specimen in files.items()}


def foreign() -> dict[str, Specimen]:
    """Formats that only transcoding reads, or nothing."""
    pages = [Image.fromarray(255 - PICTURE)]
    files = {
        "gif": Specimen(save(Image.fromarray(GREY), "GIF"), grey(GREY)),
        "gif_interlaced": Specimen(save(Image.fromarray(GREY), "GIF", interlace=1), grey(GREY)),
        "gif_colours": Specimen(save(_RGB.convert("P"), "GIF"), np.asarray(_RGB.convert("P").convert("RGB"))),
        "gif_animated": Specimen(save(_RGB, "GIF", save_all=True, append_images=pages)),
        "gif_transparent": Specimen(save(_RGB.convert("P"), "GIF", transparency=3)),
        "avif": Specimen(save(_RGB, "AVIF", quality=95)),
        "avif_exif_6": Specimen(save(_RGB, "AVIF", quality=95, exif=exif(6))),
        "avif_alpha": Specimen(save(_RGBA, "AVIF", quality=95)),
        "ico": Specimen(save(_RGB, "ICO", sizes=[(WIDTH, HEIGHT)]), PICTURE),
        "heic": Specimen(struct.pack(">I", 24) + b"ftypheic" + bytes(4) + b"mif1heic" + struct.pack(">I", 8) + b"mdat"),
        "jxl_codestream": Specimen(b"\xff\x0a" + bytes(60)),
        "jxl": Specimen(b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(60)),
        "tga": Specimen(save(_RGB, "TGA")),
        "psd": Specimen(b"8BPS\0\1" + bytes(60)),
        "html": Specimen(b"<!DOCTYPE html><html><body>404</body></html>"),
        "svg": Specimen(b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
        "pdf": Specimen(b"%PDF-1.4\n" + bytes(60)),
        "zip": Specimen(b"PK\3\4" + bytes(60)),
    }
    return {f"other_{name}": specimen for name, specimen in files.items()}
