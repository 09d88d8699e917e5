"""The Python examples of README, CONTRIBUTING and docs/ run as they stand there, on small stores of the names they use.

The integrations have a test file of their own: their examples train.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from detection_stores import make_detection_store
from pages import PAGES, ROOT, blocks, made_page, name_of
from parsing_stores import make_parsing_store
from pictures import jpeg, make_store, photo

from sdali.cams import from_hdf5, from_rare_classes
from sdali.cli.main import main
from sdali.pipelines.store.reader import ImageStore
from sdali.trainers.classification import TrainConfig, train

pytestmark = pytest.mark.slow

NOT_RUN = {
    "docs/ray.md",  # needs a cluster; its calls are looked at below
    "CONTRIBUTING.md",  # a source, which is built with below
}
EXAMPLES = [
    pytest.param(code, id=f"{name_of(page)}-{number}")
    for page in PAGES
    if name_of(page) not in NOT_RUN and "integrations" not in page.parts
    for number, code in enumerate(blocks(page.read_text("utf-8"), "python"))
]
SHAPE = re.compile(r'^    (batch\["\w+"\]) +# (\w+) \[([\d, ]+)\]', re.MULTILINE)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stores of the names that the examples use, and a run."""
    folder = tmp_path_factory.mktemp("stores")
    for name, count in {"train": 50, "val": 20, "pets": 70, "pets.train": 40}.items():
        make_store(folder / f"{name}.lmdb", count)
    for name in ("pets", "pets.train"):
        write_maps(folder / f"{name}.cams.lmdb", folder / f"{name}.lmdb")
    make_detection_store(folder / "boxes.lmdb", 12)
    camvid = make_parsing_store(folder / "camvid.lmdb", 8, (360, 480))
    from_rare_classes(camvid, folder / "camvid.rare.lmdb")
    make_parsing_store(folder / "camvid.val.lmdb", 2, (360, 480))
    small = {"model": "convnet4", "size": 32, "epochs": 1, "batch_size": 16, "device": "cpu", "threads": 1}
    train(TrainConfig(store=folder / "train.lmdb", val_store=folder / "val.lmdb", out=folder / "run", **small))
    return folder


def write_maps(path: Path, store: Path) -> None:
    """A heatmap store of squares for all images."""
    opened = ImageStore(store)
    heatmap = np.zeros((len(opened), 6, 6), np.uint8)
    heatmap[:, 2:4, 2:4] = 255
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file["maps"] = heatmap
    from_hdf5(opened, path, maps=path.with_suffix(".h5"))


@pytest.mark.parametrize("code", EXAMPLES)
def test_the_example_runs(code: str, stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an error; each line `batch[...]  # type [shape]` finds that type and shape in a batch."""
    for entry in stores.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    if "pets.train.lmdb" in code:  # the tutorial's heatmaps are of the training part
        (tmp_path / "pets.cams.lmdb").unlink()
        (tmp_path / "pets.cams.lmdb").symlink_to(stores / "pets.train.cams.lmdb")
    monkeypatch.chdir(tmp_path)
    promised = [(words, kind, [int(side) for side in shape.split(",")]) for words, kind, shape in SHAPE.findall(code)]
    seen: list[tuple[str, str, list[int]]] = []

    def look(words: str, tensor: torch.Tensor) -> None:
        seen.append((words, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)))

    looked_at = SHAPE.sub(lambda line: f"    look({line[1]!r}, {line[1]})  # ", code)
    exec(compile(looked_at, "example", "exec"), {"look": look, "__name__": "__main__"})
    assert all(each in seen for each in promised)
    for words, kind, sides in seen:  # a last batch may be short
        assert any(w == words and k == kind and s[1:] == sides[1:] and s[0] >= sides[0] for w, k, s in promised)


def test_the_examples_with_ray_call_what_is_there() -> None:
    """Imports can be made, and every call of a name of ours takes the arguments that it is given."""
    calls = 0
    names: dict[str, object] = {}
    for code in blocks((ROOT / "docs" / "ray.md").read_text("utf-8"), "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module or "")
                names |= {alias.name: getattr(module, alias.name) for alias in node.names}
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[0] in names:
                function = eval(ast.unparse(node.func), dict(names))
                keywords = {keyword.arg: None for keyword in node.keywords if keyword.arg}
                inspect.signature(function).bind(*node.args, **keywords)
                calls += 1
    assert calls >= 4


def test_the_source_of_contributing_builds_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put where the page says, it is a format of `sdali build` with its own flag, and refuses as it promises."""
    registry = pytest.importorskip("sdali.pipelines.sources.registry")
    (code,) = blocks((ROOT / "CONTRIBUTING.md").read_text("utf-8"), "python")
    spec = importlib.util.spec_from_loader("sdali.pipelines.sources.listed", loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    monkeypatch.setattr(registry, "_formats", dict(registry.registered_formats()))
    file = tmp_path / "listed.py"
    file.write_text(code)
    exec(compile(code, str(file), "exec"), vars(module))
    source = registry.registered_formats()["list"]
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.jpg"):
        Path(name).write_bytes(jpeg(photo(0, 40, 50)))
    Path("list.txt").write_text("a.jpg cat\nb.jpg dog\n")
    read = source.read("list.txt", source.options())
    assert read.classes == ("cat", "dog") and [item.label for item in read.items] == [0, 1]
    assert read.items[1].load().data == Path("b.jpg").read_bytes()
    Path("list.txt").write_text("a.jpg\n")
    from sdali.pipelines import InputError

    with pytest.raises(InputError, match=r"has the line 'a\.jpg' without a class"):
        source.read("list.txt", source.options())


def test_every_public_name_is_in_the_reference() -> None:
    """Each package's page asks mkdocstrings for all of `__all__`."""
    for package in ("pipelines", "cams", "trainers"):
        module, page = importlib.import_module(f"sdali.{package}"), made_page(package)
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            assert getattr(value, "__qualname__", getattr(value, "__name__", name)) in page, name


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    """At most 200 lines and 14 kB; every relative link is a file, and an anchor in it a heading."""
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 200 and len(text.encode()) <= 14_000
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert len(links) > 20
    for link in (link for link in links if "://" not in link):
        path, _, anchor = link.partition("#")
        assert (ROOT / path).is_file(), link
        if anchor:
            assert anchor in anchors(ROOT / path), link


def anchors(page: Path) -> set[str]:
    """The anchors that MkDocs gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_the_command_line_page_has_every_command() -> None:
    """With its usage, without colours, and in lines that fit the page."""
    from sdali.cli.main import COMMANDS

    page = made_page("cli")
    assert page.count("usage: sdali ") == len(COMMANDS) and "\x1b" not in page
    inside = "\n".join(blocks(page, "text"))
    assert max(map(len, inside.splitlines())) <= 92
    assert main(["--help"]) == 0
