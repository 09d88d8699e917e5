"""Image and mask stay aligned to the pixel: against the reference executor, OpenCV, and marks drawn into both."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import reference
from levels import PLAIN, TOLERANCE, levels
from nvidia.dali import Pipeline, fn
from parsing_stores import CLASSES, IGNORE, make_parsing_store, mask_of, write_store
from pictures import jpeg, photo

from sdali.pipelines import ImageStore, parsing
from sdali.pipelines.config import INTERPOLATIONS, Interpolation, ParsingAugmentation, ParsingCrop
from sdali.pipelines.graph.kernels.parsing import place_mask
from sdali.pipelines.graph.nodes import INTERP_CODES
from sdali.pipelines.graph.parsing import padded_images
from sdali.pipelines.store.statistics import IMAGENET

# Filters that end in 0, so that nothing hangs on a tap at their very edge.
SMOOTH: tuple[Interpolation, ...] = tuple(name for name in INTERPOLATIONS if name != "gaussian")


def loader_of(store: ImageStore, batch_size: int = 10, **options):
    options = {"statistics": IMAGENET, "device": "cpu", "threads": 2, "size": (48, 64), **options}
    return parsing.train_loader(store, batch_size=batch_size, **options)


def compared(store: ImageStore, epochs: int = 2, **options) -> tuple[np.ndarray, np.ndarray]:
    """Differences to the reference executor in levels [N, 3, H, W], the masks being equal; and the plan rows."""
    loader, gaps, rows = loader_of(store, **options), [], []
    for batch in (batch for _ in range(epochs) for batch in loader):
        data = store.read(batch["index"].numpy())
        for image, mask, record, row in zip(batch["image"], batch["mask"], data, batch["plan"], strict=True):
            want = reference.replay_parsing(record, store.mask(row["index"]), row, IMAGENET, IGNORE)
            np.testing.assert_array_equal(mask, want[1])
            gaps.append(np.abs(levels(image.numpy()) - levels(want[0])))
            rows.append(row)
    return np.stack(gaps), np.stack(rows)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [(0.2, 0.6), (0.9, 1.1), (1.5, 3.0)])
@pytest.mark.parametrize("name", INTERPOLATIONS)
def test_both_equal_the_reference_executor(tmp_path: Path, name, scale: tuple[float, float]) -> None:
    """Every kernel, shrinking and growing, cropped and padded, flipped or not: masks exactly, images as in
    classification, but that a tap on the very edge of the Gaussian (weight e^-4) may count on one side alone.
    """
    augmentation = ParsingAugmentation(interpolations=(name,), colour=PLAIN, crop=ParsingCrop(scale=scale))
    gaps, rows = compared(make_parsing_store(tmp_path / "s.lmdb"), augmentation=augmentation)
    assert gaps.max() <= (1 if name == "gaussian" else TOLERANCE[name]) and gaps.mean() <= TOLERANCE[name]
    padded = (rows["placed"][:, 2:] < rows["size"]).any(1)
    assert padded.any() if scale[0] < 1 else not padded.all()
    assert 0.2 < rows["flip"].mean() < 0.8


def test_the_whole_recipe_equals_the_reference_executor(tmp_path: Path) -> None:
    """With jitter and lighting, whose grey is that of the image alone; padding stays 0."""
    store = make_parsing_store(tmp_path / "s.lmdb")
    assert compared(store, size=(75, 40), augmentation=ParsingAugmentation(interpolations=SMOOTH))[0].max() < 0.02
    for batch in loader_of(store, size=(75, 40)):
        for image, mask, row in zip(batch["image"], batch["mask"], batch["plan"], strict=True):
            outside = np.ones(row["size"], bool)
            top, left, height, width = row["placed"]
            outside[top : top + height, left : left + width] = False
            assert (image.numpy()[:, outside] == 0).all() and (mask.numpy()[outside] == IGNORE).all()


def marked(seed: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture whose pixels spell their mask: class k is the grey 50 k, ignored pixels are 250."""
    mask = mask_of(seed, height, width)
    return np.where(mask == IGNORE, CLASSES, mask)[..., None].repeat(3, 2).astype(np.uint8) * 50, mask


def test_marks_in_both_stay_together(tmp_path: Path) -> None:
    """With the nearest kernel each output pixel of the image spells the class in the mask: no shift at any scale."""
    samples = [marked(seed, 30 + seed, 70 - seed) for seed in range(20)]
    store = write_store(tmp_path / "s.lmdb", [(cv2.imencode(".png", image)[1].tobytes(), m) for image, m in samples])
    augmentation = ParsingAugmentation(interpolations=("nearest",), colour=PLAIN, crop=ParsingCrop(scale=(0.3, 3)))
    loader, checked = loader_of(store, augmentation=augmentation, size=(50, 60)), 0
    for batch in (batch for _ in range(5) for batch in loader):
        spelt = np.rint(levels(batch["image"].numpy())[:, 0] / 50).astype(int)
        for mark, mask, row in zip(spelt, batch["mask"].numpy(), batch["plan"], strict=True):
            top, left, height, width = row["placed"]
            place = np.s_[top : top + height, left : left + width]
            np.testing.assert_array_equal(mark[place], np.where(mask == IGNORE, CLASSES, mask)[place])
            checked += mark[place].size
    assert checked > 100_000


