from __future__ import annotations

import time

import numpy as np
import pytest
import reference
import torch
from loading import make
from nvidia.dali import Pipeline
from pictures import make_store

from sdali.pipelines import Augmentation, Crop, ImageStore, classification
from sdali.pipelines.graph.classification import ClassificationGraph
from sdali.pipelines.graph.nodes import decode_windows, inputs
from sdali.pipelines.plan.classification import RandomViewsPlanner, TenCropPlanner, TrainPlanner
from sdali.pipelines.store.statistics import IMAGENET

OPTIONS = {"size": 40, "statistics": IMAGENET, "device": "cpu", "threads": 2}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return make_store(tmp_path_factory.mktemp("views") / "s.lmdb", 23)


@pytest.mark.parametrize("crops", [2, 10, 32])
def test_every_view_equals_the_reference_executor(store, crops: int) -> None:
    """Cut from a shared decode or alone, a view is what its row says: 0.01 of a level."""
    for batch in classification.test_loader(store, batch_size=5, crops=crops, **OPTIONS):
        assert batch["image"].shape == (len(batch["index"]), crops, 3, 40, 40)
        data = store.read(batch["index"].numpy())
        for record, rows, images in zip(data, batch["plan"], batch["image"].numpy(), strict=True):
            expected = np.stack([reference.replay(record, row, IMAGENET, 40) for row in rows])
            np.testing.assert_allclose(images, expected, atol=0.01 / 255 / IMAGENET.std.min())


