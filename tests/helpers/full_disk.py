"""sdali commands on a disk that is full, and again when it is not, in a mount namespace that ends with the process.

unshare --mount python full_disk.py FOLDER < jobs.json      mounts a small disk on FOLDER
    jobs: a list of {"before": files to copy there, "room": bytes left, "words": the command}; nothing else is there
    Prints a list of {"full": [status, stderr, files], "free": [status, stderr, files]}.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

DISK = 256 << 20  # bytes in all


def run(words: list[str], disk: Path) -> tuple[int, str, dict[str, int]]:
    """Status and stderr of a command, and the files on the disk with their sizes."""
    from sdali.cli.main import main

    complaints = io.StringIO()
    with redirect_stdout(io.StringIO()), redirect_stderr(complaints):
        status = main(words)
    files = [path for path in sorted(disk.rglob("*")) if path.is_file() and path.name != "ballast"]
    return status, complaints.getvalue(), {str(path.relative_to(disk)): path.stat().st_size for path in files}


def job(before: list[str], room: int, words: list[str], disk: Path) -> dict[str, object]:
    for path in disk.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for file in before:
        shutil.copy(file, disk)
    free = os.statvfs(disk)
    with open(disk / "ballast", "wb") as ballast:
        os.posix_fallocate(ballast.fileno(), 0, free.f_bavail * free.f_frsize - room)
    full = run(words, disk)
    (disk / "ballast").unlink()
    return {"full": full, "free": run(words, disk)}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", str(folder)], check=True)
    print(json.dumps([job(disk=folder, **each) for each in json.load(sys.stdin)]))
