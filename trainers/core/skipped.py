"""skipped.txt beside a run: the bad training samples that were replaced, a line each: index, tab, file name.

Every rank adds what it found, so a sample may stand there once for each. A resumed run adds to the list. Control
characters in names, line ends among them, are escaped: the index is what counts.
"""

from __future__ import annotations

from pathlib import Path

from ...pipelines.io.publish import write_errors
from ...pipelines.io.terminal import escaped

NAME = "skipped.txt"


def write_skipped(out: Path, samples: list[tuple[int, str]]) -> None:
    """Append (index, name) of samples to out/skipped.txt, in one write; InputError where the disk is full."""
    lines = "".join(f"{index}\t{escaped(name)}\n" for index, name in samples).encode("utf-8", "surrogateescape")
    with write_errors(out / NAME), open(out / NAME, "ab", buffering=0) as file:
        file.write(lines)
