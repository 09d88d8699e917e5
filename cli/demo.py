"""`sdali demo`: the whole story on generated scenes, on any machine.

A store of scenes is built, a coarse classifier is trained on plain crops, its activation maps become heatmaps, and the
same small network is trained on crops that follow them, for as long. For a fair comparison it is also trained on plain
crops for as long as both together. One seed proves nothing about top-1; the miss rate, counted over many windows, does
not depend on the luck of a training.
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
from ..cams.previews.preview import preview
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
    """Run the whole story on generated scenes: build, coarse classifier, heatmaps, guided training, report."""

    out: Path = Path("sdali-demo")
    """Folder for stores, checkpoints, pictures and the report. It must be empty, or not exist yet."""

    images: int = 1500
    """How many scenes are generated; a fifth of them are for evaluation."""

    epochs: int = 18
    """Epochs of the coarse and of the guided training; the fair comparison trains twice as long."""

    seed: int = 0
    """Seed of the scenes and of all trainings."""

    def run(self) -> dict[str, Any]:
        begun = time.perf_counter()
        store, val_store = self._stores()
        plain = self._train("plain", store, val_store)
        path = self.out / "scenes.cams.lmdb"
        activation_maps(store, path, checkpoint=plain["checkpoint"], progress=track)
        heatmaps = HeatmapStore(path)
        sda = self._train("sda", store, val_store, heatmaps=path, augmentation=GUIDED)
        longer = self._train("plain_equal_compute", store, val_store, epochs=2 * self.epochs)
        guided: dict[str, Any] = {"heatmaps": heatmaps, "augmentation": GUIDED, "size": SIZE, "seed": self.seed}
        sheet = preview(store, self.out / "preview.png", **guided)
        rates = miss_rate(store, foreground=(OBJECT,), progress=track, **guided)
        report = self.out / "report.json"
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
            "files": [str(store.path), str(val_store.path), str(path), sda["checkpoint"], sheet["file"], str(report)],
        }
        report.write_text(json.dumps(result, indent=2) + "\n")
        self._show(result)
        return result

    def _stores(self) -> tuple[ImageStore, ImageStore]:
        """The stores to train and to evaluate on, in a folder that was empty."""
        if self.out.is_dir() and any(self.out.iterdir()):
            raise InputError(f"{self.out} is not empty; name another folder with --out, or remove it")
        if self.images < 200 or self.epochs < 1:
            raise InputError(f"the demo needs at least 200 images and 1 epoch, got {self.images} and {self.epochs}")
        self.out.mkdir(parents=True, exist_ok=True)
        source = scenes(self.images, seed=self.seed)
        report = build(source, self.out / "scenes.lmdb", split=0.8, seed=self.seed, progress=track)
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
                # Half of the cores for torch, half for DALI: a small network waits for its threads where both want all.
                threads=max(len(os.sched_getaffinity(0)) // 2, 1),
                seed=self.seed,
                **{"epochs": self.epochs, "evaluate_every": max(self.epochs // 2, 1), **options},
            ),
        )

    def _show(self, result: dict[str, Any]) -> None:
        top1, miss = result["top1"], {name: f"{100 * rate:.1f} %" for name, rate in result["miss_rate"].items()}
        rows = [
            ["plain crops (the coarse model)", f"{self.epochs}", miss["plain"], f"{top1['plain']:.3f}"],
            ["guided by its CAMs (SDA)", f"{self.epochs}", miss["sda"], f"{top1['sda']:.3f}"],
            ["plain crops, equal compute", f"{2 * self.epochs}", "", f"{top1['plain_equal_compute']:.3f}"],
        ]
        print_table(f"{self.images} scenes, {result['seconds']:.0f} s", ["crops", "epochs", "miss rate", "top-1"], rows)
