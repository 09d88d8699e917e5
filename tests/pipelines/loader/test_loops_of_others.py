"""Evaluations as timm and torchvision make them, on two ranks and an uneven set, give the figures of one process.

Their loops are in scripts that no package installs, so the tests have loops of their own of the same arithmetic. That
of Hugging Face is installed: see tests/docs/test_integrations.py.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from detection_stores import make_detection_store
from pictures import make_store
from torchrun import found_by_ranks

pytestmark = pytest.mark.slow

BEGIN = """
import json, os, sys
from pathlib import Path
import torch
import torch.distributed as dist
from sdali.pipelines import TorchvisionLoader, classification, detection

folder, store, batch_size = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
if world_size > 1:
    dist.init_process_group("gloo")
torch.set_num_threads(1)
torch.manual_seed(0)
ranks = {"rank": rank, "world_size": world_size, "device": "cpu", "threads": 1}
"""
END = """
folder.joinpath(f"{rank}.json").write_text(json.dumps(figures))
if world_size > 1:
    dist.destroy_process_group()
"""
CLASSIFIED = """
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 24 * 24, 5)).eval()
loader = classification.test_loader(store, batch_size=batch_size, size=24, **ranks)
loader = loader.map(lambda batch: (batch["image"], batch["label"]))
"""
# timm: its evaluator adds up samples over the ranks, and leaves out the repeats that the sampler tells it of.
TIMM = """
from timm.task.evaluator import ClassificationEvaluator, evaluation_sample_limit

evaluator = ClassificationEvaluator(max_samples=evaluation_sample_limit(loader))
with torch.inference_mode():
    for images, labels in loader:
        evaluator.update(model(images), labels)
figures = evaluator.compute(distributed=world_size > 1)
"""
# timm before it had one: a batch's figures are averaged over the ranks, then over batches by a rank's samples.
OLD_TIMM = """
from timm.utils import AverageMeter, accuracy, reduce_tensor

meters = {name: AverageMeter() for name in ("loss", "top1", "top2")}
with torch.inference_mode():
    for images, labels in loader:
        scores = model(images)
        found = [torch.nn.functional.cross_entropy(scores, labels), *accuracy(scores, labels, topk=(1, 2))]
        for meter, value in zip(meters.values(), found, strict=True):
            meter.update((reduce_tensor(value, world_size) if world_size > 1 else value).item(), len(images))
figures = {name: meter.avg for name, meter in meters.items()}
"""
# torchvision: sums and counts are added over the ranks at the end.
TORCHVISION = """
totals = torch.zeros(2, dtype=torch.float64)
with torch.inference_mode():
    for images, labels in loader:
        top1 = (model(images).argmax(1) == labels).sum() * (100.0 / len(images))
        totals += torch.tensor([top1.item() * len(images), len(images)])
if world_size > 1:
    dist.all_reduce(totals)
figures = {"samples": totals[1].item(), "of": len(loader.dataset), "top1": (totals[0] / totals[1]).item()}
"""
# torchvision's detectors: results by image id, gathered; the truth is read from the loader's data set, by index.
DETECTED = """
def model(images):  # one detection: around all that is brighter than the image on the whole
    for image in images:
        grey = image.mean(0)
        rows, columns = torch.where(grey > grey.mean())
        box = torch.stack([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        yield {"boxes": box[None].float(), "scores": torch.ones(1), "labels": torch.ones(1, dtype=torch.int64)}


sides = {"shorter_side": 64, "longer_side": 128, "pad": True}
loader = TorchvisionLoader(detection.test_loader(store, batch_size=batch_size, **sides, **ranks))
found = {}
with torch.inference_mode():
    for images, targets in loader:
        for target, made in zip(targets, model(images), strict=True):
            found[target["image_id"]] = {name: values.tolist() for name, values in made.items()}
parts = [None] * world_size
if world_size > 1:
    dist.all_gather_object(parts, found)
else:
    parts = [found]
figures = {str(image): made for part in parts for image, made in part.items()}
truth = [loader.dataset[index] for index in range(len(loader.dataset))]
figures["truth"] = [[list(image.shape), target["area"].sum().item()] for image, target in truth]
"""


def one_process(script: str, folder: Path, *arguments: object) -> Any:
    (folder / "alone.py").write_text(script)
    subprocess.run([sys.executable, str(folder / "alone.py"), str(folder), *map(str, arguments)], check=True)
    return json.loads((folder / "0.json").read_text())


@pytest.mark.parametrize("pad", [False, True])
def test_timms_figures(tmp_path: Path, pad: bool) -> None:
    """Of 45 images in steps of 16, the last of 13."""
    classified = CLASSIFIED.replace("size=24", f"size=24, pad={pad}")
    script = BEGIN + classified + TIMM + END
    path = make_store(tmp_path / "s.lmdb", 45, classes=5).path
    alone = one_process(script, tmp_path, path, 7)
    for figures in found_by_ranks(script, tmp_path, path, 8):
        assert figures == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("count", [42, 45])
def test_old_timms_figures(tmp_path: Path, count: int) -> None:
    """Of 42 images in steps of 16, the last of 10, they are those of one process. Of 45, the last 7 and 6, the ranks
    count alike, so that they differ by less than one sample's share.
    """
    script = BEGIN + CLASSIFIED + OLD_TIMM + END
    path = make_store(tmp_path / "s.lmdb", count, classes=5).path
    alone = one_process(script, tmp_path, path, 7)
    for figures in found_by_ranks(script, tmp_path, path, 8):
        assert figures["loss"] == pytest.approx(alone["loss"], rel=1e-5 if count == 42 else 0.05)
        for name in ("top1", "top2"):
            assert figures[name] == pytest.approx(alone[name], abs=1e-3 if count == 42 else 100 / count)


def test_torchvisions_top1(tmp_path: Path) -> None:
    """Of 45 images each counts once."""
    script = BEGIN + CLASSIFIED + TORCHVISION + END
    path = make_store(tmp_path / "s.lmdb", 45, classes=5).path
    alone = one_process(script, tmp_path, path, 7)
    assert alone["samples"] == alone["of"] == 45
    for figures in found_by_ranks(script, tmp_path, path, 8):
        assert figures == pytest.approx(alone)


def test_torchvisions_detections(tmp_path: Path) -> None:
    """Of 11 images one by one, so that a rank repeats the last one: the same of each image, and the same truth."""
    script = BEGIN + DETECTED + END
    path = make_detection_store(tmp_path / "s.lmdb", 11).path
    alone = one_process(script, tmp_path, path, 1)
    assert len(alone) == 12 and len({str(alone[str(index)]["boxes"]) for index in range(11)}) > 5
    for figures in found_by_ranks(script, tmp_path, path, 1):
        assert figures == alone
