"""Checkpoints: dictionaries of tensors and plain values, whole or not there, loaded without unpickling any code."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...pipelines.errors import InputError
from ...pipelines.io.input_files import open_input
from ...pipelines.io.publish import whole_file, write_errors
from .checkpoint_keys import OF_TASK, check_keys

FORMAT = "sdali checkpoint"
VERSION = 1


def save(path: str | Path, contents: dict[str, Any]) -> None:
    """Write so that `path` holds either what it held before or all of `contents`, also after a power cut.

    contents: tensors, numbers, strings, None, and lists, tuples and dicts of them. Raises InputError where the disk
    is full or the folder cannot be written; what `path` held before is then still there.
    """
    path = Path(path)
    with write_errors(path), whole_file(path) as file:
        _save({"format": FORMAT, "version": VERSION, **contents}, file)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes had half written of checkpoints in `folder`; no other may write there."""
    for partial in folder.glob("*.pt.*.partial"):
        partial.unlink(missing_ok=True)


def _save(contents: dict[str, Any], file: Any) -> None:
    """torch reports a failed write as a RuntimeError about its archive; the OSError behind it says why."""
    try:
        torch.save(contents, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def load(path: str | Path, task: str | None = None) -> dict[str, Any]:
    """What `save` wrote, tensors on the CPU; InputError for a file that is missing, damaged or of another kind or task.

    Keys of any training run, see checkpoint_keys: `task`, `classes`, `statistics` (for Statistics.from_dict), `store`,
    `identity` and `config`, `state_dict`, `ema` (a state_dict, None without an average), `standing`; in last.pt also
    `optimizer` and `loader`.
    """
    path = Path(path)
    try:
        with open_input(path) as file:
            contents = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"there is no checkpoint {path}; give one that sdali train has written") from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # which is what seeking in a truncated archive gives
            raise InputError(f"cannot read {path} ({error.strerror}); give a file that can be read") from None
        raise InputError(f"{path} is truncated; give another checkpoint of the run") from None
    except Exception:  # whatever a damaged archive or a pickle of other classes leads to; torch documents no set
        raise InputError(f"{path} is damaged or not a checkpoint of sdali; give last.pt or best.pt of a run") from None
    if not isinstance(contents, dict) or contents.get("format") != FORMAT:
        raise InputError(f"{path} was not written by sdali; give last.pt or best.pt of a run")
    if (found := contents.get("version")) != VERSION:
        raise InputError(
            f"{path} has checkpoint version {found} and this sdali reads {VERSION}; use the one of its time"
        )
    if task is not None and contents.get("task") != task:
        raise InputError(f"{path} is a checkpoint of {contents.get('task')}, not of {task}; give one of those")
    if contents.get("task") in OF_TASK:
        check_keys(contents, path)
    return contents


def load_weights(model: nn.Module, state_dict: dict[str, Any], path: str | Path) -> None:
    """Fill the network; raises InputError where the names or shapes of the weights differ."""
    try:
        model.load_state_dict(state_dict)
    except RuntimeError:
        raise InputError(
            f"the weights in {path} do not fit the network of that name here; use the version of timm that trained it"
        ) from None


def weights_digest(state_dict: dict[str, Tensor]) -> str:
    """Identity of a model's weights and buffers: hex, the same on any device."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(state_dict.items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)} ".encode())
        digest.update(plain.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
