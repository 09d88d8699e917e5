"""The record of a run: log.jsonl, TensorBoard beside it where that is installed, and the display on stderr.

log.jsonl holds one JSON object a line, each with `event` and `time` (Unix seconds):
    start     the configuration and what was resolved from it; `step` above 0 after a resumption
    train     step, epoch, loss and its parts (means since the last such line), learning_rate, images_per_second,
              data_wait_share, skipped (bad samples replaced since this start; skipped.txt lists them)
    evaluate  step, epoch, and the numbers of the result: of a classifier top1, top5, loss, images
    end       the result of the run
A run that goes on appends: where steps occur twice, the later line is the one that counts.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from ...pipelines.io.publish import write_errors
from .progress import Display, Silent, display
from .standing import Standing

STEPS_BETWEEN_RECORDS = 50


class RunLog:
    """Context manager; unless `enabled`, which it is on the first rank, it writes and shows nothing."""

    def __init__(
        self,
        out: Path,
        at: Standing,
        *,
        epochs: int,
        steps_per_epoch: int,
        describe: Callable[[dict[str, Any]], str],
        enabled: bool,
    ) -> None:
        self.path = out / "log.jsonl"
        self._describe = describe
        self._epochs, self._steps_per_epoch = epochs, steps_per_epoch
        self._then, self._losses, self._parts = replace(at), 0.0, dict[str, float]()
        self._words = ""  # how training went lately
        self._file = self._board = None
        self._display: Display = Silent()
        if enabled:
            with write_errors(self.path):
                self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115
            self._board = _tensorboard(out / "tensorboard", at.step)
            self._display = display(epochs * steps_per_epoch, at.step)

    def say(self, line: str) -> None:
        """A line on stderr that stays."""
        self._display.say(line)

    def record(self, event: str, **values: Any) -> None:
        """A line of log.jsonl."""
        if self._file:
            with write_errors(self.path):
                self._file.write(json.dumps({"event": event, "time": time.time(), **values}) + "\n")
                self._file.flush()

    def step(
        self, at: Standing, loss: float, rate: float, parts: Mapping[str, float] | None = None, *, skipped: int = 0
    ) -> None:
        """After each step: `loss` is the mean of its batches, of `parts` by name, `rate` its learning rate, `skipped`
        the number of bad samples so far.
        """
        self._losses += loss
        for name, value in (parts or {}).items():
            self._parts[name] = self._parts.get(name, 0.0) + value
        steps = at.step - self._then.step
        values = {"loss": self._losses / steps, "learning_rate": rate, **at.rates_since(self._then), "skipped": skipped}
        epoch = min((at.step - 1) // self._steps_per_epoch + 1, self._epochs)
        self._words = (
            f"loss {values['loss']:.3f}, {values['images_per_second']:,.0f} images/s, "
            f"{values['data_wait_share']:.0%} waiting for data"
            + (f", {skipped:,} bad samples skipped" if skipped else "")
        )
        self._display.show(at.step, f"epoch {epoch}/{self._epochs}, {self._words}")
        if steps >= STEPS_BETWEEN_RECORDS or at.step % self._steps_per_epoch == 0:
            values |= {f"loss_{name}": total / steps for name, total in self._parts.items()}
            self.record("train", step=at.step, epoch=epoch, **values)
            self._plot("train", at.step, values)
            self._then, self._losses, self._parts = replace(at), 0.0, {}

    def evaluated(self, at: Standing, result: dict[str, Any]) -> None:
        """After each evaluation: the numbers of the result are kept."""
        values = {name: value for name, value in result.items() if isinstance(value, int | float)}
        self.record("evaluate", step=at.step, epoch=at.epoch, **values)
        self._plot("evaluate", at.step, values)
        training = f"; in training {self._words}" if self._words else ""
        self.say(f"epoch {at.epoch} of {self._epochs}: {self._describe(result)}{training}")

    def _plot(self, group: str, step: int, values: dict[str, Any]) -> None:
        if self._board:
            for name, value in values.items():
                self._board.add_scalar(f"{group}/{name}", value, step)

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.close()
        if self._board:
            self._board.close()
        if self._file:
            self._file.close()


def _tensorboard(folder: Path, step: int) -> Any:
    """A writer that hides what an earlier start wrote beyond `step`; None where TensorBoard is not installed."""
    if importlib.util.find_spec("tensorboard") is None:
        return None
    from torch.utils.tensorboard.writer import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)
