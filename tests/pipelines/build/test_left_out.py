"""Nothing is left out of a store without a word: files, boxes, and `--strict`, which refuses it."""

from __future__ import annotations

from pathlib import Path

import pytest
from commands import refusal_of, report_of
from pictures import jpeg, photo
from voc_xml import Object, xml

from sdali.cli.main import main


def test_the_report_counts_what_a_folder_has_besides_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the report and on stderr, with a few names of each kind; --strict refuses it and leaves nothing behind."""
    (tmp_path / "p" / "cat").mkdir(parents=True)
    (tmp_path / "p" / "cat" / "1.jpg").write_bytes(jpeg(photo(0, 20, 20)))
    words = ["build", str(tmp_path / "p"), str(tmp_path / "s.lmdb")]
    assert report_of(capsys, *words, "--strict")["left_out"] == {}
    for number in range(5):
        (tmp_path / "p" / "cat" / f"{number}.raw").write_bytes(b"?")
    words[2] = str(tmp_path / "t.lmdb")
    sentence = refusal_of(capsys, *words, "--strict")
    assert "left out would be files that end in .raw (5, such as cat/" in sentence and "leave out --strict" in sentence
    assert not list(tmp_path.glob("t.lmdb*"))
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "files that end in .raw" in printed.err and '"count": 5' in printed.out


def test_boxes_that_are_dropped_are_named_by_their_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those whose minimum is above their maximum apart from those outside the image."""
    for folder in ("JPEGImages", "Annotations"):
        (tmp_path / "v" / folder).mkdir(parents=True)
    boxes: dict[str, list[Object]] = {
        "a": [("cat", (1, 1, 9, 9), 0)],
        "b": [("cat", (30, 1, 9, 9), 0), ("cat", (5, 30, 9, 9), 0), ("cat", (70, 1, 80, 9), 0)],
    }
    for name, objects in boxes.items():
        (tmp_path / f"v/JPEGImages/{name}.jpg").write_bytes(jpeg(photo(0, 40, 60)))
        (tmp_path / f"v/Annotations/{name}.xml").write_text(xml(objects))
    words = ("build", tmp_path / "v", tmp_path / "s.lmdb", "--format", "voc")
    sentence = refusal_of(capsys, *words, "--strict")
    assert "boxes whose minimum is above their maximum (2, such as b.jpg); boxes with nothing inside" in sentence
    assert not list(tmp_path.glob("s.lmdb*"))
    report = report_of(capsys, *words)
    assert report["boxes_dropped"] == 3 and {kind: one["count"] for kind, one in report["left_out"].items()} == {
        "boxes whose minimum is above their maximum": 2,
        "boxes with nothing inside their image": 1,
    }
