"""Where a loader is: what set_epoch, iter and a loaded state do to it, in the order in which frameworks call them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
from loading import by_position, make
from pictures import make_store

from sdali.pipelines import ImageStore, InputError, classification


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return make_store(tmp_path_factory.mktemp("store") / "s.lmdb", 40)


def test_set_epoch_of_the_state_just_loaded_keeps_its_place(store: ImageStore) -> None:
    """Trainers name the epoch after they have resumed; the rest of it follows all the same."""
    whole, loader = by_position(*make(store, 8)), make(store, 8)
    states = [loader.state_dict() for _ in islice(loader, 3)]
    resumed = make(store, 8)
    resumed.load_state_dict(states[-1])
    resumed.set_epoch(0)
    rest = by_position(*resumed)
    assert sorted(rest) == list(range(24, 40)) and rest.items() <= whole.items()


@pytest.mark.parametrize("named", [0, 1])
def test_set_epoch_is_the_beginning_of_any_epoch_else(store: ImageStore, named: int) -> None:
    """Of another than the loaded one, and of the same once a batch has followed the state."""
    loader = make(store, 8)
    state = next(loader.state_dict() for _ in loader)
    loader.load_state_dict(state)
    if named == 0:
        next(iter(loader))
    loader.set_epoch(named)
    assert sorted(by_position(*loader)) == list(range(40)) and loader.epoch == named + 1


def test_iter_alone_begins_no_epoch(store: ImageStore) -> None:
    """A framework may ask for an iterator that it never uses: nothing is skipped."""
    loader = make(store, 8)
    for _ in range(3):
        iter(loader)
    assert by_position(*loader) == by_position(*make(store, 8)) and loader.epoch == 1


@pytest.mark.parametrize("epoch", [-1, 1.0, "0", None, True])
def test_an_epoch_is_a_whole_number(store: ImageStore, epoch: object) -> None:
    with pytest.raises(InputError, match="epoch must be whole and 0 or later, got"):
        make(store, 8).set_epoch(epoch)  # type: ignore[arg-type]


def test_a_loader_of_another_number_of_ranks_says_so(
    store: ImageStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where torch.distributed runs: no framework divides this loader, so equal loaders would serve equal samples."""
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/ranks", rank=0, world_size=1)
    try:
        make(store, 8)
        assert not caplog.records
        make(store, 8, rank=0, world_size=2)
        classification.test_loader(store, batch_size=8, device="cpu", rank=1, world_size=2)
    finally:
        dist.destroy_process_group()
    assert len(caplog.records) == 2
    for record in caplog.records:
        assert "made for world_size=2, torch.distributed has 1 ranks" in record.getMessage()
