"""The forms in which images come, for every task: number types, channels_last, uint8 without colour."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contract import CASES, STORES

from sdali.pipelines import InputError
from sdali.pipelines.loader.loader import Loader

TASKS = {name: CASES[name] for name in ("classification train", "parsing train", "detection train", "detection test")}


@pytest.fixture(scope="module", params=TASKS)
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Loader]:
    case = TASKS[request.param]
    store = STORES[case.store](tmp_path_factory.mktemp("store") / "s.lmdb")
    common = {**case.options, "batch_size": 6, "device": "cpu", "threads": 1}
    return lambda **options: case.make(store, **common, **options)


def first(loader: Loader) -> dict[str, Any]:
    batch = next(iter(loader))
    loader.close()
    return batch


@pytest.mark.parametrize(("dtype", "bits"), [("float16", 11), ("bfloat16", 8)])
def test_half_types_are_float32_rounded(make: Callable[..., Loader], dtype: str, bits: int) -> None:
    """To the nearest: at most half a unit of the last of so many bits away."""
    full, half = first(make())["image"], first(make(dtype=dtype))["image"]
    assert half.dtype is getattr(torch, dtype)
    assert ((half.float() - full).abs() <= full.abs() * 2.0**-bits + 2**-24).all()


def test_channels_last_is_another_layout_of_the_same_pixels(make: Callable[..., Loader]) -> None:
    plain, last = first(make())["image"], first(make(channels_last=True))["image"]
    assert last.is_contiguous(memory_format=torch.channels_last) and not last.is_contiguous()
    assert torch.equal(plain, last)


def test_uint8_is_what_the_colour_stage_starts_from(make: Callable[..., Loader]) -> None:
    """The plan's own colour matrix, applied in float64 to the uint8 pixels of each place, gives the float32 image."""
    coloured, levels = first(make()), first(make(dtype="uint8"))
    assert levels["image"].dtype == torch.uint8 and "colour" not in levels
    for place, row in enumerate(coloured["plan"]):
        height, width = coloured["size"][place].tolist() if "size" in coloured else coloured["image"].shape[-2:]
        if "placed" in row.dtype.names:
            top, left, high, wide = row["placed"]
            at = slice(max(top, 0), min(top + high, height)), slice(max(left, 0), min(left + wide, width))
        else:
            at = slice(0, height), slice(0, width)
        pixels = levels["image"][place][:, at[0], at[1]].double().numpy()
        grey = np.array([0.299, 0.587, 0.114]) @ pixels.mean((1, 2))
        matrix = row["colour"].astype(float)
        expected = np.einsum("oc,chw->ohw", matrix[:, :3], pixels) + (matrix[:, 3] * grey + matrix[:, 4])[:, None, None]
        found = coloured["image"][place][:, at[0], at[1]].numpy()
        # Rounding to whole levels is half a level at most of each channel, and of the grey.
        assert np.abs(found - expected).max() <= 0.51 * np.abs(matrix[:, :4]).sum(1).max() + 1e-4
        beside = levels["image"][place].clone()
        beside[:, at[0], at[1]] = 0
        assert not beside.any()  # padding is black


def test_an_unknown_type_is_named(make: Callable[..., Loader]) -> None:
    with pytest.raises(InputError, match="dtype must be one of float32, float16, bfloat16, uint8, got 'float64'"):
        make(dtype="float64")


def test_several_views_have_no_channels_last(tmp_path: Path) -> None:
    """torch's format is of four dimensions."""
    case = CASES["classification test, ten crops"]
    store = STORES[case.store](tmp_path / "s.lmdb")
    with pytest.raises(InputError, match="channels_last is for one view of each image, not 10"):
        case.make(store, **case.options, batch_size=4, device="cpu", channels_last=True)
