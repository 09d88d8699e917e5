"""The migration table names nothing that is not there: our options are tried, torchvision's names looked up."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from torchvision.transforms import v2

import sdali.pipelines
from sdali.cli.formats import FormatOptions
from sdali.cli.store import Build
from sdali.pipelines import classification, detection, parsing
from sdali.pipelines.loader.loader import Loader

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "integrations" / "migration.md").read_text("utf-8")
NAMES = {
    **{name: getattr(sdali.pipelines, name) for name in sdali.pipelines.__all__},
    "train_loader": classification.train_loader,
    "test_loader": classification.test_loader,
    "detection": detection,
    "parsing": parsing,
    "Loader": Loader,
    "dataclasses": dataclasses,
}


def column(number: int) -> list[str]:
    """What stands between backticks in that column of all tables."""
    rows = [row.strip("| ").split(" | ") for row in PAGE.splitlines() if row.startswith("| ") and "---" not in row]
    cells = [row[number] for row in rows if len(row) > number and row[0] != "there"]
    return re.findall(r"`([^`]+)`", "\n".join(cells))


def tried(said: str) -> None:
    """Raise for a name, option or value that does not exist: dataclasses are made, functions given their options."""
    if said.startswith("sdali "):
        flags = [word[2:].replace("-", "_") for word in said.split() if word.startswith("--")]
        known = {field.name for options in (Build, FormatOptions) for field in dataclasses.fields(options)}
        assert said.split()[1] in ("build", "stats") and known.issuperset(flags), said
        return
    tree = ast.parse(said, mode="eval").body
    if not isinstance(tree, ast.Call):
        eval(said, dict(NAMES))
        return
    called: Any = eval(ast.unparse(tree.func), dict(NAMES))
    options = {each.arg or "": eval(ast.unparse(each.value), dict(NAMES)) for each in tree.keywords}
    assert not tree.args and options, said
    if inspect.isclass(called):
        called(**options)
    else:
        assert set(options) <= parameters(called), said


def parameters(function: Any) -> set[str]:
    """The names that a function takes, with those of its **options: Unpack[...]."""
    signature, hints = inspect.signature(function), get_type_hints(function)
    names = set(signature.parameters)
    for name, parameter in signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            names |= set(get_args(hints[name])[0].__annotations__)
    return names


OURS = [said for said in column(1) if said not in ("for", ".beton")]


@pytest.mark.parametrize("said", sorted(set(OURS)))
def test_our_side_exists(said: str) -> None:
    tried(said)


def test_theirs_after_the_loader_exists() -> None:
    theirs = set(column(2))
    assert len(theirs) > 10 and all(hasattr(v2, name.removeprefix("v2.")) for name in theirs if name != "timm.md")


def test_the_table_is_looked_at_whole() -> None:
    assert len(OURS) > 50 and {"Crop", "Colour", "Augmentation", "IouCrop"} <= {said.split("(")[0] for said in OURS}


@pytest.mark.parametrize(
    "said",
    ["train_loader(workers=8)", "Crop(scale=(0.1, 1.0))", "Colour(hue=0.1)", "sdali build --resize", "Loader.seek"],
)
def test_the_check_can_fail(said: str) -> None:
    with pytest.raises((TypeError, AttributeError, AssertionError)):
        tried(said)


def test_values_are_taken_by_the_loaders(tmp_path: Path) -> None:
    """Every train_loader and test_loader of the table makes a batch."""
    from pictures import make_store

    store = make_store(tmp_path / "s.lmdb", 70)
    for said in sorted({each for each in OURS if each.startswith(("train_loader(", "test_loader("))}):
        call = ast.parse(said, mode="eval").body
        assert isinstance(call, ast.Call)
        options = {each.arg or "": eval(ast.unparse(each.value), dict(NAMES)) for each in call.keywords}
        options = {"batch_size": 2, **options, "size": 16, "device": "cpu", "threads": 1, "pin_memory": False}
        loader = NAMES[said.partition("(")[0]](store, **options)
        assert len(next(iter(loader))["image"]) == options["batch_size"], said
        loader.close()
