"""The commands on the pages exist: each is parsed as the command line would, with its flags and their values."""

from __future__ import annotations

import configparser
import importlib
import importlib.util
import re
from functools import cache
from pathlib import Path

import pytest
from pages import PAGES, ROOT, blocks, commands, made_page, name_of

from sdali.cli import main as command_line

pytestmark = pytest.mark.slow  # every command is imported, and with it what it needs

ALL = [(name_of(page), words) for page in PAGES for words in commands(page.read_text("utf-8"))]
OTHERS = {"apt-get", "cd", "git", "mkdocs", "nice", "ray"}  # programs that are not ours


def ours(words: list[str]) -> list[str] | None:
    """The words after `sdali`, also behind torchrun and python -m; None for another command."""
    if words[0] == "sdali":
        return words[1:]
    if "sdali.cli" in words:
        return words[words.index("sdali.cli") + 1 :]
    return None


def parsed(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> int:
    """The exit status of a command that is understood, but not run."""
    name = next(n for n in (" ".join(words[:2]), words[0]) if n in command_line.COMMANDS)
    module, _ = command_line.COMMANDS[name]
    kind = getattr(importlib.import_module(module, "sdali.cli"), name.title().replace(" ", ""))
    monkeypatch.setattr(kind, "run", lambda self: {})
    return command_line.main(words)


@pytest.mark.parametrize("page", sorted({page for page, _ in ALL}))
def test_every_command_of_ours_is_understood(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All `sdali ...` lines of the page; `...` stands for what a line leaves out, so such a line is not parsed."""
    for words in (ours(words) for where, words in ALL if where == page):
        if words and "..." not in words and "COMMAND" not in words and "--help" not in words:
            assert parsed(monkeypatch, words) == 0, " ".join(words)


def test_every_other_program_is_known_or_there() -> None:
    """Modules can be found, scripts exist, and extras that pip is to install are in setup.cfg."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = set(setup["options.extras_require"])
    for page, words in ALL:
        line = f"{page}: {' '.join(words)}"
        if ours(words) is not None or words[0] in OTHERS:
            continue
        for named in re.findall(r"\.\[([\w,]+)\]", line):
            assert set(named.split(",")) <= extras, line
        if words[:2] == ["python", "-m"] and words[2].startswith(("sdali.", "robustness.")):
            assert importlib.util.find_spec(words[2]), line
        elif words[0].startswith("scripts/"):
            assert (ROOT / words[0]).exists(), line
        else:
            assert words[0] in ("python", "python3", "pip", ".", "torchrun"), line


@cache
def known_flags() -> set[str]:
    """Every flag that some command has, from what --help prints."""
    return set(re.findall(r"--[a-z][\w.-]*", made_page("cli")))


# Of ray, scripts/test, timm's training script and the ablations.
FLAGS_OF_OTHERS = {
    "--address", "--fast", "--head", "--no-prefetcher", "--num-cpus", "--object-store-memory", "--perf", "--port",
    "--set",
}  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_flag_in_the_text_exists(page: Path) -> None:
    """What stands between backticks and begins with -- is a flag of some command; `--mcn.*` is a group of them."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for span in (span for span in re.findall(r"`([^`]+)`", text) if " faults " not in span):
        for flag in re.findall(r"(?:^|\s)(--[a-z][\w.-]*\*?)", span):
            if flag.endswith("*"):
                assert any(known.startswith(flag[:-1]) for known in known_flags()), flag
            else:
                assert flag in known_flags() | FLAGS_OF_OTHERS, f"{flag} in `{span}`"


@pytest.mark.parametrize(
    "line", ["sdali build photos", "sdali train classification --store a --val-store b --out c --wings 2"]
)
def test_the_check_can_fail(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        status = parsed(monkeypatch, line.split()[1:])
    except SystemExit as ended:
        status = ended.code
    assert status == 2


def test_blocks_are_found() -> None:
    """The pages have as many commands and Python examples as one expects of them."""
    assert len(ALL) > 80 and sum(len(blocks(page.read_text("utf-8"), "python")) for page in PAGES) > 20
