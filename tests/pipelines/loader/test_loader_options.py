"""Orders of one's own, masks, devices and memory: options in the forms in which code for PyTorch has them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from loading import SIZE, make
from pictures import make_store

from sdali.pipelines import ImageStore, InputError, Subset, classification


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return make_store(tmp_path_factory.mktemp("store") / "s.lmdb", 60)


@pytest.mark.parametrize("form", [list, np.array, torch.tensor, tuple])
def test_an_order_may_list_indices(store: ImageStore, form) -> None:
    """Those indices in that order in every epoch; another list is another order to a state."""
    listed = [5, 3, 59, 3, 0, 7]
    loader = make(store, 2, order=form(listed))
    for _ in range(2):
        assert torch.cat([batch["index"] for batch in loader]).tolist() == listed
    make(store, 3, order=listed).load_state_dict(loader.state_dict())
    with pytest.raises(InputError, match="the state has order 'listed "):
        make(store, 2, order=listed[::-1]).load_state_dict(loader.state_dict())


def test_weights_are_an_order_shared_out_as_any_other(store: ImageStore) -> None:
    """Two ranks together draw what one alone does, and their state is its state."""
    weights = [0.0] * 30 + [1.0] * 29 + [3.0]
    loader = make(store, 30, weights=weights)
    drawn = torch.cat([batch["index"] for batch in loader])
    ranks = [make(store, 15, weights=torch.tensor(weights), rank=rank, world_size=2) for rank in (0, 1)]
    steps = [torch.cat([batch["index"] for batch in step]) for step in zip(*ranks, strict=True)]
    assert torch.equal(torch.cat(steps), drawn) and len(drawn) == 60 and drawn.min() >= 30
    assert loader.state_dict() == ranks[0].state_dict()


def test_a_mask_chooses_a_subset(store: ImageStore) -> None:
    """As a list, an array or a tensor of booleans, one for each sample."""
    mask = np.arange(60) % 3 == 1
    forms: list = [mask, mask.tolist(), torch.tensor(mask)]
    for form in forms:
        assert Subset(store, form).indices.tolist() == list(range(1, 60, 3))


@pytest.mark.parametrize("batch_size", [1, 4])
def test_plan_rows_are_taken_by_torch(store: ImageStore, batch_size: int) -> None:
    """Field by field, without a copy; windows are a tensor besides."""
    batch = next(iter(make(store, batch_size)))
    for name in batch["plan"].dtype.names[:-1]:
        field = batch["plan"][name]
        assert torch.tensor(field).tolist() == torch.from_numpy(field).tolist() == field.tolist()
    assert batch["window"].dtype == torch.int64 and batch["window"].tolist() == batch["plan"]["window"].tolist()


def test_the_cpu_may_be_numbered(store: ImageStore) -> None:
    """As accelerate names it for each of its ranks."""
    loader = classification.test_loader(store, batch_size=2, size=SIZE, threads=1, device=torch.device("cpu:0"))
    assert next(iter(loader))["image"].device.type == "cpu"


@pytest.mark.skipif(torch.cuda.is_available(), reason="here pinned memory has a use")
def test_pinned_memory_without_a_gpu_is_no_error(store: ImageStore, caplog: pytest.LogCaptureFixture) -> None:
    """A warning, as torch's DataLoader gives, and batches in plain memory."""
    loader = make(store, 4, pin_memory=True)
    assert next(iter(loader))["image"].shape[0] == 4
    (record,) = caplog.records
    assert "pin_memory=True has no effect: there is no CUDA device" in record.getMessage()
