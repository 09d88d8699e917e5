from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from sdali.pipelines.errors import InputError
from sdali.pipelines.plan import order
from sdali.pipelines.plan.order import (
    ORDERS,
    class_aware,
    in_epochs_of,
    label_shuffle,
    label_shuffle_length,
    listed,
    order_named,
    repeat_factor,
    sequential,
    shuffle,
    weighted,
)
from sdali.pipelines.plan.random_words import Purpose, uniforms


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


def test_words_are_taken_in_chunks_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = shuffle(np.zeros(1003), 4, 5)
    monkeypatch.setattr(order, "_CHUNK", 64)
    np.testing.assert_array_equal(shuffle(np.zeros(1003), 4, 5), whole)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=400), st.integers(0, 2**64 - 1), st.integers(0, 1000))
def test_label_shuffle_shows_each_class_equally_often(labels: list[int], seed: int, epoch: int) -> None:
    """Its three laws: the length, each class n_max times, each image floor or ceil(n_max / n_c) times."""
    column = np.array(labels, np.int32)
    listed = label_shuffle(column, seed, epoch)
    counts = np.bincount(column)
    assert listed.dtype == np.int64
    assert len(listed) == label_shuffle_length(column) == counts.max() * np.count_nonzero(counts)
    assert set(np.bincount(column[listed])) - {0} == {counts.max()}
    times = np.bincount(listed, minlength=len(column))
    wanted = counts.max() / counts[column]
    assert (times >= np.floor(wanted)).all() and (times <= np.ceil(wanted)).all()


def test_label_shuffle_chooses_the_images_that_come_once_more_anew_each_epoch() -> None:
    """Class 1 has 3 images for 4 places: each of them is the one that comes twice, equally often (within 5 sigma)."""
    labels = np.array([0, 0, 0, 0, 1, 1, 1])
    twice = [np.bincount(label_shuffle(labels, 0, epoch), minlength=7)[4:].argmax() for epoch in range(3000)]
    assert (np.abs(np.bincount(twice) - 1000) < 130).all()


def test_label_shuffle_mixes_the_classes() -> None:
    """A class's share of each tenth of the epoch is its share of the whole, within 6 sigma."""
    labels = np.repeat(np.arange(10, dtype=np.int32), np.arange(100, 1100, 100))
    classes = labels[label_shuffle(labels, 1, 2)].reshape(10, -1)
    shares = np.stack([np.bincount(part, minlength=10) for part in classes])
    assert (np.abs(shares - 100) < 6 * np.sqrt(100)).all()


@given(st.lists(st.integers(0, 12), min_size=1, max_size=400), st.integers(0, 2**64 - 1), st.integers(0, 1000))
def test_class_aware_takes_classes_and_their_images_in_turn(labels: list[int], seed: int, epoch: int) -> None:
    """Each round of K positions holds every class once; within a class no image comes again before all have come."""
    column = np.array(labels, np.int32)
    listed = class_aware(column, seed, epoch)
    assert len(listed) == len(column) and listed.dtype == np.int64
    classes = len(set(labels))
    for start in range(0, len(listed) - classes + 1, classes):
        assert len(set(column[listed[start : start + classes]].tolist())) == classes
    for label in set(labels):
        own = listed[column[listed] == label]
        size = labels.count(label)
        for start in range(0, len(own), size):
            cycle = own[start : start + size]
            assert len(set(cycle.tolist())) == len(cycle)


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=400),
    st.one_of(st.none(), st.floats(1e-3, 1)),
    st.integers(0, 2**64 - 1),
    st.integers(0, 1000),
)
def test_repeat_factor_rounds_each_factor(labels: list[int], threshold: float | None, seed: int, epoch: int) -> None:
    """Each image comes floor or ceil of its factor times; a pass is as long as all factors, rounded down."""
    column = np.array(labels, np.int32)
    order = repeat_factor(threshold)
    listed = order.indices(column, seed, epoch)
    counts = np.bincount(column)
    classes = np.count_nonzero(counts)
    factors = np.maximum(1, np.sqrt((threshold or 1 / classes) * len(column) / counts[column]))
    assert len(listed) == order.length(column) and abs(len(listed) - factors.sum()) <= 1
    times = np.bincount(listed, minlength=len(column))
    assert (times >= np.floor(factors)).all() and (times <= np.ceil(factors)).all()


def test_repeat_factor_is_its_mean() -> None:
    """Over 2,000 passes an image comes factor times on average, within 5 standard errors."""
    labels = np.array([0] * 17 + [1] * 3)
    order = repeat_factor(0.5)
    times = np.mean([np.bincount(order.indices(labels, 0, epoch), minlength=20) for epoch in range(2000)], 0)
    factor = np.sqrt(0.5 / 0.15)
    assert (times[:17] == 1).all()
    rest = (order.length(labels) - 17 - 3) / 3  # of 0.826: the length is whole
    assert factor - 1 - rest < 1 / 3
    np.testing.assert_allclose(times[17:], 1 + rest, atol=5 * 0.5 / np.sqrt(2000))


