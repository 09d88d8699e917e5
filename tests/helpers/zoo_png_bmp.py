"""PNGs and BMPs of every subtype, written here byte by byte."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL import Image
from zoo_jpeg import xmp
from zoo_picture import GREY, HEIGHT, PICTURE, WIDTH, Specimen, chunk, exif, grey, packed, quantised, save, turned

_PALETTE = np.random.default_rng(1).integers(0, 256, (256, 3), np.uint8)
_ALPHA = np.linspace(0, 255, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint8)
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def _channels(colour: int, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Samples [H, W, channels] and what they show."""
    if colour == 3:
        index = (GREY >> (8 - bits)).astype(np.uint16)
        return index[..., None], _PALETTE[index]
    of_colour = PICTURE if colour & 2 else GREY[..., None]
    samples, shown = quantised(of_colour, bits)
    if colour & 4:
        samples = np.dstack([samples, quantised(_ALPHA, bits)[0]])
    return samples, shown if colour & 2 else grey(shown[..., 0])


def _rows(samples: np.ndarray, bits: int) -> bytes:
    """Scan lines, each behind filter 0."""
    flat = packed(samples.reshape(len(samples), -1), bits)
    length = len(flat) // len(samples)
    return b"".join(b"\0" + flat[at : at + length] for at in range(0, len(flat), length))


def png(colour: int, bits: int, interlaced: bool = False, *, before: bytes = b"", after: bytes = b"") -> bytes:
    """A PNG, with more chunks before its pixels and after them."""
    samples, _ = _channels(colour, bits)
    lines = _rows(samples, bits)
    if interlaced:
        lines = b"".join(_rows(samples[y::dy, x::dx], bits) for y, x, dy, dx in _ADAM7)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, colour, 0, 0, interlaced))
    palette = chunk(b"PLTE", _PALETTE[: 1 << bits].tobytes()) if colour == 3 else b""
    pixels = chunk(b"IDAT", zlib.compress(lines))
    return b"\x89PNG\r\n\x1a\n" + head + palette + before + pixels + after + chunk(b"IEND", b"")


def pngs() -> dict[str, Specimen]:
    files = {
        f"{name}_{bits}{'_interlaced' * interlaced}": Specimen(
            png(colour, bits, interlaced), _channels(colour, bits)[1]
        )
        for colour, name in {0: "grey", 2: "rgb", 3: "palette", 4: "grey_alpha", 6: "rgba"}.items()
        for bits in _DEPTHS[colour]
        for interlaced in (False, True)
    }
    rgb, palette, grey_8 = (_channels(c, 8)[1] for c in (2, 3, 0))
    profile = b"odd profile\0\0" + zlib.compress(b"\0\0\0\x80" + b"nothing" * 20)
    files |= {
        "palette_transparent": Specimen(png(3, 8, before=chunk(b"tRNS", bytes(range(256)))), palette),
        "palette_transparent_short": Specimen(png(3, 4, before=chunk(b"tRNS", b"\0\x80")), _channels(3, 4)[1]),
        "grey_transparent": Specimen(png(0, 8, before=chunk(b"tRNS", b"\0\x80")), grey_8),
        "rgb_transparent": Specimen(png(2, 8, before=chunk(b"tRNS", b"\0\1\0\2\0\3")), rgb),
        "rgb_16_transparent": Specimen(png(2, 16, before=chunk(b"tRNS", b"\0\1\0\2\0\3")), _channels(2, 16)[1]),
        "gamma": Specimen(png(2, 8, before=chunk(b"gAMA", struct.pack(">I", 100000))), rgb),
        "gamma_16": Specimen(png(2, 16, before=chunk(b"gAMA", struct.pack(">I", 100000))), _channels(2, 16)[1]),
        "srgb": Specimen(png(2, 8, before=chunk(b"sRGB", b"\0")), rgb),
        "chromaticities": Specimen(png(2, 8, before=chunk(b"cHRM", struct.pack(">8I", *[1] * 8))), rgb),
        "icc_odd": Specimen(png(2, 8, before=chunk(b"iCCP", profile)), rgb),
        "icc_of_grey": Specimen(png(0, 8, before=chunk(b"iCCP", profile)), grey_8),
        "cicp": Specimen(png(2, 8, before=chunk(b"cICP", b"\x09\x10\0\1")), rgb),
        "significant_bits": Specimen(png(2, 8, before=chunk(b"sBIT", b"\5\6\5")), rgb),
        "significant_bits_16": Specimen(png(2, 16, before=chunk(b"sBIT", b"\x0a\x0a\x0a")), _channels(2, 16)[1]),
        "significant_bits_wrong": Specimen(png(2, 8, before=chunk(b"sBIT", b"\x63\x63")), rgb),
        "background": Specimen(png(6, 8, before=chunk(b"bKGD", b"\0\1\0\2\0\3")), _channels(6, 8)[1]),
        "text": Specimen(png(2, 8, before=chunk(b"tEXt", b"Title\0a test")), rgb),
        "time_wrong": Specimen(png(2, 8, before=chunk(b"tIME", b"\0" * 7)), rgb),
        "suggested_palette": Specimen(png(2, 8, before=chunk(b"PLTE", bytes(30))), rgb),
        "private_chunk": Specimen(png(2, 8, before=chunk(b"prVt", b"x" * 20)), rgb),
        "cgbi": Specimen(png(2, 8).replace(b"\0\0\0\rIHDR", chunk(b"CgBI", b"\x30\0\x20\6") + b"\0\0\0\rIHDR", 1)),
        "exif_6_before": Specimen(png(2, 8, before=chunk(b"eXIf", exif(6, prefix=b""))), turned(rgb, 6)),
        "exif_3_after": Specimen(png(2, 8, after=chunk(b"eXIf", exif(3, ">", prefix=b""))), turned(rgb, 3)),
        "exif_with_prefix": Specimen(png(2, 8, before=chunk(b"eXIf", exif(3)))),
        "exif_twice": Specimen(
            png(2, 8, before=chunk(b"eXIf", exif(3, prefix=b"")) + chunk(b"eXIf", exif(1, prefix=b"")))
        ),
        "exif_as_text": Specimen(png(2, 8, before=chunk(b"tEXt", b"Raw profile type exif\0\nexif\n 8\n0000")), rgb),
        "xmp_only": Specimen(png(2, 8, before=chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp(3)[29:])), rgb),
        "trailing_zeros": Specimen(png(2, 8) + bytes(999), rgb),
        "animated": Specimen(
            save(Image.fromarray(PICTURE), "PNG", save_all=True, append_images=[Image.fromarray(255 - PICTURE)]), rgb
        ),
        "palette_too_short": Specimen(png(3, 8).replace(_palette_of(256), _palette_of(100))),
    }
    return {f"png_{name}": specimen for name, specimen in files.items()}


