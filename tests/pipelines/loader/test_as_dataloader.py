"""A loader as an instance of torch's DataLoader: same batches, and what Lightning, Fabric and accelerate do with it."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from loading import SIZE, make
from pictures import make_store
from torchrun import found_by_ranks

from sdali.pipelines import ImageStore, InputError, as_dataloader, classification


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return make_store(tmp_path_factory.mktemp("store") / "s.lmdb", 45)


def indices(batches) -> list[list[int]]:
    return [batch["index"].tolist() for batch in batches]


def pairs(batch) -> tuple[torch.Tensor, torch.Tensor]:
    return batch["image"], batch["label"]


def test_it_is_a_dataloader_with_the_loaders_batches_and_state(store: ImageStore) -> None:
    """Epoch by epoch, by a state in mid-epoch, by set_epoch, and mapped."""
    loader = as_dataloader(make(store, 8))
    assert isinstance(loader, torch.utils.data.DataLoader)
    assert (len(loader), loader.batch_size, len(loader.dataset)) == (5, 8, 45)  # type: ignore[arg-type]
    plain = make(store, 8)
    epochs = [indices(plain) for _ in range(3)]
    assert [indices(loader), indices(loader)] == epochs[:2]
    batches = iter(loader)
    _ = [next(batches), next(batches)]
    state = loader.state_dict()
    again = as_dataloader(make(store, 8))
    again.load_state_dict(state)
    assert indices(again) == epochs[2][2:]
    again.set_epoch(1)
    assert indices(again) == epochs[1]
    mapped = as_dataloader(make(store, 8).map(pairs))
    assert [labels.tolist() for _, labels in mapped] == [batch["label"].tolist() for batch in make(store, 8)]


def test_another_dataloader_made_of_it_is_refused(store: ImageStore) -> None:
    """Of its data set, as accelerate does to skip batches; and nothing else is taken for a loader."""
    inside = torch.utils.data.DataLoader(as_dataloader(make(store, 8)).dataset, batch_size=2)
    with pytest.raises(InputError, match="a loader cannot be made into another DataLoader"):
        next(iter(inside))
    with pytest.raises(InputError, match="as_dataloader takes a loader of sdali, got list"):
        as_dataloader([1, 2])  # type: ignore[arg-type]


@pytest.mark.slow
def test_accelerate_applies_what_it_has_accumulated_at_the_end_of_an_epoch(store: ImageStore, tmp_path: Path) -> None:
    """5 steps by 2: after the 2nd, the 4th and the last, in each epoch, also resumed from accelerate's own checkpoint
    after the 3rd step of the second one.
    """
    accelerate = pytest.importorskip("accelerate")

    def run(epochs: int, stop: int | None = None, folder: Path | None = None) -> tuple[list[int], list[list[int]]]:
        accelerator = accelerate.Accelerator(gradient_accumulation_steps=2, cpu=True)
        model = torch.nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        loader = as_dataloader(make(store, 8))
        model, optimizer, prepared = accelerator.prepare(model, optimizer, loader)
        assert prepared is loader
        if folder is not None and stop is None:
            accelerator.load_state(str(folder))
        applied, seen, step = [], [], 0
        for _ in range(epochs):
            for batch in prepared:
                seen.append(batch["index"].tolist())
                with accelerator.accumulate(model):
                    accelerator.backward(model(torch.ones(1, 1)).sum())
                    if accelerator.sync_gradients:
                        applied.append(step)
                    optimizer.step()
                    optimizer.zero_grad()
                step += 1
                if step == stop:
                    accelerator.save_state(str(folder))
                    return applied, seen
        accelerator.free_memory()
        return applied, seen

    applied, seen = run(2)
    assert applied == [1, 3, 4, 6, 8, 9]
    run(2, stop=8, folder=tmp_path / "state")
    _, rest = run(1, folder=tmp_path / "state")
    assert rest == seen[8:]


GATHERED = """
import json, sys
from pathlib import Path
import accelerate
from sdali.pipelines import as_dataloader, classification

accelerator = accelerate.Accelerator(cpu=True)
ranks = {"rank": accelerator.process_index, "world_size": accelerator.num_processes}
options = {"size": 24, "device": "cpu", "threads": 1, "pad": True}
loader = as_dataloader(classification.test_loader(sys.argv[2], batch_size=8, **options, **ranks))
seen = [accelerator.gather_for_metrics(batch["index"]).tolist() for batch in accelerator.prepare(loader)]
Path(sys.argv[1], f"{accelerator.process_index}.json").write_text(json.dumps({"seen": seen}))
"""


@pytest.mark.slow
def test_accelerate_gathers_each_sample_once(store: ImageStore, tmp_path: Path) -> None:
    """45 images in steps of 16 on two ranks, the last of 13: none comes twice, in the order of the store."""
    pytest.importorskip("accelerate")
    for rank in found_by_ranks(GATHERED, tmp_path, store.path):
        assert rank["seen"] == [list(range(16)), list(range(16, 32)), list(range(32, 45))]


@pytest.mark.slow
def test_fabric_takes_it(store: ImageStore) -> None:
    """And a state loaded before its first epoch stays."""
    fabric_module = pytest.importorskip("lightning.fabric")
    whole = [*indices(make(store, 8))]
    loader = as_dataloader(make(store, 8))
    loader.load_state_dict({**loader.state_dict(), "position": 16})
    fabric = fabric_module.Fabric(accelerator="cpu", devices=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prepared = fabric.setup_dataloaders(loader)
    assert indices(prepared) == whole[2:] and len(prepared) == 5


@pytest.mark.slow
def test_lightning_overfits_on_it(store: ImageStore, tmp_path: Path) -> None:
    """The same two batches in each of three epochs, with the order in which the store has them."""
    lightning = pytest.importorskip("lightning")
    seen: list[list[int]] = []

    class Model(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(3 * SIZE * SIZE, 3)

        def training_step(self, batch, step):
            seen.append(batch["index"].tolist())
            return torch.nn.functional.cross_entropy(self.layer(batch["image"].flatten(1)), batch["label"])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

    loader = classification.train_loader(store, batch_size=8, size=SIZE, order="sequential", device="cpu", threads=1)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            max_epochs=3, overfit_batches=2, accelerator="cpu", default_root_dir=tmp_path, **options
        )
        trainer.fit(Model(), as_dataloader(loader))
    assert seen == [list(range(8)), list(range(8, 16))] * 3
