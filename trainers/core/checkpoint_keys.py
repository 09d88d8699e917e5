"""What a checkpoint of a run holds, by its task: names and types, checked at loading, for it may be a stranger's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from torch import Tensor

from ...pipelines.config import LARGEST_OUTPUT, LARGEST_SIDE, TestCrop
from ...pipelines.errors import InputError
from ...pipelines.io.bounds import whole_number
from ...pipelines.store.statistics import Statistics
from ..models.classification.arguments import RESERVED
from .checks import check_choice
from .standing import Standing

Check = Callable[[Any], None]


def _of(*kinds: type) -> Check:
    def check(value: Any) -> None:
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise InputError(f"is {type(value).__name__}, not {' or '.join(kind.__name__ for kind in kinds)}")

    return check


def _classes(value: Any) -> None:
    if not (isinstance(value, list) and value and all(isinstance(name, str) for name in value)):
        raise InputError("is no list of names")


def _weights(value: Any) -> None:
    if not isinstance(value, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items()):
        raise InputError("is no dictionary of tensors")


def _average(value: Any) -> None:
    if value is not None:
        _weights(value)


def _standing(value: Any) -> None:
    known = {field.name for field in fields(Standing)}
    if not isinstance(value, dict) or set(value) != known:
        raise InputError(f"does not consist of {', '.join(sorted(known))}")
    for name, number in asdict(Standing(**value)).items():
        if not (isinstance(number, int | float) or (number is None and name in ("score", "best_score"))):
            raise InputError(f"has {number!r} for {name}")


def _model(value: Any) -> None:
    """A classifier of timm's: nothing that would have it fetch weights or read files may be among the arguments."""
    if not isinstance(value, dict) or not isinstance(value.get("name"), str) or not isinstance(value.get("args"), dict):
        raise InputError("has no name and args")
    wrong = [key for key in value["args"] if not isinstance(key, str) or key in RESERVED]
    if wrong:
        raise InputError(f"holds {wrong[0]}, which is not a run's to set")


def _side(value: Any) -> None:
    _of(int)(value)
    whole_number("size", value, LARGEST_OUTPUT)


def _longer_side(value: Any) -> None:
    _of(int)(value)
    whole_number("longer_side", value, LARGEST_SIDE)


def _side_or_none(value: Any) -> None:
    if value is not None:
        _longer_side(value)


def _statistics(value: Any) -> None:
    _of(dict)(value)
    Statistics.from_dict(value)


ANY_RUN: dict[str, Check] = {
    "classes": _classes,
    "statistics": _statistics,
    "store": _of(str),
    "identity": _of(dict),
    "config": _of(dict),
    "state_dict": _weights,
    "ema": _average,
    "standing": _standing,
}

OF_TASK: dict[str, dict[str, Check]] = {
    "classification": {
        "model": _model,
        "size": _side,
        "test_crop": lambda value: check_choice("test_crop", value, TestCrop),
    },
    "parsing": {"network": _of(dict), "shorter_side": _side_or_none},
    "detection": {"network": _of(dict), "shorter_side": _longer_side, "longer_side": _longer_side},
}


def check_keys(contents: dict[str, Any], path: Path) -> None:
    """Raise InputError unless all is there that a checkpoint of its task has, and of the right type."""
    for name, check in {**ANY_RUN, **OF_TASK[contents["task"]]}.items():
        if name not in contents:
            raise InputError(f"{path} is no whole checkpoint: it lacks {name}; give last.pt or best.pt of a run")
        try:
            check(contents[name])
        except InputError as error:
            raise InputError(f"{path} is no checkpoint of a run: its {name} {error}; give another") from None


@contextmanager
def network_errors(path: str | Path) -> Iterator[None]:
    """What making a network from a checkpoint's description raises, as an InputError that names the file."""
    try:
        yield
    except InputError as error:
        raise InputError(f"the network in {path} cannot be made: {error}") from None
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"the network in {path} cannot be made ({reason}); use the version of sdali that trained it"
        ) from None
