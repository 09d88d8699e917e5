"""The `sdali` command: finds the command's class, lets tyro fill it from the flags, runs it, prints one JSON document.

Progress and tables go to stderr, the JSON to the last line of stdout. Exit status: 0 done; 2 wrong usage or bad input,
with one sentence and no traceback; 130 interrupted. A command's module is imported only when the command is used.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import io
import itertools
import logging
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr
from dataclasses import is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from ..pipelines.errors import InputError
from ..pipelines.io.terminal import fail, print_result, run_command

GROUPS: dict[str, dict[str, tuple[str, str]]] = {
    "Start here": {
        "demo": (".demo", "the whole story on generated pictures: build, train, heatmaps, guided training, report"),
    },
    "Image stores": {
        "build": (".store", "make a store of images with their classes, masks or boxes"),
        "join": (".store", "make one store of several store files"),
        "info": (".store", "show what a store holds; --verify reads and decodes everything"),
        "stats": (".store", "measure mean, std and RGB PCA of a store, and write them beside it"),
    },
    "Heatmaps": {
        "cams": (".heatmaps", "make heatmaps with a trained classifier, from masks or boxes, or from an HDF5 file"),
        "preview": (".heatmaps", "draw what training will see: images, heatmaps, windows, tensors"),
    },
    "Training": {
        "train classification": (".train", "train a classifier, with crops guided by heatmaps if there are some"),
        "train parsing": (".train", "train a network of scene parsing: plain, Mixed Context or Message Passing"),
        "train detection": (".train", "train a Faster R-CNN detector, with each of its extensions as a switch"),
        "train localization": (".train", "train a detector where every image has one class and its boxes"),
    },
    "Evaluation": {
        "evaluate classification": (".evaluate", "top-1, top-5 and calibration, over crops, scales and networks"),
        "evaluate parsing": (".evaluate", "mean IoU and pixel accuracy of whole images, over scales"),
        "evaluate detection": (".evaluate", "average precision and recall of proposals, over scales and networks"),
        "evaluate localization": (".evaluate", "ILSVRC's localization error of a classifier with a detector"),
        "confusion": (".evaluate", "which classes a classifier confuses, for train --soft-labels"),
        "ensemble": (".evaluate", "combine predictions of several classifiers that evaluate has kept"),
    },
    "Several machines": {
        "serve": (".serve", "start workers on a Ray cluster that make batches for the RemoteLoaders of trainers"),
    },
    "Benchmarks": {
        "bench throughput": (".bench", "this pipeline and others on the same images, in one run"),
        "bench stages": (".bench", "where the time of an image goes, and how long a trainer waits for data"),
        "bench scale": (".bench", "how cost grows with samples, threads, batch size and image size"),
        "bench build": (".bench", "building a store against copying its files into one"),
        "bench misses": (".bench", "how often a window misses the object, with plain and with guided crops"),
    },
}
"""Heading -> command -> the module of its class (BenchMisses of "bench misses") and a line of help.

