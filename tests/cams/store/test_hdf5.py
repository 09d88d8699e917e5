"""Heatmaps to HDF5 and back: the same maps, whosever they are, and every file that cannot be used in one sentence."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from pictures import make_store

from sdali.cams.heatmaps import from_hdf5
from sdali.cams.store.hdf5 import export
from sdali.cams.store.writer import HeatmapWriter
from sdali.cli.main import main
from sdali.pipelines import ImageStore
from sdali.pipelines.errors import InputError
from sdali.pipelines.store.heatmaps import HeatmapStore
from sdali.pipelines.store.writer import StoreWriter

COUNT = 11
MAPS = np.random.default_rng(0).normal(size=(COUNT, 5, 7))
QUANTISED = [[[round(255 * max(v, 0) / m.max()) for v in row] for row in m.tolist()] for m in MAPS]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return make_store(tmp_path_factory.mktemp("images") / "images.lmdb", COUNT)


def heatmaps_of(path: Path, store: ImageStore, sizes: list[tuple[int, int]]) -> HeatmapStore:
    """A store of maps of these sizes, the first of them empty."""
    rng = np.random.default_rng(1)
    maps = [rng.integers(0, 256, size, np.uint8) for size in sizes]
    for heatmap in maps:
        heatmap[0, 0] = 255
    maps[0][:] = 0
    with HeatmapWriter(path, count=len(maps), images_digest=store.digest, method="by hand", model_digest="m") as writer:
        writer.put(range(len(maps)), maps)
        writer.finish()
    return HeatmapStore(path)


SIZES = {"one": [(5, 7)] * COUNT, "many": [(1 + row % 4, 3 + row % 3) for row in range(COUNT)]}
SIZES["alike in cells"] = [(2, 6), (3, 4)] * 5 + [(12, 1)]


@pytest.mark.parametrize("sizes", SIZES)
def test_other_tools_read_what_is_exported(tmp_path: Path, store: ImageStore, sizes: str) -> None:
    """With h5py alone: maps, names, labels, classes, and where they come from."""
    heatmaps = heatmaps_of(tmp_path / "maps.lmdb", store, SIZES[sizes])
    export(heatmaps, store, tmp_path / "maps.h5")
    with h5py.File(tmp_path / "maps.h5", "r") as file:
        content = {name: np.asarray(data) for name, data in file.items()}
        facts = dict(file.attrs)
    assert facts == {
        "format": "sdali heatmaps",
        "method": "by hand",
        "model_digest": "m",
        "images_digest": store.digest,
        "heatmaps_digest": heatmaps.header["digest"],
    }
    assert [name.decode() for name in content["names"]] == list(store.names)
    assert [name.decode() for name in content["classes"]] == list(store.classes)
    assert content["labels"].tolist() == store.labels.tolist()
    assert content["maps"].shape == ((COUNT, 5, 7) if sizes == "one" else (COUNT,))
    shapes = content["shapes"].tolist() if "shapes" in content else SIZES["one"]
    for heatmap, values, shape in zip(heatmaps, content["maps"], shapes, strict=True):
        np.testing.assert_array_equal(values.reshape(shape), heatmap)


@pytest.mark.parametrize("sizes", SIZES)
def test_there_and_back_gives_the_same_store(
    tmp_path: Path, store: ImageStore, sizes: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest, over all records, is that of the first store; so it is where batches are smaller than the store."""
    monkeypatch.setattr("sdali.cams.store.hdf5._MAPS_AT_A_TIME", 4)
    heatmaps = heatmaps_of(tmp_path / "maps.lmdb", store, SIZES[sizes])
    export(heatmaps, store, tmp_path / "maps.h5")
    report = from_hdf5(store, tmp_path / "back.lmdb", maps=tmp_path / "maps.h5")
    back = HeatmapStore(tmp_path / "back.lmdb")
    back.check(store)
    assert back.header["digest"] == heatmaps.header["digest"] and report["made"] == COUNT
    assert back.header["method"].startswith("maps of maps.h5, SHA-256 ") and back.header["method"].endswith(": by hand")