def test_ten_crops_are_corners_and_centre_and_their_mirror_images(store) -> None:
    """Against slices of the image by hand: squares of 7/8 of the shorter side."""
    rows = TenCropPlanner(store=store, statistics=IMAGENET, size=40, crop_ratio=0.875).rows(0, 0, np.arange(23))
    for index, row in enumerate(rows):
        height, width = store.sizes[index].tolist()
        side = int(0.875 * min(height, width) + 0.5)
        down, across = height - side, width - side
        corners = [(0, 0), (0, across), (down, 0), (down, across), (down // 2, across // 2)]
        assert row["window"].tolist() == [[y, x, side, side] for y, x in corners * 2]
        assert row["flip"].tolist() == [False] * 5 + [True] * 5
        assert (row["factors"] == 1).all() and (row["lighting"] == 0).all() and (row["index"] == index).all()


def test_random_views_follow_the_training_law(store) -> None:
    """Area and aspect of 23 * 300 windows have the quartiles of as many training windows, flips come in half of them,
    and views of an image differ; without flips only these change.
    """
    options = {"store": store, "statistics": IMAGENET, "size": 40, "crop": Crop(), "views": 300}
    views = RandomViewsPlanner(flip=True, **options).rows(0, 0, np.arange(23))
    training = TrainPlanner(
        store=store, heatmaps=None, augmentation=Augmentation(), statistics=IMAGENET, sizes=(40,), seed=1
    ).rows(0, 0, np.arange(23).repeat(300))
    for measure in (lambda h, w: h * w, lambda h, w: w / h):
        quartiles = [
            np.quantile(measure(*rows["window"].reshape(-1, 4)[:, 2:].T.astype(float)), (0.25, 0.5, 0.75))
            for rows in (views, training)
        ]
        np.testing.assert_allclose(*quartiles, rtol=0.07)
    assert abs(views["flip"].mean() - 0.5) < 0.02
    assert all(len(np.unique(row["window"], axis=0)) > 200 for row in views)
    unflipped = RandomViewsPlanner(flip=False, **options).rows(0, 0, np.arange(23))
    assert not unflipped["flip"].any()
    np.testing.assert_array_equal(unflipped["window"], views["window"])


@pytest.mark.parametrize("crops", [1, 10, 3])
def test_views_do_not_depend_on_the_split(store, crops: int) -> None:
    """Batch sizes and ranks: byte for byte by image, each exactly once, empty batches included."""

    def served(batch_size: int, world_size: int) -> dict[int, bytes]:
        loaders = [
            classification.test_loader(
                store, batch_size=batch_size, crops=crops, rank=rank, world_size=world_size, **OPTIONS
            )
            for rank in range(world_size)
        ]
        batches = [list(loader) for loader in loaders]
        assert len({len(own) for own in batches}) == 1
        pairs = [
            (int(index), image.numpy().tobytes() + row.tobytes())
            for own in batches
            for batch in own
            for index, image, row in zip(batch["index"], batch["image"], batch["plan"], strict=True)
        ]
        assert len(pairs) == len(store)
        return dict(pairs)

    whole = served(23, 1)
    assert whole == served(4, 1) == served(7, 2) == served(5, 4)


def test_views_of_colour_on_the_device(store) -> None:
    """uint8 views and a matrix for each."""
    (batch,) = classification.test_loader(store, batch_size=23, crops=3, colour_on="device", **OPTIONS)
    assert batch["image"].dtype == torch.uint8 and batch["colour"].shape == (23, 3, 3, 5)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("views", [1, 3])
def test_the_gpu_s_operators_give_the_same_views(store, views: int, dtype: str) -> None:
    """DALI's slice, resize and arithmetic, run on its CPU backend, against our kernel: a mean of 0.3 levels."""
    planner = RandomViewsPlanner(
        store=store, statistics=IMAGENET, size=40, crop=Crop(area=(0.5, 1)), views=views, flip=True
    )
    indices = np.arange(20)
    rows, records = planner.rows(0, 0, indices), store.read(indices)
    graph = ClassificationGraph(dtype=dtype, cuda=0, threads=2, views=views)
    fed = graph.feed(records, rows)
    pipeline = Pipeline(batch_size=20, num_threads=2, device_id=None)
    with pipeline:
        encoded, anchors, shapes, *rest = inputs(lambda: fed, len(fed))
        pipeline.set_outputs(graph._on_gpu(decode_windows(encoded, anchors, shapes, on_gpu=False), *rest))
    got = torch.from_dlpack(pipeline.run()[0].as_tensor()).numpy()
    cpu = ClassificationGraph(dtype=dtype, cuda=None, threads=2, views=views)
    want = torch.from_dlpack(cpu.pipeline(lambda: cpu.feed(records, rows), 20).run()[0].as_tensor()).numpy()
    assert got.shape == want.shape == (20, views, 3, 40, 40)
    levels = 1 if dtype == "uint8" else 255 * IMAGENET.std.mean()
    assert np.abs(got.astype(np.float32) - want).mean() * levels < 0.3


@pytest.mark.perf
def test_32_views_cost_less_than_half_of_32_passes(store) -> None:
    """CPU time, all threads: a third where measured, on photographs less; each image is decoded once, not 32 times."""

    def seconds(passes: int, **options) -> float:
        loader = classification.test_loader(store, batch_size=8, **{**OPTIONS, **options})
        list(loader)
        begun = time.process_time()
        for _ in range(passes):
            for _ in loader:
                pass
        return time.process_time() - begun

    assert seconds(2, crops=32) < 0.5 * seconds(64, crop="whole")


def test_multi_scale_steps_have_one_size_each(store) -> None:
    """All ranks and samples of a step alike, sizes about equally often, pixels as the reference executor has them."""
    sizes = (24, 32, 40)
    ranks = [make(store, 2, sizes=sizes, rank=rank, world_size=2) for rank in range(2)]
    seen = []
    for _ in range(30):
        for first, second in zip(*ranks, strict=True):
            (size,) = np.unique([*first["plan"]["size"], *second["plan"]["size"]])
            assert first["image"].shape == second["image"].shape == (2, 3, size, size)
            seen.append(int(size))
    assert all(40 < seen.count(size) < 60 for size in sizes) and len(seen) == 150
    batch = next(iter(make(store, 5, sizes=sizes, statistics=IMAGENET)))
    data = store.read(batch["index"].numpy())
    for record, row, image in zip(data, batch["plan"], batch["image"].numpy(), strict=True):
        expected = reference.replay(record, row, IMAGENET, int(row["size"]))
        np.testing.assert_allclose(image, expected, atol=1e-3)


def test_multi_scale_resumes_with_the_same_sizes(store) -> None:
    """After a break in mid-epoch the rest of the epoch is the same; plain epochs have the one test size."""
    options = {"sizes": (24, 32, 40), "size": 48, "plain_from": 1}
    whole = [batch["image"] for batch in make(store, 4, **options)]
    loader = make(store, 4, **options)
    next(iter(loader))
    rest = make(store, 4, **options)
    rest.load_state_dict(loader.state_dict())
    for want, batch in zip(whole[1:], rest, strict=True):
        assert torch.equal(want, batch["image"])
    assert {batch["image"].shape[-1] for batch in rest} == {48}
