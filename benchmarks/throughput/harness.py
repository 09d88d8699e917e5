"""Measuring peers in turn: CPU time of the process tree, medians over rounds, warm-up excluded.

CPU milliseconds per image (user + system, worker processes included) say what a pipeline costs; images per second say
how fast it is on this machine, which other work may share. Peers take turns within a round, so that a change in the
machine's speed meets all of them alike.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ...pipelines.io.progress import Track, silent
from .peer_process import Pass, Peer, PeerFailed, PeerProcess

T = TypeVar("T")


@dataclass
class Measured:
    """What the rounds of one peer gave, or why there are none."""

    peer: str
    passes: list[Pass] = field(default_factory=list)
    lacks: str = ""
    peak_memory: int = 0
    failure: str = ""

    def ratio(self, other: Measured) -> float:
        """CPU time an image divided by that of `other` in the same round, the median of the rounds.

        Within a round both meet the same load of the machine.
        """
        pairs = zip(self.passes, other.passes, strict=True)
        return statistics.median(mine.cpu / mine.images / (theirs.cpu / theirs.images) for mine, theirs in pairs)

    def result(self) -> dict[str, Any]:
        """Medians and ranges, JSON-able; {"peer", "failure"} for a peer that could not be measured."""
        if self.failure:
            return {"peer": self.peer, "failure": self.failure}
        milliseconds = [1e3 * one.cpu / one.images for one in self.passes]
        rates = [one.images / one.wall for one in self.passes]
        return {
            "peer": self.peer,
            "images_per_second": statistics.median(rates),
            "images_per_second_range": [min(rates), max(rates)],
            "cpu_ms_per_image": statistics.median(milliseconds),
            "cpu_ms_per_image_range": [min(milliseconds), max(milliseconds)],
            "peak_memory_mb": round(self.peak_memory / 1e6),
            "rounds": len(self.passes),
            "lacks": self.lacks,
        }


def measure_in_turn(
    peers: Sequence[tuple[str, Callable[[], Peer]]], *, rounds: int, images: int, progress: Track = silent
) -> list[Measured]:
    """Open each peer in a process of its own, let it serve `images` images as warm-up, then `rounds` times in turn.

    Memory is watched during the warm-up alone, since that costs time. A peer that fails is left out from then on, and
    its result has the reason.
    """
    measured = {name: Measured(name) for name, _ in peers}
    processes: dict[str, PeerProcess] = {}

    def warm_up(name: str, make: Callable[[], Peer], open_peers: ExitStack) -> None:
        process = processes[name] = open_peers.enter_context(closing(PeerProcess(make)))
        process.serve(images, watch_memory=True)
        measured[name].lacks, measured[name].peak_memory = process.lacks, process.peak_memory

    turns = [turn for number in range(rounds) for turn in _rotated(list(peers), number)]
    with ExitStack() as open_peers:
        for turn, (name, make) in enumerate(progress([*peers, *turns], len(peers) + len(turns), "measuring")):
            if measured[name].failure:
                continue
            try:
                if turn < len(peers):
                    warm_up(name, make, open_peers)
                else:
                    measured[name].passes.append(processes[name].serve(images))
            except PeerFailed as error:
                measured[name].failure = str(error)
    return list(measured.values())


def _rotated(items: list[T], by: int) -> list[T]:
    """Another peer begins each round, so that none always follows the same neighbour."""
    by %= len(items)
    return items[by:] + items[:by]
