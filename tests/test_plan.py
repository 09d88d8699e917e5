from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import make_store

from sdali.pipelines import Augmentation, Colour, Crop, ImageStore, colour
from sdali.pipelines.plan import EvaluationPlanner, TrainPlanner
from sdali.pipelines.statistics import IMAGENET


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


def test_planning_is_fast(store) -> None:
    """Guided rows cost at most 50 us of CPU each (about 5 where measured), so planning never holds a trainer up."""
    plan, indices = planner(store), np.arange(1024) % 40
    plan.rows(0, 0, indices)
    begun = time.process_time()
    plan.rows(0, 0, indices)
    assert (time.process_time() - begun) / 1024 < 50e-6
