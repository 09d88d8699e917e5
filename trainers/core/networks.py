"""Networks of checkpoints, whatever their task, and trials of whether a network takes images of a size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ...pipelines.errors import InputError
from ...pipelines.store.statistics import Statistics
from ..models.classification.classifiers import create_classifier, reason_of
from ..models.detection.network import DetectionConfig, create_detector
from ..models.parsing.network import ParsingConfig, create_parser
from . import checkpoint
from .config import from_dict
from .process import resolve_device


@dataclass(frozen=True, kw_only=True)
class LoadedNetwork:
    """A trained network, and what its checkpoint says about it."""

    module: Any
    """nn.Module in evaluation mode, on its device, with averaged weights where there are any."""
    path: Path
    task: str
    """classification, parsing or detection."""
    classes: tuple[str, ...]
    statistics: Statistics
    """Those that images are normalised with."""
    size: int | None
    """What images were resized to in the evaluations of the run, px: the side of a classifier's square input, the
    shorter side for the other tasks; None: not resized."""
    contents: dict[str, Any]
    """The whole checkpoint, see checkpoint.load."""


def load_network(path: str | Path, device: str | torch.device = "auto", *, task: str | None = None) -> LoadedNetwork:
    """The trained network of a checkpoint of any task, ready to use.

    device: auto, cpu, cuda or cuda:N. Raises InputError for a file that is no checkpoint of a run, or of another task
    than `task`, or whose network is built differently by the libraries here.
    """
    contents = checkpoint.load(path, task)
    if contents.get("task") not in checkpoint.OF_TASK:
        raise InputError(f"{path} does not hold the network of a run; give last.pt or best.pt of a run")
    try:
        module = _made(contents)
    except (InputError, TypeError, ValueError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"the network in {path} cannot be made ({reason}); use the version of sdali that trained it"
        ) from None
    load_weights(module, checkpoint.best_weights(contents), path)
    where = device if isinstance(device, torch.device) else resolve_device(device)
    return LoadedNetwork(
        module=module.to(where).eval(),
        path=Path(path),
        task=contents["task"],
        classes=tuple(contents["classes"]),
        statistics=Statistics.from_dict(contents["statistics"]),
        size=contents["size"] if "size" in contents else contents["shorter_side"],
        contents=contents,
    )


def _made(contents: dict[str, Any]) -> nn.Module:
    """The network of a checkpoint, with random weights."""
    classes = len(contents["classes"])
    if contents["task"] == "classification":
        return create_classifier(contents["model"]["name"], classes, **contents["model"]["args"])
    if contents["task"] == "parsing":
        config = from_dict(ParsingConfig, contents["network"])
        return create_parser(config, classes, std=contents["statistics"]["std"])
    return create_detector(from_dict(DetectionConfig, contents["network"]), classes)


def load_weights(model: nn.Module, state_dict: dict[str, Any], path: str | Path) -> None:
    """Fill the network; raises InputError where the names or shapes of the weights differ."""
    try:
        model.load_state_dict(state_dict)
    except RuntimeError:
        raise InputError(
            f"the weights in {path} do not fit the network of that name here; use the version of timm that trained it"
        ) from None


def check_start(
    path: Path, contents: dict[str, Any], backbone: str, wanted: Iterable[str], taken: Iterable[str]
) -> None:
    """Raise InputError unless a backbone took all `wanted` weights of a checkpoint, whose network is of that name."""
    name = contents["model"]["name"] if contents["task"] == "classification" else contents["network"].get("backbone")
    if name != backbone:
        raise InputError(f"{path} is a checkpoint of {name}, and the backbone is {backbone}; give one of that network")
    taken = set(taken)
    if missing := [name for name in wanted if name not in taken]:
        raise InputError(f"{path} lacks {len(missing)} of the backbone's weights, such as {missing[0]}; give another")


def check_input(model: nn.Module, name: str, size: int, device: torch.device) -> None:
    """Raise InputError unless the network gives scores for an image of `size` pixels; leaves it in evaluation mode."""
    with torch.no_grad(), _refused(f"{name} does not take {size} x {size} pixels", "give another size"):
        scores = model.eval()(torch.zeros(1, 3, size, size, device=device))
    if not (isinstance(scores, Tensor) and scores.ndim == 2):
        raise InputError(f"{name} does not give one score a class; leave out the model_args that change its head")


def check_training(model: nn.Module, name: str, size: tuple[int, int], batch_size: int, device: torch.device) -> None:
    """Raise InputError unless the network takes such a batch in training mode; its buffers stay as they are.

    An auxiliary head may need more pixels, and a norm more than one image. At most 2 images are tried.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    count = min(batch_size, 2)
    sentence = f"{name} cannot train on {size[0]} x {size[1]} pixels, {batch_size} at a time"
    with torch.no_grad(), _refused(sentence, "give another size or batch size"):
        functional_call(model.train(), buffers, torch.zeros(count, 3, *size, device=device))


@contextmanager
def _refused(sentence: str, advice: str) -> Iterator[None]:
    """Turn what a network's own code raises into an InputError."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (AssertionError, RuntimeError, ValueError) as error:
        raise InputError(f"{sentence} ({reason_of(error)}); {advice}") from None
