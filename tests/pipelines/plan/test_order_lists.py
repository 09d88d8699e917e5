"""Orders by class where an image has several classes, or none."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sdali.pipelines.plan.order import (
    ORDERS,
    ClassLists,
    class_aware,
    class_balanced,
    in_epochs_of,
    label_shuffle,
    label_shuffle_length,
    lists_of,
    order_named,
    repeat_factor,
)

held = st.lists(st.sets(st.integers(0, 5)), min_size=1, max_size=40).filter(any)


def lists(classes: list[set[int]]) -> ClassLists:
    """Of images that hold these classes; each pair given twice, in no order."""
    pairs = [(image, label) for image, own in enumerate(classes) for label in own] * 2
    images, labels = np.array(pairs[::-1], np.int64).T
    return lists_of(images, labels, len(classes))


def members(classes: list[set[int]]) -> dict[int, list[int]]:
    """class -> its images, for those that have some."""
    every = sorted(set().union(*classes))
    return {label: [image for image, own in enumerate(classes) if label in own] for label in every}


@given(held)
def test_an_image_stands_in_the_list_of_every_class_it_holds(classes: list[set[int]]) -> None:
    made, wanted = lists(classes), members(classes)
    parts = np.split(made.images, made.counts.cumsum()[:-1])
    assert [part.tolist() for part in parts] == list(wanted.values()) and len(made) == len(classes)


@given(st.lists(st.integers(0, 12), min_size=1, max_size=200), st.integers(0, 1000))
def test_lists_of_one_class_each_are_as_labels(labels: list[int], seed: int) -> None:
    """Every order gives the same for a label and for the list that it makes."""
    column = np.array(labels)
    alike = lists_of(np.arange(len(column)), column, len(column))
    for name in ORDERS:
        order = order_named(name)
        assert order.length(column) == order.length(alike)
        np.testing.assert_array_equal(order.indices(column, seed, 1), order.indices(alike, seed, 1))


def test_class_balanced_draws_a_class_then_an_image() -> None:
    """Over 60,000 positions the share of each image is the sum over its classes of 1 / classes / images of the class,
    within 5 standard errors, and neighbours are independent: each pair comes as its product says.
    """
    classes = [{0}, {0, 1}, {0, 1, 2}, set(), {0}]
    drawn = class_balanced(lists(classes), 3, 4)
    assert len(drawn) == 5
    drawn = in_epochs_of(order_named("class_balanced"), 60_000).indices(lists(classes), 3, 0)
    expected = np.zeros(5)
    for images in members(classes).values():
        expected[images] += 1 / 3 / len(images)
    shares = np.bincount(drawn, minlength=5) / 60_000
    assert shares[3] == 0 and (np.abs(shares - expected) <= 5 * np.sqrt(expected / 60_000)).all()
    pairs = np.bincount(drawn[:-1] * 5 + drawn[1:], minlength=25) / 60_000
    product = np.outer(expected, expected).ravel()
    assert (np.abs(pairs - product) <= 5 * np.sqrt(product / 60_000)).all()


@given(held, st.one_of(st.none(), st.floats(1e-3, 1)), st.integers(0, 1000))
def test_repeat_factor_is_that_of_the_rarest_class(classes: list[set[int]], threshold: float | None, seed: int) -> None:
    """r = max over its classes of max(1, sqrt(t / share)), 1 without any; each image floor or ceil of it times."""
    wanted, order = members(classes), repeat_factor(threshold)
    level = threshold or 1 / len(wanted)
    factors = np.array([max([1.0, *((level * len(classes) / len(wanted[k])) ** 0.5 for k in own)]) for own in classes])
    listed = order.indices(lists(classes), seed, 0)
    assert len(listed) == order.length(lists(classes)) and abs(len(listed) - factors.sum()) <= 1
    times = np.bincount(listed, minlength=len(classes))
    assert (times >= np.floor(factors - 1e-9)).all() and (times <= np.ceil(factors + 1e-9)).all()


@given(held, st.integers(0, 1000))
def test_label_shuffle_and_class_aware_hold_for_lists(classes: list[set[int]], seed: int) -> None:
    """Each class gives as many places as the largest; an image comes as a member of each of its classes."""
    wanted = members(classes)
    most = max(map(len, wanted.values()))
    listed = label_shuffle(lists(classes), seed, 0)
    assert len(listed) == label_shuffle_length(lists(classes)) == most * len(wanted)
    times = np.bincount(listed, minlength=len(classes))
    for image, own in enumerate(classes):
        low = sum(most // len(wanted[label]) for label in own)
        assert low <= times[image] <= sum(-(-most // len(wanted[label])) for label in own)
    turns = class_aware(lists(classes), seed, 0)
    assert len(turns) == len(classes) and all(classes[image] for image in turns.tolist())
