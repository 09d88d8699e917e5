"""Four hundred small files: what goes into a store looks the same to every decoder, and to nobody else's surprise.

The oracle is the picture that a file was made of, where its coding is lossless, else Pillow's decoder.
"""

from __future__ import annotations

import io
import struct
import warnings
from contextlib import suppress
from functools import cache
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
from image_zoo import zoo
from PIL import Image
from zoo_picture import HEIGHT, WIDTH, turned

from sdali.pipelines import ImageStore, classification
from sdali.pipelines.build.build import build
from sdali.pipelines.errors import InputError
from sdali.pipelines.images.header import NeedsTranscoding, probe
from sdali.pipelines.images.opencv import decode_bgr
from sdali.pipelines.io.progress import silent
from sdali.pipelines.sources.source import Loaded, Source, SourceItem
from sdali.pipelines.store.measure import measure

_LIMIT = 1_000_000
_ADVICE = "(transcode=True converts it)"
_CUT = {"jpeg_half_scan", "jpeg_half_scan_restart", "jpeg_half_scan_grey"}
# Files that no option takes: what Pillow cannot read or would read wrongly, and samples without a known range.
_FOR_NOBODY = {
    *("jpeg_lossless_frame", "jpeg_twelve_bits", "tiff_planar_16", "tiff_float", "tiff_int_8", "tiff_int_16"),
    *("tiff_int_32", "tiff_uint_32"),
}


class Built(NamedTuple):
    store: ImageStore
    skipped: dict[str, str]

    def index(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.store.names)}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Options of a build -> its store and what was left out, made once."""
    pytest.importorskip("nvidia.dali")
    folder = tmp_path_factory.mktemp("zoo")

    def item(name: str, data: bytes) -> SourceItem:
        return SourceItem(name, 0, lambda: Loaded(data))

    @cache
    def made(**options: Any) -> Built:
        source = Source(("a",), [item(name, specimen.data) for name, specimen in zoo().items()])
        path = folder / f"{'_'.join(options)}.lmdb"
        report = build(source, path, skip_bad=True, workers=2, progress=silent, **options)
        return Built(ImageStore(path), {entry["name"]: entry["reason"] for entry in report["skipped"]})

    return made


@cache
def shown(name: str) -> np.ndarray:
    """uint8 [H, W, 3] RGB of what a file of the zoo shows."""
    specimen = zoo()[name]
    if specimen.pixels is not None:
        return np.ascontiguousarray(specimen.pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image, exif, orientation = Image.open(io.BytesIO(specimen.data)), Image.Exif(), 1
        with suppress(SyntaxError, OSError, struct.error):  # no sound EXIF block
            exif.load(image.info.get("exif", b""))
            orientation = exif.get(274, 1)
        known = orientation in range(1, 9) and image.format != "TIFF"  # which Pillow has turned
        return turned(np.asarray(image.convert("RGB")), orientation if known else 1)


def levels(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    assert one.shape == other.shape
    return np.abs(one.astype(int) - other)


def test_the_zoo_is_large() -> None:
    """Every format and enough of each is there; names are unlike."""
    assert len(zoo()) > 380
    accepted = [name for name in zoo() if _form(name) is None]
    assert len(accepted) > 180 and len({name.split("_")[0] for name in accepted}) == 7


def _form(name: str) -> str | None:
    """None for a file that is taken, else why it needs transcoding, or "" for what is no image that anybody reads."""
    try:
        probe(zoo()[name].data)
    except NeedsTranscoding as error:
        return str(error)
    except InputError:
        return ""
    return None


def test_loaders_and_opencv_show_the_picture(stores: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """What a build takes, `verify` included, DALI and OpenCV decode to the oracle within a level.

    Nothing is printed meanwhile, but for DALI's remarks on TIFFs of two kinds.
    """
    store = stores(verify=True).store
    capfd.readouterr()
    loader = classification.test_loader(  # one thread, so that remarks do not run into one another
        store, batch_size=64, size=HEIGHT, crop="whole", dtype="uint8", threads=1, device="cpu"
    )
    images = np.concatenate([batch["image"].permute(0, 2, 3, 1).numpy() for batch in loader])
    loader.close()
    for index, name in enumerate(store.names):
        size = (int(store.sizes[index, 0]), int(store.sizes[index, 1]))
        by_opencv = decode_bgr(store.read([index])[0], size, _LIMIT)[..., ::-1]
        assert levels(by_opencv, shown(name)).max() <= 1, name
        if size == (HEIGHT, WIDTH):  # others are resized by the loader
            assert levels(images[index], shown(name)).max() <= 1, name
    remarks = capfd.readouterr().err.splitlines()
    assert [line for line in remarks if "[libtiff_decoder]" not in line] == []


def test_scans_that_end_early_are_damage_where_they_are_decoded(stores: Any) -> None:
    """`verify` and shrinking refuse a JPEG whose data end half-way, with an end marker; a plain build reads headers."""
    for options in ({"verify": True}, {"shorter_side": HEIGHT // 2}):
        skipped = stores(**options).skipped
        assert all("is truncated: the data" in skipped[name] or "restart" in skipped[name] for name in _CUT)
    assert set(stores().store.names) == set(stores(verify=True).store.names) | _CUT


def test_statistics_are_those_of_the_pictures(stores: Any) -> None:
    """Mean and deviation of the whole store, from the oracle's pixels."""
    store = stores(verify=True).store
    pixels = np.concatenate([shown(name).reshape(-1, 3) for name in store.names]) / 255
    statistics = measure(store, progress=silent)
    assert np.abs(statistics.mean - pixels.mean(0)).max() < 1e-3
    assert np.abs(statistics.std - pixels.std(0)).max() < 1e-3


