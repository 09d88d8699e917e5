"""Ensembles of stored predictions: the mean softmax within each file, then the weighted mean over the files.

Source: the talk (several crops, scales, checkpoints and networks); averaging softmax, not scores, is our choice. It
needs neither a GPU nor an image, so any combination can be tried in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...pipelines.errors import InputError
from ..core.checks import class_difference
from .evaluation import Figures
from .pictures import save_confusion_picture
from .predictions import Predictions, PredictionWriter, written_predictions

MIXED_SCALES = 0  # the scale of an ensemble whose members have several
_IMAGES_AT_A_TIME = 4096


def ensemble(
    paths: Sequence[str | Path],
    weights: Sequence[float] | None = None,
    *,
    checkpoints: Sequence[int] | None = None,
    scales: Sequence[int] | None = None,
    out: str | Path | None = None,
    picture: str | Path | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Combine files of predictions of the same images.

    weights: a positive number for each file; None: all alike. checkpoints, scales: which ones of each file to use, see
    Predictions.mean. out: a file of predictions to write, with the ensemble's mean as its only checkpoint, scale and
    view, so that ensembles can be nested. picture: a PNG to write, of the confusion matrix. overwrite: whether files
    that exist are replaced.

    Returns plain JSON: the figures of Figures.compute, and `members` (for each file: `file`, `weight` as a share of 1,
    and the same figures but per_class).
    Raises InputError for files that cannot be used or do not fit together, and for what cannot be written.
    """
    members = [Predictions(path) for path in paths]
    if out is not None and (same := [path for path in paths if Path(path).resolve() == Path(out).resolve()]):
        raise InputError(
            f"{same[0]} is one of the files to combine and would be replaced; name another file for the result"
        )
    shares = _shares(members, weights)
    for member in members[1:]:
        _check_same_images(member, members[0])
    with nullcontext() if out is None else _writer(Path(out), members, shares, scales, overwrite) as writer:
        mean = np.zeros((len(members[0]), len(members[0].classes)))
        results = []
        for member, share in zip(members, shares, strict=True):
            probabilities = member.mean(checkpoints=checkpoints, scales=scales)
            figures = measure(probabilities, members[0]).compute()
            del figures["per_class"]
            results.append({"file": str(member.path), "weight": share, **figures})
            mean += share * probabilities
        figures = measure(mean, members[0])
        if picture is not None:
            save_confusion_picture(picture, figures.confusion(), members[0].classes, overwrite=overwrite)
        if writer is not None:
            writer.put(np.arange(len(mean)), mean[:, None, None, None])
    return {**figures.compute(), "members": results}


def measure(probabilities: np.ndarray, images: Predictions) -> Figures:
    """The figures of float64 [N, K], of the images of a file of predictions."""
    figures = Figures(images.classes)
    parts = (torch.from_numpy(part).split(_IMAGES_AT_A_TIME) for part in (probabilities, images.labels))
    for batch in zip(*parts, strict=True):
        figures.add(*batch)
    return figures


def _shares(members: Sequence[Predictions], weights: Sequence[float] | None) -> list[float]:
    """The weights, divided by their sum."""
    if not members:
        raise InputError("an ensemble needs at least one file of predictions; name some")
    given = [1.0] * len(members) if weights is None else [float(weight) for weight in weights]
    if len(given) != len(members):
        raise InputError(f"there are {len(given)} weights for {len(members)} files; give one for each")
    if wrong := [weight for weight in given if not 0 < weight < math.inf]:
        raise InputError(f"weights must be positive numbers, got {wrong[0]:g}; leave a file out instead")
    return [weight / sum(given) for weight in given]


def _check_same_images(member: Predictions, first: Predictions) -> None:
    if difference := class_difference(member.classes, first.classes):
        raise InputError(
            f"{member.path} does not have the classes of {first.path}: {difference}; combine predictions of one store"
        )
    if member.digest != first.digest or not np.array_equal(member.labels, first.labels):
        raise InputError(
            f"{member.path} is of another image store than {first.path} ({len(member):,} images, digest "
            f"{member.digest[:12]}, not {len(first):,}, {first.digest[:12]}); combine predictions of one store"
        )


def _writer(
    out: Path, members: Sequence[Predictions], shares: Sequence[float], scales: Sequence[int] | None, overwrite: bool
) -> AbstractContextManager[PredictionWriter]:
    files = [
        {"file": member.path.name, "weight": share, "checkpoints": member.checkpoints}
        for member, share in zip(members, shares, strict=True)
    ]
    sizes = {scale for member in members for scale in scales or member.scales}
    return written_predictions(
        out,
        store=members[0],
        checkpoints=[{"name": "ensemble", "weights_digest": "", "epoch": None, "members": files}],
        scales=[sizes.pop() if len(sizes) == 1 else MIXED_SCALES],
        views="mean of an ensemble",
        views_per_image=1,
        overwrite=overwrite,
    )
