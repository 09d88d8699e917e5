"""Arguments of a timm model: from the words that a user writes, such as `layers=3,4,11,3`, to keyword arguments."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable
from typing import Any

from ....pipelines.errors import InputError

# Arguments that the trainers set themselves, or that would download weights.
RESERVED = {
    "cache_dir", "checkpoint_path", "features_only", "in_chans", "model_name", "num_classes", "pretrained",
    "pretrained_cfg", "pretrained_cfg_overlay", "scriptable", "exportable",
}  # fmt: skip


def parse_arguments(pairs: Iterable[str]) -> dict[str, Any]:
    """`key=value` words as keyword arguments; a value that is no Python literal is text.

    Raises InputError for a word of another form, a key given twice, or a key in RESERVED.
    """
    arguments: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not (equals and key.isidentifier()):
            raise InputError(f"model_args are key=value, such as drop_rate=0.2, got {pair!r}")
        if key in RESERVED:
            raise InputError(f"model_args must not hold {key}, which the trainer sets; leave it out")
        if key in arguments:
            raise InputError(f"model_args hold {key} twice; give it once")
        arguments[key] = _value(pair, text)
    return arguments


def format_arguments(arguments: dict[str, Any]) -> str:
    """Keyword arguments as `key=value` words for messages, "none" if there are none."""
    return " ".join(f"{key}={value!r}" for key, value in sorted(arguments.items())) or "none"


def _value(pair: str, text: str) -> Any:
    try:
        value = ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text
    try:
        json.dumps(value)
    except (TypeError, ValueError):  # sets, bytes, complex numbers: a checkpoint cannot hold them
        raise InputError(f"model_args take numbers, text and tuples of them, got {pair!r}") from None
    return value
