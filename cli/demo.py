"""`sdali demo`: the whole story on generated scenes, on any machine: build, coarse model, CAMs, SDA training, report.

Four trainings of the same small network: plain crops (the coarse model, whose CAMs guide), guided crops for as long,
and plain crops for as long as the two together, which is the fair comparison. One seed proves nothing about top-1; the
miss rate, counted over many windows, does not depend on a training's luck.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..benchmarks.costs.miss_rate import miss_rate
from ..benchmarks.scenes.render import OBJECT
from ..benchmarks.scenes.source import scenes
from ..cams.preview.classification import preview
from ..pipelines.build.build import build
from ..pipelines.config import Augmentation, Crop
from ..pipelines.errors import InputError
from ..pipelines.io.progress import track
from ..pipelines.io.terminal import print_table
from ..pipelines.store.heatmaps import HeatmapStore
from ..pipelines.store.measure import measure, save
from ..pipelines.store.reader import ImageStore
from ..trainers.classification import TrainConfig, train
from ..trainers.classification.activation_maps import activation_maps

MODEL, SIZE, BATCH = "convnet4", 96, 32
GUIDED = Augmentation(crop=Crop(gamma=2.0))  # sharper than the default: a coarse model's maps have warm backgrounds


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Flags of `sdali demo`."""

    out: Path = Path("sdali-demo")
    """Folder for stores, checkpoints, pictures and the report; must not exist yet, or be empty."""

    images: int = 1500
    """Generated pictures; a fifth of them tests."""

    epochs: int = 18
    """Length of the coarse and of the SDA training; the fair comparison trains twice as long."""

    seed: int = 0
    """Of the pictures and of all trainings."""

    def run(self) -> dict[str, Any]:
        begun = time.perf_counter()
        self._prepare()
        store, val_store = self._stores()
        plain = self._train("plain", store, val_store)
        heatmaps = self.out / "scenes.cams.lmdb"
        activation_maps(store, heatmaps, checkpoint=plain["checkpoint"], progress=track)
        sda = self._train("sda", store, val_store, heatmaps=heatmaps, augmentation=GUIDED)
        longer = self._train("plain_equal_compute", store, val_store, epochs=2 * self.epochs)
        maps = HeatmapStore(heatmaps)
        sheet = preview(
            store, self.out / "preview.png", heatmaps=maps, count=6, size=SIZE, seed=self.seed, augmentation=GUIDED
        )
        rates = miss_rate(
            store, heatmaps=maps, foreground=(OBJECT,), augmentation=GUIDED, size=SIZE, seed=self.seed, progress=track
        )
        result = {
            "miss_rate": {"plain": rates["plain"], "sda": rates["sda"]},
            "top1": {
                "coarse": plain["top1"],
                "plain": plain["top1"],
                "sda": sda["top1"],
                "plain_equal_compute": longer["top1"],
            },
            "images_per_second": sda["images_per_second"],
            "seconds": round(time.perf_counter() - begun, 1),
            "files": [str(store.path), str(val_store.path), str(heatmaps), sda["checkpoint"], sheet["file"]],
        }
        return self._reported(result)

    def _prepare(self) -> None:
        if self.out.is_dir() and any(self.out.iterdir()):
            raise InputError(f"{self.out} is not empty; name another folder with --out, or remove it")
        if self.images < 200 or self.epochs < 1:
            raise InputError(f"the demo needs at least 200 images and 1 epoch, got {self.images} and {self.epochs}")
        self.out.mkdir(parents=True, exist_ok=True)

    def _stores(self) -> tuple[ImageStore, ImageStore]:
        report = build(
            scenes(self.images, seed=self.seed), self.out / "scenes.lmdb", split=0.8, seed=self.seed, progress=track
        )
        store, val_store = (ImageStore(path) for path in report["stores"])
        save(store, measure(store, progress=track))
        return store, val_store

    def _train(self, name: str, store: ImageStore, val_store: ImageStore, **options: Any) -> dict[str, Any]:
        return train(
            TrainConfig(
                store=store.path,
                val_store=val_store.path,
                out=self.out / name,
                model=MODEL,
                size=SIZE,
                batch_size=BATCH,
                optimizer="adamw",
                lr=3e-3,
                test_crop="whole",
                threads=_threads(),
                seed=self.seed,
                **{"epochs": self.epochs, "evaluate_every": max(self.epochs // 2, 1), **options},
            ),
        )

    def _reported(self, result: dict[str, Any]) -> dict[str, Any]:
        """Write report.json and show the figures."""
        path = self.out / "report.json"
        result["files"].append(str(path))
        path.write_text(json.dumps(result, indent=2) + "\n")
        top1, miss = result["top1"], result["miss_rate"]
        rows = [
            [
                "plain crops (the coarse model)",
                f"{self.epochs}",
                f"{100 * miss['plain']:.1f} %",
                f"{top1['plain']:.3f}",
            ],
            ["guided by its CAMs (SDA)", f"{self.epochs}", f"{100 * miss['sda']:.1f} %", f"{top1['sda']:.3f}"],
            ["plain crops, equal compute", f"{2 * self.epochs}", "", f"{top1['plain_equal_compute']:.3f}"],
        ]
        print_table(f"{self.images} scenes, {result['seconds']:.0f} s", ["crops", "epochs", "miss rate", "top-1"], rows)
        return result


def _threads() -> int:
    """Half of the cores for torch, half for DALI: where both want all, a small network waits for its own threads."""
    return max(len(os.sched_getaffinity(0)) // 2, 1)
