"""TIFFs of many kinds: written here byte by byte where samples are not compressed, else by Pillow's libtiff."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image
from zoo_picture import GREY, HEIGHT, PICTURE, WIDTH, Specimen, grey, packed, quantised, save, turned

_RGB = Image.fromarray(PICTURE)
_PALETTE = np.random.default_rng(2).integers(0, 256, (256, 3), np.uint8)
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 16: 8}
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, MASK, SEPARATED, YCBCR, LAB = 0, 1, 2, 3, 4, 5, 6, 8


def tiff(
    rows: bytes, bits: int, channels: int, photometric: int, order: str = "<", *, big: bool = False, **tags: Any
) -> bytes:
    """An uncompressed TIFF of one strip; `tags`: t317=(kind, values) and so on, beside the usual ones."""
    fields: dict[int, tuple[int, list[int]]] = {
        256: (3, [WIDTH]),
        257: (3, [HEIGHT]),
        258: (3, [bits] * channels),
        259: (3, [1]),
        262: (3, [photometric]),
        273: (4, [16]),
        277: (3, [channels]),
        278: (3, [HEIGHT]),
        279: (4, [len(rows)]),
        **{int(name[1:]): (kind, list(values)) for name, (kind, values) in tags.items()},
    }
    if 324 in fields:
        for of_strips in (273, 278, 279):
            del fields[of_strips]
    mark = b"II" if order == "<" else b"MM"
    begin, letters, inline = 16 + len(rows) + len(rows) % 2, {1: "B", 2: "B", 3: "H", 4: "I", 16: "Q"}, 8 if big else 4
    count_of, entry, at = ("Q", "HHQ", "Q") if big else ("H", "HHI", "I")
    directory, more = b"", b""
    behind = begin + struct.calcsize("=" + count_of) + len(fields) * (20 if big else 12) + inline
    for tag, (kind, values) in sorted(fields.items()):
        content = struct.pack(order + letters[kind] * len(values), *values)
        directory += struct.pack(order + entry, tag, kind, len(values))
        if len(content) > inline:
            directory += struct.pack(order + at, behind + len(more))
            more += content + bytes(len(content) % 2)
        else:
            directory += content.ljust(inline, b"\0")
    head = mark + struct.pack(order + "HHHQ", 43, 8, 0, begin) if big else mark + struct.pack(order + "HI", 42, begin)
    ifd = struct.pack(order + count_of, len(fields)) + directory + bytes(inline)
    return head.ljust(16, b"\0") + rows + bytes(len(rows) % 2) + ifd + more


def _of(bits: int, photometric: int, order: str = "<", **options: Any) -> Specimen:
    """Grey or RGB of that many bits."""
    values = PICTURE if photometric == RGB else GREY[..., None]
    if photometric == WHITE_IS_ZERO:
        values = 255 - values
    samples, shown = quantised(values, bits)
    if photometric == WHITE_IS_ZERO:
        shown = 255 - shown
    rows = packed(samples.reshape(HEIGHT, -1), bits, order)
    pixels = shown if photometric == RGB else grey(shown[..., 0])
    return Specimen(tiff(rows, bits, values.shape[2], photometric, order, **options), pixels)


def _alpha(channels: np.ndarray, photometric: int, kind: int, bits: int = 8) -> Specimen:
    alpha = np.linspace(0, 255, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH, 1).astype(np.uint8)
    samples = quantised(np.dstack([channels, alpha]), bits)[0]
    data = tiff(packed(samples.reshape(HEIGHT, -1), bits, "<"), bits, samples.shape[2], photometric, t338=(3, [kind]))
    return Specimen(data, (channels if channels.shape[2] == 3 else grey(channels[..., 0])) if kind != 1 else None)


def _planar(bits: int) -> Specimen:
    samples, shown = quantised(PICTURE, bits)
    planes = [packed(samples[..., k], bits, "<") for k in range(3)]
    starts, size = [16, 16 + len(planes[0]), 16 + 2 * len(planes[0])], len(planes[0])
    return Specimen(tiff(b"".join(planes), bits, 3, RGB, t284=(3, [2]), t273=(4, starts), t279=(4, [size] * 3)), shown)


def _tiled(channels: np.ndarray, photometric: int) -> Specimen:
    side = 32
    padded = np.pad(channels, ((0, -HEIGHT % side), (0, -WIDTH % side), (0, 0)))
    tiles = [
        padded[y : y + side, x : x + side].tobytes()
        for y in range(0, padded.shape[0], side)
        for x in range(0, padded.shape[1], side)
    ]
    size = len(tiles[0])
    starts = [16 + size * k for k in range(len(tiles))]
    tags: dict[str, Any] = {
        "t322": (3, [side]),
        "t323": (3, [side]),
        "t324": (4, starts),
        "t325": (4, [size] * len(tiles)),
    }
    data = tiff(b"".join(tiles), 8, channels.shape[2], photometric, **tags)
    return Specimen(data, channels if channels.shape[2] == 3 else grey(channels[..., 0]))


def _palette(bits: int) -> Specimen:
    index = (GREY >> (8 - bits)).astype(np.uint16)
    colours = (_PALETTE[: 1 << bits].astype(int) * 257).T.ravel().tolist()
    return Specimen(tiff(packed(index, bits), bits, 1, PALETTE, t320=(3, colours)), _PALETTE[index])


def _typed(values: np.ndarray, sample_format: int, photometric: int = BLACK_IS_ZERO) -> bytes:
    channels = 1 if values.ndim == 2 else values.shape[2]
    tags: dict[str, Any] = {"t339": (3, [sample_format] * channels)}
    return tiff(values.tobytes(), values.dtype.itemsize * 8, channels, photometric, **tags)


def _mirrored(bits: int, photometric: int) -> Specimen:
    """Grey or RGB whose bytes have their lowest bit first."""
    plain, marked = _of(bits, photometric), _of(bits, photometric, t266=(3, [2]))
    end = 16 + HEIGHT * ((WIDTH * bits * (3 if photometric == RGB else 1) + 7) // 8)
    rows = np.frombuffer(plain.data[16:end], np.uint8)
    mirrored = np.packbits(np.unpackbits(rows[:, None], axis=1)[:, ::-1], axis=1).tobytes()
    return plain._replace(data=marked.data[:16] + mirrored + marked.data[end:])


def _predicted() -> Specimen:
    """Deflate with horizontal differences, 8 bits."""
    differences = np.diff(PICTURE, axis=1, prepend=np.zeros((HEIGHT, 1, 3), np.uint8))
    return Specimen(tiff(zlib.compress(differences.tobytes()), 8, 3, RGB, t259=(3, [8]), t317=(3, [2])), PICTURE)


def _predicted_16() -> Specimen:
    values = PICTURE.astype(np.uint16) * 257
    differences = np.diff(values, axis=1, prepend=np.zeros((HEIGHT, 1, 3), np.uint16))
    data = tiff(zlib.compress(differences.astype("<u2").tobytes()), 16, 3, RGB, t259=(3, [8]), t317=(3, [2]))
    return Specimen(data, PICTURE)


def tiffs() -> dict[str, Specimen]:
    names = {WHITE_IS_ZERO: "white_is_zero", BLACK_IS_ZERO: "black_is_zero", RGB: "rgb"}
    files = {
        f"{name}_{bits}{'_big_endian' if order == '>' else ''}": _of(bits, photometric, order)
        for photometric, name in names.items()
        for bits in ((8, 16) if photometric == RGB else (1, 2, 4, 8, 16))
        for order in "<>"
    }
    unsaid, associated, straight = 0, 1, 2
    for kind, name in ((unsaid, "extra"), (associated, "associated"), (straight, "alpha")):
        files[f"rgb_{name}"] = _alpha(PICTURE, RGB, kind)
        files[f"grey_{name}"] = _alpha(GREY[..., None], BLACK_IS_ZERO, kind)
        files[f"rgb_16_{name}"] = _alpha(PICTURE, RGB, kind, 16)
    files |= {
        "planar_8": _planar(8),
        "planar_16": _planar(16),
        "tiled_rgb": _tiled(PICTURE, RGB),
        "tiled_grey": _tiled(GREY[..., None], BLACK_IS_ZERO),
        **{f"palette_{bits}": _palette(bits) for bits in (1, 2, 4, 8)},
        "bigtiff_rgb": _of(8, RGB, big=True),
        "bigtiff_grey_16": _of(16, BLACK_IS_ZERO, big=True),
        "predicted": _predicted(),
        "fill_order_2": _mirrored(8, RGB),
        "fill_order_2_bilevel": _mirrored(1, BLACK_IS_ZERO),
        "private_tag": _of(8, RGB, t42113=(2, b"-9999\0"), t65000=(4, [7])),
        "without_samples_per_pixel_kind": _of(8, BLACK_IS_ZERO, t339=(3, [4])),
        **{f"orientation_{o}": _of(8, RGB, t274=(3, [o]))._replace(pixels=turned(PICTURE, o)) for o in range(1, 9)},
        **{f"orientation_{o}_16": _oriented(_of(16, RGB, t274=(3, [o])), o) for o in (3, 6)},
        "orientation_0": _of(8, RGB, t274=(3, [0])),
        "orientation_9": _of(8, RGB, t274=(3, [9])),
        "float": Specimen(_typed((GREY / 255).astype("<f4"), 3)),
        "float_rgb": Specimen(_typed((PICTURE / 255).astype("<f4"), 3, RGB)),
        "float_64": Specimen(_typed(GREY / 255, 3)),
        "int_8": Specimen(_typed((GREY // 2).astype("i1"), 2)),
        "int_16": Specimen(_typed((GREY * 100.0).astype("<i2"), 2)),
        "int_32": Specimen(_typed(GREY.astype("<i4"), 2)),
        "uint_32": Specimen(_typed(GREY.astype("<u4") * 16843009, 1)),
        "min_is_white_16": _of(16, WHITE_IS_ZERO, t280=(3, [0]), t281=(3, [65535])),
        "twelve_bits_used": Specimen(
            tiff((GREY.astype("<u2") * 16).tobytes(), 16, 1, 1, t281=(3, [4095])),
            grey(np.round(GREY * (16 / 257))),
        ),
        "two_channels": Specimen(tiff(np.dstack([GREY, GREY]).tobytes(), 8, 2, BLACK_IS_ZERO)),
        "five_channels": Specimen(tiff(np.dstack([PICTURE, PICTURE[..., :2]]).tobytes(), 8, 5, RGB, t338=(3, [0, 0]))),
        "mask": Specimen(tiff(packed(GREY >> 7, 1), 1, 1, MASK)),
        "lab": Specimen(tiff(PICTURE.tobytes(), 8, 3, LAB)),
        "logluv": Specimen(tiff(PICTURE.tobytes(), 8, 3, 32845)),
        "cmyk": Specimen(tiff(np.asarray(_RGB.convert("CMYK")).tobytes(), 8, 4, SEPARATED)),
        "cmyk_16": Specimen(tiff((np.asarray(_RGB.convert("CMYK")) * np.uint16(257)).tobytes(), 16, 4, SEPARATED)),
        "ycbcr": Specimen(tiff(np.asarray(_RGB.convert("YCbCr")).tobytes(), 8, 3, YCBCR, t530=(3, [1, 1]))),
        "jpeg_ycbcr": Specimen(save(_RGB.convert("YCbCr"), "TIFF", compression="jpeg")),
        "jpeg_cmyk": Specimen(save(_RGB.convert("CMYK"), "TIFF", compression="jpeg")),
        "predicted_16": _predicted_16(),
        "no_photometric": Specimen(_of(8, RGB).data.replace(struct.pack("<HH", 262, 3), struct.pack("<HH", 263, 3))),
        "two_pages": Specimen(
            save(_RGB, "TIFF", save_all=True, append_images=[Image.fromarray(255 - PICTURE)]), PICTURE
        ),
    }
    return {f"tiff_{name}": specimen for name, specimen in (files | _compressed()).items()}


def _compressed() -> dict[str, Specimen]:
    """Name -> a TIFF as libtiff compresses it, with every compression that it has."""
    grey_rgb, one_bit = grey(GREY), _RGB.convert("1")
    return {
        **{
            f"{compression}_{name}": Specimen(save(image, "TIFF", compression=compression), shown)
            for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits")
            for name, image, shown in (
                ("rgb", _RGB, PICTURE),
                ("grey", Image.fromarray(GREY), grey_rgb),
                ("grey_16", Image.fromarray(GREY.astype(np.uint16) * 257), grey_rgb),
                ("bilevel", one_bit, grey(np.asarray(one_bit) * 255)),
            )
        },
        **{
            f"{compression}_{name}": Specimen(save(image, "TIFF", compression=compression), shown)
            for compression, name, image, shown in (
                ("group3", "bilevel", one_bit, grey(np.asarray(one_bit) * 255)),
                ("group4", "bilevel", one_bit, grey(np.asarray(one_bit) * 255)),
                ("jpeg", "rgb", _RGB, None),
                ("jpeg", "grey", Image.fromarray(GREY), None),
                ("zstd", "rgb", _RGB, PICTURE),
                ("lzma", "rgb", _RGB, PICTURE),
            )
        },
    }


def _oriented(specimen: Specimen, orientation: int) -> Specimen:
    assert specimen.pixels is not None
    return specimen._replace(pixels=turned(specimen.pixels, orientation))
