"""Names in any script are drawn in a font that has them, or a warning names what is missing."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from sdali.cams.drawing import fonts
from sdali.cams.drawing.fonts import drawn, font, use_font
from sdali.pipelines.errors import InputError


def font_file(path: Path, letters: str) -> Path:
    """A TrueType font whose signs for `letters` are each a bar of another height; it has nothing else."""
    builder_of = pytest.importorskip("fontTools.fontBuilder").FontBuilder
    pen_of = pytest.importorskip("fontTools.pens.ttGlyphPen").TTGlyphPen
    names = [".notdef", *(f"bar{number}" for number in range(len(letters)))]
    builder, glyphs = builder_of(1000, isTTF=True), {}
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(letter): name for letter, name in zip(letters, names[1:], strict=True)})
    for number, name in enumerate(names):
        pen = pen_of(None)
        pen.moveTo((100, 0))
        for point in ((100, 300 + 100 * number), (400, 300 + 100 * number), (400, 0)):
            pen.lineTo(point)
        pen.closePath()
        glyphs[name] = pen.glyph()
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics({name: (500, 0) for name in names})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": path.stem, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine whose fonts are those of this folder."""
    monkeypatch.setattr(fonts, "FOLDERS", (str(tmp_path),))
    cached = (fonts._best_file, fonts._files, fonts._covered, fonts._warn)
    for one in cached:
        one.cache_clear()
    yield tmp_path
    use_font(None)
    for one in cached:
        one.cache_clear()


def test_ascii_is_written_in_pillows_own_font(machine: Path) -> None:
    font_file(machine / "other.ttf", "abc猫")
    assert font(18, "abc").getname() == ("Aileron", "Regular")


def test_the_font_with_all_characters_is_found(machine: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Wherever it lies below the folders, and an upright one rather than a bold one; what it draws is not the box."""
    (machine / "deep").mkdir()
    font_file(machine / "a.ttf", "猫")
    font_file(machine / "b-bold.ttf", "猫犬")
    font_file(machine / "deep" / "c.ttf", "猫犬")
    (machine / "broken.ttf").write_bytes(b"no font")
    found = font(18, "the 猫", "and the 犬")
    assert found.getname()[0] == "c" and not caplog.records
    assert len({drawn(found, letter) for letter in "猫犬鳥"}) == 3


def test_what_no_font_has_is_said_once(machine: Path, caplog: pytest.LogCaptureFixture) -> None:
    font_file(machine / "a.ttf", "猫犬")
    with caplog.at_level(logging.WARNING, "sdali"):
        for _ in range(3):
            assert font(18, "猫犬鳥").getname()[0] == "a"
    (record,) = caplog.records
    assert re.fullmatch("no font here has 鳥, .* --font FILE.*", record.getMessage())


def test_a_named_font_is_used_and_one_that_is_none_is_refused(machine: Path) -> None:
    named = font_file(machine / "named.otf", "猫")
    font_file(machine / "all.ttf", "猫犬")
    use_font(named)
    assert font(18, "猫犬").getname()[0] == "named" == font(18, "abc").getname()[0]
    (machine / "text.ttf").write_text("no font")
    for file in ("text.ttf", "missing.ttf"):
        with pytest.raises(InputError, match=f"{file} is no font"):
            use_font(machine / file)


def test_a_caption_shows_the_characters(machine: Path) -> None:
    """Two names that differ in a character that Pillow's own font lacks are different pictures."""
    font_file(machine / "a.ttf", "猫犬")

    assert drawn(font(18, "猫"), "猫") != drawn(font(18, "犬"), "犬")
