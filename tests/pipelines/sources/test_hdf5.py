"""HDF5 files as sources: pixels without loss, files to the byte, and every way a file can be wrong in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import pytest
from pictures import jpeg, photo

from sdali.cli.main import main
from sdali.pipelines.build.build import build
from sdali.pipelines.errors import InputError
from sdali.pipelines.io.progress import silent
from sdali.pipelines.sources.folder import folder
from sdali.pipelines.sources.hdf5 import hdf5
from sdali.pipelines.store.reader import ImageStore

COUNT, HEIGHT, WIDTH = 9, 14, 20
PIXELS = np.stack([photo(seed, HEIGHT, WIDTH) for seed in range(COUNT)])
LABELS = np.arange(COUNT) % 3
ENCODED = [jpeg(photo(seed, 30 + seed, 40)) for seed in range(COUNT)]
MASKS = (PIXELS[..., 0] // 64).astype(np.uint8)


def h5(path: Path, **datasets: Any) -> Path:
    """A file of arrays, of lists of bytes (as variable-length uint8), or of what functions write."""
    with h5py.File(path, "w") as file:
        for name, data in datasets.items():
            if callable(data):
                data(file, name)
            elif isinstance(data, list) and isinstance(data[0], bytes):
                rows = file.create_dataset(name, (len(data),), h5py.vlen_dtype(np.uint8))
                for row, each in enumerate(data):
                    rows[row] = np.frombuffer(each, np.uint8)
            else:
                file[name] = data
    return path


def built(source: Path, **options: Any) -> ImageStore:
    build(hdf5(source, **options), source.with_suffix(".lmdb"), workers=3, verify=True, progress=silent)
    return ImageStore(source.with_suffix(".lmdb"))


def pixels(store: ImageStore) -> np.ndarray:
    """uint8 [N, H, W, 3] RGB, decoded by OpenCV."""
    decoded = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) for data in store.read(range(len(store)))]
    return np.array(decoded)[..., ::-1]


@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("chunks", [None, True, (4, 3, 5, 2)])
def test_pixels_come_back_to_the_bit(tmp_path: Path, layout: str, chunks: Any) -> None:
    """RGB, channels last or first, contiguous or in compressed chunks of any shape."""
    array = PIXELS if layout == "NHWC" else PIXELS.transpose(0, 3, 1, 2)
    options = {} if chunks is None else {"chunks": chunks, "compression": "gzip"}
    path = h5(
        tmp_path / "a.h5", images=lambda file, name: file.create_dataset(name, data=array, **options), labels=LABELS
    )
    store = built(path)
    np.testing.assert_array_equal(pixels(store), PIXELS)
    assert store.classes == ("0", "1", "2") and store.labels.tolist() == LABELS.tolist()
    assert list(store.names[:2]) == ["0000000.png", "0000001.png"]


@pytest.mark.parametrize("shape", [(COUNT, HEIGHT, WIDTH), (COUNT, HEIGHT, WIDTH, 1), (COUNT, 1, HEIGHT, WIDTH)])
def test_grey_pixels_come_back_to_the_bit(tmp_path: Path, shape: tuple[int, ...]) -> None:
    grey = PIXELS[..., 1]
    store = built(h5(tmp_path / "a.h5", images=grey.reshape(shape), labels=LABELS))
    np.testing.assert_array_equal(pixels(store), np.repeat(grey[..., None], 3, 3))


def test_encoded_images_make_the_store_that_their_files_make(tmp_path: Path) -> None:
    """The same files as a folder and as rows, with masks: one digest, over bytes, names, labels, classes and masks."""
    datasets: dict[str, Any] = {"images": [], "masks": [], "names": [], "classes": ["cat", "dog"]}
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])
    for row, (data, label) in enumerate(zip(ENCODED, labels.tolist(), strict=True)):
        name = f"{datasets['classes'][label]}/{row}"
        mask = cv2.imencode(".png", np.full((30 + row, 40), row, np.uint8))[1].tobytes()
        for root, ending, content in (("photos", ".jpg", data), ("masks", ".png", mask)):
            (tmp_path / root / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / root / (name + ending)).write_bytes(content)
        for column, value in (("images", data), ("masks", mask), ("names", f"{name}.jpg")):
            datasets[column].append(value)
    path = h5(tmp_path / "a.h5", **datasets, labels=labels[:, None].astype(np.uint64))
    build(folder(tmp_path / "photos", masks=tmp_path / "masks"), tmp_path / "folder.lmdb", progress=silent)
    store = built(path, names_dataset="names", classes_dataset="classes", masks_dataset="masks")
    assert store.digest == ImageStore(tmp_path / "folder.lmdb").digest
    assert bytes(store.read([4])[0]) == ENCODED[4] and store.mask(5).tolist() == [[5] * 40] * 35


def test_masks_of_pixels_come_back(tmp_path: Path) -> None:
    store = built(h5(tmp_path / "a.h5", images=PIXELS, labels=LABELS, masks=MASKS), masks_dataset="masks")
    np.testing.assert_array_equal([store.mask(index) for index in range(COUNT)], MASKS)


def test_datasets_that_are_not_read_are_counted(tmp_path: Path) -> None:
    """Such as masks for which no flag was given; links lead nowhere."""
    path = h5(tmp_path / "a.h5", images=PIXELS, labels=LABELS, masks=MASKS, classes=["a", "b", "c"])
    with h5py.File(path, "a") as file:
        file["more/scores"], file["link"] = LABELS, h5py.SoftLink("/images")
    assert hdf5(path).left_out.report() == {
        "datasets of the file": {"count": 3, "examples": ["classes", "masks", "more/scores"]}
    }
    left_out = hdf5(path, masks_dataset="masks", classes_dataset="classes").left_out.report()
    assert left_out["datasets of the file"]["examples"] == ["more/scores"]


def test_labels_keep_their_meaning(tmp_path: Path) -> None:
    """-1 is no class; a class that no image has keeps its place; without labels there are no classes."""
    labels = np.array([4, -1, 0, 0, 2, 2, 4, -1, 0], np.int8)
    path = h5(
        tmp_path / "a.h5", images=ENCODED, labels=labels, names=list("cbadefghi"), words=["v", "w", "x", "y", "z"]
    )
    source = hdf5(path)
    assert source.classes == ("0", "1", "2", "3", "4") and [item.label for item in source.items] == labels.tolist()
    assert hdf5(path, classes_dataset="words").classes == ("v", "w", "x", "y", "z")
    bare = hdf5(path, labels_dataset=None, names_dataset="names")
    assert bare.classes == () and [(item.name, item.label) for item in bare.items[1:3]] == [("b", -1), ("a", -1)]
    assert bare.items[-1].load().data == ENCODED[-1] and bare.items[0].name == "c"
    assert hdf5(h5(tmp_path / "b.h5", images=ENCODED, labels=np.full(COUNT, -1))).classes == ()


def huge(file: h5py.File, name: str) -> None:
    file.create_dataset(name, (10**12,), h5py.vlen_dtype(np.uint8), chunks=(100,))[0] = np.ones(3, np.uint8)


def wide(file: h5py.File, name: str) -> None:
    data = file.create_dataset(name, (COUNT, 17_896, 10_000), "u1", chunks=(1, 17_896, 10_000), compression="gzip")
    for row in range(COUNT):
        data.id.write_direct_chunk((row, 0, 0), b"x" * 200_000)


def half_written(file: h5py.File, name: str) -> None:
    """As a writer that was stopped leaves it: HDF5 would give black images for the rest, and class 0."""
    file.create_dataset(name, PIXELS.shape, "u1", chunks=(1, *PIXELS.shape[1:]))[: COUNT // 2] = PIXELS[: COUNT // 2]


def references(file: h5py.File, name: str) -> None:
    file["target"] = 1
    file.create_dataset(name, data=np.array([file["target"].ref] * COUNT, object), dtype=h5py.ref_dtype)


DATASETS = {name: f"{name}_dataset" for name in ("classes", "labels", "names", "masks")}
WRONG: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"labels": LABELS}, {}, "no dataset images of its own, only labels"),
    ({"images": PIXELS}, {}, "no dataset labels of its own, only images"),
    ({"images": lambda file, name: file.create_group(name), "labels": LABELS}, {}, "images is no dataset"),
    ({"images": huge, "labels": LABELS}, {}, "images claims 8,000,000,000,000 bytes"),
    ({"images": half_written, "labels": LABELS}, {}, f"{COUNT} chunks of the dataset images only {COUNT // 2} were"),
    ({"images": wide, "labels": LABELS}, {}, "images of 17,896 x 10,000 px; 1 to 178,956,970 are allowed"),
    ({"images": PIXELS, "labels": LABELS}, {"max_pixels": 279}, "14 x 20 px; 1 to 279 are allowed"),
    ({"images": PIXELS[:, :, :0], "labels": LABELS}, {}, "images of 14 x 0 px"),
    ({"images": PIXELS[:0], "labels": LABELS[:0]}, {}, "images has no rows"),
    ({"images": references, "labels": LABELS}, {}, r"/images is references \[9\]; images are"),
    ({"images": PIXELS, "labels": references}, {}, r"/labels is references \[9\]; labels are"),
    ({"images": 3, "labels": LABELS}, {}, r"/images is int64 \[\]; images are"),
    ({"images": PIXELS / 255, "labels": LABELS}, {}, r"/images is float64 \[9, 14, 20, 3\]; images are"),
    ({"images": PIXELS[..., :2], "labels": LABELS}, {}, r"\[9, 14, 20, 2\], which has neither 1 nor 3 channels"),
    ({"images": PIXELS[:, :3], "labels": LABELS}, {}, r"\[9, 3, 20, 3\], which could have its channels first or last"),
    ({"images": ["a"] * COUNT, "labels": LABELS}, {}, r"/images is strings \[9\]; images are"),
    ({"images": PIXELS, "labels": LABELS[:-1]}, {}, r"/labels is int64 \[8\], but there are 9 images"),
    ({"images": PIXELS, "labels": 1}, {}, r"/labels is int64 \[\], but there are 9 images"),
    ({"images": PIXELS, "labels": np.zeros((COUNT, 2), int)}, {}, r"/labels is int64 \[9, 2\]; labels are integers"),
    ({"images": PIXELS, "labels": LABELS / 1}, {}, "/labels is float64"),
    ({"images": PIXELS, "labels": ["a"] * COUNT}, {}, "/labels is strings"),
    ({"images": PIXELS, "labels": LABELS > 0}, {}, "/labels is bool"),
    ({"images": PIXELS, "labels": LABELS - 2}, {}, "/labels has -2 in row 0"),
    ({"images": PIXELS, "labels": LABELS.astype(np.uint64) + 2**63}, {}, "/labels has 9223372036854775808 in row 0"),
    ({"images": PIXELS, "labels": LABELS * 10**9}, {}, "label 2000000000 in row 2 would need 2,000,000,001 classes"),
    ({"images": PIXELS, "labels": LABELS, "c": ["a", "b"]}, {"classes": "c"}, "label 2 in row 2 is outside the 2 cl"),
    ({"images": PIXELS, "labels": LABELS, "c": list("aba")}, {"classes": "c"}, "c has the name 'a' of row 0 again in"),
    ({"images": PIXELS, "labels": LABELS, "c": LABELS}, {"classes": "c"}, "/c is no list of strings"),
    ({"images": PIXELS, "labels": LABELS}, {"classes": "c"}, "no dataset c of its own"),
    ({"images": PIXELS, "labels": LABELS}, {"classes": "c", "labels": None}, "classes_dataset without"),
    ({"images": PIXELS, "labels": LABELS, "n": list("abcdefgh")}, {"names": "n"}, r"/n is strings \[8\], but"),
    ({"images": PIXELS, "labels": LABELS, "n": list("abcdefgha")}, {"names": "n"}, "'a' of row 0 again in row 8"),
    ({"images": PIXELS, "labels": LABELS, "n": [*"abcdefgh", ""]}, {"names": "n"}, "n has no name in row 8"),
    ({"images": PIXELS, "labels": LABELS, "m": MASKS[:5]}, {"masks": "m"}, r"/m is uint8 \[5, 14, 20\], but"),
    ({"images": PIXELS, "labels": LABELS, "m": MASKS + 0.5}, {"masks": "m"}, "/m is float64 .*; masks are uint8"),
]  # fmt: skip


@pytest.mark.parametrize(("datasets", "options", "sentence"), WRONG)
def test_a_file_of_another_form_is_one_sentence(
    tmp_path: Path, datasets: dict[str, Any], options: dict[str, Any], sentence: str
) -> None:
    """Found before anything is written; the sentence names the file, the dataset and what was found."""
    with pytest.raises(InputError, match=rf"a.h5.*{sentence}"):
        hdf5(h5(tmp_path / "a.h5", **datasets), **{DATASETS.get(name, name): value for name, value in options.items()})


def test_bad_rows_are_named_or_left_out(tmp_path: Path) -> None:
    """An empty row, text, a cut file, a mask of another size: each by its name, as files in folders are."""
    images = [*ENCODED[:2], b"text", b"", ENCODED[4][:-9], *ENCODED[5:]]
    masks = [cv2.imencode(".png", np.zeros((30 + row, 40), np.uint8))[1].tobytes() for row in range(COUNT)]
    masks[7], masks[8] = masks[6], b"no PNG"
    path = h5(tmp_path / "a.h5", images=images, labels=LABELS, masks=masks)
    with pytest.raises(InputError, match=r"0000002.jpg is not an image; correct or remove it, or pass skip_bad=True"):
        built(path)
    source = hdf5(path, masks_dataset="masks")
    report = build(source, tmp_path / "s.lmdb", skip_bad=True, progress=silent)
    reasons = {bad["name"]: bad["reason"] for bad in report["skipped"]}
    assert list(reasons) == [f"000000{row}.jpg" for row in (2, 3, 4, 7, 8)] and report["images"] == 4
    assert reasons["0000003.jpg"] == "is empty" and "truncated" in reasons["0000004.jpg"]
    assert reasons["0000007.jpg"].startswith("has the mask of row 7 of 36 x 40 px, but is itself 37 x 40 px")
    assert reasons["0000008.jpg"] == "has a mask that is not a PNG"


def test_the_same_store_with_any_number_of_workers(tmp_path: Path) -> None:
    path = h5(tmp_path / "a.h5", images=PIXELS, labels=LABELS)
    for workers in (1, 8):
        build(hdf5(path), tmp_path / f"{workers}.lmdb", workers=workers, progress=silent)
    assert (tmp_path / "1.lmdb").read_bytes() == (tmp_path / "8.lmdb").read_bytes()


def test_the_command_builds_splits_and_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = h5(tmp_path / "a.h5", **{"x/pixels": PIXELS, "y": LABELS, "n": list("abcdefghi"), "m": MASKS})
    flags = ["--format", "hdf5", "--images-dataset", "x/pixels", "--names-dataset", "n", "--masks-dataset", "m"]
    command = ["build", str(path), str(tmp_path / "s.lmdb"), *flags]
    assert main([*command, "--labels-dataset", "y", "--split", "0.5"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["images"] == COUNT
    names = [name for part in ("train", "val") for name in ImageStore(tmp_path / f"s.{part}.lmdb").names]
    assert sorted(names) == list("abcdefghi")
    assert main([*command, "--labels-dataset", "None"]) == 0
    assert ImageStore(tmp_path / "s.lmdb").classes == ()
    capsys.readouterr()
    (tmp_path / "text.h5").write_text("hello")
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:-100])
    for words, sentence in (
        (["build", tmp_path / "text.h5"], "text.h5 is no legible HDF5 file of images (Unable to"),
        (["build", tmp_path / "cut.h5"], "cut.h5 is no legible HDF5 file of images (Unable to"),
        (["build", tmp_path / "none.h5"], "none.h5 does not exist; correct it, or name its datasets with --images-d"),
        (["build", path], "has no dataset images of its own, only m, n, x, y); correct it, or name its datasets with"),
        (["build", path, "--masks", "m"], "--masks goes with --format folder"),
    ):
        assert main([*map(str, words), str(tmp_path / "t.lmdb"), "--format", "hdf5"]) == 2
        printed = capsys.readouterr()
        assert printed.out == "" and sentence in printed.err and len(printed.err.splitlines()) == 1
    assert not list(tmp_path.glob("t.*"))
