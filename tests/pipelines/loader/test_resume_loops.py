"""A state saved in a loop resumes it in each of the three ways that loops over epochs are written, on any sizes."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from bare_loaders import loaders, served
from hypothesis import assume, given
from hypothesis import strategies as st

from sdali.pipelines.loader.loader import Loader

EPOCHS = 3
SIZES = st.tuples(st.integers(1, 6), st.integers(1, 4))  # batch size, ranks


def named_epochs(ranks: list[Loader], epoch: int) -> Iterator[list[tuple[int, int]]]:
    """The usual loop of PyTorch, whose epoch the caller saves: set_epoch before each, by a framework and its user."""
    for number in range(epoch, EPOCHS):
        for loader in ranks:
            loader.set_epoch(number)
            loader.sampler.set_epoch(number)
        yield served(ranks)


def loaders_epochs(ranks: list[Loader], epoch: int) -> Iterator[list[tuple[int, int]]]:
    """A loop that goes by the loader's own epoch."""
    while ranks[0].epoch < EPOCHS:
        yield served(ranks)


def counted_epochs(ranks: list[Loader], epoch: int) -> Iterator[list[tuple[int, int]]]:
    """The loop of torchdata: one `for` for each epoch from the saved one on, and no set_epoch."""
    for _ in range(epoch, EPOCHS):
        yield served(ranks)


@pytest.mark.parametrize("loop", [named_epochs, loaders_epochs, counted_epochs])
@given(st.integers(2, 60), SIZES, SIZES, st.booleans(), st.integers(0, 1), st.data())
def test_every_loop_resumes_exactly(
    loop, count: int, before: tuple[int, int], after: tuple[int, int], drop_last: bool, epoch: int, data: st.DataObject
) -> None:
    """The rest of the saved epoch, in steps of the new size, then each later epoch whole: nothing twice or missing."""
    assume(not drop_last or count >= max(before[0] * before[1], after[0] * after[1]))
    first, then = (loaders(count, *sizes, drop_last, seed=4) for sizes in (before, after))
    steps = data.draw(st.integers(1, len(first[0])), "steps of the saved epoch")
    for loader in first:
        loader.set_epoch(epoch)
    loops = [iter(loader) for loader in first]
    done = sorted(row for batches in loops for _ in range(steps) for row in rows(next(batches)))
    state = json.loads(json.dumps(first[0].state_dict()))
    if data.draw(st.booleans(), "the loop comes to its end") and steps == len(first[0]):
        assert [list(batches) for batches in loops] == [[]] * len(first)
        state, epoch = first[0].state_dict(), epoch + 1
        done = []
    for loader in then:
        loader.load_state_dict(state)

    order, step = {number: whole_epoch(count, number) for number in range(EPOCHS + 1)}, after[0] * after[1]
    is_over = bool(done) and steps == len(first[0])
    left = [] if is_over else in_steps(order[epoch][len(done) :], step, drop_last)
    later = [in_steps(order[number], step, drop_last) for number in range(epoch + 1, EPOCHS)]
    moved = not is_over and bool(done) and not left  # no step of the new size fits: the loader names the next epoch
    if loop is counted_epochs and moved:
        later.append(in_steps(order[EPOCHS], step, drop_last))  # that loop cannot know
    got = list(loop(then, epoch))
    assert done == order[epoch][: len(done)]
    assert got == (later if moved and loop is not named_epochs else [left, *later])


def rows(batch: dict) -> list[tuple[int, int]]:
    return [(int(row["position"]), int(row["index"])) for row in batch["plan"]]


def whole_epoch(count: int, epoch: int) -> list[tuple[int, int]]:
    (alone,) = loaders(count, 1, 1, False, seed=4)
    alone.set_epoch(epoch)
    return served([alone])


def in_steps(positions: list[tuple[int, int]], step: int, drop_last: bool) -> list[tuple[int, int]]:
    return positions[: len(positions) // step * step] if drop_last else positions
