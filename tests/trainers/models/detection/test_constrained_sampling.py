"""The constrained ratio of negatives to positives: counts over random cases, and what is chosen."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdali.pipelines.errors import InputError
from sdali.trainers.models.detection.sampling import ConstrainedConfig, ConstrainedSampler


def labels(positives: int, negatives: int, ignored: int) -> torch.Tensor:
    """Shuffled; positives are of several classes, as the head's may be."""
    values = [1 + i % 3 for i in range(positives)] + [0] * negatives + [-1] * ignored
    return torch.tensor(values, dtype=torch.long)[torch.randperm(len(values))]


@given(st.integers(0, 400), st.integers(0, 1000), st.integers(0, 50))
def test_counts(positives: int, negatives: int, ignored: int) -> None:
    """From 13 positives on at most 1.5 negatives to each; below, 32 in all where there are negatives enough."""
    given = labels(positives, negatives, ignored)
    ((chosen,), (others,)) = ConstrainedSampler(ConstrainedConfig())([given])
    assert chosen.sum() == min(positives, 128)
    assert (given[chosen] > 0).all() and (given[others] == 0).all()
    if positives >= 13:
        assert others.sum() <= 1.5 * chosen.sum()
        assert others.sum() == min(negatives, int(1.5 * min(positives, 128)))
    elif positives + negatives >= 32:
        assert chosen.sum() + others.sum() == 32
    else:
        assert others.sum() == negatives


def test_each_image_for_itself() -> None:
    positives, negatives = ConstrainedSampler(ConstrainedConfig())([labels(20, 100, 5), labels(0, 100, 0)])
    assert [int(mask.sum()) for mask in positives] == [20, 0]
    assert [int(mask.sum()) for mask in negatives] == [30, 32]


def test_the_choice_is_random_and_follows_torchs_state() -> None:
    given, sampler = [labels(300, 300, 0)], ConstrainedSampler(ConstrainedConfig())
    torch.manual_seed(0)
    first, second = sampler(given), sampler(given)
    torch.manual_seed(0)
    again = sampler(given)
    for side in range(2):
        assert torch.equal(first[side][0], again[side][0]) and not torch.equal(first[side][0], second[side][0])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"positives": 0}, "positives must be at least 1, got 0"),
        ({"ratio": -1.0}, "ratio must be at least 0 and finite, got -1.0"),
        ({"positives": 4}, "least must be at most what 4 positives and 1.5 negatives to each make, got 32"),
    ],
)
def test_bad_values(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ConstrainedConfig(**fields)
