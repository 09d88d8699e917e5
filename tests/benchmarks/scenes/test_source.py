"""Generated scenes: reproducible, balanced, and their masks and boxes true."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from sdali.benchmarks.scenes.objects import CLASSES
from sdali.benchmarks.scenes.render import DISTRACTOR, MOST_HIDDEN, OBJECT, OBJECT_SIDE, RATIOS, SHORTER_SIDE
from sdali.benchmarks.scenes.source import scenes
from sdali.pipelines.errors import InputError
from sdali.pipelines.sources.source import Loaded

COUNT = 96


@pytest.fixture(scope="module")
def loaded() -> list[Loaded]:
    return [item.load() for item in scenes(COUNT, seed=3, classes=8).items]


def image_of(sample: Loaded) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(sample.data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def mask_of(sample: Loaded) -> np.ndarray:
    assert sample.mask is not None
    mask = cv2.imdecode(np.frombuffer(sample.mask, np.uint8), cv2.IMREAD_UNCHANGED)
    assert mask is not None
    return mask


def content(sample: Loaded) -> tuple[bytes, bytes | None, list[float]]:
    """Everything in a sample, comparable with ==."""
    assert sample.boxes is not None
    return sample.data, sample.mask, [*sample.boxes[0].ravel().tolist(), *sample.boxes[1].tolist()]


@pytest.mark.slow
def test_a_scene_depends_on_seed_and_index_alone(loaded: list[Loaded]) -> None:
    """Order, threads, and the number of scenes change nothing."""
    items = scenes(COUNT * 1000, seed=3, classes=8).items
    order = list(range(0, COUNT, 7))[::-1]
    with ThreadPoolExecutor(2) as pool:
        again = list(pool.map(lambda index: items[index].load(), order))
    assert [content(sample) for sample in again] == [content(loaded[index]) for index in order]


def test_scenes_differ(loaded: list[Loaded]) -> None:
    """No two indices and no two seeds give the same picture."""
    others = [item.load() for item in scenes(8, seed=4, classes=8).items]
    assert len({sample.data for sample in [*loaded, *others]}) == COUNT + 8


@pytest.mark.parametrize("classes", [2, 6, 8])
def test_classes_are_balanced(classes: int) -> None:
    """Any number of scenes from the first on has each class equally often, give or take one."""
    source = scenes(1003, classes=classes)
    assert source.classes == tuple(CLASSES)[:classes]
    counts = np.bincount([item.label for item in source.items], minlength=classes)
    assert counts.max() - counts.min() <= 1


def test_names_are_unique_and_start_with_the_class() -> None:
    """A name is CLASS/NUMBER.jpg."""
    source = scenes(50)
    assert len({item.name for item in source.items}) == 50
    assert all(item.name.split("/")[0] == source.classes[item.label] for item in source.items)


def test_the_mask_is_as_large_as_the_picture(loaded: list[Loaded]) -> None:
    """The JPEG decodes to the size of its mask: uint8, one channel, of 0, 1 and 2, with distractors in most."""
    masks = [mask_of(sample) for sample in loaded]
    for sample, mask in zip(loaded, masks, strict=True):
        assert image_of(sample).shape[:2] == mask.shape
        assert mask.dtype == np.uint8 and mask.max() <= DISTRACTOR
    assert np.mean([(mask == DISTRACTOR).any() for mask in masks]) > 0.9


def test_the_box_is_tight_around_the_visible_object(loaded: list[Loaded]) -> None:
    """The one box is OpenCV's bounding rectangle of the mask's 1, in xyxy with exclusive ends, of the item's class."""
    for item, sample in zip(scenes(COUNT, seed=3, classes=8).items, loaded, strict=True):
        assert sample.boxes is not None
        boxes, labels, difficult, _ = sample.boxes
        x, y, width, height = cv2.boundingRect((mask_of(sample) == OBJECT).astype(np.uint8))
        np.testing.assert_array_equal(boxes, [[x, y, x + width, y + height]])
        assert boxes.dtype == np.float32 and labels.dtype == np.int64 and labels.tolist() == [item.label]
        assert difficult.tolist() == [False]