@pytest.mark.parametrize("name", [name for name in INTERPOLATIONS if name != "nearest"])
def test_edges_lie_on_the_same_pixel_for_every_kernel(tmp_path: Path, name) -> None:
    """The border of two halves, found in the image by its level and in the mask by its class, differs by at most half
    an output pixel and what clamping Lanczos to 0..255 takes, and not to one side.
    """
    height, width = 61, 83
    image, mask = np.zeros((height, width, 3), np.uint8), np.zeros((height, width), np.uint8)
    image[:, 37:], mask[:, 37:] = 200, 1
    store = write_store(tmp_path / "s.lmdb", [(cv2.imencode(".png", image)[1].tobytes(), mask)] * 10)
    crop = ParsingCrop(scale=(0.4, 2.5))
    loader = loader_of(store, augmentation=ParsingAugmentation(interpolations=(name,), colour=PLAIN, crop=crop))
    shifts = []
    for batch in (batch for _ in range(20) for batch in loader):
        for pixels, classes, row in zip(
            levels(batch["image"].numpy())[:, 0], batch["mask"], batch["plan"], strict=True
        ):
            top, left, _, filled = row["placed"]
            line, ones = pixels[top, left : left + filled], classes[top, left : left + filled].numpy() == 1
            if ones.any() and not ones.all():
                shifts.append(float((line / 200).sum() - ones.sum()) * (-1 if row["flip"] else 1))
    assert len(shifts) > 50 and np.abs(shifts).max() <= 0.65 and abs(np.mean(shifts)) < 0.1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_mask_is_of_the_oriented_image(tmp_path: Path, orientation: int) -> None:
    """For every EXIF orientation."""
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation]) + b"\0" * 7
    data = jpeg(photo(0, 60, 90))
    tagged = data[:2] + b"\xff\xe1" + (len(tiff) + 8).to_bytes(2, "big") + b"Exif\0\0" + tiff + data[2:]
    mask = mask_of(0, *reference.decode(tagged).shape[:2])
    store = write_store(tmp_path / "s.lmdb", [(tagged, mask)] * 10)
    gaps, _ = compared(store, augmentation=ParsingAugmentation(interpolations=("linear",), colour=PLAIN))
    assert gaps.max() < 0.01


def test_nearest_is_opencvs() -> None:
    """The mask's kernel against cv2.INTER_NEAREST_EXACT, which has the same centres, but where one falls on the border
    of two pixels.
    """
    rng = np.random.default_rng(0)
    for _ in range(200):
        (h, w), (height, width) = rng.integers(1, 60, (2, 2)).tolist()
        mask, out = rng.integers(0, 256, (h, w), np.uint8), np.empty((height + 3, width + 4), np.uint8)
        place_mask(out, 1, 2, height, np.arange(width, dtype=np.int32), mask, 7)
        want = np.full_like(out, 7)
        want[1 : 1 + height, 2 : 2 + width] = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        place = np.s_[1 : 1 + height, 2 : 2 + width]
        inner = np.ix_(*((2 * np.arange(n) + 1) * m % (2 * n) != 0 for n, m in ((height, h), (width, w))))
        np.testing.assert_array_equal(out[place][inner], want[place][inner])
        out[place], want[place] = 0, 0
        np.testing.assert_array_equal(out, want)


def test_dali_operators_equal_the_kernel(tmp_path: Path) -> None:
    """What the GPU graph pads with, on DALI's CPU backend: the loader's images within a level on average."""
    store = make_parsing_store(tmp_path / "s.lmdb", 20)
    augmentation = ParsingAugmentation(interpolations=("linear",))
    batch = next(iter(loader_of(store, 20, augmentation=augmentation)))
    rows = batch["plan"]
    windows = []
    for data, (y, x, height, width) in zip(store.read(rows["index"]), rows["window"], strict=True):
        windows.append(np.ascontiguousarray(reference.decode(data)[y : y + height, x : x + width]))
    feed = (
        windows,
        [np.empty((0, 48, 64), np.int32)] * 20,
        np.ascontiguousarray(rows["placed"]),
        rows["flip"].astype(np.int32)[:, None],
        np.ascontiguousarray(INTERP_CODES[rows["interpolation"]][:, None]),
        np.ascontiguousarray(rows["colour"]),
    )
    pipeline = Pipeline(batch_size=20, num_threads=2, device_id=None)
    with pipeline:
        layout = ["HWC", "", "", "", "", ""]
        nodes = fn.external_source(source=lambda: feed, num_outputs=6, batch=True, layout=layout)
        pipeline.set_outputs(padded_images(*nodes, dtype="float32"))
    images = np.array(pipeline.run()[0].as_tensor())[:, 0]
    gaps = np.abs(levels(images) - levels(batch["image"].numpy()))
    assert gaps.mean() < 0.5 and gaps.max() < 3
    np.testing.assert_array_equal((images == 0).all(1), (batch["image"].numpy() == 0).all(1))


def test_real_masks_equal_the_reference_executor(real_data: Path, tmp_path: Path) -> None:
    """CamVid's photographs and masks, as DALI decodes both."""
    samples = []
    for file in sorted((real_data / "camvid/val").iterdir())[:20]:
        mask = cv2.imread(str(real_data / f"camvid/valannot/{file.stem}.png"), cv2.IMREAD_UNCHANGED)
        samples.append((file.read_bytes(), np.asarray(mask)))
    store = write_store(tmp_path / "s.lmdb", samples)
    augmentation = ParsingAugmentation(interpolations=SMOOTH, colour=PLAIN)
    assert compared(store, 1, size=(200, 300), augmentation=augmentation)[0].max() < 0.02


@pytest.mark.gpu
def test_gpu_batches_equal_cpu_batches(tmp_path: Path) -> None:
    """The same rows on both devices: masks exactly, images within two levels on average."""
    store = make_parsing_store(tmp_path / "s.lmdb")
    cpu, gpu = (next(iter(loader_of(store, device=device))) for device in ("cpu", "cuda:0"))
    np.testing.assert_array_equal(cpu["mask"].numpy(), gpu["mask"].cpu().numpy())
    assert np.abs(levels(cpu["image"].numpy()) - levels(gpu["image"].cpu().numpy())).mean() < 2
