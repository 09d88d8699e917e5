"""Which sample replaces a bad one under on_error="skip", and when there are too many bad ones.

The plan row of a bad sample is drawn again as attempt 1, 2, ... of its position, each time with another sample, until
one can be read. That is a function of (seed, epoch, position, attempt) and of the store, never of which samples were
bad earlier or in the same batch. So a run that is resumed, or shared out in another way, sees the same samples.
"""

from __future__ import annotations

import logging

import numpy as np

from ..errors import BadSampleError, InputError
from ..plan.planner import Planner
from ..plan.random_words import Purpose, uniforms
from ..store.reader import ImageStore
from .engine import Replace
from .rank_share import StepRows

logger = logging.getLogger("sdali")
_MAX_ATTEMPTS = 100


class Replacements:
    """Draws replacements and keeps the list of bad samples, `skipped`: (index, name) of each, as they came up.

    `max_bad_share` is the loader's option. Raises InputError where more than one sample and more than that share of
    the store's samples are bad.
    """

    def __init__(self, store: ImageStore, planner: Planner, seed: int, max_bad_share: float) -> None:
        self._store, self._planner, self._seed, self.max_bad_share = store, planner, seed, max_bad_share
        self.skipped: list[tuple[int, str]] = []

    def of_epoch(self, epoch: int) -> Replace:
        """The function `replace` that an engine takes for a run through an epoch."""
        attempts: dict[int, int] = {}

        def replace(planned: StepRows, error: BadSampleError, bad: np.ndarray) -> StepRows:
            self._note(error)
            rows = planned.rows.copy()
            for position in np.unique(rows["position"][bad]).tolist():  # padding repeats a position
                attempts[position] = attempt = attempts.get(position, 0) + 1
                if attempt == _MAX_ATTEMPTS:
                    raise InputError(f"{attempt} samples drawn in a row are bad in {self._store.path}; build it again")
                u = uniforms(self._seed, epoch, Purpose.REPLACEMENT, position, 1, 1, attempt)[0, 0]
                index = np.array([int(u * len(self._store))])
                rows[rows["position"] == position] = self._planner.rows(epoch, position, index, attempt, planned.step)
            return planned._replace(rows=rows)

        return replace

    def merge(self, skipped: list[tuple[int, str]]) -> None:
        """Add index and name of the bad samples that another machine came upon."""
        for index, name in skipped:
            self._note(BadSampleError("is bad", index=index, name=name, store=self._store.path))

    def _note(self, error: BadSampleError) -> None:
        if (error.index, error.name) in self.skipped:
            return
        self.skipped.append((error.index, error.name))
        logger.warning("skipped: %s", error)
        bad, count = len(self.skipped), len(self._store)
        if bad > max(1, self.max_bad_share * count) or bad == count:
            share = f"more than max_bad_share {self.max_bad_share:g} allows"
            raise InputError(
                f"{bad} of the {count:,} samples of {self._store.path} are bad, {share}; repair them and build it "
                f"again (sdali info --verify lists them); the last: {error}"
            )