def test_objects_have_the_stated_size(loaded: list[Loaded]) -> None:
    """The longer side of a box is within OBJECT_SIDE, rim pixels aside; less only where part is hidden."""
    sides, shares = [], []
    for sample in loaded:
        mask = mask_of(sample)
        _, _, width, height = cv2.boundingRect((mask == OBJECT).astype(np.uint8))
        sides.append(max(width, height) / min(mask.shape))
        shares.append(np.count_nonzero(mask == OBJECT) / mask.size)
    rim = 2 / SHORTER_SIDE[0]
    assert max(sides) <= OBJECT_SIDE[1] + rim
    assert np.quantile(sides, 0.1) >= OBJECT_SIDE[0] - rim
    assert min(sides) >= OBJECT_SIDE[0] * (1 - MOST_HIDDEN) - 0.1
    assert min(shares) > 0.01 and max(shares) < OBJECT_SIDE[1] ** 2


def test_objects_lie_anywhere(loaded: list[Loaded]) -> None:
    """Centres of boxes fill the picture from edge to edge: spread as a uniform law over most of it, and not centred."""
    centres = []
    for sample in loaded:
        assert sample.boxes is not None
        (x0, y0, x1, y1), (height, width) = sample.boxes[0][0].tolist(), mask_of(sample).shape
        centres.append(((y0 + y1) / 2 / height, (x0 + x1) / 2 / width))
    low, high, spread = np.min(centres, 0), np.max(centres, 0), np.std(centres, 0)
    assert (low < 0.3).all() and (high > 0.7).all() and (spread > 0.13).all()


def test_sizes_and_shapes_vary(loaded: list[Loaded]) -> None:
    """Shorter sides fill SHORTER_SIDE, aspect ratios are a camera's, upright and lying."""
    sizes = np.array([mask_of(sample).shape for sample in loaded])
    shorter, ratio = sizes.min(1), sizes.max(1) / sizes.min(1)
    assert SHORTER_SIDE[0] <= shorter.min() < 190 and 290 < shorter.max() <= SHORTER_SIDE[1]
    assert all(min(abs(value - known) for known in RATIOS) < 0.01 for value in ratio)
    assert (sizes[:, 0] > sizes[:, 1]).sum() > 10 and (sizes[:, 0] < sizes[:, 1]).sum() > 10


@pytest.mark.slow
def test_colour_does_not_give_the_class_away() -> None:
    """The mean hue of an object says nothing about its class: nearest mean, leaving one out, is right half the time."""
    colours, labels = [], []
    for item in scenes(120, seed=1, classes=2).items:
        sample = item.load()
        colours.append(image_of(sample)[mask_of(sample) == OBJECT].mean(0) / 255)
        labels.append(item.label)
    hue = np.array(colours) / np.sum(colours, 1, keepdims=True)  # chromaticity: marks make some classes darker
    right = 0
    for index, label in enumerate(labels):
        rest = np.arange(len(labels)) != index
        means = [hue[rest & (np.array(labels) == kind)].mean(0) for kind in (0, 1)]
        right += int(np.argmin([np.sum((hue[index] - mean) ** 2) for mean in means]) == label)
    assert right / len(labels) < 0.68  # 1/2 plus four standard deviations of a coin thrown 120 times


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "at least 1, got 0"),
        ({"count": 5, "classes": 1}, "2 to 8 classes, got 1"),
        ({"count": 5, "classes": 9}, "2 to 8 classes, got 9"),
        ({"count": 5, "seed": -1}, "seed must be within"),
        ({"count": 5, "objects": 11}, "scenes have 1 to 10 objects, got 11"),
    ],
)
def test_bad_arguments(arguments: dict[str, int], message: str) -> None:
    """What cannot be generated is refused in one sentence, before anything is."""
    with pytest.raises(InputError, match=message):
        scenes(arguments.pop("count"), **arguments)


def test_several_objects_lie_in_one_picture() -> None:
    """1 to N objects, their classes at random, each box within the picture; the mask has the tight union of all, and
    pictures have no class of their own.
    """
    counts, labels = [], []
    for index, item in enumerate(scenes(24, seed=3, classes=4, objects=4).items):
        sample = item.load()
        assert item.label == -1 and sample.boxes is not None
        y, x = np.nonzero(mask_of(sample) == OBJECT)
        edges = sample.boxes.xyxy
        assert [*edges.min(0)[:2], *edges.max(0)[2:]] == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        assert mask_of(sample).max() <= DISTRACTOR and 1 <= len(edges) <= 1 + index % 4
        counts.append(len(edges))
        labels += sample.boxes.labels.tolist()
    assert set(counts) == {1, 2, 3, 4} and set(labels) == {0, 1, 2, 3} and np.mean(counts) > 2