The class is a dataclass whose fields are the flags. Its `run` does the work and returns the JSON-able result, or None
where another rank prints it; its class method `defaults`, if any, gives the values of flags that are left out.
"""

COMMANDS = {name: entry for group in GROUPS.values() for name, entry in group.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    return run_command(lambda: _command(list(sys.argv[1:] if arguments is None else arguments)))


def _command(words: list[str]) -> int:
    logging.basicConfig(format="sdali: %(message)s", level=logging.INFO, stream=sys.stderr)
    name = next((n for n in (" ".join(words[:2]), " ".join(words[:1])) if n in COMMANDS), None)
    if name is None:
        return _without_command(words)
    if threading.current_thread() is threading.main_thread():  # temporary folders and other processes go as at an error
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    kind = getattr(importlib.import_module(COMMANDS[name][0], __package__), name.title().replace(" ", ""))
    try:
        result = _parsed(kind, name, words[len(name.split()) :]).run()
    except InputError as error:
        raise InputError(_with_flags(str(error), kind)) from error
    if result is not None:
        print_result(result)
    return 0


def _parsed(kind: Any, name: str, flags: list[str]) -> Any:
    import tyro

    from ..trainers.core.config import LISTS

    description = COMMANDS[name][1]
    default = kind.defaults(flags) if hasattr(kind, "defaults") else None
    refusal = io.StringIO()
    try:
        with redirect_stderr(refusal):
            return tyro.cli(
                kind,
                prog=f"sdali {name}",
                description=f"{description[0].upper()}{description[1:]}.",
                args=flags,
                default=default,
                registry=LISTS,
                config=(tyro.conf.PositionalMetavarFromFieldName, tyro.conf.FlagCreatePairsOff),
            )
    except SystemExit as exit:
        cause = exit.__context__
        while cause is not None and not isinstance(cause, InputError):
            cause = cause.__context__
        if cause is not None:  # a value that the command's own checks refuse
            raise cause from None
        sys.stderr.write(refusal.getvalue())
        raise


def _with_flags(sentence: str, kind: type) -> str:
    """The sentence of an error with the command's flags in place of the arguments that Python knows them by.

    Many arguments have names that are common words. So one of a single word is replaced only where it is certainly
    meant, as in "size must be ...", "lower lr" and "pass resume=True"; others, such as batch_size and crop.area,
    everywhere.
    """
    flags = dict(_flags(kind))
    names = "|".join(sorted((re.escape(name).replace(r"\.", "[. ]") for name in flags), key=len, reverse=True))
    verbs = "lower |raise |leave "
    argument = re.compile(rf"(?<![\w./-])({verbs}|)({names})(=True\b| (?=must )|(?![\w/-]|\.\w))")

    def flag(match: re.Match[str]) -> str:
        verb, name, rest = match[1], match[2].replace(" ", "."), match[3]
        certain = verb or rest or "_" in name or "." in name
        return verb + flags[name] + rest.removeprefix("=True") if certain else match[0]

    return argument.sub(flag, sentence)


def _flags(kind: type, names: str = "", flags: str = "--") -> Iterator[tuple[str, str]]:
    """Each field of a command, and of the dataclasses in it, with its flag: ("crop.area", "--crop.area")."""
    import tyro

    for name, hint in get_type_hints(kind, include_extras=True).items():
        inner, *notes = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        shown = next((note.name for note in notes if getattr(note, "name", None) is not None), name)
        if is_dataclass(inner):
            prefix = f"{shown}." if shown and tyro.conf.OmitArgPrefixes not in notes else ""
            yield from _flags(inner, names + prefix, flags + prefix)  # type: ignore[arg-type]
        elif tyro.conf.Positional not in notes:
            yield f"{names}{name}", f"{flags}{shown.replace('_', '-')}"


def _without_command(words: list[str]) -> int:
    if words and words[0] == "--version":
        print_result(importlib.metadata.version("sdali"))
        return 0
    group = words[0] if words and any(name.startswith(f"{words[0]} ") for name in COMMANDS) else ""
    if words[bool(group) :][:1] in (["-h"], ["--help"]):
        print_result(_help(group))
        return 0
    wanted = " ".join(itertools.takewhile(lambda word: not word.startswith("-"), words[:2]))
    print(_help(group) if group or not wanted else "sdali --help lists the commands.", file=sys.stderr)
    if wanted in ("", group):
        return fail(f"name a command of sdali {group}".rstrip())
    near = difflib.get_close_matches(wanted, COMMANDS, 1) or difflib.get_close_matches(words[0], COMMANDS, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return fail(f"there is no command {(wanted if group else words[0])!r}{hint}")


def _help(group: str = "") -> str:
    """The commands with a line each: all of them, or those that begin with the word `group`."""
    width = max(map(len, COMMANDS))
    lines = ["usage: sdali COMMAND [FLAGS]", "", "sdali COMMAND --help lists the flags of a command."]
    for heading, commands in GROUPS.items():
        if shown := [f"  {name:<{width}}  {text}" for name, (_, text) in commands.items() if name.startswith(group)]:
            lines += ["", f"{heading}:", *shown]
    return "\n".join(lines)
