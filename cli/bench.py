"""`sdali bench throughput` and `sdali bench misses`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from ..benchmarks.throughput.chart import check_chart, save_chart
from ..benchmarks.throughput.measure import PEERS, throughput, write_json
from ..pipelines.config import Augmentation
from ..pipelines.io.outputs import PNG, RECORD, check_outputs
from ..pipelines.io.progress import track
from ..pipelines.io.tables import show
from ..pipelines.store.reader import ImageStore


@dataclass(frozen=True, kw_only=True)
class BenchThroughput:
    """Flags of `sdali bench throughput`."""

    images: Path
    """Folder of images; full-size photographs tell most."""

    peers: str = ",".join(PEERS)
    """Names, separated by commas."""

    rounds: int = 5
    """Measured rounds, after one for warm-up; peers take turns in each."""

    images_a_round: int = 1024
    """Images a peer serves each round, at least."""

    batch_size: int = 64
    """Images a batch."""

    size: int = 224
    """Side of the output, pixels."""

    threads: int = 2
    """CPU threads of each pipeline."""

    device: str = "cpu"
    """cpu, or cuda:0 for pipelines on the GPU."""

    json: Path | None = None
    """Also write the record to this file."""

    chart: Path | None = None
    """Draw the record as a bar chart (PNG)."""

    def run(self) -> dict[str, Any]:
        check_outputs(self, {"json": RECORD, "chart": PNG})
        if self.chart is not None:
            check_chart()
        record = throughput(
            self.images,
            peers=tuple(name.strip() for name in self.peers.split(",") if name.strip()),
            rounds=self.rounds,
            images_a_round=self.images_a_round,
            batch_size=self.batch_size,
            size=self.size,
            threads=self.threads,
            device=self.device,
            progress=track,
        )
        if self.json is not None:
            write_json(self.json, record)
        if self.chart is not None:
            save_chart(self.chart, record)
        served = [result for result in record["results"] if "failure" not in result]
        rows = [
            [
                result["peer"],
                f"{result['cpu_ms_per_image']:.2f}",
                "{:.2f} - {:.2f}".format(*result["cpu_ms_per_image_range"]),
                f"{result['cpu_ratio']:.2f}",
                f"{result['images_per_second']:,.0f}",
                f"{result['peak_memory_mb']:,}",
            ]
            for result in served
        ]
        title = f"{record['machine']['processor']}, {self.threads} threads, median of {self.rounds} rounds"
        columns = ["peer", "CPU ms/image", "range", f"of {served[0]['peer']}", "images/s", "peak MB"]
        show(title, columns, rows)
        _list("what they lack of the recipe", "lacks", record["results"])
        _list("not measured", "failure", record["results"])
        return record


def _list(title: str, what: str, results: list[dict[str, Any]]) -> None:
    rows = [[result["peer"], result[what]] for result in results if result.get(what)]
    if rows:
        show(title, ["peer", what], rows)


@dataclass(frozen=True, kw_only=True)
class BenchMisses:
    """Flags of `sdali bench misses`."""

    store: Positional[Path]
    """An image store with masks."""

    cams: Path | None = None
    """Heatmap store, to measure guided windows beside plain ones."""

    foreground: tuple[int, ...] | None = None
    """Mask values that are the object. None: all but 0 and 255."""

    epochs: int = 20
    """Windows drawn of each image."""

    seed: int = 0
    """Of the windows."""

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
        rows = [[name, f"{100 * rates[name]:.2f} %"] for name in ("plain", "sda") if name in rates]
        show(f"windows that miss the object, of {rates['windows']:,}", ["crops", "miss rate"], rows)
        return {"miss_rate": rates}
