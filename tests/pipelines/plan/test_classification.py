from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import make_store

from sdali.pipelines import Augmentation, Colour, Crop, DetectionAugmentation, ImageStore, IouCrop, ParsingAugmentation
from sdali.pipelines.plan import colour
from sdali.pipelines.plan.classification import EvaluationPlanner, TrainPlanner
from sdali.pipelines.plan.detection import DetectionTrainPlanner
from sdali.pipelines.plan.parsing import ParsingTrainPlanner
from sdali.pipelines.store.boxes import Boxes
from sdali.pipelines.store.statistics import IMAGENET
from sdali.pipelines.store.writer import StoreWriter


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return make_store(tmp_path_factory.mktemp("plan") / "s.lmdb", 40)


def planner(store: ImageStore, **options) -> TrainPlanner:
    maps = list(np.random.default_rng(0).integers(0, 256, (len(store), 4, 6), np.uint8))
    defaults = {"heatmaps": maps, "augmentation": Augmentation(), "statistics": IMAGENET, "sizes": (64,), "seed": 3}
    return TrainPlanner(store=store, **{**defaults, **options})


@given(st.integers(0, 10**6), st.integers(0, 10**9), st.integers(1, 30), st.data())
def test_rows_do_not_depend_on_the_split(store, epoch: int, start: int, count: int, data) -> None:
    """The rows of a run of positions are the same, bit for bit, however it is cut."""
    indices = np.arange(count) % len(store)
    cut = data.draw(st.integers(0, count))
    whole = planner(store).rows(epoch, start, indices)
    parts = [planner(store).rows(epoch, start, indices[:cut])]
    parts.append(planner(store).rows(epoch, start + cut, indices[cut:]))
    assert whole.tobytes() == np.concatenate(parts).tobytes()


def planners(store: ImageStore, seed: int) -> dict[str, Any]:
    """One planner of each task."""
    maps = list(np.random.default_rng(0).integers(0, 256, (len(store), 4, 6), np.uint8))
    common = {"store": store, "statistics": IMAGENET, "seed": seed}
    crop = IouCrop(probability=0.8)
    return {
        "classification": TrainPlanner(heatmaps=maps, augmentation=Augmentation(), sizes=(48, 64), **common),
        "parsing": ParsingTrainPlanner(heatmaps=maps, augmentation=ParsingAugmentation(), size=(40, 56), **common),
        "detection": DetectionTrainPlanner(
            augmentation=DetectionAugmentation(crop=crop),
            shorter_sides=(40, 64),
            longer_side=100,
            per_sample=True,
            **common,
        ),
    }


