"""The training loop: what a run is made of, its epochs, and when it stops.

A run is a pure function of its configuration and of (epoch, step, loader state, weights, optimizer state), which is
what a checkpoint holds: the learning rate follows from the step, and before each step torch's random state (dropout) is
set from (seed, step, rank), so there is none to save and a run may go on with another number of ranks.

Every step ends with one sum over the ranks (loss, wish to stop, CPU seconds): so all of them stop after the same step,
and none is left waiting in the next one. Reading it waits for the device, so that the time blocked in next(loader) is
time in which the device had nothing to do.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from ...pipelines.errors import InputError
from ...pipelines.loader.loader import Loader
from . import checkpoint
from .distributed import Ranks
from .log import RunLog
from .signals import Stopped, StopSignals
from .skipped import write_skipped
from .standing import Standing, Stopwatch

DIVERGED = "training has diverged; lower --lr or raise --warmup-epochs, with --resume to go on from the last checkpoint"


@dataclass(kw_only=True)
class Run:
    """A training run: its parts, its rules, and where it stands (`at`)."""

    model: nn.Module
    """The network itself, on the device."""

    trained: nn.Module
    """What is called in training: the network, or DDP around it."""

    ema: ModelEmaV3 | None
    optimizer: torch.optim.Optimizer
    loader: Loader
    at: Standing
    epochs: int
    seed: int

    loss: Callable[[nn.Module, dict[str, Any]], Tensor | dict[str, Tensor]]
    """Mean loss of a batch, with gradients; of several by name it is their sum, and the log has each."""

    learning_rate: Callable[[int], float]
    """Of a step."""

    evaluate: Callable[[nn.Module], dict[str, Any]]
    """Result of a network, with `score`, the same on every rank; may raise Stopped."""

    score: str
    """The figure of a result that best.pt is best in."""

    evaluate_every: int
    save_every: int
    keep_every: int
    """Epochs between checkpoints under names of their own, 0: none."""
    save_minutes: float

    out: Path
    """Folder of the checkpoints."""

    facts: dict[str, Any]
    """What every checkpoint of the run says beside its state."""

    ranks: Ranks
    signals: StopSignals
    log: RunLog
    stopwatch: Stopwatch
    listed: int = 0
    """Bad samples that this rank has written to skipped.txt."""
    skipped: int = 0
    """Bad samples that all ranks have replaced since this start."""
    saved_at: float = field(default_factory=time.monotonic)

    @property
    def steps(self) -> int:
        """Of the whole run."""
        return self.epochs * len(self.loader)

    @property
    def best_weights(self) -> nn.Module:
        """The network that is evaluated: the average of the weights where there is one."""
        return self.model if self.ema is None else self.ema.module


def fit(run: Run) -> dict[str, Any]:
    """Train to the end and return the last evaluation (empty where nothing was left to do).

    Raises Stopped after a signal, with the run saved; InputError where the loss is no longer finite.
    """
    result: dict[str, Any] = {}
    try:
        while run.at.epoch < run.epochs:
            if run.loader.epoch == run.at.epoch:  # else a stop came between the last step and the end of evaluation
                train_epoch(run)
            result = finish_epoch(run) or result
    except Stopped:
        save(run)
        run.ranks.barrier()
        raise
    return result


def train_epoch(run: Run) -> None:
    """The rest of the epoch that the loader stands in."""
    spend(run)
    run.trained.train()
    for batch in timed(run.loader, run.at):
        seed_step(run.seed, run.at.step, run.ranks.rank)
        rate = run.learning_rate(run.at.step)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        found = run.loss(run.trained, batch)
        parts = found if isinstance(found, dict) else {}
        loss = torch.stack(list(parts.values())).sum() if isinstance(found, dict) else found
        run.optimizer.zero_grad()
        loss.backward()
        run.optimizer.step()
        run.at.step += 1
        if run.ema is not None:
            run.ema.update(run.model, run.at.step)
        note_skipped(run)
        mean_loss, means, stop = agree(run, loss, parts)
        check_finite(mean_loss, run.at.step, rate)
        run.at.images += len(batch["index"]) * run.ranks.world_size
        run.log.step(run.at, mean_loss, rate, means, skipped=run.skipped)
        if stop:
            raise Stopped(stop)
        if run.save_minutes and time.monotonic() - run.saved_at >= 60 * run.save_minutes:
            save(run)


def finish_epoch(run: Run) -> dict[str, Any] | None:
    """Evaluate and save, where it is time to; the result of the evaluation."""
    epoch, result = run.at.epoch + 1, None
    last = epoch == run.epochs
    if last or epoch % run.evaluate_every == 0:
        check_weights(run)
        run.ranks.share_buffers(run.best_weights)
        result = run.evaluate(run.best_weights)
    run.at.epoch = epoch
    spend(run)
    if result:
        run.log.evaluated(run.at, result)
        run.at.score = result[run.score]
        if run.at.best_score is None or result[run.score] > run.at.best_score:
            run.at.best_score = result[run.score]
            write(run, "best.pt", whole=False)  # before last.pt, which says that this best exists
    if run.keep_every and epoch % run.keep_every == 0:
        check_weights(run)
        write(run, kept_name(epoch), whole=False)
    if last or epoch % run.save_every == 0:
        save(run)
    return result


def timed(loader: Loader, at: Standing) -> Iterator[dict[str, Any]]:
    """The loader's batches, adding the time blocked in waiting for each of them to `at.wait_seconds`."""
    batches = iter(loader)
    while True:
        begun = time.perf_counter()
        batch = next(batches, None)
        at.wait_seconds += time.perf_counter() - begun
        if batch is None:
            return
        yield batch