def file_of(path: Path, **datasets: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, data in datasets.items():
            if name == "digest":
                file.attrs["images_digest"] = data
            elif callable(data):
                data(file, name)
            else:
                file[name] = data
    return path


def imported(tmp_path: Path, store: ImageStore, **datasets: Any) -> HeatmapStore:
    from_hdf5(store, tmp_path / "maps.lmdb", maps=file_of(tmp_path / "maps.h5", **datasets))
    return HeatmapStore(tmp_path / "maps.lmdb")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f8"])
def test_float_maps_are_scaled_to_their_own_maximum(tmp_path: Path, store: ImageStore, dtype: Any) -> None:
    """Negatives are 0, the maximum 255, of every float type."""
    found = [heatmap.tolist() for heatmap in imported(tmp_path, store, maps=MAPS.astype(dtype), digest=store.digest)]
    assert np.abs(np.array(found) - QUANTISED).max() <= (1 if dtype == np.float16 else 0)


def test_bytes_are_scaled_as_floats_are(tmp_path: Path, store: ImageStore) -> None:
    """A map of 0, 1, 2 is one of 0, 128, 255; one whose maximum is 255 stays; an empty one stays empty."""
    maps = np.zeros((COUNT, 1, 3), np.uint8)
    maps[0], maps[1] = (0, 1, 2), (7, 255, 3)
    found = imported(tmp_path, store, maps=maps)
    assert [found[row].tolist() for row in range(3)] == [[[0, 128, 255]], [[7, 255, 3]], [[0, 0, 0]]]


@pytest.mark.parametrize("chunks", [None, (2, 3, 7)])
def test_names_say_whose_map_is_whose(tmp_path: Path, store: ImageStore, chunks: Any) -> None:
    """In any order, with maps of other images among them, compressed or not."""
    order = np.random.default_rng(2).permutation(COUNT)
    names = [store.names[index] for index in order]
    maps = np.concatenate([MAPS[order[:4]], np.ones((1, 5, 7)), MAPS[order[4:]]])
    found = imported(
        tmp_path,
        store,
        maps=lambda file, name: file.create_dataset(name, data=maps, chunks=chunks, compression=chunks and "gzip"),
        names=[*names[:4], "another.jpg", *names[4:]],
    )
    assert [heatmap.tolist() for heatmap in found] == QUANTISED


def test_names_that_are_no_utf8_come_back(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "images.lmdb", classes=("a",)) as writer:
        for raw in (b"caf\xe9.jpg", "猫.jpg".encode()):
            writer.add(b"x", label=0, height=1, width=1, name=os.fsdecode(raw))
    store = ImageStore(tmp_path / "images.lmdb")
    export(heatmaps_of(tmp_path / "a.lmdb", store, [(2, 2)] * 2), store, tmp_path / "maps.h5")
    assert from_hdf5(store, tmp_path / "b.lmdb", maps=tmp_path / "maps.h5")["images"] == 2


def vlen(values: list[list[int]]) -> Callable[[h5py.File, str], None]:
    def write(file: h5py.File, name: str) -> None:
        rows = file.create_dataset(name, (len(values),), h5py.vlen_dtype(np.uint8))
        for row, value in enumerate(values):
            rows[row] = np.array(value, np.uint8)

    return write


NAN = np.where(np.arange(COUNT) == 3, np.nan, 1.0)[:, None, None] * MAPS
ONES = [[1, 2]] * COUNT
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"other": MAPS}, "no dataset maps of its own, only other"),
    ({"maps": MAPS[:-1]}, "it has 10 maps and no names, .*images.lmdb has 11 images"),
    ({"maps": MAPS[0]}, r"/maps is float64 \[5, 7\]; maps are float or uint8 \[N, h, w\]"),
    ({"maps": MAPS > 0}, r"/maps is bool \[11, 5, 7\]"),
    ({"maps": MAPS.astype(np.int32)}, r"/maps is int32 \[11, 5, 7\]"),
    ({"maps": MAPS[:, :0]}, "it has maps of 0 x 7 cells"),
    ({"maps": NAN}, "map 3 of .*maps.h5 has values that are not finite"),
    ({"maps": np.full_like(MAPS, -np.inf)}, "map 0 of .*maps.h5 has values that are not finite"),
    ({"maps": MAPS, "digest": "0"}, "the maps in .*maps.h5 were made from other images than .*images.lmdb"),
    ({"maps": MAPS, "names": ["0.jpg"]}, "it has 11 maps, but 1 names"),
    ({"maps": MAPS, "names": ["0.jpg"] * COUNT}, "it has several maps named 0.jpg"),
    ({"maps": MAPS, "names": [f"{row}.png" for row in range(COUNT)]}, "no map for 11 images of .*, the first is 0.jpg"),
    ({"maps": MAPS, "names": np.arange(COUNT)}, "/names is no list of strings"),
    ({"maps": vlen(ONES)}, "no dataset shapes of its own"),
    ({"maps": vlen(ONES), "shapes": [[1, 2]]}, r"/shapes is int64 \[1, 2\]; the shapes of 11 maps are"),
    ({"maps": vlen(ONES), "shapes": [[1, 3]] * COUNT}, "map 0 of .*maps.h5 has 2 cells, not 1 x 3"),
    ({"maps": vlen(ONES), "shapes": [[-1, -2]] * COUNT}, "it has maps of -1 x -2 cells"),
    ({"maps": vlen(ONES), "shapes": [[60_000, 60_000]] * COUNT}, "it has maps of 60,000 x 60,000 cells"),
]


