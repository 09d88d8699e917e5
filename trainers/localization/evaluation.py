"""Evaluating object localization: LOC = CLS + DET and its baselines on the same images, or a file of predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...pipelines.errors import InputError
from ...pipelines.io.progress import Track, silent
from ...pipelines.io.publish import check_outputs
from ...pipelines.store.reader import ImageStore
from ..core.checks import check_labelled
from ..core.evaluation import opened_evaluation, written_files
from ..core.progress import Stopwatch
from ..detection.evaluation import view_loaders as detector_loaders
from ..metrics.localization_error import LocalizationError
from .config import EvaluateConfig
from .methods import Localization
from .pictures import save_localization_picture
from .predictions import Predictions, inclusive_pixels, read_predictions, write_predictions

Truth = tuple[int, np.ndarray]

FIGURES = ("error", "box_wrong", "label_wrong", "both_wrong", "classification_error")


def evaluate(config: EvaluateConfig, *, progress: Track = silent) -> dict[str, Any]:
    """The localization error on a store, and where it comes from.

    Returns plain JSON: `error`, the sum of `box_wrong`, `label_wrong` and `both_wrong`, and `classification_error`, all
    shares of the images as in metrics.localization_error; `per_class` (class name -> error, None without images),
    `images`, `top`; `baselines`, the same five shares for each method of methods.py but LOC = CLS + DET itself,
    `classifiers`, `detectors` (their files), `classifier_crops`, `scales` and `longer_sides` (px), `flip`, `voting` and
    `images_per_second`, or for a file of predictions `read`; `answers` and `picture` where they were written.
    Raises InputError for what cannot be used or does not fit together, before anything is measured.
    """
    check_outputs(config, "answers", "picture")
    store = ImageStore(config.store)
    truth, top = truth_of(store), config.predictions_of(len(store.classes))
    if config.read is not None:
        predictions = read_predictions(config.read, images=len(store), classes=len(store.classes))
        _check_inside(predictions, store, config.read)
        methods, about, is_first = {"localization": predictions}, {"read": str(config.read)}, True
    else:
        methods, about, is_first = _localized(config, top, progress)
    if is_first and config.answers is not None:
        write_predictions(config.answers, methods["localization"], overwrite=config.overwrite)
    if is_first and config.picture is not None:
        save_localization_picture(
            config.picture, store, methods["localization"], truth, top, overwrite=config.overwrite
        )
    classes = len(store.classes)
    errors = {name: LocalizationError.of(made, truth, classes, top).compute() for name, made in methods.items()}
    main = errors.pop("localization")
    return {
        **{name: main[name] for name in FIGURES},
        "per_class": dict(zip(store.classes, main["per_class"], strict=True)),
        "images": len(store),
        "top": top,
        **({"baselines": {name: {key: one[key] for key in FIGURES} for name, one in errors.items()}} if errors else {}),
        **about,
        **written_files(config, "answers", "picture"),
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
    """Raise InputError unless each image has a class and a box of it; without one no prediction could be right."""
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


def _check_inside(predictions: Sequence[Predictions], store: ImageStore, path: Path) -> None:
    """Raise InputError for boxes beyond their image, which show that the predictions are for other images."""
    for image, (of_image, (height, width)) in enumerate(zip(predictions, store.sizes.tolist(), strict=True)):
        if (beyond := (of_image.boxes[:, :2] > [width, height]).any(1)).any():
            x, y = of_image.boxes[beyond][0, :2]
            raise InputError(
                f"line {image + 1} of {path} has a box that begins at {x:g}, {y:g}, and {store.names[image]} is "
                f"{width} x {height} px; give the predictions for the images of {store.path}"
            )


def _localized(
    config: EvaluateConfig, top: int, progress: Track
) -> tuple[dict[str, list[Predictions]], dict[str, Any], bool]:
    """The predictions of all methods, what they were made with, and whether this is the first rank."""
    with (
        opened_evaluation(config, config.classifier, task="classification", check_store=check_labelled) as classifiers,
        opened_evaluation(config, config.detector, task="detection", check_store=check_labelled) as detectors,
    ):
        loaders, sides = detector_loaders(detectors, scales=config.scales, flip=config.flip)
        localization = Localization(
            config=config, classifiers=classifiers, detectors=detectors, detector_loaders=loaders, top=top
        )
        stopwatch = Stopwatch()
        methods = localization.methods(progress)
        seconds, _ = stopwatch.lap()
        about = {
            "classifiers": [str(path) for path in config.classifier],
            "detectors": [str(path) for path in config.detector],
            "classifier_crops": config.classifier_crops,
            **sides,
            "flip": config.flip,
            "voting": config.voting,
            "images_per_second": len(detectors.store) / seconds,
        }
        return methods, about, classifiers.process.is_first
