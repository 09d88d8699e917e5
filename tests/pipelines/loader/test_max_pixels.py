"""Images of too many pixels, by the store or by their own header: bad samples, before memory is taken for them."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from pictures import jpeg, make_store, photo

from sdali.pipelines import BadSampleError, ImageStore, InputError, classification
from sdali.pipelines.io.progress import silent
from sdali.pipelines.sources.mask_png import encode_mask
from sdali.pipelines.store.measure import class_frequencies, measure
from sdali.pipelines.store.verify import verify_store
from sdali.pipelines.store.writer import StoreWriter

pytest.importorskip("nvidia.dali")
SIDE = 13_000  # squared, below the limit of 178,956,970


def png_of(height: int, width: int, colour: int = 2) -> bytes:
    """A PNG whose header claims a size and whose pixels end early."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def greedy_webp() -> bytes:
    """A WebP with an EXIF chunk that claims 4 GB, which DALI 2.4 would allocate."""
    import io

    from PIL import Image

    exif, file = Image.Exif(), io.BytesIO()
    exif[274] = 6
    Image.fromarray(photo(0, 60, 40)).save(file, "WEBP", exif=exif)
    data = file.getvalue()
    return data.replace(b"EXIF" + data[data.index(b"EXIF") + 4 :][:4], b"EXIF\xf0\xff\xff\xf0")


BAD = {3: png_of(30_000, 30_000), 40: png_of(SIDE, SIDE), 50: greedy_webp(), 60: jpeg(photo(0, 8, 8)), 61: b"text" * 50}


@pytest.mark.slow
def test_nothing_is_taken_for_what_a_header_claims(tmp_path: Path) -> None:
    """A stranger's store of pictures of 2.7 GB, recorded as small: named, replaced, listed, for less than 600 MB."""
    store = make_store(tmp_path / "s.lmdb", 128, bad=BAD)
    code = (
        "import sys, resource\n"
        "from pathlib import Path\n"
        "from sdali.pipelines import classification, InputError, ImageStore\n"
        "from sdali.pipelines.store.measure import measure\n"
        "from sdali.pipelines.store.verify import verify_store\n"
        "from sdali.pipelines.io.progress import silent\n"
        "def peak():\n"
        "    lines = Path('/proc/self/status').read_text().splitlines()\n"
        "    return int(next(line for line in lines if line.startswith('VmPeak')).split()[1]) >> 10\n"
        "def load(path, **options):\n"
        "    options |= dict(batch_size=64, size=16, order='sequential', device='cpu', threads=2, max_bad_share=1)\n"
        "    loader = classification.train_loader(path, on_error='skip', **options)\n"
        "    return sum(1 for _ in loader), sorted(index for index, _ in loader.skipped)\n"
        "load(sys.argv[2])\n"
        "before = peak()\n"
        "found = load(sys.argv[1]), [bad.index for bad in verify_store(ImageStore(sys.argv[1]), progress=silent)]\n"
        "try: measure(ImageStore(sys.argv[1]), workers=1, progress=silent)\n"
        "except InputError as error: print('3.jpg' in str(error))\n"
        "print(found, peak() - before)\n"
    )
    sound = make_store(tmp_path / "sound.lmdb", 128).path
    words = [sys.executable, "-c", code, str(store.path), str(sound)]
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}  # else each thread reserves 64 MB
    done = subprocess.run(words, capture_output=True, text=True, timeout=200, check=False, env=environment)
    named, found = done.stdout.splitlines() or (done.stderr, "")
    assert named == "True", done.stderr
    assert found.rpartition(" ")[0] == f"((2, {sorted(BAD)}), {sorted(BAD)})"
    assert int(found.rpartition(" ")[2]) < 600


@pytest.mark.parametrize(("index", "why"), [
    (3, "has 30,000 x 30,000 px, more than the 178,956,970 allowed"),
    (40, "has 13000 x 13000 px, but is recorded with"),
    (50, "is damaged, truncated or a WEBP that Pillow does not read"),
    (60, "has 8 x 8 px, but is recorded"),
    (61, "is not an image"),
])  # fmt: skip
def test_a_loader_says_what_a_header_claims(tmp_path: Path, index: int, why: str) -> None:
    """The sentence has the sample's name and what is wrong with its header."""
    store = make_store(tmp_path / "s.lmdb", 70, bad={index: BAD[index]})
    loader = classification.test_loader(store, batch_size=70, size=16, device="cpu", threads=1)
    said = rf"sample {index} \({index}\.jpg\) of .*s\.lmdb cannot be decoded \({why}"
    with pytest.raises(BadSampleError, match=said):
        next(iter(loader))


def test_the_limit_of_a_store_is_an_option(tmp_path: Path) -> None:
    """As many pixels as allowed are read, one more is a bad sample; the limit is kept by a copy, and at least 1."""
    with StoreWriter(tmp_path / "s.lmdb", classes=()) as writer:
        for index, (height, width) in enumerate([(20, 30), (20, 31), (2**31 - 1, 2**31 - 1)]):
            writer.add(jpeg(photo(0, 20, 30)), label=-1, height=height, width=width, name=f"{index}.jpg")
    store = ImageStore(tmp_path / "s.lmdb", max_pixels=600)
    for opened in (store, pickle.loads(pickle.dumps(store))):
        assert len(opened.read([0])) == 1
        with pytest.raises(BadSampleError, match=r"sample 1 \(1\.jpg\) .*has 20 x 31 px, more than the 600 allowed"):
            opened.read([0, 1])
    assert len(ImageStore(tmp_path / "s.lmdb").read([0, 1])) == 2
    with pytest.raises(BadSampleError, match=r"2\.jpg"):
        ImageStore(tmp_path / "s.lmdb").read([0, 1, 2])
    with pytest.raises(InputError, match="max_pixels must be at least 1, got 0"):
        ImageStore(tmp_path / "s.lmdb", max_pixels=0)


def test_a_mask_is_as_large_as_its_image(tmp_path: Path) -> None:
    """One whose header claims 2.5 gigapixels is a bad sample, not OpenCV's error."""
    with StoreWriter(tmp_path / "s.lmdb", classes=["a"], has_masks=True, ignore_index=255) as writer:
        for mask in (encode_mask(np.zeros((20, 30), np.uint8)), png_of(50_000, 50_000, 0)):
            writer.add(jpeg(photo(0, 20, 30)), label=-1, height=20, width=30, name=f"{len(writer)}.jpg", mask=mask)
    store = ImageStore(tmp_path / "s.lmdb")
    assert store.mask(0).shape == (20, 30)
    for read in (store.mask, store.encoded_mask):
        with pytest.raises(BadSampleError, match=r"1\.jpg.*has a mask that is not single-channel uint8 of the image's"):
            read(1)
    assert [bad.index for bad in verify_store(store, progress=silent)] == [1]
    with pytest.raises(BadSampleError, match=r"1\.jpg"):
        class_frequencies(store)


def test_statistics_name_what_cannot_be_decoded(tmp_path: Path) -> None:
    """Where OpenCV would raise an error of its own."""
    store = make_store(tmp_path / "s.lmdb", 4, bad={2: png_of(2**20, 2**20)})
    with pytest.raises(BadSampleError, match=r"2\.jpg.*1,048,576 x 1,048,576 px, more than"):
        measure(store, workers=1, progress=silent)
