"""The pages that are looked at: README, CONTRIBUTING and all of docs/, as blocks of code and commands."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name_of(page: Path) -> str:
    """README.md, docs/guides/parsing.md, ..."""
    return page.relative_to(ROOT).as_posix()


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """The commands of all ```sh blocks, and of indented lines that begin with one of ours, split into words.

    Comments and redirections are left out, lines that go on with a backslash are joined, && and | divide commands.
    """
    lines = "\n".join(blocks(text, "sh")).replace("\\\n", " ").splitlines()
    lines += [line.strip() for line in text.splitlines() if re.match(r"    (sdali|torchrun|python -m) ", line)]
    found = []
    for line in lines:
        words = [word for word in shlex.split(line, comments=True) if not re.match(r"\d?>", word)]
        while words:
            end = next((i for i, word in enumerate(words) if word in ("&&", "|")), len(words))
            found.append(words[:end])
            words = words[end + 1 :]
    return [words for words in found if words]


def made_page(name: str) -> str:
    """A page that is made when the site is built: "cli", or the name of a package."""
    spec = importlib.util.spec_from_file_location("docs_pages", ROOT / "scripts" / "docs_pages.py")
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made.cli_page() if name == "cli" else made.api_page(f"sdali.{name}")
