"""The command line: one JSON document on stdout, one sentence and status 2 for bad input, never a traceback."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import refusal_of, report_of
from pictures import jpeg, make_store, photo

from sdali.cli.evaluate import EvaluateClassification, EvaluateParsing
from sdali.cli.main import COMMANDS, _parsed, _with_flags, main
from sdali.cli.train import TrainClassification
from sdali.pipelines import ImageStore


def folder_of(path: Path, **files: bytes) -> Path:
    """Images of one class: NAME=bytes, '__' for the dot."""
    (path / "a").mkdir(parents=True)
    for name, data in files.items():
        (path / "a" / name.replace("__", ".")).write_bytes(data)
    return path


GOOD = jpeg(photo(0, 40, 50))


def png_of(height: int, width: int) -> bytes:
    """A valid PNG of zeros, tiny as a file however large as a picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 0, 0, 0, 0])
    rows = zlib.compress(bytes(width + 1) * min(height, 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


BAD = {
    "text": (b"hello, I am a text file\n" * 9, "bad.jpg"),
    "truncated": (GOOD[: len(GOOD) // 2], "bad.jpg"),
    "empty": (b"", "bad.jpg"),
    "bomb": (png_of(40_000, 40_000), "max-pixels"),
    "gif": (b"GIF89a" + bytes([1, 0, 1, 0, 0, 0, 0, 44, 0, 0, 0, 0, 1, 0, 1, 0, 0, 2, 2, 68, 1, 0, 59]), "--transcode"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_image_stops_the_build_with_its_name(tmp_path: Path, capsys, kind: str) -> None:
    """One sentence with the file's name and the way out, and no store; --skip-bad builds without it and lists it."""
    data, hint = BAD[kind]
    source = folder_of(tmp_path / "photos", good__jpg=GOOD, bad__jpg=data)
    sentence = refusal_of(capsys, "build", source, tmp_path / "s.lmdb")
    assert "a/bad.jpg" in sentence and hint in sentence and "--skip-bad" in sentence
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]
    report = report_of(capsys, "build", source, tmp_path / "s.lmdb", "--skip-bad")
    assert report["images"] == 1 and [entry["name"] for entry in report["skipped"]] == ["a/bad.jpg"]


def test_unusual_but_sound_images_are_built(tmp_path: Path, capsys) -> None:
    """Grey, 16-bit, one pixel high, a Chinese name: converted or kept, and decoded by --verify."""
    image = photo(1, 40, 60)
    files = {
        "grey__jpg": jpeg(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)),
        "deep__png": cv2.imencode(".png", image.astype(np.uint16) * 257)[1].tobytes(),
        "sliver__png": cv2.imencode(".png", photo(2, 1, 4000))[1].tobytes(),
        "熊猫__jpg": GOOD,
    }
    report = report_of(capsys, "build", folder_of(tmp_path / "photos", **files), tmp_path / "s.lmdb", "--verify")
    assert report["images"] == 4
    assert "a/熊猫.jpg" in list(ImageStore(tmp_path / "s.lmdb").names)
    info = report_of(capsys, "info", tmp_path / "s.lmdb", "--verify")
    assert info["verified"] and info["classes"] == {"a": 4} and info["width"]["max"] == 4000


def test_build_split_stats_info(tmp_path: Path, capsys) -> None:
    """The JSON of each command says what was done."""
    for name in ("x", "y"):
        folder_of(tmp_path / "photos" / name, **{f"{i}__jpg": jpeg(photo(i, 30, 30)) for i in range(10)})
    report = report_of(capsys, "build", tmp_path / "photos", tmp_path / "s.lmdb", "--split", 0.8)
    assert report["stores"] == [str(tmp_path / "s.train.lmdb"), str(tmp_path / "s.val.lmdb")]
    stats = report_of(capsys, "stats", tmp_path / "s.train.lmdb")
    assert stats["pixels"] == 16 * 900 and Path(stats["file"]).exists()
    info = report_of(capsys, "info", tmp_path / "s.train.lmdb")
    assert info["classes"] == {"x": 8, "y": 8} and info["statistics"]
    elsewhere = report_of(capsys, "stats", tmp_path / "s.train.lmdb", "--out", tmp_path / "elsewhere.json")
    assert {**elsewhere, "file": stats["file"]} == stats
    assert json.loads((tmp_path / "elsewhere.json").read_text())["mean"] == stats["mean"]
    assert "is also" in refusal_of(capsys, "stats", tmp_path / "s.train.lmdb", "--out", tmp_path / "s.train.lmdb")


def test_statistics_of_a_store_that_is_read_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal names the flag that helps, and it does."""
    store = make_store(tmp_path / "s.lmdb", 3).path
    monkeypatch.setattr(os, "access", lambda path, *_, **__: Path(path) != tmp_path)
    assert "pass --out FILE, a file that" in refusal_of(capsys, "stats", store)
    (tmp_path / "other").mkdir()
    assert report_of(capsys, "stats", store, "--out", tmp_path / "other" / "s.json")["pixels"] > 0


def test_bad_stores_are_refused(tmp_path: Path, capsys) -> None:
    """Missing, foreign, truncated; heatmaps of other images; an existing target."""
    store = make_store(tmp_path / "s.lmdb", 10).path
    other = make_store(tmp_path / "o.lmdb", 11).path
    (tmp_path / "text.lmdb").write_text("not a store " * 1000)
    (tmp_path / "cut.lmdb").write_bytes(store.read_bytes()[:-5000])
    assert "does not exist" in refusal_of(capsys, "info", tmp_path / "missing.lmdb")
    assert "text.lmdb" in refusal_of(capsys, "info", tmp_path / "text.lmdb")
    assert "cut.lmdb" in refusal_of(capsys, "info", tmp_path / "cut.lmdb")
    folder = folder_of(tmp_path / "photos", good__jpg=GOOD)
    assert "--overwrite" in refusal_of(capsys, "build", folder, store)
    assert "no masks" in refusal_of(capsys, "cams", store, tmp_path / "c.lmdb", "--from", "masks")
    assert "--checkpoint" in refusal_of(capsys, "cams", store, tmp_path / "c.lmdb")
    from sdali.cams.store.writer import HeatmapWriter

    writer = HeatmapWriter(tmp_path / "c.lmdb", count=10, images_digest=ImageStore(store).digest, method="test")
    writer.put(np.arange(10), np.ones((10, 3, 3), np.uint8))
    writer.finish()
    sentence = refusal_of(capsys, "preview", other, tmp_path / "p.png", "--cams", tmp_path / "c.lmdb")
    assert "c.lmdb" in sentence and "o.lmdb" in sentence
    assert not (tmp_path / "p.png").exists()


def test_an_empty_folder_is_refused(tmp_path: Path, capsys) -> None:
    (tmp_path / "empty").mkdir()
    assert "empty" in refusal_of(capsys, "build", tmp_path / "empty", tmp_path / "s.lmdb")
    assert "missing" in refusal_of(capsys, "build", tmp_path / "missing", tmp_path / "s.lmdb")


@pytest.mark.slow
def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """A file size limit stands in for a full disk: one sentence, status 2, no store and no leftovers."""
    files = {f"{i}__jpg": jpeg(photo(i, 300, 300), 99) for i in range(20)}
    source = folder_of(tmp_path / "photos", **files)
    command = f"ulimit -f 200; exec {sys.executable} -m sdali.cli build {source} {tmp_path / 's.lmdb'}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=100)
    assert done.returncode == 2 and "s.lmdb" in done.stderr and "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["build", "photos", "s.lmdb", "--split", "1.5"], "split"),
        (["build", "ten", "s.lmdb", "--format", "scenes"], "takes the number of pictures, got 'ten'"),
        (["bench", "throughput", "--images", "photos", "--peers", "nonesuch"], "no peer is called nonesuch"),
        (["bench", "misses", "plain.lmdb", "--crop.gamma", "-1"], "gamma"),
        (
            ["train", "classification", *["--store", "a", "--val-store", "b", "--out", "c", "--size", "0"]],
            "size must be at least 1",
        ),
        (["fly"], "there is no command 'fly'"),
        (["evalute", "parsing"], "did you mean 'evaluate parsing'?"),
        (["bulid", "photos", "s.lmdb"], "there is no command 'bulid'; did you mean 'build'?"),
        (["train", "clasification", "--size", "9"], "no command 'train clasification'; did you mean 'train classif"),
        (["train", "--size", "9"], "name a command of sdali train"),
        ([], "name a command"),
    ],
)
def test_bad_values_are_named(tmp_path: Path, capsys, monkeypatch, words: list[str], said: str) -> None:
    monkeypatch.chdir(tmp_path)
    folder_of(tmp_path / "photos", a__jpg=GOOD, b__jpg=GOOD)
    assert main(words) == 2
    printed = capsys.readouterr()
    assert said in printed.err + printed.out and "Traceback" not in printed.err


@pytest.mark.parametrize("written", [["192", "224"], ["192,224"], ["192,", "224"], ["192, 224"]])
def test_lists_are_written_alike(written: list[str]) -> None:
    """With spaces or with commas, whole numbers or not, also where a flag follows."""
    files = ["--store", "s", "--checkpoint", "c"]
    sides = _parsed(
        EvaluateClassification, "evaluate classification", [*files, "--scales", *written, "--device", "cpu"]
    )
    scales = _parsed(EvaluateParsing, "evaluate parsing", [*files, "--scales", *written])
    assert sides.scales == (192, 224) and scales.scales == (192.0, 224.0)


def test_a_list_that_is_none_is_refused(capsys) -> None:
    files = ["--store", "s", "--checkpoint", "c"]
    assert main(["evaluate", "classification", *files, "--scales", "224;2"]) == 2
    assert "224;2" in capsys.readouterr().err


def test_help_of_a_group_is_its_commands(capsys) -> None:
    of_bench = {name for name in COMMANDS if name.startswith("bench ")}
    for words, shown in ((["--help"], set(COMMANDS)), (["bench", "-h"], of_bench)):
        assert main(words) == 0
        listed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
        assert {next(c for c in COMMANDS if line.strip().startswith(f"{c}  ")) for line in listed} == shown


@pytest.mark.slow
def test_output_that_goes_nowhere_is_no_traceback(tmp_path: Path) -> None:
    """A reader that leaves early is not an error; a full or closed stdout is one sentence."""
    store = make_store(tmp_path / "s.lmdb", 5).path
    command = f"{sys.executable} -m sdali.cli info {store}"
    for redirection, status in (("| head -c 0", 0), (">/dev/full", 2), (">&-", 2)):
        script = f"set -o pipefail; {command} {redirection}"
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=300)
        assert done.returncode == status and "Traceback" not in done.stderr, done.stderr
    script = f"set -o pipefail; {sys.executable} -m sdali.cli train classification --help | head -c 0"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_pipe_among_the_images_is_refused(tmp_path: Path, capsys) -> None:
    """It would be waited for without end."""
    source = folder_of(tmp_path / "photos", good__jpg=GOOD)
    os.mkfifo(source / "a" / "pipe.jpg")
    assert "a/pipe.jpg cannot be read: it is not a regular file" in refusal_of(
        capsys, "build", source, tmp_path / "s.lmdb"
    )


@pytest.mark.slow
def test_throughput_has_the_promised_shape(tmp_path: Path, capsys) -> None:
    """{"machine", "results": [{"peer", "images_per_second", "cpu_ms_per_image", "rounds"}, ...]}, also in the file."""
    source = folder_of(tmp_path / "photos", **{f"{i}__jpg": jpeg(photo(i, 90, 90)) for i in range(20)})
    record = report_of(
        capsys, "bench", "throughput", "--images", source, "--peers", "sdali,sdali_plain,dali_stock", "--rounds", 2,
        "--images-a-round", 40, "--batch-size", 10, "--size", 32, "--json", tmp_path / "r.json",
    )  # fmt: skip
    assert json.loads((tmp_path / "r.json").read_text()) == record
    assert [result["peer"] for result in record["results"]] == ["sdali", "sdali_plain", "dali_stock"]
    assert all(r["rounds"] == 2 and r["images_per_second"] > 0 < r["cpu_ms_per_image"] for r in record["results"])


@pytest.mark.slow
def test_help_lists_every_command_and_needs_nothing_heavy() -> None:
    """`sdali --help` answers without torch, DALI or numba."""
    code = "import sys; from sdali.cli.main import main; main(['--help'])\n"
    code += "sys.exit(any(name in sys.modules for name in ('torch', 'nvidia', 'numba', 'cv2')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    assert done.returncode == 0 and all(name in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_its_flags(name: str, capsys) -> None:
    """Each command, with a sentence on what it does."""
    assert main([*name.split(), "--help"]) == 0 and f"usage: sdali {name}" in capsys.readouterr().out


def test_the_version_is_the_installed_one(capsys) -> None:
    assert main(["--version"]) == 0 and capsys.readouterr().out == f"{importlib.metadata.version('sdali')}\n"


def test_errors_name_flags() -> None:
    """Arguments of Python become the command's flags where they are certainly meant; paths and plain words stay."""
    for sentence, wanted in {
        "batch_size must be at least 1, got 0": "--batch-size must be at least 1, got 0",
        "size must be at least 1, got 0": "--size must be at least 1, got 0",
        "crop area must be two numbers": "--crop.area must be two numbers",
        "crop.p_sda must be within [0, 1]": "--crop.p-sda must be within [0, 1]",
        "x.lmdb exists already; pass overwrite=True": "x.lmdb exists already; pass overwrite=True",
        "lower lr, or pass resume=True": "lower --lr, or pass --resume",
        "/a/batch_size/batch_size.lmdb has no store": "/a/batch_size/batch_size.lmdb has no store",
        "the size of a.lmdb, its epochs and its crop area": "the size of a.lmdb, its epochs and its --crop.area",
    }.items():
        assert _with_flags(sentence, TrainClassification) == wanted
    assert (
        _with_flags("a.lmdb exists; pass overwrite=True.", EvaluateClassification) == "a.lmdb exists; pass --overwrite."
    )
