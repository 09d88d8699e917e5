"""Which module may import which: layers, the order of folders within pipelines, no circles.

Each rule has a test that its checker can fail.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = ("pipelines", "cams", "trainers", "benchmarks", "cli")


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
