"""Numbers that nobody can mean end in one sentence at once: no hang, no traceback, no attempt to allocate them."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detection_stores import make_detection_store
from pictures import jpeg, make_store, photo

from sdali.pipelines import classification
from sdali.pipelines.config import Augmentation, Crop
from sdali.pipelines.errors import InputError
from sdali.pipelines.io.bounds import MOST, at_most, checked_seed, whole_number
from sdali.trainers.classification import TrainConfig
from sdali.trainers.core.config import flattened

HUGE = 10**23


def test_the_largest_number_is_taken_and_the_next_is_not() -> None:
    """The limit is the option's, or the common one where it has none."""
    for name, limit in {"threads": 4096, "steps": MOST}.items():
        limits = () if limit == MOST else (limit,)
        whole_number(name, limit, *limits)
        whole_number(name, np.int64(limit), *limits)
        for value in (limit + 1, HUGE):
            for check in (whole_number, at_most):
                with pytest.raises(InputError, match=f"{name} must be at most {limit:,}, got {value:,}"):
                    check(name, value, *limits)


def test_seeds_become_pythons_own(tmp_path: Path) -> None:
    """NumPy's integers too, so that a loader's state is plain JSON; nothing outside [0, 2^64) is taken."""
    assert type(checked_seed(np.int64(3))) is int and checked_seed(np.uint64(2**64 - 1)) == 2**64 - 1
    for wrong in (-1, 2**64, np.int64(-5)):
        with pytest.raises(InputError, match=r"seed must be within \[0, 2\^64\), got"):
            checked_seed(wrong)
    for wrong in (1.0, "1", None):
        with pytest.raises(InputError, match="seed must be whole"):
            checked_seed(wrong)
    options: dict[str, Any] = {"batch_size": np.int64(4), "size": np.int32(16), "seed": np.int64(3)}
    loader = classification.train_loader(make_store(tmp_path / "s", 6), **options)
    next(iter(loader))
    assert json.loads(json.dumps(loader.state_dict()))["seed"] == 3
    loader.close()


COMMANDS = {
    "preview {s} {out} --size 99999999999999": "size must be at most 16,384",
    "preview {s} {out} --count 99999999999999": "count must be at most 10,000,000",
    "preview {s} {out} --seed -1": r"seed must be within \[0, 2\^64\), got -1",
    "preview {d} {out} --seed -1": r"seed must be within \[0, 2\^64\), got -1",
    "preview {d} {out} --size 99999999999999": "shorter_side must be at most 65,500",
    "build {photos} {out} --shard-gb nan": "--shard-gb must be above 0 and at most 1,000,000, got nan",
    "build {photos} {out} --shard-gb inf": "--shard-gb must be above 0 and at most 1,000,000, got inf",
    "build {photos} {out} --shard-gb 0": "--shard-gb must be above 0",
    "build {photos} {out} --workers 99999": "--workers must be at most 4,096, got 99,999",
    "build {photos} {out} --split 0.5 --seed -1": "seed must be within",
    f"build {HUGE} {{out}} --format scenes": "count must be at most",
    "stats {s} --workers 99999": "workers must be at most 4,096",
    f"bench stages --images {{photos}} --batch-size {HUGE}": "--batch-size must be at most 1,048,576",
    "bench throughput --images {photos} --threads 99999": "threads must be at most 4,096",
    f"bench scale --orders {HUGE}": "--orders must be at most",
    f"bench scale --shards {HUGE}": "shards must be at most 100,000",
    "evaluate classification --store {s} --checkpoint {s} --crops 10001": "crops must be at most 10,000, got 10,001",
    "evaluate classification --store {s} --checkpoint {s} --scales 99999": "scales must be at most 16,384",
    "evaluate detection --store {d} --checkpoint {s} --scales 99999": "scales must be at most 65,500",
    "train classification --store {s} --val-store {s} --out {out} --seed -1": "seed must be within",
    "train classification --store {s} --val-store {s} --out {out} --threads 4097": "threads must be at most 4,096",
    f"train classification --store {{s}} --val-store {{s}} --out {{out}} --batch-size {HUGE}": "--batch-size must be",
    "train classification --store {s} --val-store {s} --out {out} --size 99999": "size must be at most 16,384",
    "train parsing --store {s} --val-store {s} --out {out} --size 9 99999": "size must be at most 16,384",
}

RUN = """
import sys
from sdali.cli.main import main
for line in sys.stdin:
    print("sdali:", main(line.split()), file=sys.stderr, flush=True)
"""


@pytest.mark.slow
def test_commands_refuse_what_cannot_be_meant(tmp_path: Path) -> None:
    """Status 2, a sentence with the bound, nothing written; all commands together in the time of a few imports."""
    (tmp_path / "photos" / "a").mkdir(parents=True)
    (tmp_path / "photos" / "a" / "1.jpg").write_bytes(jpeg(photo(0, 20, 20)))
    given = {"s": make_store(tmp_path / "s", 6).path, "d": make_detection_store(tmp_path / "d", 4).path}
    before = sorted(path.name for path in tmp_path.iterdir())
    lines = [words.format(**given, photos=tmp_path / "photos", out=tmp_path / "out") for words in COMMANDS]
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", RUN], input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=240
    )
    assert time.monotonic() - begun < 200 and "Traceback" not in done.stderr, done.stderr
    said = [part for part in done.stderr.split("sdali: 2\n")]
    assert len(said) == len(lines) + 1, done.stderr
    for sentences, expected in zip(said, COMMANDS.values(), strict=False):
        with pytest.raises(InputError, match=expected):
            raise InputError(sentences)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_configuration_takes_numpys_numbers_and_no_others(tmp_path: Path) -> None:
    options: dict[str, Any] = {name: tmp_path / name for name in ("store", "val_store", "out")}
    options |= {"epochs": np.int64(3), "seed": np.uint64(2**63), "lr": np.float32(0.5), "sizes": (np.int32(32), 64)}
    crop: dict[str, Any] = {"area": (np.float64(0.5), 1.0)}
    options["augmentation"] = Augmentation(crop=Crop(**crop))
    found = flattened(TrainConfig(**options))
    assert json.loads(json.dumps(found))["seed"] == 2**63
    assert not [name for name, value in found.items() if isinstance(value, np.generic)]
    assert type(found["sizes"][0]) is int and type(found["augmentation.crop.area"][0]) is float
    options["epochs"] = 1.5
    with pytest.raises(InputError, match=r"epochs must be at least 1 and whole, got 1\.5"):
        TrainConfig(**options)


@pytest.mark.parametrize("fails", [0, 1])
def test_lack_of_memory_is_no_bad_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: int) -> None:
    """Neither in the batch nor when its samples are tried alone: with on_error="skip" sound ones would be left out."""
    loader = classification.train_loader(make_store(tmp_path / "s", 6), batch_size=3, size=16, on_error="skip")
    turns = itertools.count()

    class Failing:
        """A pipeline that fails as DALI does: the first time for any reason, then for lack of memory."""

        def run(self) -> None:
            turn = next(turns)
            if turn == 0:
                loader._engine._source()
            raise RuntimeError("encountered: std::bad_alloc" if turn >= fails else "encountered: something")

    monkeypatch.setattr(type(loader._graph), "pipeline", lambda *_: Failing())
    with pytest.raises(InputError, match="not enough memory for a batch; give a smaller batch size or size"):
        next(iter(loader))
    assert loader.skipped == []
