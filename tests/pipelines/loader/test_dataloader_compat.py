"""What code written for a torch DataLoader finds on a loader, and what it is told where it goes on as with one."""

from __future__ import annotations

import copy

import pytest
import torch
from loading import SIZE, by_position, make
from pictures import make_store

from sdali.pipelines import ImageStore, InputError, classification


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return make_store(tmp_path_factory.mktemp("store") / "s.lmdb", 45)


@pytest.mark.parametrize("order", ["shuffle", "label_shuffle"])
def test_the_sampler_names_the_samples_that_are_served(store: ImageStore, order: str) -> None:
    """On each of two ranks, dropped ones not counted, for the epoch to come and for one that set_epoch names."""
    for rank in (0, 1):
        loader = make(store, 8, order=order, rank=rank, world_size=2)
        for epoch in (0, 1, 5):
            loader.sampler.set_epoch(epoch)
            named = list(loader.sampler)
            assert named == torch.cat([batch["index"] for batch in loader]).tolist()
            assert len(loader.sampler) == len(named) == 8 * len(loader) == 16


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_the_sampler_of_a_test_has_even_and_empty_shares(store: ImageStore, rank: int) -> None:
    """The samples of a last step are shared out evenly; where there are fewer than ranks, the last ranks have none."""
    for batch_size, last in ((2, (1, 1, 1)), (20, (15, 15, 15)), (22, (15, 15, 15)), (4, (3, 3, 3))):
        loader = classification.test_loader(
            store, batch_size=batch_size, size=SIZE, device="cpu", rank=rank, world_size=3
        )
        named = list(loader.sampler)
        assert named == torch.cat([batch["index"] for batch in loader]).tolist()
        assert len(loader.sampler) == len(named) == batch_size * (45 // (3 * batch_size)) + last[rank]
    loader = classification.test_loader(store, batch_size=11, size=SIZE, device="cpu", rank=rank, world_size=4)
    assert len(loader.sampler) == 11 + (rank == 0) == sum(len(batch["index"]) for batch in loader)


def test_the_dataset_is_the_store(store: ImageStore) -> None:
    """So that len(loader.dataset) is what scripts divide by."""
    assert make(store, 8).dataset is store and len(make(store, 8).dataset) == 45


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_loader_inside_a_dataloader_is_refused(store: ImageStore, workers: int) -> None:
    """At the first batch, with the way out, also from a worker."""
    inside = torch.utils.data.DataLoader(make(store, 8), batch_size=2, num_workers=workers)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="in place of a torch DataLoader and not inside one"):
        next(iter(inside))


def test_a_loader_is_not_indexed(store: ImageStore) -> None:
    with pytest.raises(InputError, match=r"cannot be indexed: iterate .*; single images are in loader.store"):
        make(store, 8)[0]


def test_a_loader_made_into_another_dataloader_is_refused(store: ImageStore) -> None:
    """As accelerate does to skip batches; what only looks finds the sampler."""
    accelerate = pytest.importorskip("accelerate")
    loader = make(store, 8)
    assert list(loader.batch_sampler.sampler) == list(loader.sampler)
    skipping = accelerate.skip_first_batches(loader, 2)
    with pytest.raises(InputError, match=r"give it a state with load_state_dict\(\) .*ignore_data_skip=True"):
        next(iter(skipping))


def test_a_mapped_loader_is_the_loader_in_another_form(store: ImageStore) -> None:
    """Length, state, sampler and epochs are the loader's; batches are made when they are asked for, none ahead."""
    loader = make(store, 8)
    pairs = loader.map(lambda batch: (batch["image"], batch["label"]))
    whole = by_position(*make(store, 8))
    images, labels = next(iter(pairs))
    assert pairs.state_dict()["position"] == 8 and pairs.state_dict() == loader.state_dict()
    assert [image.numpy().tobytes() for image in images] == [whole[place][1] for place in range(8)]
    assert labels.tolist() == [whole[place][2] for place in range(8)]
    assert (len(pairs), pairs.batch_size, pairs.dataset) == (5, 8, store)
    state = pairs.state_dict()
    pairs.set_epoch(3)
    assert loader.epoch == 3 and list(pairs.sampler) == list(loader.sampler)
    pairs.load_state_dict(state)
    assert len([labels for _, labels in pairs]) == 4 and loader.epoch == 1


def test_all_else_of_a_mapped_loader_is_the_loaders(store: ImageStore) -> None:
    """What a script written for a loader reads and does; forms follow one another; indexing is refused as there."""
    loader = make(store, 8)
    pairs = loader.map(lambda batch: (batch["image"], batch["label"]))
    labels = pairs.map(lambda pair: pair[1].tolist())
    assert (pairs.epoch, pairs.store, pairs.num_workers, pairs.skipped) == (0, store, 0, [])
    assert list(labels) == [batch["label"].tolist() for batch in make(store, 8)]
    assert labels.epoch == loader.epoch == 1 and labels.counters.batches == 5
    with pytest.raises(InputError, match="cannot be indexed"):
        next(iter(torch.utils.data.DataLoader(pairs, batch_size=2)))  # type: ignore[arg-type]
    with pytest.raises(AttributeError, match="'Loader' object has no attribute 'nothing'"):
        pairs.nothing  # noqa: B018
    with pytest.raises(InputError, match="cannot be sent to another process"):
        copy.deepcopy(pairs)
    pairs.close()


@pytest.mark.parametrize("form", [lambda loader: loader, lambda loader: loader.map(lambda batch: batch)])
def test_a_with_closes_the_loader(store: ImageStore, form) -> None:
    """Also a mapped one; it can be used again, as after close(), but the iteration that was under way has ended."""
    with form(make(store, 8)) as loader:
        batches = iter(loader)
        next(batches)
    with pytest.raises(InputError, match="the loader was closed, which has ended this iteration"):
        next(batches)
    assert len(list(loader)) == len(loader)


def test_a_second_iteration_is_refused_until_the_first_has_ended(store: ImageStore) -> None:
    """At once, and the first goes on: two would share one pipeline and one state."""
    loader, whole = make(store, 8), by_position(*make(store, 8))
    first = iter(loader)
    got = [next(first)]
    for _ in range(2):
        with pytest.raises(InputError, match="another iteration over this loader has not ended"):
            next(iter(loader))
    assert by_position(*got, *first) == whole and loader.epoch == 1
    second = iter(loader)
    next(second)
    second.close()  # type: ignore[attr-defined]
    assert next(iter(loader)) and loader.epoch == 2


@pytest.mark.parametrize("name", ["batch_size", "sampler", "dataset", "seed", "drop_last", "store"])
def test_what_a_loader_is_made_from_cannot_be_set(store: ImageStore, name: str) -> None:
    """It would have no effect; other attributes are the frameworks'."""
    for loader in (make(store, 8), make(store, 8).map(len)):
        with pytest.raises(InputError, match=f"{name} is chosen where a loader is made"):
            setattr(loader, name, 5)
        setattr(loader, "note", 5)  # noqa: B010
        assert getattr(loader, "note") == 5  # noqa: B009
