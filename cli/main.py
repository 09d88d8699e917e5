"""The `sdali` command: finds the command's class, lets tyro fill it from the flags, runs it, prints one JSON document.

Progress and tables go to stderr, the JSON to the last line of stdout. Exit status: 0 done; 2 wrong usage or bad input,
with one sentence and no traceback; 130 interrupted. A command is imported only when it is used.
"""

from __future__ import annotations

import importlib
import io
import logging
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import Any, NoReturn, Protocol

from ..pipelines.errors import InputError
from ..pipelines.io.streams import fail, print_result, run

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": (".demo", "the whole story on generated scenes: build, coarse model, CAMs, SDA training, report"),
    "build": (".store", "images (+ labels, masks) -> LMDB store"),
    "join": (".store", "several store files -> a folder that opens as one store"),
    "info": (".store", "header, counts per class, sizes; --verify reads and decodes everything"),
    "stats": (".store", "mean, std and RGB PCA over the whole set, written beside the store"),
    "cams": (".heatmaps", "heatmap store from a trained classifier, from masks or boxes, or from an HDF5 file"),
    "preview": (".heatmaps", "contact sheet: image, heatmap, drawn windows, the tensors that come out"),
    "train classification": (".classification", "train a classifier, with heatmap-guided crops if given"),
    "evaluate classification": (".classification", "top-1, top-5, calibration on a store; crops, scales, networks"),
    "train parsing": (".parsing", "train a network of scene parsing: plain, Mixed Context, Message Passing"),
    "evaluate parsing": (".parsing", "mean IoU and pixel accuracy of whole images; scales, mirror images"),
    "train detection": (".detection", "train a detector, Faster R-CNN with the talk's parts as switches"),
    "evaluate detection": (
        ".detection",
        "average precision, recall of proposals; scales, flip, voting, networks",
    ),
    "train localization": (".localization", "train a detector where every image has a class and its boxes"),
    "evaluate localization": (
        ".localization",
        "ILSVRC's localization error of a classifier and a detector; label or box wrong, baselines",
    ),
    "confusion": (".classification", "which classes a checkpoint confuses, for --soft-labels"),
    "ensemble": (
        ".ensemble",
        "stored predictions combined: what several crops, checkpoints, networks give together",
    ),
    "serve": (
        ".serve",
        "workers on a Ray cluster that make batches for several trainers' RemoteLoaders",
    ),
    "bench throughput": (".bench", "this pipeline and its peers on the same files, in one run"),
    "bench stages": (".costs", "where the time of one image goes, and how long a trainer waits for data"),
    "bench scale": (".costs", "how cost grows with samples, threads, batch size and image size"),
    "bench build": (".costs", "building a store against copying its files into one"),
    "bench misses": (".bench", "how often a window misses the object, plain and guided"),
}


class Command(Protocol):
    """A dataclass whose fields are the flags."""

    def run(self) -> dict[str, Any] | None:
        """Do it; the JSON-able result, None where another rank prints it."""
        ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    return run(lambda: _command(list(sys.argv[1:] if arguments is None else arguments)))


def _command(words: list[str]) -> int:
    logging.basicConfig(format="sdali: %(message)s", level=logging.INFO, stream=sys.stderr)
    name = next((n for n in (" ".join(words[:2]), " ".join(words[:1])) if n in COMMANDS), None)
    if name is None:
        return _usage(words)
    with _ended_by_sigterm():
        result = _parsed(name, words[len(name.split()) :]).run()
    if result is not None:
        print_result(result)
    return 0


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Leave at SIGTERM as after an error, so that temporary folders, half-written files and other processes go."""

    def leave(number: int, _: object) -> NoReturn:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _parsed(name: str, flags: list[str]) -> Command:
    import tyro

    module, description = COMMANDS[name]
    kind = getattr(importlib.import_module(module, __package__), _class_name(name))
    default = kind.defaults(flags) if hasattr(kind, "defaults") else None
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            return tyro.cli(
                kind,
                prog=f"sdali {name}",
                description=f"{description[0].upper()}{description[1:]}.",
                args=flags,
                default=default,
                config=(tyro.conf.PositionalMetavarFromFieldName, tyro.conf.FlagCreatePairsOff),
            )
    except SystemExit as exit:
        refused = exit.__context__
        while refused is not None and not isinstance(refused, InputError):
            refused = refused.__context__
        if refused is not None:  # a value that the command's own checks refuse
            raise refused from None
        sys.stderr.write(said.getvalue())
        raise


def _class_name(name: str) -> str:
    """ "bench misses" -> "BenchMisses"."""
    return name.title().replace(" ", "")


def _usage(words: list[str]) -> int:
    width = max(len(name) for name in COMMANDS)
    lines = [f"  {name:<{width}}  {description}" for name, (_, description) in COMMANDS.items()]
    text = "\n".join(["usage: sdali COMMAND [FLAGS]    (sdali COMMAND --help tells the flags)", "", *lines])
    if words and words[0] in ("-h", "--help"):
        print_result(text)
        return 0
    print(text, file=sys.stderr)
    asked = " ".join(words[:2])
    return fail(f"there is no command {asked!r}" if asked else "name a command")