def _palette_of(count: int) -> bytes:
    return chunk(b"PLTE", _PALETTE[:count].tobytes())


def bmp(
    pixels: bytes,
    bits: int,
    compression: int = 0,
    *,
    masks: bytes = b"",
    header: int = 40,
    palette: bytes = b"",
    colours: int = 0,
    top_down: bool = False,
) -> bytes:
    height = -HEIGHT if top_down else HEIGHT
    if header == 12:
        info = struct.pack("<IHHHH", 12, WIDTH, HEIGHT, 1, bits)
    else:
        info = struct.pack("<IiiHHIIiiII", header, WIDTH, height, 1, bits, compression, len(pixels), 0, 0, colours, 0)
    if header > 40:
        info, masks = info + masks.ljust(header - 40, b"\0"), b""
    at = 14 + len(info) + len(masks) + len(palette)
    return b"BM" + struct.pack("<IHHI", at + len(pixels), 0, 0, at) + info + masks + palette + pixels


def _lines(rows: list[bytes], *, top_down: bool = False) -> bytes:
    return b"".join(row + bytes(-len(row) % 4) for row in (rows if top_down else rows[::-1]))


def _run_lengths(index: np.ndarray, bits: int) -> bytes:
    """RLE8 or RLE4, with runs only."""
    coded = b""
    for row in index[::-1]:
        start = 0
        while start < WIDTH:
            stop = start
            while stop < WIDTH and stop - start < 255 and row[stop] == row[start]:
                stop += 1
            coded += bytes([stop - start, int(row[start]) * (17 if bits == 4 else 1)])
            start = stop
        coded += b"\0\0"
    return coded[:-2] + b"\0\1"