@pytest.mark.parametrize(("datasets", "sentence"), WRONG)
def test_a_file_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, store: ImageStore, datasets: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        imported(tmp_path, store, **datasets)
    assert not (tmp_path / "maps.lmdb").exists()


def test_nothing_is_exported_over_other_files(tmp_path: Path, store: ImageStore) -> None:
    heatmaps = heatmaps_of(tmp_path / "maps.lmdb", store, SIZES["one"])
    (tmp_path / "maps.h5").write_bytes(b"\x89HDF\r\n\x1a\nmine")
    with pytest.raises(InputError, match=r"maps\.h5 exists already; remove it, name another file, or pass"):
        export(heatmaps, store, tmp_path / "maps.h5")
    assert (tmp_path / "maps.h5").read_bytes().endswith(b"mine")
    for path in (heatmaps.path, store.path):
        with pytest.raises(InputError, match="of this very command, which would be lost"):
            export(heatmaps, store, path, overwrite=True)
    with pytest.raises(InputError, match=r"cannot write .*there is no folder .*none; make it"):
        export(heatmaps, store, tmp_path / "none" / "maps.h5")
    with pytest.raises(InputError, match="were made from other images"):
        export(heatmaps, make_store(tmp_path / "others.lmdb", COUNT, classes=2), tmp_path / "maps.h5", overwrite=True)
    export(heatmaps, store, tmp_path / "maps.h5", overwrite=True)
    assert h5py.is_hdf5(tmp_path / "maps.h5") and not list(tmp_path.glob("*.partial"))


FULL = """
import resource, sys
from pathlib import Path
from sdali.cams.store.hdf5 import export
from sdali.pipelines.errors import InputError
from sdali.pipelines.store.heatmaps import HeatmapStore
from sdali.pipelines import ImageStore
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    export(HeatmapStore(sys.argv[1]), ImageStore(sys.argv[2]), Path(sys.argv[3]))
except InputError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [[(40, 40)] * COUNT, [(40, 40 + row) for row in range(COUNT)]])
def test_a_full_disk_is_one_sentence(tmp_path: Path, store: ImageStore, sizes: list[tuple[int, int]]) -> None:
    """Nothing of the file is left."""
    heatmaps_of(tmp_path / "maps.lmdb", store, sizes)
    words = [str(tmp_path / "maps.lmdb"), str(store.path), str(tmp_path / "maps.h5")]
    done = subprocess.run([sys.executable, "-c", FULL, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == ""
    assert "cannot write" in done.stdout and "the disk is full, it seems" in done.stdout
    assert os.listdir(tmp_path) == ["maps.lmdb"]


def test_the_command_exports_and_imports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """masks -> store and file; the file -> the same store; a store made before -> the same file's content."""
    images = tmp_path / "images.lmdb"
    assert main(["build", "8", str(images), "--format", "scenes"]) == 0
    first, second, file = (str(tmp_path / name) for name in ("a.lmdb", "b.lmdb", "maps.h5"))
    cams = ["cams", str(images)]
    assert main([*cams, first, "--from", "masks", "--grid", "9", "--export", file]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["export"] == file
    assert main([*cams, second, "--maps", file]) == 0
    assert HeatmapStore(first).header["digest"] == HeatmapStore(second).header["digest"]
    assert main([*cams, first, "--export", file, "--overwrite"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["images"] == 8
    for words, sentence in (
        ([second], "give one of --checkpoint FILE, --from masks|boxes|rare-classes and --maps FILE.h5"),
        ([second, "--maps", file, "--from", "masks"], "give one of --checkpoint FILE"),
        ([str(tmp_path / "c.lmdb"), "--from", "masks", "--export", file], "maps.h5 exists already"),
        ([second, "--maps", str(tmp_path / "none.h5"), "--overwrite"], "none.h5 does not exist; correct it, or name"),
        ([second, "--maps", file, "--maps-dataset", "x", "--overwrite"], "no dataset x of its own, only classes, labe"),
    ):
        assert main([*cams, *words]) == 2
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "c.lmdb").exists()


@pytest.mark.slow
def test_export_streams(tmp_path: Path) -> None:
    """200 MB of maps leave the process less than 100 MB larger."""
    count = 50_000
    with StoreWriter(tmp_path / "images.lmdb", classes=("a",)) as writer:
        for index in range(count):
            writer.add(b"x", label=0, height=1, width=1, name=str(index))
    store = ImageStore(tmp_path / "images.lmdb")
    with HeatmapWriter(tmp_path / "maps.lmdb", count=count, images_digest=store.digest, method="") as writer:
        for start in range(0, count, 5000):
            writer.put(range(start, start + 5000), np.full((5000, 64, 64), 255, np.uint8))
        writer.finish()
    heatmaps, before = HeatmapStore(tmp_path / "maps.lmdb"), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    export(heatmaps, store, tmp_path / "maps.h5")
    assert (tmp_path / "maps.h5").stat().st_size > 200_000_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
