"""The public names of sdali.pipelines: each resolves, as type checkers see it, and importing stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import torch  # noqa: F401 - its first import starts `ldconfig`, which a test of the default tier may not

import sdali.pipelines

HEAVY = ("nvidia", "torch", "numba", "cv2")


def seen_by_type_checkers() -> dict[str, tuple[str, str]]:
    """Public name -> module and name there, as the imports under TYPE_CHECKING have it."""
    tree = ast.parse(Path(sdali.pipelines.__file__).read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    return {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_type_checkers_and_python_see_the_same_names() -> None:
    assert sorted(seen_by_type_checkers()) == sorted(sdali.pipelines.__all__)


@pytest.mark.parametrize("name", sdali.pipelines.__all__)
def test_every_name_resolves(name: str) -> None:
    module, there = seen_by_type_checkers()[name]
    if name == "RemoteLoader":
        assert sdali.pipelines.RemoteLoader.__module__ == f"sdali.pipelines.{module}"
    elif module:
        assert getattr(sdali.pipelines, name) is getattr(import_module(f"sdali.pipelines.{module}"), there)
    else:
        assert getattr(sdali.pipelines, name) is import_module(f"sdali.pipelines.{name}")


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match=r"module sdali\.pipelines has no attribute colour_torch"):
        sdali.pipelines.colour_torch  # noqa: B018


@pytest.mark.slow
@pytest.mark.parametrize("code", ["import sdali.pipelines", "from sdali.pipelines import Crop, InputError, ImageStore"])
def test_importing_is_light(tmp_path: Path, code: str) -> None:
    """In a process of its own: looking into a store needs neither DALI nor torch, numba or OpenCV."""
    code += f"\nimport sys; print([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=tmp_path, text=True) == "[]\n"
