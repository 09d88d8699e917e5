"""Checkpoints: dictionaries of tensors and plain values, written whole or not at all, read without running any code."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...pipelines.errors import InputError
from ...pipelines.io.input_files import open_input
from ...pipelines.io.publish import whole_file, write_errors

FORMAT = "sdali checkpoint"
VERSION = 1

ANY_TASK = ("classes", "statistics", "store", "identity", "config", "state_dict", "ema", "standing")
OF_TASK = {
    "classification": ("model", "size", "test_crop"),
    "parsing": ("network", "shorter_side"),
    "detection": ("network", "shorter_side", "longer_side"),
}
"""The keys of a run's checkpoints beside those of ANY_TASK, by task."""


def save(path: str | Path, contents: dict[str, Any]) -> None:
    """Write so that `path` holds either what it held before or all of `contents`, also after a power cut.

    contents: tensors, numbers, strings, None, and lists, tuples and dicts of them. Raises InputError where the disk
    is full or the folder cannot be written; what `path` held before is then still there.
    """
    path = Path(path)
    with write_errors(path), whole_file(path) as file:
        _save({"format": FORMAT, "version": VERSION, **contents}, file)


def remove_leftovers(folder: Path) -> None:
    """Remove the half-written checkpoints that killed processes left in `folder`; no other process may write there."""
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
    """What `save` wrote, with tensors on the CPU.

    The keys of any training run: `task`, `classes`, `statistics` (for Statistics.from_dict), `store` (its digest),
    `identity` and `config` (options by name), `state_dict`, `ema` (a state_dict, None without an average), `standing`
    (the fields of RunProgress); in last.pt also `optimizer` and `loader`. Those of each task: OF_TASK.
    Raises InputError for a file that is missing, damaged, no checkpoint, or of another task than `task`.
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
            f"{path} has checkpoint version {found} and this sdali reads {VERSION}; use the sdali that wrote it"
        )
    if task is not None and contents.get("task") != task:
        raise InputError(f"{path} is a checkpoint of {contents.get('task')}, not of {task}; give one of {task}")
    wanted = (*ANY_TASK, *OF_TASK[contents["task"]]) if contents.get("task") in OF_TASK else ()
    if missing := [name for name in wanted if name not in contents]:
        raise InputError(f"{path} is not a whole checkpoint: it lacks {missing[0]}; give last.pt or best.pt of a run")
    return contents


def best_weights(contents: dict[str, Any]) -> dict[str, Tensor]:
    """The weights of a run's checkpoint that are to be used: the average where there is one."""
    return contents["ema"] or contents["state_dict"]


def weights_digest(state_dict: dict[str, Tensor]) -> str:
    """Identity of a model's weights and buffers: hex, the same on any device."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(state_dict.items()):
        plain = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {plain.dtype} {tuple(plain.shape)} ".encode())
        digest.update(plain.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
