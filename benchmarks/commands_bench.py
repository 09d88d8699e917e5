"""`sdali bench throughput`, `stages`, `scale` and `misses`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from ..pipelines.config import Augmentation
from ..pipelines.progress import track
from ..pipelines.store_read import ImageStore
from .chart import save_chart
from .scale import SAMPLES, scale
from .tables import show
from .throughput import PEERS, throughput, write_json


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
                f"{result['cpu_ms_per_image'] / served[0]['cpu_ms_per_image']:.2f}",
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
class BenchStages:
    """Flags of `sdali bench stages`."""

    images: Path
    """Folder of images; full-size photographs tell most."""

    rounds: int = 5
    """Measured rounds, after one for warm-up; stages take turns in each."""

    images_a_round: int = 2048
    """Images each stage handles a round, at least."""

    batch_size: int = 64
    """Images a batch."""

    size: int = 224
    """Side of the output, pixels."""

    threads: int = 2
    """CPU threads of the pipeline."""

    model: str = "resnet18"
    """What is trained, on the CPU, to see how long a trainer waits."""

    steps: int = 10
    """Training steps, after three for warm-up."""

    json: Path | None = None
    """Also write the record to this file."""

    def run(self) -> dict[str, Any]:
        from .stages import stages

        record = stages(
            self.images,
            rounds=self.rounds,
            images_a_round=self.images_a_round,
            batch_size=self.batch_size,
            size=self.size,
            threads=self.threads,
            model=self.model,
            steps=self.steps,
            progress=track,
        )
        if self.json is not None:
            write_json(self.json, record)
        costs, trained = record["cpu_ms_per_image"], record["training"]
        rows = [[name, f"{cost:.3f}", f"{100 * cost / costs['whole']:.1f} %"] for name, cost in costs.items()]
        title = f"{record['machine']['processor']}, {self.threads} threads, median of {self.rounds} rounds"
        show(title, ["stage", "CPU ms/image", "share"], rows)
        rates = [f"{trained['images_per_second']:.1f}", f"{100 * trained['data_wait_share']:.1f} %"]
        show("training on the CPU", ["model", "images/s", "waiting for data"], [[trained["model"], *rates]])
        return record


@dataclass(frozen=True, kw_only=True)
class BenchScale:
    """Flags of `sdali bench scale`."""

    images: Path | None = None
    """Folder of images, for threads, batch sizes and image sizes. None: only the numbers of samples."""

    samples: tuple[int, ...] = SAMPLES
    """Numbers of samples; 10 million need 3 GB of temporary space and some minutes."""

    rounds: int = 3
    """Measured rounds on photographs, after one for warm-up."""

    images_a_round: int = 1024
    """Images each setting serves a round, at least."""

    json: Path | None = None
    """Also write the record to this file."""

    def run(self) -> dict[str, Any]:
        record = scale(
            self.images,
            samples=self.samples,
            rounds=self.rounds,
            images_a_round=self.images_a_round,
            progress=track,
        )
        if self.json is not None:
            write_json(self.json, record)
        rows = [
            [
                f"{cost['samples']:,}",
                f"{cost['open_seconds']:.3f}",
                f"{cost['shuffle_seconds']:.2f}",
                f"{cost['label_shuffle_seconds']:.2f}",
                f"{cost['plan_rows_per_second']:,.0f}",
                f"{cost['shuffle_mb']:.0f}",
                f"{cost['label_shuffle_mb']:.0f}",
                f"{cost['growth_mb_over_epochs']:.1f}",
            ]
            for cost in record["samples"]
        ]
        show(
            "seconds to open, for an epoch's order (shuffle) and for a label_shuffle list of twice the length; rows\n"
            "planned a second; MB that order and list took at their peak, MB left behind by five epochs",
            ["samples", "open", "order", "list", "rows/s", "order MB", "list MB", "left"],
            rows,
        )
        rows = [
            [
                result["peer"],
                f"{result['cpu_ms_per_image']:.2f}",
                f"{result['images_per_second']:,.0f}",
                f"{result['peak_memory_mb']:,}",
            ]
            for result in record["photographs"]
            if "failure" not in result
        ]
        if rows:
            show("photographs", ["setting", "CPU ms/image", "images/s", "peak MB"], rows)
        return record


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
        from ..pipelines.heatmap_read import HeatmapStore
        from .miss_rate import miss_rate

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
