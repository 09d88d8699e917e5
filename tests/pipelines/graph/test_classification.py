from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import nvidia.dali.fn as fn
import pytest
import reference
import torch
from levels import PLAIN, TOLERANCE, levels
from nvidia.dali import Pipeline
from nvidia.dali.types import DALIDataType
from pictures import jpeg, make_store, photo

from sdali.pipelines import ImageStore, classification
from sdali.pipelines.config import INTERPOLATIONS, Augmentation
from sdali.pipelines.graph.kernels.window import window_to_planes
from sdali.pipelines.graph.nodes import INTERP_CODES, colour, resize
from sdali.pipelines.plan.colour import apply_colour
from sdali.pipelines.plan.colour import matrices as colour_matrices
from sdali.pipelines.store.statistics import IMAGENET
from sdali.pipelines.store.writer import StoreWriter

# Grey levels of 255 by which the CPU graph may differ from the float64 definition: filters come from tables, sums are
# float32. Nearest is exact: kernel and definition agree on every sampling point.
# By which DALI's own resize, which the GPU graph uses, may differ: (mean, largest). It rounds to whole levels; where a
# tap of the Gaussian falls on the filter's very edge (weight e^-4), one side counts it and the other does not. Nearest
# is exact but where a sampling point falls on the border of two pixels: DALI's float32 may take the other one.
DALI_TOLERANCE = {
    "nearest": (0.1, 100.0),
    "linear": (0.3, 0.6),
    "cubic": (0.3, 0.8),
    "lanczos": (0.3, 0.8),
    "gaussian": (0.5, 6.0),
}


def differences(store: ImageStore, augmentation: Augmentation, size: int) -> np.ndarray:
    """Absolute difference, in levels, between the loader and the reference executor: [N, 3, size, size]."""
    loader = classification.train_loader(
        store, batch_size=10, size=size, augmentation=augmentation, statistics=IMAGENET, device="cpu"
    )
    gaps = []
    for batch in loader:
        data = store.read(batch["index"].numpy())
        expected = np.stack([reference.replay(d, r, IMAGENET, size) for d, r in zip(data, batch["plan"], strict=True)])
        gaps.append(np.abs(levels(batch["image"].numpy()) - levels(expected)))
    return np.concatenate(gaps)


@pytest.mark.slow
@pytest.mark.parametrize("size", [32, 150])
@pytest.mark.parametrize("name", INTERPOLATIONS)
def test_pixels_equal_the_reference_executor(tmp_path: Path, name, size: int) -> None:
    """Decode, window, resize, flip: within the stated tolerance of each kernel, shrinking and growing."""
    store = make_store(tmp_path / "s.lmdb")
    gaps = differences(store, Augmentation(interpolations=(name,), colour=PLAIN), size)
    assert gaps.max() <= TOLERANCE[name]


@pytest.mark.slow
@pytest.mark.parametrize("size", [32, 150])
@pytest.mark.parametrize("name", INTERPOLATIONS)
def test_dali_resize_equals_the_definition(name, size: int) -> None:
    """What the GPU graph resizes with follows the same filters, on the CPU here, within the stated tolerance."""
    rng = np.random.default_rng(0)
    images = [photo(seed, *rng.integers(20, 160, 2)) for seed in range(40)]
    codes = np.full(40, INTERP_CODES[INTERPOLATIONS.index(name)], np.int32)
    sizes = np.full((40, 2), size, np.float32)
    pipeline = Pipeline(batch_size=40, num_threads=2, device_id=None)
    with pipeline:
        image, code, side = fn.external_source(
            source=lambda: (images, codes, sizes), num_outputs=3, batch=True, layout=["HWC", "", ""]
        )
        pipeline.set_outputs(resize(image, code, side))
    resized = np.array(pipeline.run()[0].as_tensor()).astype(np.float64)
    expected = np.stack([np.clip(reference.resize(image, size, name), 0, 255) for image in images])
    gaps = np.abs(resized - expected)
    mean, largest = DALI_TOLERANCE[name]
    assert gaps.mean() <= mean and gaps.max() <= largest


def test_the_whole_recipe_equals_the_reference_executor(tmp_path: Path) -> None:
    """With all kernels, colour jitter and lighting: 0.02 of a level."""
    assert differences(make_store(tmp_path / "s.lmdb"), Augmentation(), 64).max() < 0.02


