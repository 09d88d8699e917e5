"""`scripts/robustness fuzz TARGET`: files changed at random, guided by the branches they reach (atheris).

Targets: store (opened and read whole, as images and as heatmaps), heatmap (records), voc (XML), coco (JSON), hdf5,
webdataset (tar), and header (of image files). InputError is the only exception allowed; any other, a crash, a hang or
too much memory is a finding, whose file is kept. The last line of stdout is one JSON document; the exit status is 1
where one was found.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
from tyro.conf import Positional

from sdali.benchmarks.throughput.workload import at_least_one
from sdali.pipelines.errors import InputError
from sdali.pipelines.io.terminal import print_result, run_command

SECONDS_A_FILE, MEGABYTES = 20, 2048
_GRACE = 120  # seconds for the imports, and for libFuzzer to notice a hang


@dataclass(frozen=True, kw_only=True)
class Fuzz:
    """Change sound files of one kind until something other than InputError comes of it, or the time is over."""

    target: Positional[Literal["store", "heatmap", "voc", "coco", "hdf5", "webdataset", "header"]]
    """What is read."""

    seconds: int = 120
    """How long."""

    seed: int = 1
    """Of the changes; 0: another one each time."""

    findings: Path = Path("findings")
    """Folder for the files that do harm, made where there is one."""


def fuzz(target: str, seconds: int, findings: Path, *, seed: int = 1) -> dict[str, Any]:
    """Fuzz one target in a process of its own, up to the first finding.

    Returns {"target", "seconds", "seed", "tried", "findings": [{"file", "message"}]}: `tried` files, None where the
    process died before it said how many. Raises InputError where atheris is missing.
    """
    at_least_one("seconds", seconds)
    if importlib.util.find_spec("atheris") is None:
        raise InputError("atheris is missing: install it with pip install 'sdali[fuzz]'")
    from robustness.fuzz_targets import TARGETS

    with tempfile.TemporaryDirectory(prefix="sdali-fuzz-") as scratch:
        corpus, kept = Path(scratch, "corpus"), Path(scratch, "kept")
        corpus.mkdir()
        kept.mkdir()
        sizes = [Path(corpus, str(number)).write_bytes(data) for number, data in enumerate(TARGETS[target].seeds())]
        limits = {"max_total_time": seconds, "timeout": SECONDS_A_FILE, "rss_limit_mb": MEGABYTES, "seed": seed}
        flags = [f"-{name}={value}" for name, value in {**limits, "max_len": max(sizes) + 1024}.items()]
        command = [sys.executable, "-m", "robustness.fuzz_run", target, scratch, *flags]
        status, message = _ended([*command, f"-artifact_prefix={kept}/", str(corpus)], seconds + _GRACE)
        found = sorted(kept.iterdir())
        if status and not found:
            raise RuntimeError(f"the fuzzing process ended with {status} and no finding: {message[-2000:]}")
        tried = re.findall(r"Done (\d+) runs", message)
        record = {"target": target, "seconds": seconds, "seed": seed, "tried": int(tried[0]) if tried else None}
        return {**record, "findings": [_kept(path, findings, target, message) for path in found]}


def _ended(command: list[str], seconds: int) -> tuple[int, str]:
    """Exit status of the process and what it printed; killed where libFuzzer's own alarm does not end it."""
    with tempfile.TemporaryFile("w+", errors="replace") as message:
        process = subprocess.Popen(command, stdout=message, stderr=message)
        try:
            status = process.wait(seconds)
        finally:
            process.kill()
            process.wait()
        message.seek(0)
        return status, message.read()


def _kept(path: Path, findings: Path, target: str, message: str) -> dict[str, str]:
    """Move the file to the findings; `message`: the exception, or what libFuzzer calls it."""
    findings.mkdir(parents=True, exist_ok=True)
    file = findings / f"{target}-{path.name}"
    file.write_bytes(path.read_bytes())
    lines = message.splitlines()
    exceptions = [lines[place + 1] for place, line in enumerate(lines[:-1]) if "Uncaught Python exception" in line]
    errors = [line.partition("ERROR: ")[2] for line in lines if "ERROR: libFuzzer" in line]
    return {"file": str(file), "message": (exceptions + errors + [""])[0]}


def main() -> int:
    """The module as a command: exit status 0, 1 where there is a finding, or 2 with one sentence."""
    options = tyro.cli(Fuzz, description=__doc__)
    record = fuzz(options.target, options.seconds, options.findings, seed=options.seed)
    print_result(record)
    return 1 if record["findings"] else 0


if __name__ == "__main__":
    sys.exit(run_command(main))
