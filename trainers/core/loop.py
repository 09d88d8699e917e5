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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn

from ...pipelines.errors import InputError
from ...pipelines.loader.loader import Loader
from . import checkpoint
from .job import Job
from .log import RunLog, write_skipped
from .progress import RunProgress, Stopwatch
from .signals import Stopped, StopSignals

DIVERGED = "training has diverged; lower lr or raise warmup_epochs, and pass resume=True to go on from last.pt"


@dataclass(kw_only=True)
class Run:
    """A training run: the job, everything that it changes, and how far it has come."""

    job: Job

    model: nn.Module
    """The network itself, on the device."""

    trained: nn.Module
    """What is called in training: the network, or DDP around it."""

    ema: ModelEmaV3 | None
    optimizer: torch.optim.Optimizer
    loader: Loader
    test_loader: Loader
    progress: RunProgress

    learning_rate: Callable[[int], float]
    """The learning rate of a step."""

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
        """Steps of the whole run."""
        return self.job.config.epochs * len(self.loader)

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
        while run.progress.epoch < run.job.config.epochs:
            # The loader is an epoch ahead where a stop came between the last step and the end of the evaluation.
            if run.loader.epoch == run.progress.epoch:
                train_epoch(run)
            check_epoch(run)
            result = finish_epoch(run) or result
    except Stopped:
        save(run)
        run.job.process.barrier()
        raise
    return result


def train_epoch(run: Run) -> None:
    """Train on the rest of the epoch, from the loader's position on."""
    add_time(run)
    run.trained.train()
    progress, config, process = run.progress, run.job.config, run.job.process
    for batch in timed(run.loader, progress):
        seed_step(config.seed, progress.step, process.rank)
        rate = run.learning_rate(progress.step)
        for group in run.optimizer.param_groups:
            group["lr"] = rate
        losses = run.job.loss(run.trained, batch)
        parts = losses if isinstance(losses, dict) else {}
        loss = torch.stack(list(losses.values())).sum() if isinstance(losses, dict) else losses
        run.optimizer.zero_grad()
        loss.backward()
        run.optimizer.step()
        progress.step += 1
        if run.ema is not None:
            run.ema.update(run.model, progress.step)
        list_skipped(run)
        mean_loss, means, stop = agree(run, loss, parts)
        check_finite(mean_loss, progress.step, rate)
        progress.images += len(batch["index"]) * process.world_size
        run.log.step(progress, mean_loss, rate, means, skipped=run.skipped)
        if stop:
            raise Stopped(stop)
        if config.save_minutes and time.monotonic() - run.saved_at >= 60 * config.save_minutes:
            save(run)


def check_epoch(run: Run) -> None:
    """Raise InputError where the epoch did not take its steps: the run would end early, as if nothing had happened."""
    progress, due = run.progress, (run.progress.epoch + 1) * len(run.loader)
    if progress.step != due:
        raise InputError(
            f"epoch {progress.epoch} ended at step {progress.step} and not at {due}, since its loader stands in epoch "
            f"{run.loader.epoch}; give another folder to start anew"
        )


def finish_epoch(run: Run) -> dict[str, Any] | None:
    """Evaluate and save where it is time to; returns the result of the evaluation, None without one."""
    config, progress, score = run.job.config, run.progress, run.job.score
    epoch, result = progress.epoch + 1, None
    last = epoch == config.epochs
    if last or epoch % config.evaluate_every == 0:
        check_weights(run)
        run.job.process.share_buffers(run.best_weights)
        result = run.job.evaluate(run.best_weights, stoppable(run, run.test_loader))
    progress.epoch = epoch
    add_time(run)
    if result:
        run.log.evaluated(progress, result)
        progress.score = result[score]
        if progress.best_score is None or result[score] > progress.best_score:
            progress.best_score = result[score]
            write(run, "best.pt", whole=False)  # before last.pt, which says that this best exists
    if config.keep_every and epoch % config.keep_every == 0:
        check_weights(run)
        write(run, f"epoch-{epoch:04}.pt", whole=False)
    if last or epoch % config.save_every == 0:
        save(run)
    return result


def timed(loader: Loader, progress: RunProgress) -> Iterator[dict[str, Any]]:
    """The loader's batches, adding the time blocked in waiting for each of them to `progress.wait_seconds`."""
    batches = iter(loader)
    while True:
        begun = time.perf_counter()
        batch = next(batches, None)
        progress.wait_seconds += time.perf_counter() - begun
        if batch is None:
            return
        yield batch


def stoppable(run: Run, batches: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The batches of an evaluation; after each the ranks agree whether a signal asks to stop, which raises Stopped.

    Every rank has as many batches, of which the last may be empty.
    """
    for batch in batches:
        yield batch
        if number := run.signals.agreed(run.job.process.total(run.signals.received)):
            raise Stopped(number)


def list_skipped(run: Run) -> None:
    """Write to skipped.txt the bad samples that have been replaced since the last step."""
    if bad := run.loader.skipped[run.listed :]:
        write_skipped(run.job.config.out, bad)
        run.listed += len(bad)


def agree(run: Run, loss: Tensor, parts: dict[str, Tensor]) -> tuple[float, dict[str, float], int]:
    """Sum over the ranks after a step: returns the mean loss, its mean parts, and the signal to stop for or 0."""
    wall, cpu = run.stopwatch.lap()
    own = torch.tensor([run.signals.received, cpu, run.listed], dtype=torch.float64, device=loss.device)
    losses = torch.stack([value.detach().double() for value in (loss, *parts.values())])
    *totals, stop, cpu, skipped = run.job.process.sum(torch.cat([losses, own])).tolist()
    run.progress.loop_seconds += wall
    run.progress.wall_seconds += wall
    run.progress.cpu_seconds += cpu
    run.skipped = round(skipped)
    mean, *means = (total / run.job.process.world_size for total in totals)
    return mean, dict(zip(parts, means, strict=True)), run.signals.agreed(stop)


def add_time(run: Run) -> None:
    """Add the time since the last lap of the stopwatch, which was not training."""
    wall, cpu = run.stopwatch.lap()
    run.progress.wall_seconds += wall
    run.progress.cpu_seconds += run.job.process.total(cpu)


def save(run: Run) -> None:
    """Write last.pt; raises InputError, keeping the one before, where the weights are not finite."""
    check_weights(run)
    write(run, "last.pt", whole=True)
    run.saved_at = time.monotonic()


def write(run: Run, name: str, *, whole: bool) -> None:
    """Write a checkpoint, on rank 0; `whole`: with all that resuming needs."""
    if not run.job.process.is_first:
        return
    ema = None if run.ema is None else run.ema.module.state_dict()
    contents = {**run.job.facts, "state_dict": run.model.state_dict(), "ema": ema, "standing": asdict(run.progress)}
    if whole:
        contents |= {"optimizer": run.optimizer.state_dict(), "loader": run.loader.state_dict()}
    checkpoint.save(run.job.config.out / name, contents)


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
        step = run.progress.step
        rate = run.learning_rate(max(step - 1, 0))
        raise InputError(f"weights are not finite after step {step} with learning rate {rate:.3g}: {DIVERGED}")
