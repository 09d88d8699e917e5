"""Small COCO files with pictures, and stores of them, shared by tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from building import built
from pictures import jpeg, photo

from sdali.pipelines import ImageStore
from sdali.pipelines.sources.coco import coco

HEIGHT, WIDTH = 80, 120


def coco_document(images: Sequence[int], categories: Sequence[int], seed: int, crowds: float) -> dict[str, Any]:
    """Images ID.jpg, each with an object of every category, whose outline fills a tenth to all of its box."""
    rng, annotations = np.random.default_rng(seed), []
    for image in images:
        for category in categories:
            corner, sides = rng.uniform(0, 40, 2), rng.uniform(20, 40, 2)
            shape = {"bbox": [*corner.tolist(), *sides.tolist()], "area": sides.prod() * rng.uniform(0.1, 1)}
            flag = {"iscrowd": int(rng.random() < crowds), "id": len(annotations) + 1}
            annotations.append({"image_id": image, "category_id": category, **shape, **flag})
    return {
        "images": [{"id": one, "file_name": f"{one}.jpg", "height": HEIGHT, "width": WIDTH} for one in images],
        "categories": [{"id": one, "name": f"class {one}"} for one in categories],
        "annotations": annotations,
    }


def coco_store(
    folder: Path, images: Sequence[int], categories: Sequence[int], *, seed: int = 0, crowds: float = 0, **options: Any
) -> ImageStore:
    """FOLDER/s.lmdb, built from FOLDER/coco.json and FOLDER/images; options: of build."""
    (folder / "images").mkdir()
    for number, image in enumerate(images):
        (folder / f"images/{image}.jpg").write_bytes(jpeg(photo(seed + number, HEIGHT, WIDTH)))
    (folder / "coco.json").write_text(json.dumps(coco_document(images, categories, seed, crowds)))
    built(coco(folder / "images", annotations=folder / "coco.json"), folder / "s.lmdb", **options)
    return ImageStore(folder / "s.lmdb")
