"""The pages of the documentation site that are made when it is built, as a hook of MkDocs.

- reference/cli.md: what `sdali COMMAND --help` prints, for every command.
- reference/pipelines.md, cams.md, trainers.md: the public names of the packages, which mkdocstrings then fills in.
- contributing.md, changelog.md, log.md: files that lie outside docs/, with their links turned to the site's pages.

`sdali` must be importable. mkdocstrings reads its sources through a folder of links that has the shape of the
namespace, since in a checkout the packages lie at the top level.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import io
import os
import re
import tempfile
import textwrap
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING
from unittest import mock

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 88  # columns of the help texts, but for the longest words
PACKAGES = ("pipelines", "cams", "trainers")
OUTSIDE = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md", "log.md": "benchmarks/LOG.md"}

_folders: list[tempfile.TemporaryDirectory[str]] = []  # kept until MkDocs ends


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let mkdocstrings find the packages as sdali.pipelines and so on."""
    _folders.append(tempfile.TemporaryDirectory(prefix="sdali-docs-"))
    namespace = Path(_folders[-1].name, "sdali")
    namespace.mkdir()
    for package in (*PACKAGES, "benchmarks", "cli"):
        (namespace / package).symlink_to(ROOT / package)
    config.plugins["mkdocstrings"].config["handlers"].setdefault("python", {})["paths"] = [str(namespace.parent)]
    return config


on_config.mkdocs_priority = 100  # type: ignore[attr-defined]  # before mkdocstrings reads its own configuration


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    from mkdocs.structure.files import File  # here, so that tests can make pages without MkDocs

    pages = {"reference/cli.md": cli_page()}
    pages |= {f"reference/{package}.md": api_page(f"sdali.{package}") for package in PACKAGES}
    pages |= {page: outside_page(ROOT / source) for page, source in OUTSIDE.items()}
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def cli_page() -> str:
    """Every command with its help text."""
    from sdali.cli.main import COMMANDS

    parts = [
        "# Command line",
        "`sdali COMMAND --help` prints what stands here. Progress and tables go to stderr. The last line of stdout is "
        "one JSON document with the result. The exit status is 0 for done, 2 for wrong usage or bad input (with one "
        "sentence that says what to do), and 130 after Ctrl-C.",
        "In a job of several processes use `torchrun --nproc-per-node N -m sdali.cli COMMAND ...`.",
        "| command | what it does |\n|---|---|",
    ]
    parts[-1] += "".join(
        f"\n| [`sdali {name}`](#sdali-{name.replace(' ', '-')}) | {line} |" for name, (_, line) in COMMANDS.items()
    )
    for name in COMMANDS:
        parts.append(f"## sdali {name}\n\n```text\n{help_text(name)}\n```")
    return "\n\n".join(parts) + "\n"


def help_text(command: str) -> str:
    """What `sdali COMMAND --help` prints, WIDTH columns wide and without colours."""
    from sdali.cli.main import main

    printed = io.StringIO()
    fixed = {"COLUMNS": str(WIDTH), "NO_COLOR": "1", "TERM": "dumb"}
    with (
        mock.patch.dict(os.environ, fixed),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
        contextlib.suppress(SystemExit),
    ):
        main([*command.split(), "--help"])
    text = re.sub(r"\x1b\[[0-9;]*m", "", printed.getvalue()).strip()
    if not text.startswith("usage:"):
        raise RuntimeError(f"sdali {command} --help printed no usage: {text[:200]!r}")
    return "\n".join(line.rstrip() for line in text.splitlines())


def api_page(package: str) -> str:
    """The public names of a package, each with its docstring."""
    module = importlib.import_module(package)
    parts = [f"# {package}", introduction(module)]
    modules, others = [], []
    for name in getattr(module, "__all__", ()):
        (modules if isinstance(getattr(module, name), ModuleType) else others).append(name)
    for name in modules:
        value = getattr(module, name)
        parts += [f"## {name} {{ #{package}.{name} }}", introduction(value)]
        parts += [reference(f"{package}.{name}", each, getattr(value, each)) for each in public_names(value)]
        if name == "sources":
            parts += source_formats()
    if modules and others:
        parts.append("## Names of the package itself")
    parts += [reference(package, name, getattr(module, name)) for name in others]
    return "\n\n".join(parts) + "\n"


def introduction(module: ModuleType) -> str:
    """The docstring of a module, with paragraphs that are Python code indented, as Markdown has it.

    The formatter takes the indentation away where all but the first line of a docstring is code.
    """

    def shown(paragraph: str) -> str:
        try:
            ast.parse(paragraph)
        except SyntaxError:
            return paragraph
        return textwrap.indent(paragraph, "    ")

    return "\n\n".join(shown(paragraph) for paragraph in (module.__doc__ or "").strip().split("\n\n"))


def source_formats() -> list[str]:
    """The readers of all registered formats."""
    from sdali.pipelines.sources.registry import registered_formats

    names = {each.name: each.read for each in registered_formats().values()}
    own = {name: read for name, read in names.items() if read.__module__.startswith("sdali.pipelines.sources.")}
    example = '    from sdali.pipelines.sources.voc import voc\n\n    source = voc("VOC2012", subset="train")'
    return ["Each reader takes its options as keyword arguments:", example] + [
        f"::: {read.__module__}.{read.__name__}" for read in own.values()
    ]


def reference(package: str, name: str, value: object) -> str:
    """What asks mkdocstrings for one public name, where it is defined."""
    if inspect.isclass(value) or inspect.isfunction(value):
        heading = "" if value.__name__ == name else f"\n    options:\n      heading: {name}\n      toc_label: {name}"
        return f"::: {value.__module__}.{value.__qualname__}{heading}"
    return f"### {name}\n\n`{package}.{name}`: a value of type `{type(value).__name__}`."


def public_names(module: ModuleType) -> list[str]:
    """`__all__`, or the classes and functions without an underscore that the module itself defines."""
    return list(getattr(module, "__all__", [])) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
    ]


def outside_page(source: Path) -> str:
    """A file from outside docs/, with links into docs/ made relative to it, and others left as plain text."""
    text = source.read_text("utf-8")
    folder = source.parent.relative_to(ROOT)

    def turned(match: re.Match[str]) -> str:
        words, target = match.groups()
        if re.match(r"[a-z]+:|#", target):
            return match.group(0)
        path = os.path.normpath(folder / target)
        return f"[{words}]({path.removeprefix('docs/')})" if path.startswith("docs/") else f"{words} (`{path}`)"

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)", turned, text)
