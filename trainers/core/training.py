"""Training, whatever the task: join the ranks, open the run or resume it, train, and sum up."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, NoReturn

import torch
from timm.utils.model_ema import ModelEmaV3

from ...pipelines.io.publish import write_errors
from .checkpoint import remove_leftovers
from .config import TrainingConfig, flattened
from .job import Job
from .log import RunLog
from .loop import Run, fit
from .optimizer import learning_rate, make_optimizer
from .process import Process, joined_process
from .progress import RunProgress, Stopwatch
from .resume import changes, restore
from .signals import Stopped, StopSignals


def train(config: TrainingConfig, make_job: Callable[[Any, Process], Job]) -> dict[str, Any]:
    """Train; writes last.pt, best.pt and log.jsonl into `config.out`.

    make_job: the job class of the task. Returns plain JSON: the score of the last evaluation under its name, and as
    `best_...` the best of the run (of the averaged weights where there are any); `epochs`, `steps`,
    `images_per_second` (training only, over all ranks), `cpu_seconds` (all threads and ranks), `wall_seconds` and
    `data_wait_share`, all since the very first start; `learning_rate`, `precision`, `device` and `ranks` as they were
    resolved; `checkpoint`, `best_checkpoint` and `log` (paths). Raises InputError for what cannot be used, and for a
    loss that is no longer finite; KeyboardInterrupt after Ctrl-C and SystemExit after SIGTERM, with last.pt written.
    """
    stopwatch = Stopwatch()
    with (
        joined_process(
            config.device, config.threads, precision=config.precision, deterministic=config.deterministic
        ) as process,
        StopSignals() as signals,
        _opened_run(make_job(config, process), signals, stopwatch) as run,
    ):
        _announce(run)
        try:
            fit(run)
        except Stopped as stopped:
            _leave(run, stopped.signal)
        summary = _summary(run)
        run.log.record("end", **summary)
        return summary


@contextmanager
def _opened_run(job: Job, signals: StopSignals, stopwatch: Stopwatch) -> Iterator[Run]:
    """The run, at its start or where its checkpoint left it; loaders and log are closed at the end."""
    config = job.config
    with closing(job.train_loader()) as loader, closing(job.test_loader()) as test_loader:
        torch.manual_seed(config.seed)
        model = job.network()
        if config.channels_last:
            model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        ema = ModelEmaV3(model, decay=config.ema, use_warmup=True) if config.ema else None
        optimizer = make_optimizer(model, config)
        progress = RunProgress()
        if job.saved:
            restore(job.saved, config.out / "last.pt", model, ema, optimizer, loader)
            # Counted back from the epoch's end: with another batch size its rest may have a step more or fewer.
            step = (loader.epoch + 1) * len(loader) - loader.batches_left
            progress = RunProgress(**{**job.saved["standing"], "step": step})
        job.process.barrier()  # every rank has seen what the folder held before the first one adds to it
        with write_errors(config.out):
            config.out.mkdir(parents=True, exist_ok=True)
            if job.process.is_first:
                remove_leftovers(config.out)
        lengths = {"epochs": config.epochs, "steps_per_epoch": len(loader)}
        with RunLog(config.out, progress, describe=job.describe, enabled=job.process.is_first, **lengths) as log:
            yield Run(
                job=job,
                model=model,
                trained=job.process.wrap(model),
                ema=ema,
                optimizer=optimizer,
                loader=loader,
                test_loader=test_loader,
                progress=progress,
                learning_rate=partial(
                    learning_rate,
                    peak=job.peak_learning_rate,
                    steps=config.epochs * len(loader),
                    warmup_steps=round(config.warmup_epochs * len(loader)),
                    schedule=config.schedule,
                ),
                signals=signals,
                log=log,
                stopwatch=stopwatch,
            )


def _announce(run: Run) -> None:
    """Say what is about to happen, and whatever a user may not expect of it."""
    job, log, progress = run.job, run.log, run.progress
    config = job.config
    resolved = {**_resolved(job), "weight_decay": config.resolved_weight_decay, "threads": job.process.threads}
    log.record("start", step=progress.step, epoch=progress.epoch, config=flattened(config), **resolved)
    parameters = sum(weight.numel() for weight in run.model.parameters())
    log.say(
        f"{job.title}: {parameters / 1e6:.1f} M weights, {job.process.precision} on {job.process.device}; "
        f"{len(job.store):,} images of {len(job.store.classes)} classes, {len(run.loader):,} steps an epoch, "
        f"learning rate {job.peak_learning_rate:.3g}"
    )
    if job.saved:
        log.say("; ".join([f"going on from step {progress.step:,} of {run.steps:,}", *changes(job.saved, config)]))
    elif config.resume:
        log.say(f"there is no {config.out / 'last.pt'} yet: starting from the beginning")
    if not job.statistics.pixels:
        log.say(f"{config.store} has no statistics of its own (sdali stats makes them): ImageNet's are used")


def _leave(run: Run, number: signal.Signals) -> NoReturn:
    """End as Python does after Ctrl-C, or as the shell expects after SIGTERM; the run has been saved."""
    run.log.record("stop", step=run.progress.step, signal=number.name)
    step, last = f"step {run.progress.step:,} of {run.steps:,}", run.job.config.out / "last.pt"
    run.log.say(f"stopped by {number.name} after {step}; go on from {last} with --resume")
    if number == signal.SIGINT:
        raise KeyboardInterrupt from None
    raise SystemExit(128 + number) from None


def _resolved(job: Job) -> dict[str, Any]:
    """Options as they were resolved for this machine."""
    return {
        "learning_rate": job.peak_learning_rate,
        "precision": job.process.precision,
        "device": str(job.process.device),
        "ranks": job.process.world_size,
    }


def _summary(run: Run) -> dict[str, Any]:
    job, progress = run.job, run.progress
    return {
        job.score: progress.score,
        f"best_{job.score}": progress.best_score,
        "epochs": progress.epoch,
        "steps": progress.step,
        **progress.rates_since(RunProgress()),
        "cpu_seconds": progress.cpu_seconds,
        "wall_seconds": progress.wall_seconds,
        **_resolved(job),
        "checkpoint": str(job.config.out / "last.pt"),
        "best_checkpoint": str(job.config.out / "best.pt"),
        "log": str(run.log.path),
    }
