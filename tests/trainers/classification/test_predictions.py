"""Predictions in HDF5: what is put comes back, a file exists whole or not at all, and what is damaged is named."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import jpeg, make_store, photo

from sdali.pipelines import ImageStore
from sdali.pipelines.errors import InputError
from sdali.pipelines.io.hdf5 import dataset
from sdali.pipelines.store.writer import StoreWriter
from sdali.trainers.classification import predictions
from sdali.trainers.classification.predictions import Predictions, PredictionWriter, written_predictions

COUNT, CLASSES, SCALES, VIEWS = 23, 4, (256, 288, 320), 5
CHECKPOINTS = [{"name": "é 1", "weights_digest": "ab", "epoch": 1}, {"name": "2", "weights_digest": "cd", "epoch": 2}]
SHAPE = (COUNT, len(CHECKPOINTS), len(SCALES), VIEWS, CLASSES)


def softmax(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """float32, rows summing to 1."""
    raised = np.exp(2 * np.random.default_rng(seed).normal(size=shape))
    return (raised / raised.sum(-1, keepdims=True)).astype(np.float32)


def writer(path: Path, store: ImageStore, **options: Any) -> AbstractContextManager[PredictionWriter]:
    options = {"checkpoints": CHECKPOINTS, "scales": SCALES, "views": "5 windows", "views_per_image": VIEWS, **options}
    return written_predictions(path, store=store, **options)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return make_store(tmp_path_factory.mktemp("store") / "s.lmdb", COUNT, classes=CLASSES)


@pytest.fixture(scope="module")
def file(store: ImageStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("predictions") / "a.h5"
    with writer(path, store) as out:
        out.put(np.arange(COUNT), softmax(0))
    return path


def test_all_comes_back(file: Path, store: ImageStore) -> None:
    """Whose images, which classes, networks, scales and views; other tools read the array by its name."""
    found = Predictions(file)
    assert (len(found), found.digest, found.classes, found.names) == (
        COUNT, store.digest, store.classes, tuple(store.names)
    )  # fmt: skip
    assert (found.checkpoints, found.scales) == (CHECKPOINTS, SCALES)
    assert (found.views, found.views_per_image) == ("5 windows", VIEWS)
    np.testing.assert_array_equal(found.labels, store.labels)
    with h5py.File(file) as raw:
        np.testing.assert_array_equal(dataset(raw, "softmax")[()], softmax(0))
    assert [path.name for path in file.parent.iterdir()] == ["a.h5"]


@given(st.permutations(range(COUNT)), st.lists(st.integers(0, 9), max_size=8))
def test_the_order_of_put_does_not_matter(file: Path, store: ImageStore, order: list[int], sizes: list[int]) -> None:
    """Batches of any sizes, empty ones too, in any order, make the same bytes."""
    other = file.with_name("b.h5")
    with writer(other, store, overwrite=True) as out:
        for batch in np.split(np.array(order), np.minimum(np.cumsum(sizes, dtype=int), COUNT)):
            out.put(batch, softmax(0)[batch])
    assert other.read_bytes() == file.read_bytes()
    other.unlink()


@given(
    st.none() | st.sets(st.integers(0, 1), min_size=1),
    st.none() | st.sets(st.sampled_from(SCALES), min_size=1),
    st.none() | st.sets(st.integers(0, VIEWS - 1), min_size=1),
    st.sampled_from([1, 300, 1 << 25]),
)
def test_mean_over_any_choice(
    file: Path, checkpoints: set[int] | None, scales: set[int] | None, views: set[int] | None, block: int
) -> None:
    """NumPy's mean in float64 over the chosen places, however many images are read at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predictions, "BLOCK_BYTES", block)
        found = Predictions(file).mean(*(None if c is None else sorted(c) for c in (checkpoints, scales, views)))
    places = [sorted(SCALES.index(scale) for scale in scales) if scales else range(3)]
    places = [sorted(checkpoints) if checkpoints else range(2), *places, sorted(views) if views else range(VIEWS)]
    chosen = softmax(0).astype(np.float64)[np.ix_(range(COUNT), *places)]
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, chosen.mean((1, 2, 3)), rtol=1e-12)


