"""One contract of all loaders: what comes after a state depends on the state alone, whoever goes on from it.

The state is that of the last batch the trainer received, whatever was prefetched. In another process, with another
batch size, number of ranks or threads, the rest of the epoch and the next one are the same by position: pixels, labels,
masks, boxes, plan rows. Only steps must stay as they are where something is drawn for each of them, and padding is each
batch's own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from itertools import islice, pairwise
from typing import Any, NamedTuple

import contract
import pytest
from contract import CASES, STORES, Job, Layout, by_position, opened

UNDISTURBED = Layout(batch_size=8, world_size=1, threads=2)
OTHERS = [
    Layout(batch_size=8, world_size=1, threads=1),
    Layout(batch_size=4, world_size=2, threads=2),  # the same steps
    Layout(batch_size=5, world_size=1, threads=2),
    Layout(batch_size=3, world_size=3, threads=1),
    Layout(batch_size=16, world_size=1, threads=1),
]


class Recorded(NamedTuple):
    """An undisturbed run of three epochs, its states, and what a new process made of each state in turn."""

    whole: dict[str, str]
    states: list[dict[str, Any]]
    gone_on: list[tuple[Job, dict[str, str]]]


def layout_of(name: str, layout: Layout) -> Layout | None:
    """That of a case which has its own demands; None where it cannot have this one."""
    case = CASES[name]
    if case.drawn_a_step and layout.batch_size * layout.world_size != 8:
        return None
    return Layout(batch_size=1, world_size=layout.world_size, threads=layout.threads) if case.one_by_one else layout


def record(name: str, store: str, device: str) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """Three epochs by position, and the state before the first batch and after each of the first epoch."""
    layout = layout_of(name, UNDISTURBED)
    assert layout is not None
    loader = opened(name, store, layout, device)
    states, whole = [loader.state_dict()], {}
    for batch in loader:
        whole |= by_position(0, [batch])
        states.append(json.loads(json.dumps(loader.state_dict())))
    for epoch in (1, 2):
        whole |= by_position(epoch, loader)
    loader.close()
    return whole, states


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("stores")
    return {name: str(make(folder / f"{name}.lmdb").path) for name, make in STORES.items()}


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda:0", marks=pytest.mark.gpu)])
def recorded(request: pytest.FixtureRequest, stores: dict[str, str]) -> dict[str, Recorded]:
    """Each state of each case, restored with each layout in turn, in one new process for all."""
    device = request.param
    undisturbed = {name: record(name, stores[case.store], device) for name, case in CASES.items()}
    jobs = []
    for name, (_, states) in undisturbed.items():
        layouts = [fit for other in OTHERS if (fit := layout_of(name, other)) is not None]
        chosen = states if not CASES[name].one_by_one else states[::7]
        turns = [(state, layouts[place % len(layouts)]) for place, state in enumerate(chosen)]
        turns += [(states[2], layout) for layout in layouts]
        jobs += [
            Job(case=name, store=stores[CASES[name].store], state=state, layout=layout, device=device)
            for state, layout in turns
        ]
    asked = json.dumps([asdict(job) for job in jobs])
    script = [sys.executable, contract.__file__]
    said = subprocess.run(script, input=asked, capture_output=True, text=True, timeout=300, check=False)
    assert said.returncode == 0, said.stderr
    answers = list(zip(jobs, json.loads(said.stdout), strict=True))
    return {
        name: Recorded(*undisturbed[name], [answer for answer in answers if answer[0].case == name]) for name in CASES
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_new_process_goes_on_as_if_nothing_had_happened(recorded: dict[str, Recorded], name: str) -> None:
    """From every state, over the epoch's end: no position is missing that full steps reach, and none differs."""
    whole, states, gone_on = recorded[name]
    assert len(gone_on) >= len(states) / 8 and len(set(whole.values())) == len(whole) // (1 if CASES[name].train else 3)
    for job, got in gone_on:
        epoch, position, step = job.state["epoch"], job.state["position"], job.layout.batch_size * job.layout.world_size
        for number, start in ((epoch, position), (epoch + 1, 0)):
            left = CASES[name].length - start
            served = left // step * step if CASES[name].train else left
            positions = sorted(int(key.split()[1]) for key in got if key.startswith(f"{number} "))
            assert positions == list(range(start, start + served)), job
        differing = [key for key in got if key in whole and got[key] != whole[key]]
        assert not differing, (job, differing)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_state_is_that_of_the_last_batch_received(recorded: dict[str, Recorded], name: str) -> None:
    """One step more with each batch, however far DALI has run ahead; with the last, it is the epoch's end."""
    _, states, _ = recorded[name]
    step = 1 if CASES[name].one_by_one else 8
    assert all(state["epoch"] == 0 for state in states[:-1])
    steps = [after["position"] - before["position"] for before, after in pairwise(states[:-1])]
    assert steps and set(steps) == {step}
    assert (states[-1]["epoch"], states[-1]["position"]) == (0, CASES[name].length)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_break_begins_a_new_epoch_and_a_loaded_state_takes_effect_at_once(
    recorded: dict[str, Recorded], stores: dict[str, str], name: str
) -> None:
    """Nothing prefetched leaks into a `for` after `break`; a state loaded in a loop decides its next batch."""
    whole, states, _ = recorded[name]
    layout = layout_of(name, UNDISTURBED)
    assert layout is not None
    loader = opened(name, stores[CASES[name].store], layout, "cpu")
    for _ in islice(loader, len(loader)):
        pass  # all of an epoch, and not asked whether there is more
    loader.set_epoch(0)
    for _ in loader:
        break
    again = {}
    for number, batch in enumerate(loader):
        again |= by_position(1, [batch])
        if number == 2:
            break
    assert again and again.items() <= whole.items() and all(key.startswith("1 ") for key in again)
    for _ in islice(loader, len(loader)):
        pass
    assert by_position(3, loader) and loader.epoch == 4
    loader.load_state_dict(states[1])
    jumped, step = [], layout.batch_size
    for number, batch in enumerate(loader):
        jumped.append(by_position(0, [batch]))
        if number == 1:
            loader.load_state_dict(states[1])
        if number == 4:
            break
    assert [next(iter(part)) for part in jumped] == [f"0 {step * k}" for k in (1, 2, 1, 2, 3)]
    assert all(part.items() <= whole.items() for part in jumped)
