"""Training and evaluating classifiers on image stores.

    result = train(TrainConfig(store=Path("pets.lmdb"), val_store=Path("pets.val.lmdb"), out=Path("run")))
    model, checkpoint = load_classifier("run/best.pt")

Under torchrun every rank calls the same function and gets the same result.
"""

from __future__ import annotations

import signal
from typing import Any, NoReturn

from .classification_config import TrainConfig
from .classification_evaluation import evaluate
from .classification_run import Job, opened_run, prepare
from .classifier_checkpoint import load_classifier
from .distributed import process_group
from .evaluation_config import EvaluateConfig
from .loop import Run, fit
from .machine import threads_per_rank, torch_settings
from .resume import changes, plain
from .signals import Stopped, StopSignals
from .standing import Standing, Stopwatch

__all__ = ["EvaluateConfig", "TrainConfig", "evaluate", "load_classifier", "train"]


def train(config: TrainConfig) -> dict[str, Any]:
    """Train a classifier; writes last.pt, best.pt and log.jsonl into `config.out`.

    Returns plain JSON: `top1` of the last evaluation and `best_top1` (of the averaged weights where there are any),
    `epochs`, `steps`, `images_per_second` (training only, over all ranks), `cpu_seconds` (all threads and ranks),
    `wall_seconds`, `data_wait_share`, all over the run's resumptions; `learning_rate`, `precision`, `device`, `ranks`
    as they were resolved; `checkpoint`, `best_checkpoint`, `log` (paths).
    Raises InputError for what cannot be used, and for a loss that is no longer finite; KeyboardInterrupt after Ctrl-C
    and SystemExit after SIGTERM, both with last.pt written.
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
    named = " ".join([config.model, *config.model_args])
    log.say(
        f"{named}: {parameters / 1e6:.1f} M weights, {job.precision} on {job.ranks.device}; {len(job.store):,} "
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
        "top1": at.top1,
        "best_top1": at.best_top1,
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
