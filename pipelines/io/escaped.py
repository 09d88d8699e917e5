"""Names of files for lists and terminals: they may hold line ends, and sequences that a terminal obeys."""

from __future__ import annotations

import re

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def escaped(text: str) -> str:
    r"""The text with control characters and line ends as Python writes them, such as \n and \x1b; all else stays."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
