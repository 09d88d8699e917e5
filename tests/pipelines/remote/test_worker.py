"""Workers make what the local loader makes, whatever the task: here in one process, so without a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from contract import CASES, STORES, Layout, opened

from sdali.pipelines.remote.worker import RemoteBatch, Worker, spec_of

pytest.importorskip("ray", reason="Ray is not installed: pip install 'sdali[ray]'")


@pytest.mark.parametrize("name", ["classification train, sizes a step", "parsing train", "detection train"])
def test_a_worker_makes_every_tasks_batches(tmp_path: Path, name: str) -> None:
    """Rank 1 of 2, over the end of an epoch: rows and arrays are the loader's, by way of a pickle."""
    path = STORES[CASES[name].store](tmp_path / "s.lmdb").path
    loader = opened(name, path, Layout(batch_size=4, world_size=2, threads=1), "cpu", rank=1)
    share = loader._share
    spec = spec_of(loader.store, share, loader._graph, threads=1, max_bad_share=None)
    steps, worker = [*((0, step) for step in share.steps(8)), *((1, step) for step in share.steps())], Worker(spec)
    made = list(worker.results(1, steps))
    loader.load_state_dict({**loader.state_dict(), "position": 8})
    batches = [batch for _ in range(2) for batch in loader]
    assert len(made) == len(batches) == len(steps)
    for result, batch in zip(made, batches, strict=True):
        assert isinstance(result, RemoteBatch) and result.planned.rows.tobytes() == batch["plan"].tobytes()
        image = torch.from_numpy(result.arrays[0].copy()).flatten(0, 1) if result.planned.rows.ndim == 1 else None
        assert image is not None and torch.equal(image, batch["image"])
    worker.close()
