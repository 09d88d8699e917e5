"""Checkpoints: what goes in comes out, whole or not at all, and nothing foreign comes in."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sdali.pipelines.errors import InputError
from sdali.trainers.core import checkpoint


def test_round_trip(tmp_path: Path) -> None:
    """Tensors, their dtypes, and plain values survive; nothing else is left in the folder."""
    contents = {"state_dict": {"w": torch.randn(3, 4, dtype=torch.bfloat16)}, "classes": ["猫", "b"], "at": (1, None)}
    checkpoint.save(tmp_path / "c.pt", contents)
    loaded = checkpoint.load(tmp_path / "c.pt")
    assert torch.equal(loaded.pop("state_dict")["w"], contents.pop("state_dict")["w"])
    assert loaded == {"format": checkpoint.FORMAT, "version": checkpoint.VERSION, **contents}
    assert os.listdir(tmp_path) == ["c.pt"]


def test_a_failed_write_keeps_the_one_before(tmp_path: Path) -> None:
    """Whatever goes wrong in writing, the old checkpoint is there and no partial file is."""
    path = tmp_path / "c.pt"
    checkpoint.save(path, {"step": 1})
    with pytest.raises((pickle.PicklingError, AttributeError)):
        checkpoint.save(path, {"step": 2, "bad": lambda: None})
    assert checkpoint.load(path)["step"] == 1
    assert os.listdir(tmp_path) == ["c.pt"]


@pytest.mark.slow
def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    """A file-size limit stands in for a full disk: one sentence, the old checkpoint kept, nothing partial left."""
    script = (
        "import resource, signal, sys, torch\n"
        "from sdali.trainers.core import checkpoint\n"
        "checkpoint.save(sys.argv[1], {'step': 1})\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: checkpoint.save(sys.argv[1], {'w': torch.zeros(1_000_000)})\n"
        "except ValueError as error: print(error)\n"
        "print(checkpoint.load(sys.argv[1])['step'])\n"
    )
    path = tmp_path / "c.pt"
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    sentence, step = done.stdout.splitlines() or [done.stderr, ""]
    assert sentence.startswith(f"cannot write {path}: File too large")
    assert step == "1"
    assert os.listdir(tmp_path) == ["c.pt"]


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    """Missing, truncated, text, foreign, code in a pickle, another version: one sentence that names the file."""
    path = tmp_path / "c.pt"
    with pytest.raises(InputError, match=f"there is no checkpoint {path}"):
        checkpoint.load(path)
    with pytest.raises(InputError, match=f"cannot read {tmp_path}"):
        checkpoint.load(tmp_path)
    checkpoint.save(path, {"w": torch.zeros(1000)})
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], b"", b"no checkpoint", pickle.dumps(print)):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=f"{path} is damaged or not a checkpoint"):
            checkpoint.load(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(InputError, match=f"{path} was not written by sdali"):
        checkpoint.load(path)
    torch.save({"format": checkpoint.FORMAT, "version": 99}, path)
    with pytest.raises(InputError, match="version 99"):
        checkpoint.load(path)


def test_digest_is_of_names_shapes_and_bits() -> None:
    """The same weights have one digest in any memory order; any other weight, name, shape or dtype has another."""
    weights = {"a": torch.randn(4, 3, 2, 2), "n": torch.tensor(3)}
    digest = checkpoint.weights_digest(weights)
    assert digest == checkpoint.weights_digest(
        {"n": torch.tensor(3), "a": weights["a"].contiguous(memory_format=torch.channels_last)}
    )
    others = [
        {**weights, "n": torch.tensor(4)},
        {**weights, "a": weights["a"].reshape(3, 4, 2, 2)},
        {**weights, "a": weights["a"].bfloat16()},
        {"b": weights["a"], "n": weights["n"]},
    ]
    assert len({digest, *map(checkpoint.weights_digest, others)}) == 5
