"""What a loader hands out, in what order, and what it refuses; for exactness see test_contract_resume."""

from __future__ import annotations

import ast
import inspect
import pickle

import numpy as np
import pytest
import torch
from loading import SIZE, Blobs, by_position, make
from pictures import make_store

from sdali.pipelines import ImageStore, InputError, Subset, classification, detection, parsing
from sdali.pipelines.loader import options as options_module
from sdali.pipelines.loader.options import TestLoaderOptions, TrainLoaderOptions


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return make_store(tmp_path_factory.mktemp("store") / "s.lmdb", 150)


def test_epochs_differ_and_repeat(store) -> None:
    """Another epoch is another order and other windows; set_epoch goes back to the same bytes."""
    loader = make(store)
    first, second = by_position(*loader), by_position(*loader)
    assert loader.epoch == 2
    assert all(first[position][0] != second[position][0] for position in first)
    loader.set_epoch(0)
    assert by_position(*loader) == first


def test_label_shuffle_makes_longer_epochs(tmp_path) -> None:
    """Classes of 38, 38, 37 and 37 make 152 positions, 38 of each."""
    whole = make(make_store(tmp_path / "uneven.lmdb", 150, classes=4), 8, order="label_shuffle")
    batches = list(whole)
    assert len(batches) == len(whole) == 19
    assert torch.bincount(torch.cat([batch["label"] for batch in batches])).tolist() == [38] * 4


def test_epochs_of_a_chosen_length_go_on_where_the_last_ended(store) -> None:
    """150 images in epochs of 64: the third begins in the first pass and ends in the second."""
    loader = make(store, 16, epoch_length=64)
    served = [torch.cat([batch["index"] for batch in loader]).tolist() for _ in range(3)]
    assert [len(epoch) for epoch in served] == [64] * 3 and len(loader) == 4
    passes = [index for epoch in served for index in epoch]
    assert sorted(passes[:150]) == list(range(150)) and len(set(passes[150:])) == 42
    with pytest.raises(InputError, match="this loader has 'shuffle'; make the loader with it"):
        make(store, 16).load_state_dict(loader.state_dict())


@pytest.mark.parametrize("crop", ["centre", "whole"])
def test_the_last_epochs_see_what_a_test_sees(store, crop) -> None:
    """Before plain_from as ever; from then on the test loader's pixels, some flipped, in the order of training."""
    ever, loader = make(store), make(store, plain_from=1, plain_crop=crop)
    assert by_position(*loader) == by_position(*ever)
    batches = list(loader)
    test = classification.test_loader(store, batch_size=50, size=SIZE, crop=crop, device="cpu")
    images = torch.cat([batch["image"] for batch in test])
    flips = np.concatenate([batch["plan"]["flip"] for batch in batches])
    assert 0.3 < flips.mean() < 0.7
    for batch in batches:
        assert [*batch["index"]] == [*batch["plan"]["index"]] and not batch["plan"]["guided"].any()
        for image, index, flip in zip(batch["image"], batch["index"], batch["plan"]["flip"], strict=True):
            torch.testing.assert_close(image.flip(2) if flip else image, images[index], rtol=0, atol=1e-5)
    indices = torch.cat([batch["index"] for batch in batches])
    assert torch.equal(indices, torch.cat([batch["index"] for batch in ever]))


def test_held_batches_stay_intact(store) -> None:
    """Batches are views of DALI's memory; holding all of an epoch keeps each as it was."""
    held = list(make(store))
    assert by_position(*held) == by_position(*(batch for batch in make(store)))


def test_batches_are_what_is_documented(store) -> None:
    loader = make(store)
    batch = next(iter(loader))
    assert batch["image"].shape == (16, 3, SIZE, SIZE) and batch["image"].dtype == torch.float32
    assert batch["label"].dtype == batch["index"].dtype == torch.int64
    assert batch["label"].tolist() == store.labels[batch["index"]].tolist()
    assert batch["plan"]["index"].tolist() == batch["index"].tolist()