@pytest.mark.parametrize("threshold", [0, -1, 1.5, float("nan")])
def test_a_threshold_that_is_no_share_is_refused(threshold: float) -> None:
    with pytest.raises(InputError, match="threshold of repeat_factor must be within"):
        repeat_factor(threshold)


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("positions", [1, 7, 60, 150])
def test_epochs_of_any_length_go_on_where_the_last_ended(name: str, positions: int) -> None:
    """Their concatenation is that of the passes, and each is a function of its own number."""
    labels = np.random.default_rng(0).integers(0, 5, 50)
    order = order_named(name)
    cut = in_epochs_of(order, positions)
    passes = np.concatenate([order.indices(labels, 3, number) for number in range(5)])
    epochs = [cut.indices(labels, 3, number) for number in range(len(passes) // positions)]
    assert {len(epoch) for epoch in epochs} == {positions} == {cut.length(labels)}
    joined = np.concatenate(epochs)
    np.testing.assert_array_equal(joined, passes[: len(joined)])


@pytest.mark.perf
def test_a_million_and_a_half_positions_are_quick() -> None:
    """365 classes: a tenth of Places365-challenge within 1 s, where 14.6 million are to take 3 s."""
    labels = np.random.default_rng(0).integers(0, 365, 1_460_000)
    for name in ORDERS:
        start = time.process_time()
        order_named(name).indices(labels, 0, 0)
        assert time.process_time() - start < 1, name


def test_label_shuffle_needs_labels() -> None:
    with pytest.raises(InputError, match="2 of 3 samples have no label, which this order needs; use shuffle"):
        label_shuffle(np.array([-1, 0, -1]), 0, 0)


def test_sequential_is_the_store_order() -> None:
    np.testing.assert_array_equal(sequential(np.zeros(5), 3, 4), np.arange(5))


@pytest.mark.perf
def test_a_million_take_well_under_a_second() -> None:
    start = time.process_time()
    shuffle(np.zeros(1_000_000, np.int8), 0, 0)
    assert time.process_time() - start < 1


def test_an_unknown_order_is_named() -> None:
    with pytest.raises(
        InputError,
        match="no order is called 'random'; there are sequential, shuffle, label_shuffle, class_aware, repeat_factor",
    ):
        order_named("random")


@given(st.integers(1, 300), st.integers(0, 2**32), st.data())
def test_weights_draw_in_proportion(count: int, seed: int, data: st.DataObject) -> None:
    """Each position by its own uniform, as a plain loop over the weights would; what weighs nothing never comes."""
    weights = np.array(data.draw(st.lists(st.floats(0, 1e3), min_size=count, max_size=count)))
    assume(weights.sum() > 0)
    drawn = weighted(weights).indices(np.zeros(count, int), seed, 3)
    u = uniforms(seed, 3, Purpose.WEIGHTED_ORDER, 0, -(-count // 4), 4).ravel()[:count]
    assert len(drawn) == count and (weights[drawn] > 0).all()
    reached = np.array([0.0, *weights.cumsum()])
    assert (reached[drawn] <= u * reached[-1]).all() and (u * reached[-1] <= reached[drawn + 1]).all()


def test_weights_are_met_over_many_epochs() -> None:
    """Counts of 400 epochs of 10 lie within five standard errors of the shares; epochs differ and repeat."""
    weights = np.arange(10.0)
    order, labels = weighted(weights), np.zeros(10, int)
    drawn = np.concatenate([order.indices(labels, 1, epoch) for epoch in range(400)])
    share = weights / weights.sum()
    assert (abs(np.bincount(drawn, minlength=10) - 4000 * share) <= 5 * np.sqrt(4000 * share)).all()
    assert order.indices(labels, 1, 7).tolist() == drawn[70:80].tolist() != drawn[80:90].tolist()


@pytest.mark.parametrize("weights", [[0, 0], [1, -1], [np.nan, 1], [np.inf, 1], [1e308, 1e308]])
def test_bad_weights_are_refused(weights: list) -> None:
    with pytest.raises(InputError, match="weights are finite and at least 0, and one or more is above 0"):
        weighted(np.array(weights, float))


def test_orders_of_ones_own_are_named_by_their_content() -> None:
    """A state names its order, so that it does not go on in another one."""
    indices = np.array([3, 3, 1])
    assert listed(indices).indices(np.zeros(4, int), 0, 5).tolist() == [3, 3, 1]
    assert listed(indices).length(np.zeros(4, int)) == 3
    orders = [listed(indices), listed(indices[::-1].copy()), weighted(np.ones(3)), weighted(np.arange(3.0))]
    assert len({order.name for order in orders}) == 4 and listed(indices.copy()).name == orders[0].name
    with pytest.raises(InputError, match="the order lists no samples"):
        listed(np.zeros(0, np.int64))
