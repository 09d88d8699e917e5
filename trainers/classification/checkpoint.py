"""What a classifier's checkpoint says about the network, and the network made from it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ...pipelines.errors import InputError
from ..core import checkpoint
from ..core.checkpoint_keys import network_errors
from ..core.distributed import resolve_device
from ..models.classification.classifiers import create_classifier

TASK = "classification"


def load(path: str | Path) -> dict[str, Any]:
    """The contents of a classifier's checkpoint; raises InputError for another task's, as for what is no checkpoint.

    Keys: `model` (name, args), `size` (px), `test_crop`, and those of any run, see checkpoint.load.
    """
    return checkpoint.load(path, TASK)


def load_classifier(path: str | Path, device: str | torch.device = "auto") -> tuple[nn.Module, dict[str, Any]]:
    """The trained network in evaluation mode on `device`, with averaged weights where there are any, and the contents.

    Raises InputError for a file that is no classifier's checkpoint, or whose network this timm builds differently.
    """
    contents = load(path)
    name, arguments = contents["model"]["name"], contents["model"]["args"]
    with network_errors(path):
        model = create_classifier(name, len(contents["classes"]), **arguments)
    checkpoint.load_weights(model, contents["ema"] or contents["state_dict"], path)
    where = device if isinstance(device, torch.device) else resolve_device(device)
    return model.to(where).eval(), contents


def check_input(model: nn.Module, name: str, size: int, device: torch.device) -> None:
    """Raise InputError unless the network gives scores for an image of `size` pixels; leaves it in evaluation mode."""
    with torch.no_grad(), _refused(f"{name} does not take {size} x {size} pixels", "give another size"):
        scores = model.eval()(torch.zeros(1, 3, size, size, device=device))
    if not (isinstance(scores, Tensor) and scores.ndim == 2):
        raise InputError(f"{name} does not give one score a class; leave out the model_args that change its head")


def check_training(model: nn.Module, name: str, size: tuple[int, int], batch_size: int, device: torch.device) -> None:
    """Raise InputError unless the network takes such a batch in training mode, of which it is tried on up to 2 images;
    statistics of its norms stay as they are. An auxiliary head may need more pixels, and a norm more than one image.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    count = min(batch_size, 2)
    sentence = f"{name} cannot train on {size[0]} x {size[1]} pixels, {batch_size} at a time"
    with torch.no_grad(), _refused(sentence, "give another size or batch size"):
        functional_call(model.train(), buffers, torch.zeros(count, 3, *size, device=device))


@contextmanager
def _refused(sentence: str, advice: str) -> Iterator[None]:
    """What a network's own code raises, as an InputError."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"{sentence} ({reason}); {advice}") from None
