"""The formats that `sdali build` reads. Each module of this folder registers its own; a module elsewhere may do so too.

A format is a name, a dataclass of options, and a function that reads a source. From these the command line makes the
choices of --format and a flag for each option, so adding a format touches its own file alone:

    @dataclass(frozen=True, kw_only=True)
    class VocOptions:
        \"\"\"A folder with JPEGImages/, Annotations/, ...\"\"\"   # what SOURCE is: the help text of --format

        subset: str | None = None
        \"\"\"Name of a list in ImageSets/Main/.\"\"\"            # the help text of --subset

    @source_format("voc", VocOptions)
    def voc(root: str | Path, options: VocOptions) -> Source: ...

In Python a registered function takes its options as keyword arguments: `voc("VOC2012", subset="train")`. Formats that
have an option of the same name share its flag, so its type and its default must be the same.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from docstring_parser import parse_from_object

from .source import Source

OptionsT = TypeVar("OptionsT")
OptionsP = ParamSpec("OptionsP")
SourceT = TypeVar("SourceT")


class Format(NamedTuple):
    """One format: `read` takes SOURCE, as given on the command line, and an instance of the dataclass `options`."""

    name: str
    options: type
    read: Callable[[Any, Any], Source]

    def description(self) -> str:
        """What SOURCE is: the docstring of the options, in one line."""
        return " ".join((self.options.__doc__ or "").split())

    def option_descriptions(self) -> dict[str, str]:
        """The docstring under each option, in one line."""
        texts = _described(self.options).params
        return {text.arg_name: " ".join((text.description or "").split()) for text in texts}


_described = functools.cache(parse_from_object)  # which takes 5 ms to find the code of a class
_formats: dict[str, Format] = {}


def source_format(
    name: str, options: Callable[OptionsP, OptionsT]
) -> Callable[[Callable[[SourceT, OptionsT], Source]], Callable[Concatenate[SourceT, OptionsP], Source]]:
    """Decorator: registers `read(source, options)` as the format `name`; the result takes the options as keywords."""

    def register(
        read: Callable[[SourceT, OptionsT], Source],
    ) -> Callable[Concatenate[SourceT, OptionsP], Source]:
        assert isinstance(options, type)
        _formats[name] = Format(name, options, read)

        @functools.wraps(read)
        def with_keywords(source: SourceT, /, *args: OptionsP.args, **kwargs: OptionsP.kwargs) -> Source:
            return read(source, options(*args, **kwargs))

        first = next(iter(inspect.signature(read).parameters.values()))
        signature = inspect.signature(options)
        with_keywords.__signature__ = signature.replace(  # pyright: ignore[reportAttributeAccessIssue] - for help()
            parameters=[first, *signature.parameters.values()], return_annotation=Source
        )
        return with_keywords

    return register


def registered_formats() -> dict[str, Format]:
    """All formats by name, sorted: those of this folder, and those of other modules that have been imported."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f".{module.name}", __package__)
    return dict(sorted(_formats.items()))
