"""What each technique is worth: `python -m sdali.benchmarks.ablations classification --set scenes --out DIR`.

Every row is trained with several seeds under one protocol; the table gives the mean figure and, paired seed by seed,
the difference to the row's baseline, both with 95 % intervals (Student's t). What an interrupted run has finished is
kept in the folder and not done again.
"""

from __future__ import annotations

import logging
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from ...pipelines.errors import InputError
from ...pipelines.io.publish import check_outputs, write_json
from ...pipelines.io.terminal import print_result, print_table, run_command
from ...trainers.core.config import LISTS
from ..hardware import machine
from .classification import CLASSIFICATION
from .detection import DETECTION
from .localization import LOCALIZATION
from .parsing import PARSING
from .study import Row, Study, described

Task = Literal["classification", "parsing", "detection", "localization"]
STUDIES: dict[Task, Study] = {
    "classification": CLASSIFICATION,
    "parsing": PARSING,
    "detection": DETECTION,
    "localization": LOCALIZATION,
}

# Two-sided 95 % quantiles of Student's t for 1, 2, ... degrees of freedom; for more, the last errs on the wide side.
_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass(frozen=True, kw_only=True)
class Ablations:
    """Flags of `python -m sdali.benchmarks.ablations`."""

    task: Positional[Task]

    images: Annotated[str | None, arg(name="set")] = None
    """classification: scenes (generated), imagenette, or pets. parsing: camvid. detection: bccd, or scenes.
    localization: pet_heads, or pets. None: the first of them."""

    data: Path | None = None
    """Folder of the photographs, for all sets but scenes."""

    out: Path
    """Folder for stores, checkpoints and results; go on there after an interruption."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Of the initial weights, orders and windows, with commas."""

    rows: str | None = None
    """Names, separated by commas; what a set has no images for is left out. None: all."""

    threads: int | None = None
    """CPU threads of a training. None: one; small networks gain more from several processes, some seeds each."""

    json: Path | None = None
    """Also write the record to this file."""

    overwrite: bool = False
    """Replace a file of --json that exists."""

    def run(self) -> dict[str, Any]:
        check_outputs(self, "json")
        study = STUDIES[self.task]
        name = self.images or next(iter(study.sets))
        if name not in study.sets:
            raise InputError(f"there is no set {name!r}; there are {', '.join(study.sets)}")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"seeds must be one or more that differ, got {self.seeds}")
        chosen = rows_named(study.rows, self.rows)
        images = study.sets[name](self.data, self.out / name)
        chosen = [row for row in chosen if row.needs(images)]
        found: dict[str, list[dict[str, Any]]] = {row.name: [] for row in chosen}
        for seed in self.seeds:
            folder = self.out / name / f"seed-{seed}"
            trial = study.trial(images=images, seed=seed, folder=folder, threads=self.threads or 1)
            for row in chosen:
                found[row.name].append(row.run(trial))
        record = {
            "date": date.today().isoformat(),
            "machine": machine(),
            "task": self.task,
            "set": name,
            "figure": study.figure,
            **described(images, class_names=study.class_names),
            "seeds": list(self.seeds),
            "rows": [summary(row, found, study) for row in chosen],
        }
        _show(record)
        if self.json is not None:
            write_json(self.json, record, overwrite=self.overwrite)
        return record


def rows_named(rows: Sequence[Row], names: str | None) -> list[Row]:
    """The rows of a list with commas, in the table's order, or all; raises InputError for a name that is none."""
    if names is None:
        return list(rows)
    wanted = {name.strip() for name in names.split(",") if name.strip()}
    if not wanted or (unknown := wanted - {row.name for row in rows}):
        named = ", ".join(sorted(unknown)) if wanted else "(none given)"
        raise InputError(f"no row is called {named}; there are {', '.join(row.name for row in rows)}")
    return [row for row in rows if row.name in wanted]


def summary(row: Row, found: dict[str, list[dict[str, Any]]], study: Study) -> dict[str, Any]:
    """One row's figures over the seeds: the study's figure of each, mean, half_width of its 95 % interval; the same of
    `difference` to the baseline's, where that was run; means of the other figures and of a training's cpu_seconds and
    wall_seconds; and `differences`, the same as difference of each other figure that is one number.
    """
    results = found[row.name]
    values = [result[study.figure] for result in results]
    figures: dict[str, Any] = {"row": row.name, "says": row.text, study.figure: values, **interval(values)}
    for name in (*study.others, "cpu_seconds", "wall_seconds"):
        if known := [result[name] for result in results if name in result]:
            figures[name] = _mean(known)
    if row.baseline in found:
        pairs = list(zip(results, found[row.baseline], strict=True))
        others = [
            name for name in study.others if all(isinstance(one.get(name), float) for pair in pairs for one in pair)
        ]
        figures |= {"baseline": row.baseline, "difference": _difference(pairs, study.figure)}
        figures["differences"] = {name: _difference(pairs, name) for name in others}
    return figures


def _difference(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]], name: str) -> dict[str, Any]:
    return interval([mine[name] - other[name] for mine, other in pairs])


def _mean(values: Sequence[Any]) -> Any:
    """Of numbers, or name by name of dicts of them."""
    if isinstance(values[0], dict):
        return {name: statistics.mean(value[name] for value in values) for name in values[0]}
    return statistics.mean(values)


def interval(values: Sequence[float]) -> dict[str, Any]:
    """`mean`, and `half_width` of its 95 % interval by Student's t, None of a single value."""
    if len(values) < 2:
        return {"mean": values[0], "half_width": None}
    t = _T95[min(len(values) - 1, len(_T95)) - 1]
    return {"mean": statistics.mean(values), "half_width": t * statistics.stdev(values) / math.sqrt(len(values))}


def _show(record: dict[str, Any]) -> None:
    def points(figures: dict[str, Any], sign: str = "") -> str:
        mean, half = figures["mean"], figures["half_width"]
        return f"{100 * mean:{sign}.1f}" + ("" if half is None else f" ± {100 * half:.1f}")

    rows = [
        [
            row["row"],
            points(row),
            points(row["difference"], "+") if "difference" in row else "",
            row.get("baseline", ""),
            f"{row['cpu_seconds']:.0f}" if "cpu_seconds" in row else "",
        ]
        for row in record["rows"]
    ]
    figure = record["figure"].replace("_", " ")
    title = f"{record['set']}: {figure} in %, {len(record['seeds'])} seeds, 95 % intervals"
    print_table(title, ["row", figure, "difference", "to", "CPU s"], rows)
    if others := sorted({name for row in record["rows"] for name in row.get("differences", {})}):
        compared = [row for row in record["rows"] if "differences" in row]
        rows = [[row["row"], *(points(row["differences"][name], "+") for name in others)] for row in compared]
        print_table("other differences in %", ["row", *(name.replace("_", " ") for name in others)], rows)


def main() -> int:
    """The module as a command: exit status 0, or 2 with one sentence."""
    logging.basicConfig(format="sdali: %(message)s", level=logging.INFO, stream=sys.stderr)
    print_result(tyro.cli(Ablations, registry=LISTS, config=(tyro.conf.PositionalMetavarFromFieldName,)).run())
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
