"""The process that fuzzes, `python -m robustness.fuzz_run TARGET FOLDER [LIBFUZZER FLAGS]`: it may die of it.

Nothing of this project is imported before atheris can see it: branches that are reached guide what is tried next. What
numba compiles is left as it is, because numba refuses changed code.
"""

from __future__ import annotations

import sys
from pathlib import Path

SDALI = Path(__file__).resolve().parents[2]


def compiled_modules() -> list[str]:
    """The modules that numba compiles something of, as sdali.pipelines.plan.order."""
    files = [path for path in (SDALI / "pipelines").rglob("*.py") if "import numba" in path.read_text("utf-8")]
    return [".".join(["sdali", *path.relative_to(SDALI).with_suffix("").parts]) for path in files]


def main(target: str, folder: str, flags: list[str]) -> None:
    """Fuzz until libFuzzer ends the process: after its time, or at the first finding, whose file it writes."""
    import atheris

    with atheris.instrument_imports(include=["sdali", "h5py", "defusedxml"], exclude=compiled_modules()):
        from robustness.fuzz_targets import TARGETS

    work = Path(folder, "work")
    work.mkdir()
    check = TARGETS[target].check(work)
    atheris.Setup([sys.argv[0], *flags], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
