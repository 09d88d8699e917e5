"""Rules of the package that live as tests: layers, light import, names, wheel contents, the README's tree.

Each rule has a test that its checker can fail.
"""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("pipelines", "cams", "trainers", "benchmarks")
HEAVY = ("nvidia", "torch", "numba", "cv2")


def modules(root: Path) -> Iterator[Path]:
    """Every Python file of the packages, relative to `root`."""
    for layer in LAYERS:
        yield from sorted(path.relative_to(root) for path in (root / layer).rglob("*.py"))


# Layers


def imported_names(module: Path, source: str) -> Iterator[str]:
    """Absolute dotted names that a module imports, wherever in it; `module` is relative to the root."""
    package = ["sdali", *module.parent.parts]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            prefix = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{prefix}.{alias.name}" for alias in node.names)


def layer_of(name: str) -> str | None:
    """The layer that a dotted name lies in, under `sdali` or bare; None for other libraries."""
    parts = name.removeprefix("sdali.").split(".")
    return parts[0] if parts[0] in LAYERS else None


def layer_errors(module: Path, source: str) -> list[str]:
    allowed = LAYERS[: LAYERS.index(module.parts[0]) + 1]
    found = [(name, layer_of(name)) for name in imported_names(module, source)]
    return [f"{module} imports {name}" for name, layer in found if layer and layer not in allowed]


def test_layers() -> None:
    """A folder imports only itself and the folders to its left: pipelines <- cams <- trainers <- benchmarks."""
    assert [error for path in modules(ROOT) for error in layer_errors(path, (ROOT / path).read_text("utf-8"))] == []


@pytest.mark.parametrize(
    ("module", "source", "legal"),
    [
        ("pipelines/x.py", "from ..cams import activation", False),
        ("pipelines/x.py", "from .. import cams", False),
        ("pipelines/x.py", "def f():\n    import sdali.trainers.core.checkpoint", False),
        ("cams/x.py", "from sdali.trainers.models.classification.classifiers import create_classifier", False),
        ("cams/x.py", "import benchmarks", False),
        ("trainers/models/x.py", "from ...benchmarks import cli", False),
        ("trainers/models/x.py", "from ...pipelines.errors import InputError", True),
        ("trainers/models/x.py", "from ..checkpoint import save", True),
        ("pipelines/x.py", "from .errors import InputError\nimport numpy\nimport benchmarks_of_others", True),
        ("benchmarks/x.py", "from ..trainers import loop\nfrom sdali.cams import activation", True),
    ],
)
def test_layer_checker_can_fail(module: str, source: str, legal: bool) -> None:
    """The layer checker accepts an import to the left and names one to the right, in every spelling."""
    assert (layer_errors(Path(module), source) == []) is legal


# Imports


def python(statement: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", statement], cwd=cwd, capture_output=True, text=True)


def heavy_modules(statement: str, cwd: Path) -> str:
    """The heavy libraries that a statement loads in a fresh interpreter, as printed there."""
    result = python(f"{statement}\nimport sys; print(*[m for m in {HEAVY} if m in sys.modules])", cwd)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_import_is_light(tmp_path: Path) -> None:
    """`import sdali.pipelines` loads neither DALI nor torch, numba or OpenCV; its names are imported when used."""
    assert heavy_modules("import sdali.pipelines", tmp_path) == ""


def test_light_import_checker_can_fail(tmp_path: Path) -> None:
    """The check sees a heavy library that is loaded."""
    assert heavy_modules("import sdali.pipelines, cv2", tmp_path) == "cv2"


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


def test_wheel_holds_the_tree(source: Path, tmp_path: Path) -> None:
    """The wheel has every module and py.typed of the tree under `sdali/`, and nothing else."""
    assert wheel_errors(source, tmp_path / "out") == set()


def test_wheel_checker_can_fail(source: Path, tmp_path: Path) -> None:
    """A subpackage that setup.cfg does not list is named."""
    (source / "cams" / "unlisted").mkdir()
    (source / "cams" / "unlisted" / "__init__.py").touch()
    assert wheel_errors(source, tmp_path / "out") == {"sdali/cams/unlisted/__init__.py"}


def test_every_package_is_typed() -> None:
    """Each folder with an __init__ has a py.typed, so that a user's type checker believes the annotations."""
    packages = {path.parent for path in modules(ROOT) if path.name == "__init__.py"}
    assert {package for package in packages if not (ROOT / package / "py.typed").exists()} == set()


# The README's tree


def tree_section(readme: str) -> list[str]:
    """Paths named in the fenced block under "## The tree": the first word of each line."""
    block = re.search(r"^## The tree\n(?:(?!^## ).)*?^```\w*\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    return [line.split()[0] for line in block[1].splitlines() if line.strip()] if block else []


def tree_errors(readme: str, root: Path) -> list[str]:
    """What the README's tree names and the folder lacks, and modules of the packages that it does not name."""
    named = tree_section(readme)
    gone = [f"{name} is named but is not there" for name in named if not (root / name).exists()]
    wanted = [path.as_posix() for path in modules(root) if path.name != "__init__.py"]
    return gone + [f"{name} is not named" for name in wanted if name not in named]


def test_readme_tree_is_true() -> None:
    """Every path in the README's tree exists, and every module of the packages stands in it."""
    readme = (ROOT / "README.md").read_text("utf-8")
    assert tree_section(readme), 'README.md has no fenced block under "## The tree"'
    assert tree_errors(readme, ROOT) == []


def test_readme_checker_can_fail(tmp_path: Path) -> None:
    """A path that is gone and a module that is not named are both reported; prose may stand before the block."""
    for layer in LAYERS:
        (tmp_path / layer).mkdir()
    (tmp_path / "pipelines" / "new.py").touch()
    (tmp_path / "setup.cfg").touch()
    readme = (
        "# x\n\n## The tree\n\nOne line a file.\n\n```text\nsetup.cfg  the package\ncams/old.py  gone\n```\n\n## Next\n"
    )
    assert tree_errors(readme, tmp_path) == ["cams/old.py is named but is not there", "pipelines/new.py is not named"]
    assert tree_section("## The tree\n\n## Next\n\n```\nsetup.cfg\n```\n") == []