def note_skipped(run: Run) -> None:
    """List the bad samples that have been replaced since the last step."""
    if found := run.loader.skipped[run.listed :]:
        write_skipped(run.out, found)
        run.listed += len(found)


def agree(run: Run, loss: Tensor, parts: dict[str, Tensor]) -> tuple[float, dict[str, float], int]:
    """What the ranks tell each other after a step: the mean loss and its parts, the signal to stop for, 0 for none."""
    wall, cpu = run.stopwatch.lap()
    own = torch.tensor([run.signals.received, cpu, run.listed], dtype=torch.float64, device=loss.device)
    losses = torch.stack([value.detach().double() for value in (loss, *parts.values())])
    *totals, stop, cpu, skipped = run.ranks.sum(torch.cat([losses, own])).tolist()
    run.at.loop_seconds += wall
    run.at.wall_seconds += wall
    run.at.cpu_seconds += cpu
    run.skipped = round(skipped)
    mean, *means = (total / run.ranks.world_size for total in totals)
    return mean, dict(zip(parts, means, strict=True)), run.signals.agreed(stop)


def spend(run: Run) -> None:
    """Book the time since the last lap, which was not training."""
    wall, cpu = run.stopwatch.lap()
    run.at.wall_seconds += wall
    run.at.cpu_seconds += run.ranks.total(cpu)


def save(run: Run) -> None:
    """Write last.pt, unless the weights are of no use: then the one before is kept."""
    check_weights(run)
    write(run, "last.pt", whole=True)
    run.saved_at = time.monotonic()


def write(run: Run, name: str, *, whole: bool) -> None:
    """Write a checkpoint, on rank 0; `whole`: with all that resuming needs."""
    if not run.ranks.is_first:
        return
    ema = None if run.ema is None else run.ema.module.state_dict()
    contents = {**run.facts, "state_dict": run.model.state_dict(), "ema": ema, "standing": asdict(run.at)}
    if whole:
        contents |= {"optimizer": run.optimizer.state_dict(), "loader": run.loader.state_dict()}
    checkpoint.save(run.out / name, contents)


def kept_name(epoch: int) -> str:
    """The file of the network after so many epochs; names sort by epoch."""
    return f"epoch-{epoch:04}.pt"


def seed_step(seed: int, step: int, rank: int) -> None:
    """Make torch's random numbers of a step (dropout, stochastic depth) a function of (seed, step, rank)."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1)))


def check_finite(loss: float, step: int, rate: float) -> None:
    """Raise InputError where the loss has become infinite or not a number."""
    if not math.isfinite(loss):
        raise InputError(f"the loss is {loss} at step {step} with learning rate {rate:.3g}: {DIVERGED}")


def check_weights(run: Run) -> None:
    """Raise InputError where the last step, whose loss was still finite, has left weights that are not."""
    tensors = run.model.state_dict().values()
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors if tensor.is_floating_point()):
        rate = run.learning_rate(max(run.at.step - 1, 0))
        raise InputError(f"weights are not finite after step {run.at.step} with learning rate {rate:.3g}: {DIVERGED}")
