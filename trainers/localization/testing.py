"""Testing object localization: LOC = CLS + DET and its baselines on the same images, or a file of answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ...pipelines.errors import InputError
from ...pipelines.io.progress import Track, silent
from ...pipelines.io.publish import check_outputs
from ...pipelines.store.reader import ImageStore
from ..classification.evaluation_config import TestConfig
from ..classification.testing import Test, opened_test
from ..core.classes import check_labelled
from ..core.distributed import process_group
from ..core.machine import threads_per_rank, torch_settings
from ..detection.networks import opened_detectors
from ..metrics.localization_error import LocalizationError
from .answers import Answers, inclusive_pixels, read_answers, write_answers
from .config import EvaluateConfig
from .methods import Localization
from .pictures import save_localization_picture

Truth = tuple[int, np.ndarray]

FIGURES = ("error", "box_wrong", "label_wrong", "both_wrong", "classification_error")


def evaluate(config: EvaluateConfig, progress: Track = silent) -> dict[str, Any]:
    """The localization error on a store, and where it comes from.

    Returns plain JSON: `error`, the sum of `box_wrong`, `label_wrong` and `both_wrong`, and `classification_error`, all
    shares of the images as in metrics.localization_error; `per_class` (class name -> error, None without images),
    `images`, `top`; `baselines`, the same five shares for each method of localization_methods but LOC = CLS + DET
    itself, `classifiers`, `detectors` (their files), `classifier_crops`, `scales` and `longer_sides` (px), `flip`,
    `voting` and `images_per_second`, or for a file of answers `read`; `answers` and `picture` where they were written.
    Raises InputError for what cannot be used or does not fit together, before anything is measured.
    """
    check_outputs(config, "answers", "picture")
    store = ImageStore(config.store)
    truth, top = truth_of(store), config.answers_of(len(store.classes))
    if config.read is not None:
        own = read_answers(config.read, images=len(store), classes=len(store.classes))
        _check_inside(own, store, config.read)
        methods, about = {"localization": own}, {"read": str(config.read)}
        first = True
    else:
        methods, about, first = _localized(config, store, top, progress)
    classes = len(store.classes)
    errors = {name: LocalizationError.of(own, truth, classes, top).compute() for name, own in methods.items()}
    own = errors.pop("localization")
    if first:
        if config.answers is not None:
            write_answers(config.answers, methods["localization"], overwrite=config.overwrite)
        if config.picture is not None:
            save_localization_picture(
                config.picture, store, methods["localization"], truth, top, overwrite=config.overwrite
            )
    written = {"answers": config.answers, "picture": config.picture}
    return {
        **{name: own[name] for name in FIGURES},
        "per_class": dict(zip(store.classes, own["per_class"], strict=True)),
        "images": len(store),
        "top": top,
        **({"baselines": {name: {key: one[key] for key in FIGURES} for name, one in errors.items()}} if errors else {}),
        **about,
        **{name: str(path) for name, path in written.items() if path is not None},
    }


def truth_of(store: ImageStore) -> list[Truth]:
    """The label of each image and its boxes of that class, float64 [G, 4] in the kit's pixels; see check_boxed."""
    check_boxed(store)
    truth = []
    for image, (label, (height, width)) in enumerate(zip(store.labels.tolist(), store.sizes.tolist(), strict=True)):
        boxes = store.boxes(image)
        truth.append((label, inclusive_pixels(boxes.xyxy[boxes.labels == label], height, width)))
    return truth


def check_boxed(store: ImageStore) -> None:
    """Raise InputError unless each image has a class and a box of it; without, whatever is answered would be wrong."""
    check_labelled(store)
    if not store.has_boxes:
        raise InputError(f"{store.path} has no boxes; build it with --annotations, or with --format ilsvrc-loc")
    objects, boxed = store.objects(), np.zeros(len(store), bool)
    boxed[objects.images[objects.labels == store.labels[objects.images]]] = True
    if not boxed.all():
        raise InputError(
            f"{(~boxed).sum()} of the {len(store)} images of {store.path} have no box of their class, the first is "
            f"{store.names[int(boxed.argmin())]}; build it without them"
        )


def _check_inside(answers: Sequence[Answers], store: ImageStore, path: Path) -> None:
    """Raise InputError for boxes beyond their image: the answers seem to be to others."""
    for image, (own, (height, width)) in enumerate(zip(answers, store.sizes.tolist(), strict=True)):
        if (beyond := (own.boxes[:, :2] > [width, height]).any(1)).any():
            x, y = own.boxes[beyond][0, :2]
            raise InputError(
                f"line {image + 1} of {path} has a box that begins at {x:g}, {y:g}, and {store.names[image]} is "
                f"{width} x {height} px; give the answers to the images of {store.path}"
            )


def _localized(
    config: EvaluateConfig, store: ImageStore, top: int, progress: Track
) -> tuple[dict[str, list[Answers]], dict[str, Any], bool]:
    """The answers of all methods, what they were made with, and whether this is the first rank."""
    with ExitStack() as opened:
        ranks = opened.enter_context(process_group(config.device))
        threads = threads_per_rank(config.threads, ranks.local_world_size)
        opened.enter_context(torch_settings(device=ranks.device, threads=threads))
        work = Localization(
            classifiers=opened.enter_context(_opened(config, crops=config.classifier_crops)),
            mapped=opened.enter_context(_opened(config, whole=True)),
            detectors=opened.enter_context(
                opened_detectors(
                    config.detector, store, scales=config.scales, flip=config.flip, ranks=ranks, threads=threads
                )
            ),
            top=top,
            voting=config.voting,
        )
        begun = time.perf_counter()
        methods = work.methods(progress if ranks.is_first else silent)
        about = {
            "classifiers": [str(path) for path in config.classifier],
            "detectors": [str(path) for path in config.detector],
            "classifier_crops": config.classifier_crops,
            "scales": list(work.detectors.scales),
            "longer_sides": list(work.detectors.longer_sides),
            "flip": config.flip,
            "voting": config.voting,
            "images_per_second": len(store) / (time.perf_counter() - begun),
        }
        return methods, about, ranks.is_first


def _opened(config: EvaluateConfig, *, crops: int = 1, whole: bool = False) -> AbstractContextManager[Test]:
    """The classifiers, or of `whole` images the first one alone."""
    paths = config.classifier[:1] if whole else config.classifier
    test = TestConfig(
        checkpoint=paths[0],
        store=config.store,
        batch_size=config.batch_size,
        crop="whole" if whole else None,
        precision=config.precision,
        device=config.device,
        threads=config.threads,
    )
    return opened_test(test, checkpoints=paths, crops=crops)