def test_shrinking_shows_the_picture(stores: Any) -> None:
    """Half the side: the oracle averaged over areas, but for what JPEG changes."""
    half, whole = stores(shorter_side=HEIGHT // 2), stores(verify=True).store
    assert whole.names[:] == half.store.names[:]
    for index, name in enumerate(half.store.names):
        if shown(name).shape[:2] == (HEIGHT, WIDTH):
            expected = cv2.resize(shown(name), (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA)
            assert levels(_decoded(half.store, index), _as_jpeg(expected)).mean() < 2, name


def test_transcoding_helps_where_it_is_advised(stores: Any) -> None:
    """A refusal names --transcode exactly where that gives a sound record of the picture; elsewhere it says why not."""
    plain, transcoded = stores(verify=True), stores(transcode=True, verify=True)
    advised = {name for name, reason in plain.skipped.items() if _ADVICE in reason}
    assert advised == set(transcoded.store.names) - set(plain.store.names) and len(advised) > 80
    places = transcoded.index()
    for name in advised - {"tiff_grey_associated"}:  # which Pillow reads only through our own conversion
        assert levels(_decoded(transcoded.store, places[name]), _as_jpeg(shown(name))).mean() < 2, name
    assert {name for name in zoo() if _form(name) and name not in advised} == _FOR_NOBODY
    for name in _FOR_NOBODY:
        assert "transcoding does not help" in plain.skipped[name], plain.skipped[name]
    for name in plain.store.names:
        assert bytes(transcoded.store.read([places[name]])[0]) == zoo()[name].data


def _as_jpeg(pixels: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return np.asarray(Image.open(file))


def _decoded(store: ImageStore, index: int) -> np.ndarray:
    with Image.open(io.BytesIO(store.read([index])[0])) as image:
        return np.asarray(image)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("other_heic", "neither DALI nor Pillow reads: convert it"),
        ("other_jxl", "format JPEG XL, which neither"),
        ("tiff_float", "with a scale of your choice"),
        ("tiff_uint_32", "with a scale of your choice"),
        ("bmp_32_rgbx", "a BMP that Pillow does not read"),
        ("png_cgbi", "iOS"),
        ("other_html", "is not an image"),
    ],
)
def test_what_nothing_reads_is_named(stores: Any, name: str, words: str) -> None:
    assert words in stores(verify=True).skipped[name]
