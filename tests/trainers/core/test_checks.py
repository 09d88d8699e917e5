"""Refusals about classes name the store, the difference and the way out."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pictures import jpeg, make_store, photo

from sdali.pipelines import ImageStore, InputError
from sdali.pipelines.store.writer import StoreWriter
from sdali.trainers.core.checks import check_labelled, check_same_classes, class_difference


@pytest.mark.parametrize(
    ("found", "wanted", "difference"),
    [
        (["a", "b"], ["a", "b"], ""),
        (["a"], ["a", "b"], "it lacks b"),
        (["a", "c"], ["a", "b"], "it lacks b and it adds c"),
        (["a", "b", "c"], ["a", "b"], "it adds c"),
        (["b", "a"], ["a", "b"], "class 0 is b there and should be a"),
        (["a", "b", "a"], ["a", "b"], "it has 3 and should have 2"),
        ([], list("abcdef"), "it lacks a, b, c and 3 more"),
    ],
)
def test_difference_is_named(found: list[str], wanted: list[str], difference: str) -> None:
    """Missing and added classes are named, up to three of each; then the first one out of place."""
    assert class_difference(found, wanted) == difference


@pytest.mark.perf
def test_the_cost_grows_with_the_number_of_classes() -> None:
    """And not with its square: ten times the names take less than forty times the time."""

    def seconds(count: int) -> float:
        names = [f"n{number:08}" for number in range(count)]
        begun = time.process_time()
        assert class_difference(names, names[1:]) == "it adds n00000000"
        return time.process_time() - begun

    assert seconds(200_000) < 40 * max(seconds(20_000), 0.01)


def test_other_classes_are_refused(tmp_path: Path) -> None:
    """The sentence names the store, whose classes are wanted, and the difference."""
    store = make_store(tmp_path / "s.lmdb", 4, classes=2)
    check_same_classes(store, ["class 0", "class 1"], "run/best.pt")
    with pytest.raises(InputError, match=r"s\.lmdb does not have the classes of run/best\.pt: it adds class 1; build"):
        check_same_classes(store, ["class 0"], "run/best.pt")


def test_labels_and_classes_are_needed(tmp_path: Path) -> None:
    """One class, or an image without one, cannot train a classifier; the first such image is named."""
    check_labelled(make_store(tmp_path / "two.lmdb", 4, classes=2))
    with pytest.raises(InputError, match=r"one\.lmdb has 1 classes and a classifier needs two or more"):
        check_labelled(make_store(tmp_path / "one.lmdb", 4, classes=1))
    with StoreWriter(tmp_path / "some.lmdb", classes=["a", "b"]) as writer:
        for index, label in enumerate([0, -1, 1, -1]):
            writer.add(jpeg(photo(index, 40, 40)), label=label, height=40, width=40, name=f"{index}.jpg")
    with pytest.raises(InputError, match=r"2 of the 4 images of .*some\.lmdb have no class, the first is 1\.jpg"):
        check_labelled(ImageStore(tmp_path / "some.lmdb"))