def test_real_photographs_equal_the_reference_executor(real_data: Path, tmp_path: Path) -> None:
    """Fifty ImageNet photographs, all kernels: DALI's and OpenCV's JPEG decoders agree to the bit."""
    path = tmp_path / "s.lmdb"
    with StoreWriter(path, classes=[], provenance={}) as writer:
        for file in sorted((real_data / "imagenet_sample").iterdir())[:50]:
            height, width = reference.decode(file.read_bytes()).shape[:2]
            writer.add(file.read_bytes(), label=-1, height=height, width=width, name=file.name)
    gaps = differences(ImageStore(path), Augmentation(colour=PLAIN), 224)
    assert gaps.max() < 0.01


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_before_the_window(tmp_path: Path, orientation: int) -> None:
    """A window is in oriented coordinates for every EXIF orientation."""
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation]) + b"\0" * 7
    data = jpeg(photo(0, 60, 90))
    tagged = data[:2] + b"\xff\xe1" + (len(tiff) + 8).to_bytes(2, "big") + b"Exif\0\0" + tiff + data[2:]
    height, width = reference.decode(tagged).shape[:2]
    assert (height, width) == ((60, 90) if orientation < 5 else (90, 60))
    path = tmp_path / "s.lmdb"
    with StoreWriter(path, classes=["a"], provenance={}) as writer:
        for index in range(10):
            writer.add(tagged, label=0, height=height, width=width, name=str(index))
    assert differences(ImageStore(path), Augmentation(interpolations=("linear",), colour=PLAIN), 32).max() < 0.01


@pytest.mark.parametrize("mode", [cv2.IMREAD_GRAYSCALE, cv2.IMREAD_COLOR])
@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp", ".tiff", ".jp2"])
def test_other_formats_decode_alike(tmp_path: Path, suffix: str, mode: int) -> None:
    """Grey and colour files of each format that DALI reads give OpenCV's pixels."""
    image = photo(1, 50, 70)
    image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if mode == cv2.IMREAD_GRAYSCALE else image
    data = cv2.imencode(suffix, image)[1].tobytes()
    path = tmp_path / "s.lmdb"
    with StoreWriter(path, classes=["a"], provenance={}) as writer:
        for index in range(10):
            writer.add(data, label=0, height=50, width=70, name=str(index))
    assert differences(ImageStore(path), Augmentation(interpolations=("nearest",), colour=PLAIN), 32).max() < 0.01


