"""Two ranks on this machine, as torchrun starts them; shared by tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def torchrun(*words: object) -> subprocess.CompletedProcess[str]:
    """A script or `-m module` with its arguments, on two ranks, to their end; one that takes longer is ended."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment) as job:
        try:
            out, errors = job.communicate(timeout=400)
        except subprocess.TimeoutExpired:
            job.terminate()  # ends the ranks too, which a kill would leave behind
            out, errors = job.communicate()
    return subprocess.CompletedProcess(command, job.returncode, out, errors)


def found_by_ranks(script: str, folder: Path, *arguments: object) -> list[dict[str, Any]]:
    """What each rank of a script wrote to FOLDER/RANK.json; its arguments are the folder and those given."""
    (folder / "script.py").write_text(script)
    ended = torchrun(folder / "script.py", folder, *arguments)
    assert ended.returncode == 0, ended.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]
