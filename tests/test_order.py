from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdali.pipelines.errors import InputError
from sdali.pipelines.order import order_named, sequential, shuffle


@given(st.integers(0, 3000), st.integers(0, 2**64 - 1), st.integers(0, 1000))
def test_shuffle_is_a_permutation(count: int, seed: int, epoch: int) -> None:
    order = shuffle(np.zeros(count), seed, epoch)
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(count))


def test_shuffle_is_a_function_of_seed_and_epoch() -> None:
    labels = np.zeros(1000)
    np.testing.assert_array_equal(shuffle(labels, 1, 2), shuffle(labels, 1, 2))
    assert (shuffle(labels, 1, 2) != shuffle(labels, 1, 3)).any()
    assert (shuffle(labels, 1, 2) != shuffle(labels, 2, 2)).any()


def test_shuffle_is_uniform() -> None:
    """Over 6,000 epochs each of the 24 orders of four samples comes equally often (chi-squared test at 99.99 %)."""
    orders = [tuple(shuffle(np.zeros(4), 0, epoch)) for epoch in range(6000)]
    counts = np.unique(np.array(orders), axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert ((counts - 250) ** 2 / 250).sum() < 58.6


def test_sequential_is_the_store_order() -> None:
    np.testing.assert_array_equal(sequential(np.zeros(5), 3, 4), np.arange(5))


def test_a_million_take_well_under_a_second() -> None:
    start = time.process_time()
    shuffle(np.zeros(1_000_000, np.int8), 0, 0)
    assert time.process_time() - start < 1


def test_an_unknown_order_is_named() -> None:
    with pytest.raises(InputError, match="no order is called 'random'; there are sequential, shuffle"):
        order_named("random")
