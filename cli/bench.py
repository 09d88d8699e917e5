"""`sdali bench ...`: what the pipeline and its parts cost on this machine, as a JSON record and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from ..benchmarks.costs.scale import ScaleConfig, scale
from ..benchmarks.costs.stages import StagesConfig, stages
from ..benchmarks.throughput.chart import check_chart, save_chart
from ..benchmarks.throughput.measure import ThroughputConfig, throughput
from ..pipelines.config import Augmentation
from ..pipelines.io.progress import track
from ..pipelines.io.publish import check_outputs, write_json
from ..pipelines.io.terminal import print_table
from ..pipelines.store.reader import ImageStore


@dataclass(frozen=True, kw_only=True)
class BenchThroughput(ThroughputConfig):
    """Flags of `sdali bench throughput`."""

    json: Path | None = None
    """Also write the record to this file."""

    chart: Path | None = None
    """Draw the record as a bar chart (PNG)."""

    overwrite: bool = False
    """Replace files that exist."""

    def run(self) -> dict[str, Any]:
        check_outputs(self, "json", "chart")
        if self.chart is not None:
            check_chart()
        record = throughput(self, progress=track)
        if self.json is not None:
            write_json(self.json, record, overwrite=self.overwrite)
        if self.chart is not None:
            save_chart(self.chart, record, overwrite=self.overwrite)
        measured = [result for result in record["results"] if "failure" not in result]
        columns = {
            "peer": "{peer}",
            "CPU ms/image": "{cpu_ms_per_image:.2f}",
            "range": "{cpu_ms_per_image_range[0]:.2f} - {cpu_ms_per_image_range[1]:.2f}",
            f"of {measured[0]['peer']}": "{cpu_ratio:.2f}",
            "images/s": "{images_per_second:,.0f}",
            "peak MB": "{peak_memory_mb:,}",
        }
        _print(_title(record, self.threads, self.rounds), columns, measured)
        for title, key in (("what they lack of the recipe", "lacks"), ("not measured", "failure")):
            some = [result for result in record["results"] if result.get(key)]
            _print(title, {"peer": "{peer}", key: f"{{{key}}}"}, some)
        return record


@dataclass(frozen=True, kw_only=True)
class BenchStages(StagesConfig):
    """Flags of `sdali bench stages`."""

    json: Path | None = None
    """Also write the record to this file."""

    overwrite: bool = False
    """Replace a file that exists."""

    def run(self) -> dict[str, Any]:
        check_outputs(self, "json")
        record = stages(self, progress=track)
        if self.json is not None:
            write_json(self.json, record, overwrite=self.overwrite)
        costs = record["cpu_ms_per_image"]
        rows = [{"name": name, "cost": cost, "share": cost / costs["whole"]} for name, cost in costs.items()]
        columns = {"stage": "{name}", "CPU ms/image": "{cost:.3f}", "share": "{share:.1%}"}
        _print(_title(record, self.threads, self.rounds), columns, rows)
        columns = {
            "model": "{model}",
            "images/s": "{images_per_second:.1f}",
            "waiting for data": "{data_wait_share:.1%}",
        }
        _print("training on the CPU", columns, [record["training"]])
        return record


@dataclass(frozen=True, kw_only=True)
class BenchScale(ScaleConfig):
    """Flags of `sdali bench scale`."""

    json: Path | None = None
    """Also write the record to this file."""

    overwrite: bool = False
    """Replace a file that exists."""

    def run(self) -> dict[str, Any]:
        check_outputs(self, "json")
        record = scale(self, progress=track)
        if self.json is not None:
            write_json(self.json, record, overwrite=self.overwrite)
        title = (
            "seconds to open, for an epoch's order (shuffle) and for a label_shuffle list of twice the length; rows\n"
            "planned a second; MB that order and list took at their peak, MB left behind by five epochs"
        )
        columns = {
            "samples": "{samples:,}",
            "open": "{open_seconds:.3f}",
            "order": "{shuffle_seconds:.2f}",
            "list": "{label_shuffle_seconds:.2f}",
            "rows/s": "{plan_rows_per_second:,.0f}",
            "order MB": "{shuffle_mb:.0f}",
            "list MB": "{label_shuffle_mb:.0f}",
            "left": "{growth_mb_over_epochs:.1f}",
        }
        _print(title, columns, record["samples"])
        columns = {
            "samples": "{samples:,}",
            "order s": "{shuffle_seconds:.2f}",
            "CPU s": "{shuffle_cpu_seconds:.2f}",
            "order MB": "{shuffle_mb:,.0f}",
            "rows/s": "{plan_rows_per_second:,.0f}",
        }
        _print("an epoch's order and its plan alone", columns, record["orders"])
        columns = {
            "files": "{shards:,}",
            "open s": "{open_seconds:.3f}",
            "descriptors": "{open_files:,}",
            "CPU us/record": "{cpu_us_per_record:.2f}",
        }
        _print("stores of several files", columns, record["shards"])
        columns = {
            "setting": "{peer}",
            "CPU ms/image": "{cpu_ms_per_image:.2f}",
            "images/s": "{images_per_second:,.0f}",
            "peak MB": "{peak_memory_mb:,}",
        }
        _print("images", columns, [result for result in record["photographs"] if "failure" not in result])
        return record


@dataclass(frozen=True, kw_only=True)
class BenchBuild:
    """Flags of `sdali bench build`."""

    images: Path
    """Folder of images, of formats that need no transcoding."""

    rounds: int = 5
    """Measured rounds, after one for warm-up."""

    def run(self) -> dict[str, Any]:
        from ..benchmarks.costs.build_speed import build_speed

        record = build_speed(self.images, rounds=self.rounds, progress=track)
        columns = {
            "build MB/s": "{build_mb_per_second:,.0f}",
            "copy MB/s": "{copy_mb_per_second:,.0f}",
            "ratio": "{ratio:.2f}",
        }
        title = f"{record['images']:,} images, {record['megabytes']:,} MB, median of {self.rounds} rounds"
        _print(title, columns, [record])
        return record


@dataclass(frozen=True, kw_only=True)
class BenchMisses:
    """Flags of `sdali bench misses`."""

    store: Positional[Path]
    """An image store with masks."""

    cams: Path | None = None
    """Heatmap store; windows guided by it are measured beside plain ones."""

    foreground: tuple[int, ...] | None = None
    """Mask values of the object's pixels. None: all but 0 and 255."""

    epochs: int = 20
    """Number of windows drawn in each image."""

    seed: int = 0
    """Seed of the windows."""

    augmentation: Annotated[Augmentation, arg(name="")] = field(default_factory=Augmentation)

    def run(self) -> dict[str, Any]:
        from ..benchmarks.costs.miss_rate import miss_rate
        from ..pipelines.store.heatmaps import HeatmapStore

        store, heatmaps = ImageStore(self.store), None
        if self.cams is not None:
            heatmaps = HeatmapStore(self.cams)
            heatmaps.check(store)
        rates = miss_rate(
            store,
            heatmaps=heatmaps,
            foreground=self.foreground,
            augmentation=self.augmentation,
            epochs=self.epochs,
            seed=self.seed,
            progress=track,
        )
        rows = [{"crops": name, "rate": rates[name]} for name in ("plain", "sda") if name in rates]
        title = f"windows that miss the object, of {rates['windows']:,}"
        _print(title, {"crops": "{crops}", "miss rate": "{rate:.2%}"}, rows)
        return {"miss_rate": rates}


def _title(record: Mapping[str, Any], threads: int, rounds: int) -> str:
    return f"{record['machine']['processor']}, {threads} threads, median of {rounds} rounds"


def _print(title: str, columns: Mapping[str, str], records: Sequence[Mapping[str, Any]]) -> None:
    """Print a row for each record, if there are any; columns: heading -> format of the cell, over the record's keys."""
    rows = [[cell.format(**record) for cell in columns.values()] for record in records]
    if rows:
        print_table(title, list(columns), rows)
