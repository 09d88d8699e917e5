"""Rules of the package that live as tests: small folders, light import, names, wheel contents, the README's tree.

Each rule has a test that its checker can fail.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("pipelines", "cams", "trainers", "benchmarks", "cli")
HEAVY = ("nvidia", "torch", "numba", "cv2")


def modules(root: Path) -> Iterator[Path]:
    """Every Python file of the packages, relative to `root`."""
    for layer in LAYERS:
        yield from sorted(path.relative_to(root) for path in (root / layer).rglob("*.py"))


# Folders that `ls` explains

LARGEST_FOLDER = 16


def folder_errors(files: Iterable[Path]) -> list[str]:
    """Folders of too many modules, and modules that pytest or a reader would take for tests."""
    files = list(files)
    counts = Counter(path.parent.as_posix() for path in files)
    large = [f"{folder} has {count} modules" for folder, count in sorted(counts.items()) if count > LARGEST_FOLDER]
    return large + [f"{path} is named like a test" for path in files if path.stem.endswith("_test")]


def test_folders_are_small() -> None:
    """No folder has more than 16 modules, and none is called NAME_test.py."""
    assert folder_errors(modules(ROOT)) == []


def test_folder_checker_can_fail() -> None:
    """The seventeenth module and a misleading name are both reported."""
    files = [*(Path(f"cams/a{number}.py") for number in range(17)), Path("cli/x_test.py")]
    assert folder_errors(files) == ["cams has 17 modules", "cli/x_test.py is named like a test"]


# Imports


def python(statement: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", statement], cwd=cwd, capture_output=True, text=True)


def heavy_modules(statement: str, cwd: Path) -> str:
    """The heavy libraries that a statement loads in a fresh interpreter, as printed there."""
    result = python(f"{statement}\nimport sys; print(*[m for m in {HEAVY} if m in sys.modules])", cwd)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.slow
def test_import_is_light(tmp_path: Path) -> None:
    """`import sdali.pipelines` loads neither DALI nor torch, numba or OpenCV; its names are imported when used."""
    assert heavy_modules("import sdali.pipelines", tmp_path) == ""


@pytest.mark.slow
def test_light_import_checker_can_fail(tmp_path: Path) -> None:
    """The check sees a heavy library that is loaded."""
    assert heavy_modules("import sdali.pipelines, cv2", tmp_path) == "cv2"


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS)
def test_bare_name_is_refused(layer: str) -> None:
    """`import pipelines`, possible where the checkout is the working folder, says what to import instead."""
    result = python(f"import {layer}", ROOT)
    assert result.returncode == 1
    assert f"ImportError: import sdali.{layer} instead of {layer}" in result.stderr


# The wheel


def build_wheel(source: Path, out: Path) -> set[str]:
    """The names in the wheel built from `source`; calls the build hook itself, which needs no network."""
    out.mkdir()
    hook = f"from setuptools.build_meta import build_wheel; build_wheel({str(out)!r})"
    result = python(hook, source)
    assert result.returncode == 0, result.stderr
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        return set(wheel.namelist())


def wheel_errors(source: Path, out: Path) -> set[str]:
    """Python files and py.typed marks that are in the tree or in the wheel, but not in both."""
    marks = {path.relative_to(source) for layer in LAYERS for path in (source / layer).rglob("py.typed")}
    tree = {f"sdali/{path.as_posix()}" for path in {*modules(source), *marks}}
    return tree ^ {name for name in build_wheel(source, out) if ".dist-info/" not in name}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of what a wheel is made from: setuptools writes into the folder that it builds."""
    copy = tmp_path / "source"
    for layer in LAYERS:
        shutil.copytree(ROOT / layer, copy / layer, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, copy)
    return copy


@pytest.mark.slow
def test_wheel_holds_the_tree(source: Path, tmp_path: Path) -> None:
    """The wheel has every module and py.typed of the tree under `sdali/`, and nothing else."""
    assert wheel_errors(source, tmp_path / "out") == set()


@pytest.mark.slow
def test_wheel_checker_can_fail(source: Path, tmp_path: Path) -> None:
    """A subpackage that setup.cfg does not list is named."""
    (source / "cams" / "unlisted").mkdir()
    (source / "cams" / "unlisted" / "__init__.py").touch()
    assert wheel_errors(source, tmp_path / "out") == {"sdali/cams/unlisted/__init__.py"}


def test_every_package_is_typed() -> None:
    """Each layer has a py.typed, which covers all that lies below it, so that a user's type checker believes it."""
    assert [layer for layer in LAYERS if not (ROOT / layer / "py.typed").exists()] == []


# The README's tree


def tree_section(readme: str) -> list[str]:
    """Paths named in the fenced block under "## The tree": the first word of each line."""
    block = re.search(r"^## The tree\n(?:(?!^## ).)*?^```\w*\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    return [line.split()[0] for line in block[1].splitlines() if line.strip()] if block else []


def tree_errors(readme: str, root: Path) -> list[str]:
    """What the README's tree names and the checkout lacks, and folders of two levels that it does not name."""
    named = [name.rstrip("/") for name in tree_section(readme)]
    gone = [f"{name} is named but is not there" for name in named if not (root / name).exists()]
    folders = {path.parent.as_posix() for path in modules(root) if len(path.parts) <= 3}
    return gone + [f"{name} is not named" for name in sorted(folders) if name not in named]


def test_readme_tree_is_true() -> None:
    """Every path in the README's tree exists, and every package and its sub-packages stand in it."""
    readme = (ROOT / "README.md").read_text("utf-8")
    assert tree_section(readme), 'README.md has no fenced block under "## The tree"'
    assert tree_errors(readme, ROOT) == []


def test_readme_checker_can_fail(tmp_path: Path) -> None:
    """A path that is gone and a folder that is not named are both reported; prose may stand before the block."""
    for folder in (*LAYERS, "pipelines/store"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.py").touch()
    (tmp_path / "setup.cfg").touch()
    readme = (
        "# x\n\n## The tree\n\nOne line a folder.\n\n```text\nsetup.cfg  the package\npipelines/ stores\n"
        "cams/ maps\ntrainers/ x\nbenchmarks/old gone\nbenchmarks y\n```\n\n## Next\n"
    )
    assert tree_errors(readme, tmp_path) == [
        "benchmarks/old is named but is not there",
        "cli is not named",
        "pipelines/store is not named",
    ]
    assert tree_section("## The tree\n\n## Next\n\n```\nsetup.cfg\n```\n") == []
