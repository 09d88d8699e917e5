"""The programs of this folder start others of it, which find the package `robustness` as under scripts/robustness."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TESTS = str(Path(__file__).resolve().parents[1])


@pytest.fixture(autouse=True)
def _path_of_the_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", TESTS, prepend=os.pathsep)
