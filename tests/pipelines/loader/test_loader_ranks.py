"""Ranks share an epoch out exactly, and a state restores on any of them: by positions alone, with a pipeline of none.

The real pipelines are held to the same contract in test_contract_resume, on fewer cases.
"""

from __future__ import annotations

import json

from bare_loaders import loaders, served
from hypothesis import assume, given
from hypothesis import strategies as st

SIZES = st.tuples(st.integers(1, 6), st.integers(1, 4))  # batch size, ranks


@given(st.integers(1, 60), SIZES, st.booleans(), st.integers(0, 2**32))
def test_ranks_share_out_every_epoch(count: int, sizes: tuple[int, int], drop_last: bool, seed: int) -> None:
    """Each position once over all ranks, up to the last full step or the end; the order is that of one rank alone."""
    batch_size, world_size = sizes
    step = batch_size * world_size
    assume(not drop_last or count >= step)
    ranks, (alone,) = loaders(count, batch_size, world_size, drop_last, seed), loaders(count, 1, 1, False, seed)
    length = count // step * step if drop_last else count
    for _ in range(2):
        got = served(ranks)
        assert [position for position, _ in got] == list(range(length))
        assert got == served([alone])[:length]


@given(st.integers(2, 60), SIZES, SIZES, st.booleans(), st.integers(0, 2**32), st.data())
def test_a_state_goes_on_at_its_position_on_any_ranks(
    count: int, before: tuple[int, int], after: tuple[int, int], drop_last: bool, seed: int, data: st.DataObject
) -> None:
    """What was served before the state and after it is the epoch, each position once; then comes the next epoch.

    Where the first loaders have served all of it, or no step of the others fits, see test_resume_loops.
    """
    assume(not drop_last or count >= max(before[0] * before[1], after[0] * after[1]))
    first, then = (loaders(count, *sizes, drop_last, seed) for sizes in (before, after))
    batches = data.draw(st.integers(0, len(first[0])))
    got = served(first, batches)
    states = [json.loads(json.dumps(loader.state_dict())) for loader in first]
    assert all(state == states[0] for state in states)
    for loader in then:
        loader.load_state_dict(states[0])
    position, step = states[0]["position"], after[0] * after[1]
    assert (states[0]["epoch"], position) == (0, len(got) if batches < len(first[0]) else count)
    left = count - position
    assume(not left or not drop_last or left >= step)
    whole = served(loaders(count, 1, 1, False, seed))
    assert got + served(then) == [*got, *whole[position : position + (left // step * step if drop_last else left)]]
    assert [loader.epoch for loader in then] == [1] * after[1]


@given(st.integers(1, 60), SIZES, st.integers(0, 59))
def test_a_short_last_step_is_shared_out_evenly(count: int, sizes: tuple[int, int], start: int) -> None:
    """Ranks differ by a sample at most and earlier ones have more; all steps before it are full on every rank."""
    assume(start < count)
    batch_size, world_size = sizes
    ranks = loaders(count, batch_size, world_size, False, seed=1)
    for loader in ranks:
        loader.load_state_dict({**loader.state_dict(), "position": start})
    batches = [[len(batch["index"]) for batch in loader] for loader in ranks]
    for *full, _ in batches:
        assert full == [batch_size] * len(full)
    last = [own[-1] for own in batches]
    assert last == sorted(last, reverse=True) and max(last) - min(last) <= 1
    assert sum(map(sum, batches)) == count - start


@given(st.integers(1, 60), SIZES)
def test_padding_gives_ranks_equal_counts_and_lies_at_the_end(count: int, sizes: tuple[int, int]) -> None:
    """Batches of the ranks one after another, cut to the samples that a step has, are the epoch: gather_for_metrics."""
    batch_size, world_size = sizes
    ranks = loaders(count, batch_size, world_size, False, seed=1, pad=True)
    named = sorted(index for loader in ranks for index in loader.sampler)
    served, indices = [], []
    for step in zip(*ranks, strict=True):
        indices += [int(index) for batch in step for index in batch["index"]]
        assert len({len(batch["index"]) for batch in step}) == 1 and len(step[0]["index"])
        positions = [int(row["position"]) for batch in step for row in batch["plan"]]
        padding = [bool(flag) for batch in step for flag in batch["padding"]]
        real = padding.count(False)
        assert padding == [False] * real + [True] * (len(padding) - real)
        assert all(position == count - 1 for position in positions[real:])
        served += positions[:real]
    assert served == list(range(count)) and sorted(indices) == named


@given(st.integers(1, 60), SIZES)
def test_training_may_keep_a_short_last_step(count: int, sizes: tuple[int, int]) -> None:
    """No rank ever has an empty batch: a last step with fewer samples than ranks is left out."""
    batch_size, world_size = sizes
    assume(count >= world_size)
    ranks = loaders(count, batch_size, world_size, False, seed=1, least=world_size)
    batches = [[len(batch["index"]) for batch in loader] for loader in ranks]
    assert all(min(own) > 0 and len(own) == len(loader) for own, loader in zip(batches, ranks, strict=True))
    left_out = count - sum(map(sum, batches))
    assert left_out == (count % (batch_size * world_size) if count % (batch_size * world_size) < world_size else 0)