def test_negative_places_count_from_the_end(file: Path) -> None:
    np.testing.assert_array_equal(Predictions(file).mean(checkpoints=[-1]), Predictions(file).mean(checkpoints=[1]))


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"checkpoints": [2]}, "a.h5 has no checkpoint 2; choose of 0 to 1, or -1 for the last"),
        ({"scales": [256, 257]}, "a.h5 has no scale of 257 px; choose of 256, 288, 320"),
        ({"views": [-6]}, "a.h5 has no view -6; choose of 0 to 4"),
        ({"views": []}, "choose one view of .*a.h5 at least"),
    ],
)
def test_a_choice_that_is_not_there_is_refused(file: Path, choice: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        Predictions(file).mean(**choice)


def put_twice(out: PredictionWriter) -> None:
    out.put(np.arange(5), softmax(0)[:5])
    out.put([7, 4], softmax(0)[[7, 4]])


def put_nan(out: PredictionWriter) -> None:
    rows = softmax(0)
    rows[3, 1, 0, 2, 1] = np.nan
    out.put(np.arange(COUNT), rows)


@pytest.mark.parametrize(
    ("put", "sentence"),
    [
        (lambda out: out.put(np.arange(COUNT - 1), softmax(0)[:-1]), "lacks 1 of its 23 images"),
        (lambda out: out.put([0, 0], softmax(0)[:2]), "an image is put twice"),
        (put_twice, "an image is put twice"),
        (put_nan, "the predictions of 3.jpg are no softmax: the network has diverged"),
        (lambda out: out.put([0], -softmax(0)[:1]), "the predictions of 0.jpg are no softmax"),
        (lambda out: out.put([0], softmax(0)[:1] * 3), "the predictions of 0.jpg are no softmax"),
        (lambda out: out.put([COUNT], softmax(0)[:1]), "index 23 is out of bounds"),
        (lambda out: out.put([0], softmax(0)[:1, :1]), r"predictions are \[1, 1, 3, 5, 4\]"),
    ],
)
def test_what_is_not_complete_and_sound_leaves_nothing(tmp_path: Path, store: ImageStore, put, sentence: str) -> None:
    """One sentence, no file, no leftovers; a file that was there before stays."""
    (tmp_path / "a.h5").write_bytes(before := b"\x89HDF\r\n\x1a\nbefore")
    refused = (InputError, AssertionError, IndexError)  # of the network's fault, and of ours
    with pytest.raises(refused, match=sentence), writer(tmp_path / "a.h5", store, overwrite=True) as out:
        put(out)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [before]


def test_an_error_of_the_caller_leaves_nothing(tmp_path: Path, store: ImageStore) -> None:
    with pytest.raises(KeyboardInterrupt), writer(tmp_path / "a.h5", store) as out:
        out.put(np.arange(COUNT), softmax(0))
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_what_cannot_be_written_is_refused_at_once(tmp_path: Path, store: ImageStore, file: Path) -> None:
    def refused(sentence: str, path: Path, **options: Any) -> None:
        with pytest.raises(InputError, match=sentence), writer(path, store, **options):
            raise AssertionError("not refused")

    refused(r"exists already; .*pass overwrite=True", file)
    refused(r"cannot write .*none/a\.h5: there is no folder", tmp_path / "none" / "a.h5")
    refused("would be empty", tmp_path / "a.h5", scales=())
    with pytest.raises(AssertionError, match="lacks"), writer(tmp_path / "a.h5", store):
        refused("being built by another process", tmp_path / "a.h5")
    assert not list(tmp_path.iterdir())


def test_images_without_a_class_are_refused(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "s.lmdb", classes=["a", "b"]) as out:
        out.add(jpeg(photo(0, 20, 20)), label=-1, height=20, width=20, name="0.jpg")
    store = ImageStore(tmp_path / "s.lmdb")
    with (
        pytest.raises(InputError, match=r"1 of the 1 images of .*s\.lmdb have no class"),
        writer(tmp_path / "a.h5", store),
    ):
        raise AssertionError("not refused")


def test_a_name_that_is_no_utf8_is_kept(tmp_path: Path) -> None:
    """Linux allows any bytes in a file's name; two such names stay different."""
    with StoreWriter(tmp_path / "s.lmdb", classes=["a", "b"]) as out:
        for name in ("a/\udcfe.jpg", "a/\udcff.jpg", "a/猫.jpg"):
            out.add(jpeg(photo(0, 20, 20)), label=0, height=20, width=20, name=name)
    with writer(tmp_path / "a.h5", ImageStore(tmp_path / "s.lmdb")) as out:
        out.put([0, 1, 2], softmax(0, (3, *SHAPE[1:4], 2)))
    assert Predictions(tmp_path / "a.h5").names == ("a/\udcfe.jpg", "a/\udcff.jpg", "a/猫.jpg")


@pytest.mark.slow
@pytest.mark.parametrize("kilobytes", [0, 1, 60, 100])
def test_a_full_disk_is_one_sentence_before_any_prediction(tmp_path: Path, store: ImageStore, kilobytes: int) -> None:
    """A file size limit stands in for it; HDF5 would crash the process at its end, so the status counts."""
    code = f"""
        from sdali.pipelines import ImageStore
        from sdali.pipelines.errors import InputError
        from sdali.trainers.classification.predictions import written_predictions
        try:
            with written_predictions("a.h5", store=ImageStore({str(store.path)!r}), checkpoints=[{{}}] * 300,
                                     scales=[1], views="", views_per_image=1):
                raise AssertionError("the disk is not full")
        except InputError as error:
            raise SystemExit(str(error))
        """
    command = f'ulimit -f {kilobytes}; exec {sys.executable} -c "$1"'
    words = ["bash", "-c", command, "bash", textwrap.dedent(code)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1, done.stderr
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith("cannot write a.h5: File too large: the disk is full")
    assert not list(tmp_path.iterdir())


def replace(name: str, data: Any):
    def damage(file: h5py.File) -> None:
        del file[name]
        file[name] = data

    return damage


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda file: file.attrs.update(format="another"), "is no file of predictions"),
        (lambda file: file.attrs.update(version=2), "has version 2 and this sdali reads 1"),
        (lambda file: file.__delitem__("softmax"), "has no dataset softmax of its own"),
        (replace("softmax", h5py.ExternalLink("other.h5", "softmax")), "has no dataset softmax of its own"),
        (replace("softmax", np.zeros(SHAPE)), "its softmax is float64"),
        (
            replace("softmax", softmax(0)[1:]),
            r"contradicts itself: softmax \[22, .* where its parts say \[23",
        ),
        (replace("classes", ["a", "b"]), "contradicts itself"),
        (replace("labels", np.arange(3)), "contradicts itself: .* and 3 labels"),
        (replace("labels", np.full(COUNT, 4)), "has labels outside its 4 classes"),
        (replace("checkpoints", ["{", "}"]), "is no legible HDF5 file of predictions"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, file: Path, damage, sentence: str) -> None:
    (tmp_path / "bad.h5").write_bytes(file.read_bytes())
    with h5py.File(tmp_path / "bad.h5", "r+") as raw:
        damage(raw)
    with pytest.raises(InputError, match=f"bad.h5 .*{sentence}.*; make it with sdali"):
        Predictions(tmp_path / "bad.h5")


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.5, 2.0])
def test_what_is_no_softmax_is_found_while_it_is_read(tmp_path: Path, file: Path, value: float) -> None:
    """In whichever image, where it is chosen."""
    (tmp_path / "bad.h5").write_bytes(file.read_bytes())
    with h5py.File(tmp_path / "bad.h5", "r+") as raw:
        dataset(raw, "softmax")[17, 1, 2, 3, 0] = value
    found = Predictions(tmp_path / "bad.h5")
    with pytest.raises(InputError, match=r"bad\.h5 .*the predictions of 17\.jpg are no softmax.*make it with sdali"):
        found.mean()
    np.testing.assert_array_equal(found.mean(scales=[256]), Predictions(file).mean(scales=[256]))


def test_a_truncated_file_and_other_things_are_refused(tmp_path: Path, file: Path) -> None:
    (tmp_path / "cut.h5").write_bytes(file.read_bytes()[:-1000])
    (tmp_path / "text.h5").write_text("hello")
    for name, sentence in (("cut.h5", "truncated"), ("text.h5", "no legible"), ("none.h5", "does not exist")):
        with pytest.raises(InputError, match=f"{name} .*{sentence}"):
            Predictions(tmp_path / name)