def test_windows_follow_the_heatmap_where_there_is_one(store) -> None:
    """All rows are guided but those of the empty map; with p_sda 0.3 about three in ten."""
    rows = np.concatenate([batch["plan"] for batch in make(store, 10)])
    np.testing.assert_array_equal(rows["guided"], rows["index"] != 3)
    from sdali.pipelines import Augmentation, Crop

    mixed = make(store, 10, augmentation=Augmentation(crop=Crop(p_sda=0.3)))
    share = np.concatenate([batch["plan"]["guided"] for _ in range(4) for batch in mixed]).mean()
    assert 0.2 < share < 0.4


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_evaluation_serves_each_position_once(store, world_size: int) -> None:
    """Short and empty last batches, no padding, the same number of batches on each rank."""
    loaders = [
        classification.test_loader(store, batch_size=40, size=SIZE, device="cpu", rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    batches = [list(loader) for loader in loaders]
    assert {len(parts) for parts in batches} == {len(loaders[0])}
    indices = [int(index) for parts in batches for batch in parts for index in batch["index"]]
    assert sorted(indices) == list(range(len(store)))
    assert all(batch["image"].shape[0] == len(batch["label"]) for parts in batches for batch in parts)


def test_a_loader_is_not_pickled(store) -> None:
    with pytest.raises(InputError, match="make one there, and give it state_dict"):
        pickle.dumps(make(store))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1 and whole, got 0"),
        ({"epoch_length": 8.5}, "epoch_length must be at least 1 and whole, got 8.5"),
        ({"plain_from": "1"}, "plain_from must be an epoch, 0 or later, got '1'"),
        ({"seed": 1.5}, "seed must be whole, got 1.5"),
        ({"targets": "x"}, "targets are a float array"),
        ({"device": None}, "device must be auto, cpu, cuda or cuda:N, got 'None'"),
        ({"colour_on": "gpu"}, "colour_on must be loader or device, got 'gpu'"),
        ({"colour_on": "device", "dtype": "float16"}, "makes uint8 images; give the dtype float16 to apply_colour"),
        ({"batch_size": 151}, "has 150 images, fewer than the 151 of one step"),
        ({"rank": 2, "world_size": 2}, r"rank must be within \[0, world_size\)"),
        ({"order": "random"}, "no order is called 'random'"),
        ({"order": 5}, "indices of .* are a list or array of integers, not int"),
        ({"order": [150]}, "has no sample 150: its indices are 0 to 149"),
        ({"weights": [1, 2]}, r"weights of \[2\] do not fit the 150 samples of "),
        ({"weights": ["a"] * 150}, "weights are an array of 150 numbers, got list"),
        ({"weights": [1] * 150, "order": "shuffle"}, "weights are an order by themselves; leave out order"),
        ({"on_error": "ignore"}, "on_error must be raise or skip"),
        ({"device": "tpu"}, "device must be auto, cpu, cuda or cuda:N, got 'tpu'"),
        ({"device": "cuda:99"}, "there is no device cuda:99"),
        ({"size": 0}, "size must be at least 1"),
        ({"size": 32.5}, "size must be at least 1 and whole, got 32.5"),
        ({"batch_size": "8"}, "batch_size must be at least 1 and whole, got '8'"),
        ({"heatmaps": 5}, "heatmaps are a path, or an object with len"),
        ({"batch_size": True}, "batch_size must be at least 1 and whole, got True"),
        ({"seed": True}, "seed must be whole, got True"),
        ({"rank": "0"}, r"rank must be within \[0, world_size\), got rank '0' of 1"),
        ({"drop_last": "no"}, "drop_last must be True or False, got 'no'"),
        ({"pin_memory": 1}, "pin_memory must be True or False, got 1"),
        ({"pad": True}, "pad=True fills a short last step, which drop_last=True leaves out; pass drop_last=False"),
        ({"dtype": "int8"}, "dtype must be one of float32, float16"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"heatmaps": Blobs(7)}, "there are 7 heatmaps for the 150 images"),
        ({"sizes": 5}, "sizes must be some sides, got 5"),
        ({"dtype": np.zeros(2)}, "dtype must be one of float32, float16"),
        ({"augmentation": [len]}, "must be Augmentation of sdali.pipelines, got list; others come after"),
        (
            {"statistics": (0.5, 0.2)},
            r"statistics are a Statistics, dataclasses.replace\(IMAGENET, .*, got tuple",
        ),
    ],
)
def test_bad_options_are_named(store, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(store, options.pop("batch_size", 16), **options)


@pytest.mark.parametrize(
    ("function", "option", "message"),
    [
        (classification.train_loader, "epochlength", "no option epochlength: did you mean epoch_length?"),
        (classification.train_loader, "heatmap", "train_loader has no option heatmap: did you mean heatmaps?"),
        (classification.test_loader, "seed", "test_loader has no option seed: "),
        (parsing.train_loader, "plain_from", "train_loader has no option plain_from: there are statistics, .*, order"),
        (detection.test_loader, "max_bad_share", "test_loader has no option max_bad_share: there are statistics, "),
    ],
)
def test_options_that_do_not_exist_are_named_with_the_nearest(store, function, option: str, message: str) -> None:
    """Also those that only a loader for training has, or only another task's."""
    with pytest.raises(TypeError, match=message):
        function(store, batch_size=2, **{option: 1})


def test_every_option_is_explained_once() -> None:
    """Each in the class that declares it, by a docstring under it; no loader repeats one among its arguments."""
    tree = ast.parse(inspect.getsource(options_module))
    for declared in (TestLoaderOptions, TrainLoaderOptions):
        (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == declared.__name__)
        fields = [number for number, node in enumerate(body) if isinstance(node, ast.AnnAssign)]
        assert fields and all(isinstance(body[number + 1], ast.Expr) for number in fields)
    for module in (classification, detection, parsing):
        for function in (module.train_loader, module.test_loader):
            assert not set(inspect.signature(function).parameters) & set(TrainLoaderOptions.__annotations__)


def test_what_is_no_store_is_named(store) -> None:
    """A subset of torch's, which its DataLoader takes, and a path where a store is to be divided."""
    with pytest.raises(InputError, match=r"a store is a path, .* a Subset of sdali.pipelines; got Subset"):
        classification.train_loader(torch.utils.data.Subset(store, [0, 1]), batch_size=2)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"of an ImageStore: Subset\(ImageStore\(path\), indices\); got 's'"):
        Subset("s", [0, 1])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 6}, "the state has seed 6, this loader has 5"),
        ({"order": "sequential"}, "the state has order 'sequential'"),
        ({"store": "abc"}, "the state has store 'abc'"),
        ({"position": 151}, "position 151 do not exist"),
        ({"epoch": -1}, "epoch -1"),
        ({"position": None}, "this is not a loader's state"),
        ({"epoch": 1.5}, "this is not a loader's state"),
    ],
)
def test_a_foreign_state_is_refused(store, change: dict, message: str) -> None:
    loader = make(store)
    with pytest.raises(InputError, match=message):
        loader.load_state_dict({**loader.state_dict(), **change})


def test_batches_of_one_image_can_be_coloured_later(store) -> None:
    """A single plan row counts as contiguous, whatever its strides, which torch does not take."""
    batch = next(iter(make(store, 1, colour_on="device")))
    assert batch["colour"].shape == (1, 3, 5) and batch["colour"].numpy().tolist() == batch["plan"]["colour"].tolist()
