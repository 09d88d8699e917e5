"""Ensembles of stored predictions against NumPy; what does not fit together is one sentence and status 2."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from pictures import make_store
from PIL import Image

from sdali.cli.main import main
from sdali.pipelines import ImageStore
from sdali.pipelines.errors import InputError
from sdali.pipelines.io.hdf5 import dataset
from sdali.trainers.classification.ensemble import ensemble
from sdali.trainers.classification.predictions import Predictions, written_predictions

COUNT, CLASSES = 60, 7


def softmax(seed: int, labels: np.ndarray, parts: tuple[int, int, int], classes: int) -> np.ndarray:
    """float32 [N, checkpoints, scales, views, K] of a network that is often right."""
    logits = np.random.default_rng(seed).normal(size=(len(labels), *parts, classes))
    logits[np.arange(len(labels)), ..., labels] += 1
    raised = np.exp(logits)
    return (raised / raised.sum(-1, keepdims=True)).astype(np.float32)


def predictions(path: Path, store: ImageStore, seed: int, parts: tuple[int, int, int] = (2, 2, 3)) -> None:
    rows = softmax(seed, store.labels, parts, len(store.classes))
    checkpoints = [{"name": f"epoch {c}", "weights_digest": "", "epoch": c} for c in range(parts[0])]
    options = {"checkpoints": checkpoints, "scales": [256, 288][: parts[1]], "views": "", "views_per_image": parts[2]}
    with written_predictions(path, store=store, **options) as out:
        out.put(np.arange(len(store)), rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """a.h5 and b.h5 of one store, of different shapes; other.h5 of another store, few.h5 of one with fewer classes."""
    folder = tmp_path_factory.mktemp("ensemble")
    store = make_store(folder / "s.lmdb", COUNT, classes=CLASSES)
    predictions(folder / "a.h5", store, 1)
    predictions(folder / "b.h5", store, 2, (1, 1, 1))
    predictions(folder / "other.h5", make_store(folder / "o.lmdb", COUNT + 1, classes=CLASSES), 3)
    predictions(folder / "few.h5", make_store(folder / "f.lmdb", COUNT, classes=3), 4)
    return folder


def short(figures: dict[str, Any]) -> dict[str, Any]:
    names = ("top1", "top5", "top1_error", "top5_error", "loss", "ece", "images")
    return {name: figures[name] for name in names}


def test_an_input_is_not_replaced(tmp_path: Path) -> None:
    """--out must be another file than those it combines, --overwrite or not."""
    store = make_store(tmp_path / "s.lmdb", 3)
    options = {"checkpoints": [{}], "scales": [32], "views": "", "views_per_image": 1}
    with written_predictions(tmp_path / "a.h5", store=store, **options) as out:
        out.put([0, 1, 2], np.full((3, 1, 1, 1, 3), 1 / 3, np.float32))
    before = (tmp_path / "a.h5").read_bytes()
    with pytest.raises(InputError, match=r"a\.h5 is one of the files to combine and would be replaced"):
        ensemble([tmp_path / "a.h5"], out=tmp_path / "x" / ".." / "a.h5", overwrite=True)
    assert (tmp_path / "a.h5").read_bytes() == before
    for chosen in ({"checkpoints": [0, 0]}, {"scales": [32, 32]}):
        with pytest.raises(InputError, match="can be chosen once"):
            Predictions(tmp_path / "a.h5").mean(**chosen)


def test_equals_numpy(folder: Path) -> None:
    """Mean within each file, then the weighted mean over the files; figures by their definitions."""
    labels = ImageStore(folder / "s.lmdb").labels
    rows = [softmax(1, labels, (2, 2, 3), CLASSES), softmax(2, labels, (1, 1, 1), CLASSES)]
    members = [row.mean((1, 2, 3), dtype=np.float64) for row in rows]
    result = ensemble([folder / "a.h5", folder / "b.h5"], [2, 1])
    for figures, mean in [
        (result, (2 * members[0] + members[1]) / 3),
        *zip(result["members"], members, strict=True),
    ]:
        own = mean[np.arange(COUNT), labels]
        place = (mean > own[:, None]).sum(1)
        right, confidence = place < 1, mean.max(1)
        bins = np.ceil(confidence * 15)
        gaps = [abs((right[bins == b].astype(float) - confidence[bins == b]).sum()) for b in range(16)]
        expected = {"top1": right.mean(), "top5": (place < 5).mean(), "loss": -np.log(own).mean(), "images": COUNT}
        expected |= {"top1_error": (~right).mean(), "top5_error": (place >= 5).mean(), "ece": sum(gaps) / COUNT}
        assert short(figures) == pytest.approx(expected, abs=1e-12)
    right = ((2 * members[0] + members[1]).argmax(1) == labels).astype(float)
    assert result["per_class"] == {f"class {k}": pytest.approx(right[labels == k].mean()) for k in range(CLASSES)}
    assert [member["weight"] for member in result["members"]] == pytest.approx([2 / 3, 1 / 3])
    json.dumps(result, allow_nan=False)


def test_of_one_file_and_of_one_file_twice(folder: Path) -> None:
    """An ensemble of one, and of one with itself, is that one, to the last bit."""
    once = ensemble([folder / "a.h5"])
    assert short(once) == short(once["members"][0])
    assert short(ensemble([folder / "a.h5"] * 2)) == short(once)
    assert short(ensemble([folder / "a.h5"], [7])) == short(once)


def test_a_choice_of_checkpoints_and_scales(folder: Path, tmp_path: Path) -> None:
    """As an ensemble of the file that holds just these."""
    store = ImageStore(folder / "s.lmdb")
    rows = softmax(1, store.labels, (2, 2, 3), CLASSES)[:, 1:, :1]
    with written_predictions(
        tmp_path / "part.h5", store=store, checkpoints=[{}], scales=[256], views="", views_per_image=3
    ) as out:
        out.put(np.arange(COUNT), rows)
    chosen = ensemble([folder / "a.h5"], checkpoints=[-1], scales=[256])
    assert short(chosen) == short(ensemble([tmp_path / "part.h5"]))


def test_ensembles_nest(folder: Path, tmp_path: Path) -> None:
    """The file of an ensemble counts as the ensemble, says what it is made of, and can be a member of another."""
    files = [folder / "a.h5", folder / "b.h5"]
    result = ensemble(files, [3, 1], out=tmp_path / "ab.h5")
    nested = Predictions(tmp_path / "ab.h5")
    expected = (3 * Predictions(files[0]).mean() + Predictions(files[1]).mean()) / 4
    np.testing.assert_allclose(nested.mean(), expected, rtol=1e-6)
    assert short(ensemble([tmp_path / "ab.h5"])) == pytest.approx(short(result), rel=1e-6)
    members = nested.checkpoints[0]["members"]
    assert [(member["file"], member["weight"]) for member in members] == [("a.h5", 0.75), ("b.h5", 0.25)]
    assert nested.scales == (0,) and nested.digest == Predictions(files[0]).digest
    with pytest.raises(InputError, match="exists already"):
        ensemble(files, out=tmp_path / "ab.h5")
    ensemble(files, out=tmp_path / "ab.h5", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["ab.h5"]


def test_the_command(folder: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    """JSON last on stdout, the members and the ensemble as a table on stderr, a picture and a file where asked for."""
    monkeypatch.chdir(folder)
    words = ["a.h5", "b.h5", "--weights", 2, 1, "--scales", 256, "--checkpoints", -1]
    outputs = ["--out", tmp_path / "c.h5", "--picture", tmp_path / "c.png"]
    assert main(["ensemble", *map(str, [*words, *outputs])]) == 0
    printed = capsys.readouterr()
    expected = ensemble(["a.h5", "b.h5"], [2, 1], checkpoints=[-1], scales=[256])
    assert json.loads(printed.out.splitlines()[-1]) == expected
    assert all(word in printed.err for word in ("a.h5", "b.h5", "ensemble", "0.667", f"{expected['loss']:.4f}"))
    assert Predictions(tmp_path / "c.h5").scales == (256,)
    with Image.open(tmp_path / "c.png") as picture:
        picture.verify()


REFUSED = {
    "none.h5": "none.h5 does not exist",
    "a.h5 other.h5": "other.h5 is of another image store than",
    "a.h5 few.h5": "few.h5 does not have the classes of .*a.h5: it lacks class 3, class 4, class 5 and 1 more",
    "s.lmdb": "s.lmdb is no legible HDF5 file of predictions",
    "a.h5 nan.h5": r"nan.h5 .*the predictions of 3\.jpg are no softmax",
    "a.h5 b.h5 --weights 1": "there are 1 weights for 2 files; give one for each",
    "a.h5 b.h5 --weights 1 -1": "weights must be positive numbers, got -1",
    "a.h5 --weights nan": "weights must be positive numbers, got nan",
    "a.h5 b.h5 --scales 288": "b.h5 has no scale of 288 px; choose of 256",
    "a.h5 --checkpoints 2": "a.h5 has no checkpoint 2",
    "a.h5 --out b.h5": "b.h5 exists already; .*--overwrite",
    "a.h5 --out none/c.h5": "cannot write none/c.h5",
    "a.h5 --picture none/c.png": "cannot write none/c.png",
    "": "an ensemble needs at least one file of predictions",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_does_not_fit_is_refused(folder: Path, capsys, monkeypatch, words: str) -> None:
    """One sentence, status 2, and nothing new in the folder."""
    monkeypatch.chdir(folder)
    (folder / "nan.h5").write_bytes((folder / "a.h5").read_bytes())
    with h5py.File(folder / "nan.h5", "r+") as raw:
        dataset(raw, "softmax")[3, 0, 0, 0, 0] = np.nan
    before = sorted(folder.iterdir())
    assert main(["ensemble", *words.split()]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and re.match(f"sdali: .*{REFUSED[words]}.*\n$", printed.err)
    assert sorted(folder.iterdir()) == before
