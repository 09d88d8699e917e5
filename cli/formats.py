"""The flags of `sdali build` that belong to formats, made from the options that the formats register."""

from __future__ import annotations

from dataclasses import MISSING, Field, dataclass, field, fields, make_dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import tyro

from ..benchmarks.scenes import source as _generated_scenes  # noqa: F401 - a format that registers itself
from ..pipelines.errors import InputError
from ..pipelines.sources.registry import registered_formats
from ..pipelines.sources.source import Source

FORMATS = registered_formats()
BUILD_FLAGS = ("seed", "max_pixels")  # options of formats that are flags of every build


def source_of(source: str, format: str, options: FormatOptions, **build_flags: Any) -> Source:
    """The source that SOURCE, --format and the flags of the format describe.

    `build_flags`: the values of BUILD_FLAGS. Raises InputError for flags of another format, for those that the format
    cannot do without, and for what its reader refuses.
    """
    chosen = FORMATS[format]
    given = build_flags | {each.name: getattr(options, each.name) for each in fields(options)}
    known = {each.name: each for each in fields(chosen.options)}
    for flag in fields(options):
        if flag.name not in known and given[flag.name] != flag.default:
            owners = " or ".join(name for name, _ in _owners()[flag.name])
            raise InputError(f"{_flag(flag.name)} goes with --format {owners}, not {format}; leave it out")
    for name, option in known.items():
        if _is_required(option) and given[name] is None:
            raise InputError(f"--format {format} needs {_flag(name)}; give it")
    return chosen.read(source, chosen.options(**{name: given[name] for name in known}))


def _owners() -> dict[str, list[tuple[str, Field[Any]]]]:
    """The options of all formats by name, each with the formats that have it."""
    owners: dict[str, list[tuple[str, Field[Any]]]] = {}
    for name, each in FORMATS.items():
        for option in fields(each.options):
            if option.name not in BUILD_FLAGS:
                owners.setdefault(option.name, []).append((name, option))
    return owners


def _options_class() -> type:
    """A dataclass with each option once; its help text has a line for each format that has it.

    An option that only some format requires is optional here, with the default None.
    """
    columns: list[tuple[str, Any, Any]] = []
    for name, owners in _owners().items():
        texts, declared = dict[str, list[str]](), set()
        for format, option in owners:
            texts.setdefault(FORMATS[format].option_descriptions().get(name, ""), []).append(format)
            hint = get_type_hints(FORMATS[format].options)[name]
            declared.add((hint | None, None) if _is_required(option) else (hint, option.default))
        if len(declared) > 1:
            among = " and ".join(format for format, _ in owners)
            raise TypeError(f"the option {name} is one flag of {among}, which declare several types or defaults for it")
        ((hint, default),) = declared
        help = "\n".join(f"{', '.join(formats)}: {text}" for text, formats in texts.items())
        columns.append((name, Annotated[hint, tyro.conf.arg(help=help)], field(default=default)))
    options = make_dataclass("FormatOptions", columns, frozen=True, kw_only=True)
    options.__doc__ = "Each works only with the formats named at the start of its text."
    return options


def _format_help() -> str:
    lines = [f"{name}: {each.description()}" for name, each in FORMATS.items()]
    return "\n".join(["What SOURCE is:", *lines])


def _is_required(option: Field[Any]) -> bool:
    return option.default is MISSING and option.default_factory is MISSING


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


if TYPE_CHECKING:
    FormatName = str

    @dataclass(frozen=True)
    class FormatOptions: ...

else:
    FormatName = Annotated[Literal[tuple(FORMATS)], tyro.conf.arg(help=_format_help())]
    FormatOptions = _options_class()
