"""A training run normalises by the file of statistics that it is given."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from training import learnable_store, tiny_config

from sdali.pipelines.errors import InputError
from sdali.pipelines.store.measure import save
from sdali.pipelines.store.statistics import IMAGENET
from sdali.trainers import load_network
from sdali.trainers.classification import train


@pytest.mark.slow
def test_a_run_takes_the_statistics_of_a_file(tmp_path: Path) -> None:
    """The checkpoint holds the file's numbers, and a file that is missing ends the run before it begins."""
    store = learnable_store(tmp_path / "train.lmdb", 48)
    learnable_store(tmp_path / "val.lmdb", 12)
    odd = dataclasses.replace(IMAGENET, mean=(0.1, 0.2, 0.3), pixels=7)
    path = save(store, odd, tmp_path / "odd.json")
    train(tiny_config(tmp_path, epochs=1, statistics=path))
    assert load_network(tmp_path / "run" / "last.pt").statistics.mean.tolist() == [0.1, 0.2, 0.3]
    with pytest.raises(InputError, match=r"cannot read .*none\.json"):
        train(tiny_config(tmp_path, "other", statistics=tmp_path / "none.json"))
    assert not (tmp_path / "other").exists()
