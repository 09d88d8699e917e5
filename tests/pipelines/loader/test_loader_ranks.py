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
    """What was served before the state and after it is the epoch, each position once; then comes the next epoch."""
    assume(not drop_last or count >= max(before[0] * before[1], after[0] * after[1]))
    first, then = (loaders(count, *sizes, drop_last, seed) for sizes in (before, after))
    batches = data.draw(st.integers(0, len(first[0])))
    got = served(first, batches)
    states = [json.loads(json.dumps(loader.state_dict())) for loader in first]
    assert all(state == states[0] for state in states)
    for loader in then:
        loader.load_state_dict(states[0])
    epoch, position, step = states[0]["epoch"], states[0]["position"], after[0] * after[1]
    assert (epoch, position) == ((0, len(got)) if batches < len(first[0]) else (1, 0))
    whole = served(loaders(count, 1, 1, False, seed))
    rest = served(then)
    if epoch == 0:
        left = count - position
        assert got + rest == whole[: position + (left // step * step if drop_last else left)]
    assert [loader.epoch for loader in then] == [epoch + 1] * after[1]