def test_test_loader_squashes_or_crops_the_centre(tmp_path: Path) -> None:
    """crop="whole" is the whole image resized; crop="centre" a centred square of 7/8 of the shorter side."""
    store = make_store(tmp_path / "s.lmdb", 12)
    for crop in ("whole", "centre"):
        loader = classification.test_loader(store, batch_size=5, size=48, crop=crop, statistics=IMAGENET, device="cpu")
        images = np.concatenate([batch["image"].numpy() for batch in loader])
        for index, image in enumerate(images):
            original = reference.decode(store.read([index])[0])
            if crop == "centre":
                height, width = original.shape[:2]
                side = int(min(height, width) * 0.875 + 0.5)
                original = original[(height - side) // 2 :, (width - side) // 2 :][:side, :side]
            expected = reference.resize(original, 48, "linear")
            assert np.abs(levels(image).transpose(1, 2, 0) - expected).max() < 0.01


def test_float16_is_the_rounded_float32(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s.lmdb", 20)
    full, half = (
        next(iter(classification.train_loader(store, batch_size=10, size=32, dtype=dtype, device="cpu")))["image"]
        for dtype in ("float32", "float16")
    )
    assert half.dtype.is_floating_point and half.element_size() == 2
    np.testing.assert_allclose(half.numpy(), full.numpy(), rtol=1e-3, atol=1e-3)


def test_arithmetic_colour_equals_the_kernel() -> None:
    """The GPU's colour stage, run on the CPU, gives the CPU kernel's values (1e-4 of a standard deviation)."""
    rng = np.random.default_rng(0)
    images = [photo(seed, 30, 30) for seed in range(8)]
    matrices = rng.normal(0, 0.01, (8, 3, 5)).astype(np.float32)
    flips = np.array([0, 1] * 4, np.int32)
    pipeline = Pipeline(batch_size=8, num_threads=2, device_id=None)
    with pipeline:
        image, matrix, flip = fn.external_source(
            source=lambda: (images, matrices, flips), num_outputs=3, batch=True, layout=["HWC", "", ""]
        )
        pipeline.set_outputs(colour(image, matrix, flip, DALIDataType.FLOAT))
    arithmetic = np.array(pipeline.run()[0].as_tensor())
    columns = np.arange(30, dtype=np.int32)
    for image, matrix, flip, result in zip(images, matrices, flips, arithmetic, strict=True):
        expected = np.empty((3, 30, 30), np.float32)
        window_to_planes(expected, columns[::-1].copy() if flip else columns, image, matrix, 0)
        np.testing.assert_allclose(result, expected, atol=1e-4)


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_does_no_harm() -> None:
    """Where numba finds no folder for its cache, the kernel is compiled in memory."""
    code = "import numba.core.caching as caching; caching.CacheImpl._locator_classes = []\n"
    code += "from sdali.pipelines.graph.kernels.window import window_to_planes as kernel; assert kernel.signatures"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
def test_gpu_pixels_equal_cpu_pixels(tmp_path: Path) -> None:
    """The same rows on both devices: nvJPEG rounds differently, so the mean stays below two levels."""
    store = make_store(tmp_path / "s.lmdb")
    batches = [
        next(iter(classification.train_loader(store, batch_size=64, size=64, statistics=IMAGENET, device=device)))
        for device in ("cpu", "cuda:0")
    ]
    np.testing.assert_array_equal(batches[0]["plan"], batches[1]["plan"])
    gap = np.abs(levels(batches[0]["image"].numpy()) - levels(batches[1]["image"].cpu().numpy()))
    assert gap.mean() < 2


def test_colour_on_the_device_finishes_what_the_loader_began(tmp_path: Path) -> None:
    """uint8 images are the plain ones, rounded; apply_colour makes of them the loader's own within the rounding."""
    store = make_store(tmp_path / "s.lmdb")
    options = {"batch_size": 35, "size": 48, "device": "cpu", "seed": 3}
    plain = classification.train_loader(store, augmentation=Augmentation(colour=PLAIN), statistics=IMAGENET, **options)
    finished = classification.train_loader(store, **options)
    begun = classification.train_loader(store, colour_on="device", **options)
    for level, want, batch in zip(plain, finished, begun, strict=True):
        assert batch["image"].dtype == torch.uint8 and batch["image"].shape == (35, 3, 48, 48)
        assert np.abs(batch["image"].numpy() - levels(level["image"].numpy())).max() <= 0.501
        assert batch["colour"].dtype == torch.float32 and batch["colour"].shape == (35, 3, 5)
        np.testing.assert_array_equal(batch["colour"], batch["plan"]["colour"])
        coloured = apply_colour(batch["image"], batch["colour"])
        gain = np.abs(batch["plan"]["colour"][:, :, :4]).sum(2)[:, :, None, None]  # levels of output a level of input
        assert coloured.dtype == torch.float32
        assert (np.abs(coloured.numpy() - want["image"].numpy()) <= 0.51 * gain + 1e-5).all()
        half = apply_colour(batch["image"], batch["colour"], torch.float16)
        assert torch.equal(half, coloured.half())


def test_apply_colour_equals_the_definition() -> None:
    """Against the reference executor's steps, in float64, on exact levels."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 3, 20, 30), np.uint8)
    factors, lighting = rng.uniform(0.6, 1.4, (6, 3)), rng.normal(0, 0.1, (6, 3))
    coloured = apply_colour(torch.from_numpy(images), torch.from_numpy(colour_matrices(factors, lighting, IMAGENET)))
    for got, image, factor, coefficients in zip(coloured, images, factors, lighting, strict=True):
        jittered = reference.jitter(image.transpose(1, 2, 0) / 255, factor) + IMAGENET.lighting @ coefficients
        want = ((jittered - IMAGENET.mean) / IMAGENET.std).transpose(2, 0, 1)
        np.testing.assert_allclose(got, want, atol=2e-5)
