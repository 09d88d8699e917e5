"""Boxes stay on their objects: rectangles found again in the pixels, and pixels against the reference executor."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import reference
from detection_stores import make_detection_store, rectangles, write_store
from levels import PLAIN, TOLERANCE, levels
from pictures import jpeg, photo

from sdali.pipelines import DetectionAugmentation, ImageStore, IouCrop, detection
from sdali.pipelines.config import INTERPOLATIONS
from sdali.pipelines.store.statistics import IMAGENET

SIDES = (40, 64, 90)


def loader_of(store: ImageStore, batch_size: int = 10, **options):
    options = {"statistics": IMAGENET, "device": "cpu", "threads": 2, "shorter_side": SIDES, **options}
    return detection.train_loader(store, batch_size=batch_size, longer_side=120, size_divisor=16, **options)


def shown_in(image: np.ndarray) -> np.ndarray:
    """float [n, 4]: xyxy of each white region of levels [H, W], by OpenCV."""
    stats = cv2.connectedComponentsWithStats((image > 127).astype(np.uint8))[2][1:]
    return np.concatenate([stats[:, :2], stats[:, :2] + stats[:, 2:4]], 1).astype(float)


@pytest.mark.parametrize("crop", [0.0, 1.0])
@pytest.mark.parametrize("name", INTERPOLATIONS)
def test_rectangles_are_found_where_their_boxes_are(tmp_path: Path, name, crop: float) -> None:
    """Each box has a white region whose four edges differ from its own by at most a pixel, for every kernel, scale,
    flip and crop; without a crop each region also has a box.
    """
    store = write_store(tmp_path / "s.lmdb", [rectangles(seed) for seed in range(20)])
    augmentation = DetectionAugmentation(
        interpolations=(name,), colour=PLAIN, crop=IouCrop(probability=crop, least_ious=(0.0, 0.1))
    )
    loader, checked, flips = loader_of(store, augmentation=augmentation, side_per="sample"), 0, []
    for batch in (batch for _ in range(3) for batch in loader):
        for image, (height, width), boxes, row in zip(
            batch["image"], batch["size"].tolist(), batch["boxes"], batch["plan"], strict=True
        ):
            found = shown_in(levels(image.numpy())[0, :height, :width])
            for box in boxes.numpy():
                assert np.abs(found - box).max(1).min() <= 1, (box, found, row)
                checked += 1
            if not crop:
                assert len(found) == len(boxes) == 4
            flips.append(row["flip"])
    assert checked > 60 and 0.2 < np.mean(flips) < 0.8


def test_labels_go_with_their_boxes(tmp_path: Path) -> None:
    """Of four rectangles, one a quarter: left and right change places with a flip, class and place together."""
    store = write_store(tmp_path / "s.lmdb", [rectangles(seed) for seed in range(10)])
    for batch in loader_of(store):
        for (height, width), boxes, labels, row in zip(
            batch["size"].tolist(), batch["boxes"], batch["labels"], batch["plan"], strict=True
        ):
            x, y = (boxes[:, :2] + boxes[:, 2:]).numpy().T / 2
            right, lower = x > width / 2, y > height / 2
            assert labels.tolist() == (2 * lower + (right != row["flip"])).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", INTERPOLATIONS)
def test_images_equal_the_reference_executor(tmp_path: Path, name) -> None:
    """Within their true size as classification's do; beside it 0, up to multiples of the divisor, no further."""
    augmentation = DetectionAugmentation(interpolations=(name,), crop=IouCrop(probability=0.5))
    store, gaps = make_detection_store(tmp_path / "s.lmdb"), []
    for batch in loader_of(store, augmentation=augmentation, side_per="sample"):
        want_size = -(-batch["size"].numpy().max(0) // 16) * 16
        assert batch["image"].shape[2:] == tuple(want_size)
        for image, record, row in zip(
            batch["image"].numpy(), store.read(batch["index"].numpy()), batch["plan"], strict=True
        ):
            height, width = row["size"].tolist()
            want = reference.replay(record, row, IMAGENET, (height, width))
            gaps.append(np.abs(levels(image[:, :height, :width]) - levels(want)).ravel())
            assert not image[:, height:].any() and not image[:, :, width:].any()
    # A tap on the very edge of the Gaussian (weight e^-4) may count on one side alone.
    gap = np.concatenate(gaps)
    assert gap.max() <= (2 if name == "gaussian" else 2 * TOLERANCE[name]) and gap.mean() <= TOLERANCE[name]


@pytest.mark.parametrize("orientation", range(2, 9))
def test_boxes_are_of_the_oriented_image(tmp_path: Path, orientation: int) -> None:
    """For every EXIF orientation, a rectangle drawn into the stored picture is found at the box of the turned one."""
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation]) + b"\0" * 7
    image = np.zeros((120, 160, 3), np.uint8)
    image[20:70, 30:60] = 255
    data = jpeg(image, 100)
    tagged = data[:2] + b"\xff\xe1" + (len(tiff) + 8).to_bytes(2, "big") + b"Exif\0\0" + tiff + data[2:]
    seen = reference.decode(tagged)
    box = shown_in(seen[:, :, 0])
    sample = rectangles(0)[2]._replace(
        xyxy=box.astype(np.float32), labels=np.zeros(1, np.int64), difficult=np.zeros(1, bool)
    )
    store = write_store(tmp_path / "s.lmdb", [(tagged, seen.shape[:2], sample)] * 4)
    for batch in loader_of(store, 4, augmentation=DetectionAugmentation(colour=PLAIN)):
        for pixels, (height, width), boxes in zip(batch["image"], batch["size"].tolist(), batch["boxes"], strict=True):
            assert np.abs(shown_in(levels(pixels.numpy())[0, :height, :width]) - boxes.numpy()).max() <= 1


@pytest.mark.gpu
def test_gpu_batches_equal_cpu_batches(tmp_path: Path) -> None:
    """The same rows and boxes on both devices, images within two levels on average."""
    samples = [(jpeg(photo(i, 70, 90)), (70, 90), rectangles(i)[2].at(np.zeros(0, int))) for i in range(20)]
    store = write_store(tmp_path / "s.lmdb", samples)
    cpu, gpu = (next(iter(loader_of(store, device=device))) for device in ("cpu", "cuda:0"))
    assert cpu["plan"].tobytes() == gpu["plan"].tobytes() and cpu["image"].shape == gpu["image"].shape
    assert np.abs(levels(cpu["image"].numpy()) - levels(gpu["image"].cpu().numpy())).mean() < 2
