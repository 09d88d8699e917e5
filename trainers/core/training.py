"""Training, whatever the task: ranks joined, signals caught, the run opened, trained, and summed up."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from .config import TrainingConfig
from .distributed import Ranks, process_group
from .job import Job, opened_run
from .loop import Run, fit
from .machine import threads_per_rank, torch_settings
from .resume import changes, plain
from .signals import Stopped, StopSignals
from .standing import Standing, Stopwatch

Config = TypeVar("Config", bound=TrainingConfig)


def train(config: Config, prepare: Callable[[Config, Ranks, int], Job]) -> dict[str, Any]:
    """Train; writes last.pt, best.pt and log.jsonl into `config.out`.

    prepare: makes the task's job of configuration, ranks and threads a rank. Returns plain JSON: the task's score of
    the last evaluation under its name, and as `best_...` (of the averaged weights where there are any), `epochs`,
    `steps`, `images_per_second` (training only, over all ranks), `cpu_seconds` (all threads and ranks), `wall_seconds`,
    `data_wait_share`, all over the run's resumptions; `learning_rate`, `precision`, `device`, `ranks` as they were
    resolved; `checkpoint`, `best_checkpoint`, `log` (paths). Raises InputError for what cannot be used, and for a loss
    that is no longer finite; KeyboardInterrupt after Ctrl-C and SystemExit after SIGTERM, both with last.pt written.
    """
    stopwatch = Stopwatch()
    with process_group(config.device) as ranks, StopSignals() as signals:
        threads = threads_per_rank(config.threads, ranks.local_world_size)
        with torch_settings(device=ranks.device, threads=threads, deterministic=config.deterministic):
            job = prepare(config, ranks, threads)
            with opened_run(job, signals, stopwatch) as run:
                _announce(job, run)
                try:
                    fit(run)
                except Stopped as stopped:
                    _leave(run, stopped.signal)
                summary = _summary(job, run)
                run.log.record("end", **summary)
                return summary


def _announce(job: Job, run: Run) -> None:
    """What is about to happen, and whatever a user may not expect of it."""
    config, log, at = job.config, run.log, run.at
    resolved = {
        "learning_rate": job.peak_learning_rate,
        "weight_decay": config.resolved_weight_decay,
        "precision": job.precision,
        "device": str(job.ranks.device),
        "ranks": job.ranks.world_size,
        "threads": job.threads,
    }
    log.record("start", step=at.step, epoch=at.epoch, config=plain(config), **resolved)
    parameters = sum(weight.numel() for weight in run.model.parameters())
    log.say(
        f"{job.title}: {parameters / 1e6:.1f} M weights, {job.precision} on {job.ranks.device}; {len(job.store):,} "
        f"images of {len(job.store.classes)} classes, {len(run.loader):,} steps an epoch, learning rate "
        f"{job.peak_learning_rate:.3g}"
    )
    if job.saved:
        log.say("; ".join([f"going on from step {at.step:,} of {run.steps:,}", *changes(job.saved, config)]))
    elif config.resume:
        log.say(f"there is no {config.out / 'last.pt'} yet: starting from the beginning")
    if not job.statistics.pixels:
        log.say(f"{config.store} has no statistics of its own (sdali stats makes them): ImageNet's are used")


def _leave(run: Run, number: signal.Signals) -> NoReturn:
    """End as Python does after Ctrl-C, or as the shell expects after SIGTERM; the run has been saved."""
    run.log.record("stop", step=run.at.step, signal=number.name)
    step, last = f"step {run.at.step:,} of {run.steps:,}", run.out / "last.pt"
    run.log.say(f"stopped by {number.name} after {step}; go on from {last} with --resume")
    if number == signal.SIGINT:
        raise KeyboardInterrupt from None
    raise SystemExit(128 + number) from None


def _summary(job: Job, run: Run) -> dict[str, Any]:
    at = run.at
    return {
        job.score: at.score,
        f"best_{job.score}": at.best_score,
        "epochs": at.epoch,
        "steps": at.step,
        **at.rates_since(Standing()),
        "cpu_seconds": at.cpu_seconds,
        "wall_seconds": at.wall_seconds,
        "learning_rate": job.peak_learning_rate,
        "precision": job.precision,
        "device": str(job.ranks.device),
        "ranks": job.ranks.world_size,
        "checkpoint": str(run.out / "last.pt"),
        "best_checkpoint": str(run.out / "best.pt"),
        "log": str(run.log.path),
    }
