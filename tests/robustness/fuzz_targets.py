"""What is fuzzed, and what must hold of any bytes whatever: InputError is the only exception, answers agree.

A target makes its seeds (sound files, which a fuzzer or hypothesis then changes) and a check of one file's bytes, which
raises for what must not be. Digests of columns and checksums of maps are made to agree, as a stranger would make them.
"""

from __future__ import annotations

import io
import json
import struct
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial as bound
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch
from zlib import crc32

import cv2
import h5py
import numpy as np
from robustness.stores import IMAGES, MAPS, images_content, make_stores, maps_content

from sdali.cams.store.partial import RECORD_HEADER, decode, encode
from sdali.pipelines.build.prepare import Preparation
from sdali.pipelines.errors import InputError
from sdali.pipelines.images import pillow
from sdali.pipelines.images.header import NeedsTranscoding, probe
from sdali.pipelines.sources.coco import coco
from sdali.pipelines.sources.hdf5 import hdf5
from sdali.pipelines.sources.source import Source
from sdali.pipelines.sources.voc import voc
from sdali.pipelines.sources.webdataset import webdataset

MAX_PIXELS = 1_000_000
_HEIGHT, _WIDTH = 32, 40  # the least that JPEG 2000 is written for
_PIXELS = np.random.default_rng(0).integers(0, 256, (_HEIGHT, _WIDTH, 3), np.uint8)
_prepare = Preparation(max_pixels=MAX_PIXELS)
_AGREEING = patch("sdali.pipelines.store.format.digest", return_value="0" * 64)

Check = Callable[[bytes], None]


class Target(NamedTuple):
    """`seeds` makes sound files; `check` makes, with a folder of its own, the check of one file's bytes."""

    seeds: Callable[[], list[bytes]]
    check: Callable[[Path], Check]


def _store_seeds() -> list[bytes]:
    with tempfile.TemporaryDirectory(prefix="sdali-fuzz-") as scratch, _AGREEING:
        make_stores(Path(scratch), samples=6)
        return [Path(scratch, name).read_bytes() for name in (IMAGES, MAPS)]


def _store_check(folder: Path) -> Check:
    """The file as an image store, and as a heatmap store beside sound images; all of it is read."""
    with _AGREEING:
        make_stores(folder, samples=6)
    damaged = folder / "damaged.lmdb"

    def check(data: bytes) -> None:
        damaged.unlink(missing_ok=True)
        damaged.write_bytes(data)
        with _AGREEING:
            for content in (images_content, maps_content):
                with suppress(InputError):
                    content(damaged)

    return check


def _heatmap_seeds() -> list[bytes]:
    rng = np.random.default_rng(0)
    return [encode(rng.integers(0, 256, shape, np.uint8)) for shape in ((1, 1), (7, 7), (20, 31))]


def _heatmap_check(folder: Path) -> Check:
    """A record of a partial file, as it is and with a checksum that fits: a map that encodes to it, or none."""

    def check(data: bytes) -> None:
        for record in (data, _sealed(data)):
            with suppress(ValueError):
                assert encode(decode(record)) == record, "another record decodes to the same map"

    return check


def _sealed(record: bytes) -> bytes:
    """The record with the checksum of its sizes and body."""
    if len(record) < RECORD_HEADER.size:
        return record
    height, width, _ = RECORD_HEADER.unpack_from(record)
    body = record[RECORD_HEADER.size :]
    return RECORD_HEADER.pack(height, width, crc32(body, height << 16 | width)) + body


def _all_prepared(make: Callable[[], Source]) -> None:
    """The source, and each of its samples as a build prepares it."""
    with suppress(InputError):
        for item in make().items:
            _prepare(item)


def _voc_seeds() -> list[bytes]:
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>9.5</xmax><ymax>32</ymax></bndbox>"
    size = f"<size><width>{_WIDTH}</width><height>{_HEIGHT}</height><depth>3</depth></size>"
    one = f"<object><name>cat</name><difficult>1</difficult>{box}</object>"
    documents = (
        f"<annotation>{size}{one * 2}</annotation>",
        f'<?xml version="1.0" encoding="utf-8"?><annotation><filename>a.jpg</filename>{one}</annotation>',
        f'<!DOCTYPE a [<!ENTITY b "cat">]><annotation><!-- c --><object><name>&b;</name>{box}</object></annotation>',
    )
    return [document.encode() for document in documents]


def _voc_check(folder: Path) -> Check:
    """The file as the annotation of one image."""
    for name in ("JPEGImages", "Annotations"):
        (folder / name).mkdir()
    (folder / "JPEGImages" / "a.jpg").write_bytes(_encoded(".jpg"))

    def check(data: bytes) -> None:
        (folder / "Annotations" / "a.xml").write_bytes(data)
        _all_prepared(bound(voc, folder))

    return check