@pytest.fixture(scope="module")
def boxed(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    """Images of a pixel to 3,000 a side, with up to three boxes each; the plan never looks at a pixel."""
    rng = np.random.default_rng(5)
    path = tmp_path_factory.mktemp("boxed") / "s.lmdb"
    with StoreWriter(path, classes=["a"], has_boxes=True) as writer:
        for index in range(40):
            height, width = (int(side) for side in np.exp(rng.uniform(0, 8, 2)).astype(int))
            edges = np.sort(rng.random((index % 4, 2, 2)), 1).reshape(-1, 4) * [width, height, width, height]
            boxes = Boxes(edges.astype(np.float32), np.zeros(len(edges), np.int64), np.zeros(len(edges), bool))
            writer.add(b"x", label=0, height=height, width=width, name=str(index), boxes=boxes)
    return ImageStore(path)


@pytest.mark.parametrize("task", ["classification", "parsing", "detection"])
@given(st.integers(0, 2**63), st.integers(0, 10**6), st.integers(0, 10**9), st.integers(1, 9), st.data())
def test_a_row_is_a_function_of_seed_epoch_and_position(boxed, task, seed, epoch, start, count, data) -> None:
    """Alone and among others, from another planner, the row is the same; its window lies in its image, and the place
    that it fills in its output.
    """
    indices = np.array(data.draw(st.lists(st.integers(0, 39), min_size=count, max_size=count)))
    rows = planners(boxed, seed)[task].rows(epoch, start, indices, step=start)
    place = data.draw(st.integers(0, count - 1))
    alone = planners(boxed, seed)[task].rows(epoch, start + place, indices[place : place + 1], step=start)
    assert alone[0].tobytes() == rows[place].tobytes()
    assert rows["position"].tolist() == list(range(start, start + count)) and rows["index"].tolist() == indices.tolist()
    y, x, height, width = rows["window"].T.astype(int)
    assert (np.minimum(y, x) >= 0).all() and (np.minimum(height, width) >= 1).all()
    assert (np.stack([y + height, x + width], 1) <= boxed.sizes[indices]).all()
    if task != "classification":
        top, left, tall, wide = rows["placed"].T.astype(int)
        assert (np.minimum(top, left) >= 0).all() and (np.minimum(tall, wide) >= 1).all()
        assert (np.stack([top + tall, left + wide], 1) <= rows["size"]).all()


def test_options_leave_each_other_alone(store) -> None:
    """Another colour strength or flip probability keeps the windows; another crop keeps flips and colours."""
    indices = np.arange(40)
    base = planner(store).rows(1, 0, indices)
    recoloured = planner(store, augmentation=Augmentation(colour=Colour(brightness=0), flip=0.0)).rows(1, 0, indices)
    np.testing.assert_array_equal(base["window"], recoloured["window"])
    assert not recoloured["flip"].any() and (recoloured["factors"][:, 0] == 1).all()
    recropped = planner(store, augmentation=Augmentation(crop=Crop(area=(0.5, 1)))).rows(1, 0, indices)
    for name in ("flip", "interpolation", "factors", "lighting"):
        np.testing.assert_array_equal(base[name], recropped[name])
    assert (base["window"] != recropped["window"]).any()


def test_the_matrix_is_made_of_the_row_s_own_factors(store) -> None:
    """What a row states is what it does: the matrix follows from its float32 factors and coefficients."""
    rows = planner(store).rows(0, 0, np.arange(40))
    again = colour.matrices(rows["factors"].astype(float), rows["lighting"].astype(float), IMAGENET)
    np.testing.assert_array_equal(rows["colour"], again)


def test_guided_and_plain_windows_have_the_same_sizes(store) -> None:
    """A heatmap moves windows and changes nothing else."""
    indices = np.arange(40)
    guided, plain = planner(store).rows(0, 0, indices), planner(store, heatmaps=None).rows(0, 0, indices)
    np.testing.assert_array_equal(guided["window"][:, 2:], plain["window"][:, 2:])
    assert guided["guided"].all() and not plain["guided"].any()


def test_flips_and_kernels_are_drawn_evenly(store) -> None:
    rows = planner(store, heatmaps=None).rows(0, 0, np.arange(40).repeat(250))
    assert abs(rows["flip"].mean() - 0.5) < 0.03
    shares = np.bincount(rows["interpolation"], minlength=5) / len(rows)
    np.testing.assert_allclose(shares, 0.2, atol=0.02)


def test_another_attempt_is_another_row(store) -> None:
    rows = [planner(store).rows(0, 5, np.array([2]), attempt) for attempt in range(3)]
    assert len({row["window"].tobytes() + row["factors"].tobytes() for row in rows}) == 3


def test_test_rows_are_plain(store) -> None:
    """No flip, no jitter, linear; the window is the whole image or a centred square."""
    indices = np.arange(40)
    whole = EvaluationPlanner(store=store, statistics=IMAGENET, size=64, crop_ratio=None).rows(7, 0, indices)
    np.testing.assert_array_equal(whole["window"], np.concatenate([np.zeros((40, 2)), store.sizes[indices]], 1))
    centre = EvaluationPlanner(store=store, statistics=IMAGENET, size=64, crop_ratio=0.875).rows(7, 0, indices)
    y, x, height, width = centre["window"].T
    np.testing.assert_array_equal(height, width)
    assert (np.abs(2 * y + height - store.sizes[indices, 0]) <= 1).all()
    assert (np.abs(2 * x + width - store.sizes[indices, 1]) <= 1).all()
    assert not whole["flip"].any() and (whole["factors"] == 1).all()


@pytest.mark.perf
def test_planning_is_fast(store) -> None:
    """Guided rows cost at most 50 us of CPU each (about 5 where measured), so planning never holds a trainer up."""
    plan, indices = planner(store), np.arange(1024) % 40
    plan.rows(0, 0, indices)
    begun = time.process_time()
    plan.rows(0, 0, indices)
    assert (time.process_time() - begun) / 1024 < 50e-6
