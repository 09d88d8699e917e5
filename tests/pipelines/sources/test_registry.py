"""The registry: each format is declared in one file, in the folder or outside, and `sdali build` is made from it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from commands import refusal_of, report_of
from pictures import jpeg, photo

from sdali.cli import formats
from sdali.cli.store import Build
from sdali.pipelines import ImageStore
from sdali.pipelines.sources import registry
from sdali.pipelines.sources.source import LazyItems, Loaded, Source, SourceItem
from sdali.pipelines.sources.voc import VocOptions, voc


@dataclass(frozen=True, kw_only=True)
class NumberedOptions:
    """SOURCE images of one colour."""

    side: int
    """Height and width, in pixels."""

    class_names: Path | None = None
    """Not read,
    but shared."""


@pytest.fixture
def numbered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A format of a module outside the folder, and the flags with it."""
    monkeypatch.setattr(registry, "_formats", dict(registry.registered_formats()))

    @registry.source_format("numbered", NumberedOptions)
    def _(source: str, options: NumberedOptions) -> Source:
        image = jpeg(photo(0, options.side, options.side))
        items = LazyItems(int(source), lambda index: SourceItem(f"{index}.jpg", -1, lambda: Loaded(image)))
        return Source((), items)

    monkeypatch.setattr(formats, "FORMATS", registry.registered_formats())
    yield


def test_every_file_of_a_format_is_found() -> None:
    """Those of the folder, and the scenes of the benchmarks, which the command line imports; each describes itself."""
    found = registry.registered_formats()
    assert set(found) >= {"coco", "folder", "hdf5", "ilsvrc-loc", "masks", "scenes", "voc", "webdataset"}
    for each in found.values():
        assert each.description()
        assert set(each.option_descriptions()) == {option.name for option in fields(each.options)}


def test_options_are_keywords_in_python() -> None:
    """The signature that help() shows has the options, with their defaults."""
    assert list(inspect.signature(voc).parameters) == ["root", *(option.name for option in fields(VocOptions))]
    assert inspect.signature(voc).parameters["subset"].default is None
    with pytest.raises(TypeError, match="subsets"):
        voc("folder", subsets="train")  # pyright: ignore[reportCallIssue]


def test_a_format_from_outside_becomes_flags(numbered: None) -> None:
    """Its options are flags; one that another format has too is the same flag, with a line of help for each."""
    made = formats._options_class()
    assert {option.name: option.default for option in fields(made)}["side"] is None
    (note,) = made.__annotations__["class_names"].__metadata__
    assert "numbered: Not read, but shared." in note.help.splitlines()
    assert any(line.startswith("voc: ") for line in note.help.splitlines())


def test_a_format_from_outside_is_read(numbered: None) -> None:
    """With its required option; without it, or with the option of another format, it is refused by the flag's name."""
    options = formats._options_class()
    assert len(formats.source_of("3", "numbered", options(side=8)).items) == 3
    with pytest.raises(formats.InputError, match="--format numbered needs --side"):
        formats.source_of("3", "numbered", options())
    with pytest.raises(formats.InputError, match="--subset goes with --format ilsvrc-loc or masks or voc, not"):
        formats.source_of("3", "numbered", options(side=8, subset="train"))


def test_one_flag_has_one_meaning(numbered: None) -> None:
    """Two formats cannot give an option of one name different types or defaults."""

    @dataclass(frozen=True, kw_only=True)
    class OtherOptions:
        """SOURCE images."""

        side: int = 3
        """In pixels."""

    registry.source_format("other", OtherOptions)(lambda source, options: Source((), []))
    formats.FORMATS = registry.registered_formats()
    with pytest.raises(TypeError, match="side is one flag of numbered and other"):
        formats._options_class()


def test_generated_scenes_are_such_a_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--seed is a flag of every build, and the scenes' too."""
    report_of(capsys, "build", 2, tmp_path / "a.lmdb", "--format", "scenes", "--classes", 2, "--seed", 7)
    assert ImageStore(tmp_path / "a.lmdb").header["provenance"]["source"] == "2 scenes, seed 7"
    assert Build(source="2", store=Path("a"), format="scenes").seed == 0
    sentence = refusal_of(capsys, "build", "many", tmp_path / "b.lmdb", "--format", "scenes")
    assert "takes the number of pictures, got 'many'" in sentence