def _coco_seeds() -> list[bytes]:
    image = {"id": 1, "file_name": "a.jpg", "height": _HEIGHT, "width": _WIDTH}
    box = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2.5, 8, 6], "iscrowd": 0, "area": 48}
    whole = {"images": [image], "annotations": [box, box], "categories": [{"id": 7, "name": "cat"}]}
    return [json.dumps(whole).encode(), json.dumps({**whole, "annotations": []}, indent=1).encode()]


def _coco_check(folder: Path) -> Check:
    """The file as the annotations of a folder of one image."""
    (folder / "images").mkdir()
    (folder / "images" / "a.jpg").write_bytes(_encoded(".jpg"))

    def check(data: bytes) -> None:
        (folder / "a.json").write_bytes(data)
        _all_prepared(bound(coco, folder / "images", annotations=folder / "a.json"))

    return check


def _hdf5_seeds() -> list[bytes]:
    pixels, labels, options = (
        np.stack([_PIXELS] * 4),
        np.arange(4) % 2,
        {"chunks": (2, 16, 20, 3), "compression": "gzip"},
    )
    names: dict[str, Any] = {"names": ["a", "b", "c", "d"], "classes": np.array([b"cat", b"dog"])}
    files = [{"images": pixels[:2, :4, :5], "labels": labels[:2]}, {"images": options, **names, "labels": labels}]
    files.append(
        {"images": [_encoded(".jpg"), _encoded(".png")], "labels": labels[:2], **{"masks": pixels[:2, ..., 0]}}
    )
    seeds = []
    with tempfile.TemporaryDirectory(prefix="sdali-fuzz-") as scratch:
        for number, datasets in enumerate(files):
            path = Path(scratch, f"{number}.h5")
            with h5py.File(path, "w") as file:
                for name, data in datasets.items():
                    if isinstance(data, dict):
                        file.create_dataset(name, data=pixels, **data)
                    elif name == "images" and isinstance(data, list):
                        rows = file.create_dataset(name, (len(data),), h5py.vlen_dtype(np.uint8))
                        for row, each in enumerate(data):
                            rows[row] = np.frombuffer(each, np.uint8)
                    else:
                        file[name] = data
            seeds.append(path.read_bytes())
    return seeds


def _hdf5_check(folder: Path) -> Check:
    """The file as a source of images and labels, with and without all else it may hold."""
    path = folder / "a.h5"

    def check(data: bytes) -> None:
        path.unlink(missing_ok=True)
        path.write_bytes(data)
        for options in (
            {},
            {"names_dataset": "names", "classes_dataset": "classes"},
            {"masks_dataset": "masks", "labels_dataset": None},
        ):
            _all_prepared(bound(hdf5, path, max_pixels=MAX_PIXELS, **options))

    return check


def _webdataset_seeds() -> list[bytes]:
    seeds = []
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(fileobj=(shard := io.BytesIO()), mode="w", format=form) as tar:
            for name, data in (("a.jpg", _encoded(".jpg")), ("a.cls", b"1"), ("b" * 120 + ".png", _encoded(".png"))):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        seeds.append(shard.getvalue())
    return seeds


def _webdataset_check(folder: Path) -> Check:
    """The file as the one shard of a source."""
    path = folder / "a.tar"

    def check(data: bytes) -> None:
        path.write_bytes(data)
        _all_prepared(bound(webdataset, path))

    return check


def _header_seeds() -> list[bytes]:
    exif = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 274, 3, 1, 6, 0, 0)
    jpeg, endings = _encoded(".jpg"), (".png", ".webp", ".bmp", ".tiff", ".jp2", ".ppm")
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif + jpeg[2:]
    return [jpeg, turned, *map(_encoded, endings)]


def _header_check(folder: Path) -> Check:
    """The file as an image: its header, and all of it where only Pillow reads it."""

    def check(data: bytes) -> None:
        try:
            header = probe(data, max_pixels=MAX_PIXELS)
        except NeedsTranscoding:
            with suppress(InputError):
                pillow.decode(data, MAX_PIXELS)
        except InputError:
            return
        else:
            assert 0 < header.height * header.width <= MAX_PIXELS and 1 <= header.orientation <= 8

    return check


def _encoded(ending: str) -> bytes:
    return cv2.imencode(ending, _PIXELS)[1].tobytes()


TARGETS = {
    "store": Target(_store_seeds, _store_check),
    "heatmap": Target(_heatmap_seeds, _heatmap_check),
    "voc": Target(_voc_seeds, _voc_check),
    "coco": Target(_coco_seeds, _coco_check),
    "hdf5": Target(_hdf5_seeds, _hdf5_check),
    "webdataset": Target(_webdataset_seeds, _webdataset_check),
    "header": Target(_header_seeds, _header_check),
}