def bmps() -> dict[str, Specimen]:
    r, g, b = (PICTURE[..., k].astype(int) for k in range(3))
    five, six = (np.round(np.arange(1 << n) * (255 / ((1 << n) - 1))).astype(np.uint8) for n in (5, 6))
    w555, w565 = ((r >> 3 << 10) | (g >> 3 << 5) | b >> 3), ((r >> 3 << 11) | (g >> 2 << 5) | b >> 3)
    shown555, shown565 = (
        np.dstack([five[c >> 3] for c in (r, g, b)]),
        np.dstack([five[r >> 3], six[g >> 2], five[b >> 3]]),
    )
    m555, m565 = struct.pack("<III", 0x7C00, 0x3E0, 0x1F), struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    words = {w: _lines([row.astype("<u2").tobytes() for row in words]) for w, words in ((555, w555), (565, w565))}
    full, alpha = np.full((HEIGHT, WIDTH), 255, np.uint8), _ALPHA
    four = {
        "bgrx": np.dstack([PICTURE[..., ::-1], full * 0]),
        "bgra": np.dstack([PICTURE[..., ::-1], alpha]),
        "xbgr": np.dstack([full, PICTURE[..., ::-1]]),
        "rgbx": np.dstack([PICTURE, full]),
    }
    fours = {name: _lines([row.tobytes() for row in pixels]) for name, pixels in four.items()}
    bgr_masks, alpha_mask = struct.pack("<III", 0xFF0000, 0xFF00, 0xFF), struct.pack("<I", 0xFF000000)
    rgb24 = [row.tobytes() for row in PICTURE[..., ::-1]]
    files = {
        "24": Specimen(bmp(_lines(rgb24), 24), PICTURE),
        "24_top_down": Specimen(bmp(_lines(rgb24, top_down=True), 24, top_down=True), PICTURE),
        "24_os2": Specimen(bmp(_lines(rgb24), 24, header=12), PICTURE),
        **{f"24_v{n}": Specimen(bmp(_lines(rgb24), 24, header=s), PICTURE) for n, s in ((4, 108), (5, 124))},
        "24_trailing": Specimen(bmp(_lines(rgb24), 24) + bytes(100), PICTURE),
        "16_555": Specimen(bmp(words[555], 16), shown555),
        "16_555_masks": Specimen(bmp(words[555], 16, 3, masks=m555), shown555),
        "16_565": Specimen(bmp(words[565], 16, 3, masks=m565), shown565),
        "16_565_v4": Specimen(bmp(words[565], 16, 3, masks=m565, header=108), shown565),
        "16_565_v5": Specimen(bmp(words[565], 16, 3, masks=m565, header=124), shown565),
        "32_bgrx": Specimen(bmp(fours["bgrx"], 32), PICTURE),
        "32_bgra": Specimen(bmp(fours["bgra"], 32), PICTURE),
        "32_bgrx_masks": Specimen(bmp(fours["bgrx"], 32, 3, masks=bgr_masks), PICTURE),
        "32_bgra_v4": Specimen(bmp(fours["bgra"], 32, 3, masks=bgr_masks + alpha_mask, header=108), PICTURE),
        "32_bgra_v5": Specimen(bmp(fours["bgra"], 32, 3, masks=bgr_masks + alpha_mask, header=124), PICTURE),
        "32_xbgr": Specimen(
            bmp(fours["xbgr"], 32, 3, masks=struct.pack("<III", 0xFF000000, 0xFF0000, 0xFF00)), PICTURE
        ),
        "32_rgbx": Specimen(bmp(fours["rgbx"], 32, 3, masks=struct.pack("<III", 0xFF, 0xFF00, 0xFF0000)), PICTURE),
        "24_cut": Specimen(bmp(_lines(rgb24), 24)[:-500]),
    }
    for bits in (1, 4, 8):
        index = GREY >> (8 - bits)
        rows = _lines([packed(row[None], bits) for row in index])
        for name, palette in {
            "palette": _PALETTE[: 1 << bits],
            "grey": grey(np.linspace(0, 255, 1 << bits)[None])[0],
        }.items():
            table = np.dstack([palette[None, :, ::-1], np.zeros((1, 1 << bits), np.uint8)]).tobytes()
            files[f"{bits}_{name}"] = Specimen(bmp(rows, bits, palette=table, colours=1 << bits), palette[index])
            files[f"{bits}_{name}_os2"] = Specimen(
                bmp(rows, bits, palette=palette[:, ::-1].tobytes(), header=12), palette[index]
            )
            if bits > 1:
                coded, kind = _run_lengths(index, bits), {8: 1, 4: 2}[bits]
                files[f"{bits}_{name}_rle"] = Specimen(
                    bmp(coded, bits, kind, palette=table, colours=1 << bits), palette[index]
                )
    index = GREY // 26  # 10 colours
    table = np.dstack([_PALETTE[None, :10, ::-1], np.zeros((1, 10), np.uint8)]).tobytes()
    rows = _lines([row.tobytes() for row in index])
    files["8_ten_colours"] = Specimen(bmp(rows, 8, palette=table, colours=10), _PALETTE[index])
    return {f"bmp_{name}": specimen for name, specimen in files.items()}
