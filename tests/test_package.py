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


# Which module imports which


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
    """A folder imports only itself and the folders to its left: pipelines <- cams <- trainers <- benchmarks <- cli."""
    assert [error for path in modules(ROOT) for error in layer_errors(path, (ROOT / path).read_text("utf-8"))] == []


@pytest.mark.parametrize(
    ("module", "source", "legal"),
    [
        ("pipelines/x.py", "from ..cams import activation", False),
        ("pipelines/x.py", "from .. import cams", False),
        ("pipelines/x.py", "def f():\n    import sdali.trainers.core.checkpoint", False),
        ("cams/x.py", "from sdali.trainers.models.classification.classifiers import create_classifier", False),
        ("cams/x.py", "import benchmarks", False),
        ("trainers/models/x.py", "from ...benchmarks import hardware", False),
        ("benchmarks/x.py", "from ..cli import main", False),
        ("trainers/models/x.py", "from ...pipelines.errors import InputError", True),
        ("trainers/models/x.py", "from ..core.checkpoint import save", True),
        ("pipelines/x.py", "from .errors import InputError\nimport numpy\nimport benchmarks_of_others", True),
        ("benchmarks/x.py", "from ..trainers import core\nfrom sdali.cams import activation", True),
    ],
)
def test_layer_checker_can_fail(module: str, source: str, legal: bool) -> None:
    """The layer checker accepts an import to the left and names one to the right, in every spelling."""
    assert (layer_errors(Path(module), source) == []) is legal


# What each folder of pipelines may import, beside itself and the two modules that everything may import.
BASE = ("pipelines.errors", "pipelines.config")
_IO = ("io",)
_IMAGES = (*_IO, "images")
_STORE = (*_IMAGES, "store")
_PLAN = (*_STORE, "plan")
_GRAPH = (*_PLAN, "graph")
_LOADER = (*_GRAPH, "loader")
MAY_IMPORT = {
    "io": (),
    "images": _IO,
    "store": _IMAGES,
    "sources": _STORE,
    "build": (*_STORE, "sources"),
    "plan": _STORE,
    "graph": _PLAN,
    "loader": _GRAPH,
    "": _LOADER,  # the doors: classification, parsing, detection
    "remote": (*_LOADER, ""),
}


def module_graph(root: Path) -> dict[str, set[str]]:
    """module -> the modules of these packages that it imports, wherever in it and for types alone too.

    A package stands for its __init__. Those of the layers are left out: they export lazily what lies below them.
    """
    files = {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in modules(root)}
    graph: dict[str, set[str]] = {}
    for name, path in files.items():
        if name in LAYERS:
            continue
        wanted = (one.removeprefix("sdali.") for one in imported_names(path, (root / path).read_text("utf-8")))
        found = {one if one in files else one.rpartition(".")[0] for one in wanted}
        graph[name] = {one for one in found if one in files and one not in LAYERS and one != name}
    return graph


def folder_within_pipelines(name: str) -> str | None:
    """ "pipelines.store.reader" -> "store", "pipelines.detection" -> "", and None outside of pipelines."""
    parts = name.split(".")
    if parts[0] != "pipelines":
        return None
    return parts[1] if parts[1] in MAY_IMPORT else ""


def order_errors(graph: dict[str, set[str]]) -> list[str]:
    """Imports within pipelines against the order: io <- images <- store <- sources <- build, and store <- plan <- graph
    <- loader <- doors <- remote.
    """
    errors = []
    for name, imported in sorted(graph.items()):
        folder = folder_within_pipelines(name)
        if folder is None:
            continue
        allowed = () if name in BASE else (*MAY_IMPORT[folder], folder)
        errors += [
            f"{name} imports {other}"
            for other in sorted(imported)
            if other not in BASE and folder_within_pipelines(other) not in allowed
        ]
    return errors


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Each import circle once, as "a -> b -> a"."""
    found: dict[frozenset[str], str] = {}
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> None:
        if name in path:
            circle = path[path.index(name) :]
            found.setdefault(frozenset(circle), " -> ".join([*circle, name]))
        elif name not in done:
            for other in sorted(graph.get(name, ())):
                visit(other, [*path, name])
            done.add(name)

    for name in sorted(graph):
        visit(name, [])
    return sorted(found.values())


def test_imports_run_one_way() -> None:
    """Within pipelines the folders import in one direction, and no module anywhere imports itself through others."""
    graph = module_graph(ROOT)
    assert order_errors(graph) == []
    assert circles(graph) == []


def test_import_order_checker_can_fail(tmp_path: Path) -> None:
    """An import against the order, a circle through a function, and one that is for types alone are all named."""
    files = {
        "pipelines/__init__.py": "from .remote import x",
        "pipelines/errors.py": "",
        "pipelines/io/__init__.py": "",
        "pipelines/io/a.py": "from ..errors import InputError\nfrom ..store import reader",
        "pipelines/store/__init__.py": "",
        "pipelines/store/reader.py": "def f():\n    from .writer import w",
        "pipelines/store/writer.py": "if TYPE_CHECKING:\n    from .reader import R",
        "pipelines/detection.py": "from .loader.x import y",
        "pipelines/loader/__init__.py": "",
        "pipelines/loader/x.py": "from ..detection import z",
    }
    for name, source in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source)
    for layer in LAYERS[1:]:
        (tmp_path / layer).mkdir()
    graph = module_graph(tmp_path)
    assert order_errors(graph) == [
        "pipelines.io.a imports pipelines.store.reader",
        "pipelines.loader.x imports pipelines.detection",
    ]
    assert circles(graph) == [
        "pipelines.detection -> pipelines.loader.x -> pipelines.detection",
        "pipelines.store.reader -> pipelines.store.writer -> pipelines.store.reader",
    ]


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
