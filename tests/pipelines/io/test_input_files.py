"""What a user names is read only where it is a regular file: no pipe is waited for, no endless device read."""

from __future__ import annotations

import codecs
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from detection_stores import make_detection_store
from pictures import jpeg, make_store, photo

from sdali.pipelines.errors import InputError
from sdali.pipelines.io.input_files import open_input, read_input, read_json, read_lines
from sdali.pipelines.store.statistics import statistics_path
from sdali.trainers.localization.predictions import read_predictions


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """A file and a link to one are; pipes, devices and folders are refused at once, and no descriptor is left."""
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    assert read_input(tmp_path / "file") == read_input(tmp_path / "link") == b"content"
    before = os.listdir("/proc/self/fd")
    for path, reason in (
        (tmp_path / "pipe", "not a regular"),
        (Path("/dev/zero"), "not a regular"),
        (tmp_path, "directory"),
    ):
        with pytest.raises(OSError, match=reason):
            open_input(path)
    assert os.listdir("/proc/self/fd") == before


MARKED = {
    "utf-8": b"",
    "utf-8 with a mark": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
}


@pytest.mark.parametrize("encoding", MARKED)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_text_comes_as_editors_write_it(tmp_path: Path, encoding: str, end: str) -> None:
    """Marks, line ends, blank lines and comments are no part of it; names with # and U+2028 inside stay whole."""
    wanted = ["犬", "C#", "a\u2028b", "#1", "my  cat 1"]
    lines = ["# classes", "", *wanted, "#", "  # 3 of them", "## x", " \t"]
    (tmp_path / "a.txt").write_bytes(MARKED[encoding] + end.join(lines).encode(encoding.split()[0]))
    assert read_lines(tmp_path / "a.txt", "names") == wanted
    document = {"a": [1, "犬"]}
    text = end + json.dumps(document, ensure_ascii=False) + end
    (tmp_path / "a.json").write_bytes(MARKED[encoding] + text.encode(encoding.split()[0]))
    assert read_json(tmp_path / "a.json", "settings") == document


def test_what_is_no_text_or_no_json_is_named(tmp_path: Path) -> None:
    """A key that comes twice too: Python's own reader would drop the first of two lists "images"."""
    path = tmp_path / "a"
    for data, sentence in (
        (b"\xff\xfea", "a is not JSON .*; give settings"),
        (b"\x80", "a is not JSON"),
        (b'{"a": 1} {', "a is not JSON"),
        (b"[" * 100_000, "nested too deep to be settings"),
        (b'{"x": {"images": [1], "b": 2, "images": [2]}}', "the key 'images' comes twice"),
    ):
        path.write_bytes(data)
        with pytest.raises(InputError, match=sentence):
            read_json(path, "settings")
    for data in (b"\xff\xfea", b"\x80", "cat".encode("utf-16-le")):
        path.write_bytes(data)
        with pytest.raises(InputError, match="is not UTF-8 text"):
            read_lines(path, "names")


def test_predictions_are_not_waited_for(tmp_path: Path) -> None:
    """Nor are they read from an endless device."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(InputError, match=f"cannot read {path}: it is not a regular file"):
            read_predictions(path, images=3, classes=3)


COMMANDS = [
    "info {pipe}",
    "build {pipe} {out}",
    "build {pipe} {out} --format hdf5",
    "build {photos} {out} --masks {pipe}",
    "build {photos} {out} --format masks --masks {photos} --class-names {pipe}",
    "build {photos} {out} --format coco --annotations {pipe}",
    "build {voc} {out} --format voc --subset pipe",
    "build {voc} {out} --format voc --class-names {pipe}",
    "build {photos} {out} --annotations {pipe}",
    "join {out} {pipe}",
    "stats {pipe}",
    "cams {store} {out} --maps {pipe}",
    "cams {store} {out} --checkpoint {pipe}",
    "preview {store} {out} --cams {pipe}",
    "preview {piped} {out}",
    "evaluate classification --store {store} --checkpoint {pipe}",
    "evaluate parsing --store {store} --checkpoint {pipe}",
    "confusion {store} --checkpoint {pipe} --out {out}",
    "ensemble {pipe}",
    "train classification --store {store} --val-store {pipe} --out {out}",
    "train classification --store {store} --val-store {store} --out {out} --soft-labels {pipe} --size 32",
    "train classification --store {store} --val-store {store} --out {run} --resume",
    "train detection --store {boxes} --val-store {boxes} --out {out} --start-from {pipe}",
    "bench throughput --images {pipe}",
]

RUN = """
import sys
from sdali.cli.main import main
for line in sys.stdin:
    print("sdali:", main(line.split()), line, file=sys.stderr, flush=True)
"""


@pytest.mark.slow
def test_no_command_waits_for_a_pipe(tmp_path: Path) -> None:
    """Wherever one is named, a sentence about it, status 2, no traceback, and nothing written; in seconds."""
    folder = tmp_path / "given"
    (folder / "photos" / "a").mkdir(parents=True)
    (folder / "photos" / "a" / "1.jpg").write_bytes(jpeg(photo(0, 20, 20)))
    voc = folder / "voc"
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (voc / part).mkdir(parents=True)
    (voc / "JPEGImages" / "1.jpg").write_bytes(jpeg(photo(0, 20, 20)))
    box = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
    xml = f"<annotation><object><name>cat</name><bndbox>{box}</bndbox></object></annotation>"
    (voc / "Annotations" / "1.xml").write_text(xml)
    paths = {name: make_store(folder / name, 6, classes=2).path for name in ("store", "piped")}
    paths["boxes"] = make_detection_store(folder / "boxes", 5).path
    (folder / "run").mkdir()
    for path in (folder / "pipe", statistics_path(paths["piped"]), folder / "run/last.pt"):
        os.mkfifo(path)
    os.mkfifo(voc / "ImageSets" / "Main" / "pipe.txt")
    given = {name: folder / name for name in ("photos", "voc", "run", "pipe")} | paths | {"out": tmp_path / "out"}
    lines = [command.format(**given) for command in COMMANDS]
    done = subprocess.run(
        [sys.executable, "-c", RUN], input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr and not done.stdout, done.stderr
    said = done.stderr
    for line in lines:
        sentences, separator, said = said.partition(f"sdali: 2 {line}\n")
        assert separator, (line, said)
        assert "sdali: " in sentences and ("pipe" in sentences or "last.pt" in sentences), (line, sentences)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["given"]
