"""Dividing a source into training and validation samples, class by class."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..sources.source import SourceItem


def split_paths(store_path: Path) -> tuple[Path, Path]:
    """pets.lmdb -> pets.train.lmdb, pets.val.lmdb: beside each other, whatever the ending."""
    train, val = (store_path.with_name(f"{store_path.stem}.{part}{store_path.suffix}") for part in ("train", "val"))
    return train, val


def is_validation(items: Sequence[SourceItem], share: float, seed: int) -> list[bool]:
    """For each item whether it validates; `share` of every class trains.

    Within a class the items with the smallest SHA-256 of (seed, name) validate, so that a photograph mostly stays on
    its side when others come or go (our choice). Of a class with two images or more, each side gets one at least; a
    single image trains. Raises InputError for a share outside (0, 1), and where nothing would be left to validate.
    """
    if not 0 < share < 1:
        raise InputError(f"split must lie between 0 and 1, the share that trains; got {share}")
    by_class: dict[int, list[tuple[bytes, int]]] = defaultdict(list)
    for position, item in enumerate(items):
        text = f"{seed}:{item.name}".encode("utf-8", "surrogateescape")
        by_class[item.label].append((hashlib.sha256(text).digest(), position))
    chosen = [False] * len(items)
    for members in by_class.values():
        wanted = round(len(members) * (1 - share))
        for _, position in sorted(members)[: min(max(wanted, 1), len(members) - 1)]:
            chosen[position] = True
    if not any(chosen):
        raise InputError("split needs a class with two images or more; build one store instead")
    return chosen
