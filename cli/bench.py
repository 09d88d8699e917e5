"""`sdali bench ...`: what the pipeline and its parts cost on this machine, as a JSON record and as tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from ..benchmarks.costs.scale import ScaleConfig, print_scale, scale
from ..benchmarks.costs.stages import StagesConfig, print_stages, stages
from ..benchmarks.throughput.chart import check_chart, save_chart
from ..benchmarks.throughput.measure import ThroughputConfig, print_throughput, throughput
from ..pipelines.config import Augmentation
from ..pipelines.io.progress import track
from ..pipelines.io.publish import check_outputs, write_json
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
        print_throughput(record, rounds=self.rounds)
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
        print_stages(record, rounds=self.rounds)
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
        print_scale(record)
        return record


@dataclass(frozen=True, kw_only=True)
class BenchBuild:
    """Flags of `sdali bench build`."""

    images: Path
    """Folder of images, of formats that need no transcoding."""

    rounds: int = 5
    """Measured rounds, after one for warm-up."""

    def run(self) -> dict[str, Any]:
        from ..benchmarks.costs.build_speed import build_speed, print_build_speed

        record = build_speed(self.images, rounds=self.rounds, progress=track)
        print_build_speed(record, rounds=self.rounds)
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
        from ..benchmarks.costs.miss_rate import miss_rate, print_miss_rate
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
        print_miss_rate(rates)
        return {"miss_rate": rates}
