"""`sdali bench stages`, `sdali bench scale` and `sdali bench build`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..benchmarks.costs.build_speed import build_speed
from ..benchmarks.costs.scale import SAMPLES, SHARDS, scale
from ..benchmarks.costs.stages import stages
from ..benchmarks.throughput.measure import write_json
from ..pipelines.io.outputs import RECORD, check_outputs
from ..pipelines.io.progress import track
from ..pipelines.io.tables import show


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
        check_outputs(self, {"json": RECORD})
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

    orders: tuple[int, ...] = ()
    """Numbers of samples of which only an epoch's order and plan are made: nothing is written, 8 bytes of memory each,
    so that a billion can be tried."""

    shards: tuple[int, ...] = SHARDS
    """Numbers of files of a sharded store."""

    rounds: int = 3
    """Measured rounds on photographs, after one for warm-up."""

    images_a_round: int = 1024
    """Images each setting serves a round, at least."""

    json: Path | None = None
    """Also write the record to this file."""

    def run(self) -> dict[str, Any]:
        check_outputs(self, {"json": RECORD})
        record = scale(
            self.images,
            samples=self.samples,
            orders=self.orders,
            shards=self.shards,
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
                f"{cost['samples']:,}",
                f"{cost['shuffle_seconds']:.2f}",
                f"{cost['shuffle_cpu_seconds']:.2f}",
                f"{cost['shuffle_mb']:,.0f}",
                f"{cost['plan_rows_per_second']:,.0f}",
            ]
            for cost in record["orders"]
        ]
        if rows:
            show("an epoch's order and its plan alone", ["samples", "order s", "CPU s", "order MB", "rows/s"], rows)
        rows = [
            [f"{c['shards']:,}", f"{c['open_seconds']:.3f}", f"{c['open_files']:,}", f"{c['cpu_us_per_record']:.2f}"]
            for c in record["shards"]
        ]
        show("stores of several files", ["files", "open s", "descriptors", "CPU us/record"], rows)
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
class BenchBuild:
    """Flags of `sdali bench build`."""

    images: Path
    """Folder of images, of formats that need no transcoding."""

    rounds: int = 5
    """Measured rounds, after one for warm-up."""

    def run(self) -> dict[str, Any]:
        record = build_speed(self.images, rounds=self.rounds, progress=track)
        rates = [f"{record[name]:,.0f}" for name in ("build_mb_per_second", "copy_mb_per_second")]
        title = f"{record['images']:,} images, {record['megabytes']:,} MB, median of {self.rounds} rounds"
        show(title, ["build MB/s", "copy MB/s", "ratio"], [[*rates, f"{record['ratio']:.2f}"]])
        return record
