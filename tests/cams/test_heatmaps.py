"""From images to heatmaps, on pictures and a network whose maps are known: a red and a blue square on grey."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from generating import BATCH, COUNT, SquareNet, cams
from squares import CELLS, build, squares
from torch import Tensor, nn

from sdali.cams.heatmaps import from_boxes, from_masks
from sdali.cams.store.writer import HeatmapWriter
from sdali.cams.survey import survey
from sdali.pipelines.errors import InputError
from sdali.pipelines.store.heatmaps import HeatmapStore
from sdali.pipelines.store.reader import ImageStore


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return build(tmp_path_factory.mktemp("images") / "images.lmdb", [i % 2 for i in range(COUNT)])


@pytest.fixture(scope="module")
def undisturbed(store: ImageStore) -> np.ndarray:
    """All maps of a run in one go."""
    path = store.path.with_name("cams.lmdb")
    cams(store, path)
    return np.array(HeatmapStore(path))


def test_maps_find_the_square_of_the_label(store: ImageStore, undisturbed: np.ndarray) -> None:
    """The map of an image of any size and shape is 255 at the cell of its class's colour, and 0 in all others."""
    for index, heatmap in enumerate(undisturbed):
        _, red, blue = squares(index)
        expected = np.zeros((CELLS, CELLS), np.uint8)
        expected[red if store.labels[index] == 0 else blue] = 255
        assert np.abs(heatmap.astype(int) - expected).max() <= 8  # the resize bleeds over the edges of cells


def test_report_and_header_say_what_was_made(store: ImageStore, tmp_path: Path) -> None:
    """The report is JSON; the header binds the maps to images, weights and method."""
    report = cams(store, tmp_path / "cams.lmdb")
    assert json.loads(json.dumps(report)) == report
    assert (report["images"], report["made"], report["empty_share"]) == (COUNT, COUNT, 0)
    assert report["images_per_second"] == pytest.approx(COUNT / report["seconds"])
    heatmaps = HeatmapStore(tmp_path / "cams.lmdb")
    heatmaps.check(store)
    assert heatmaps.header["model_digest"] == "m" and "SquareNet at 32 pixels" in heatmaps.header["method"]


def run_here(code: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A Python process that can import this module and whatever this process can."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1] / "helpers"), *sys.path])}
    return subprocess.Popen([sys.executable, "-c", code, *arguments], env=environment)


KILLED = """
import os, signal, sys
from generating import ImageStore, Path, cams
def dying(items, total, what):
    for number, item in enumerate(items):
        if number == 11:
            os.kill(os.getpid(), signal.SIGKILL)
        yield item
cams(ImageStore(sys.argv[1]), Path(sys.argv[2]), progress=dying)
"""


@pytest.mark.slow
def test_a_killed_run_makes_only_what_is_missing(store: ImageStore, undisturbed: np.ndarray, tmp_path: Path) -> None:
    """kill -9 in the third batch of four: the restart keeps two batches and ends in the undisturbed run's maps."""
    path, seen = tmp_path / "cams.lmdb", []
    process = run_here(KILLED, str(store.path), str(path))
    assert process.wait(timeout=60) == -signal.SIGKILL and not path.exists()

    class Counting(SquareNet):
        def forward_features(self, x: Tensor) -> Tensor:
            seen.append(len(x))
            return super().forward_features(x)

    Counting.__name__ = "SquareNet"
    report = cams(store, path, model=Counting(), method="cam")  # tries the method on two images first
    assert seen == [2, 4, 4, 4, 2] and report["made"] == COUNT - 2 * BATCH
    assert np.array_equal(np.array(HeatmapStore(path)), undisturbed)


RANK = """
import sys
import numpy as np
import torch.distributed
from sdali.cams.heatmaps import fill
from sdali.cams.store.writer import HeatmapWriter
from sdali.pipelines.io.progress import silent
rank = int(sys.argv[2])
torch.distributed.init_process_group("gloo", rank=rank, world_size=2, init_method=sys.argv[3])
writer = HeatmapWriter(sys.argv[1], count=21, images_digest="", method="", rank=rank, world_size=2)
report = fill(writer, lambda missing: (np.full((2, 3), index, np.uint8) for index in missing), silent, commit=4)
assert report["made"] == 21 and report["images"] == 21, report
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_ranks_publish_one_store(tmp_path: Path) -> None:
    """Two processes of one group make half of the maps each; the store is whole when either returns."""
    path = tmp_path / "cams.lmdb"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    ranks = [run_here(RANK, str(path), str(rank), address) for rank in range(2)]
    assert [process.wait(timeout=60) for process in ranks] == [0, 0]
    assert [heatmap.tolist() for heatmap in HeatmapStore(path)] == [[[index] * 3] * 2 for index in range(21)]
    assert os.listdir(tmp_path) == ["cams.lmdb"]


def test_ranks_without_a_group_are_refused(store: ImageStore, tmp_path: Path) -> None:
    """Ranks that could not wait for each other are told before the work, not after it."""
    with pytest.raises(InputError, match=r"2 ranks need torch.distributed.init_process_group first"):
        cams(store, tmp_path / "cams.lmdb", rank=1, world_size=2)
    assert os.listdir(tmp_path) == []


def test_images_without_a_class_are_refused(tmp_path: Path) -> None:
    """A map needs a class: the first image without one is named before anything is computed."""
    unlabelled = build(tmp_path / "images.lmdb", [0, -1, 1, -1])
    with pytest.raises(InputError, match=r"2 images of .* have no class, the first is squares/1.png"):
        cams(unlabelled, tmp_path / "cams.lmdb")
    assert sorted(os.listdir(tmp_path)) == ["images.lmdb"]


class RootNet(SquareNet):
    """SquareNet with a square root before its linear layer, so that the map can not be read off."""

    num_features = 3

    def forward_head(self, x: Tensor) -> Tensor:
        return self.fc(x.mean((2, 3)).clamp(min=0).sqrt())


@pytest.mark.parametrize(("method", "named"), [("auto", "Grad-CAM of RootNet"), ("gradcam", "Grad-CAM of RootNet")])
def test_where_no_map_is_exact_grad_cam_finds_the_square(
    store: ImageStore, undisturbed: np.ndarray, tmp_path: Path, method: Any, named: str
) -> None:
    """Red's and blue's weights stay positive behind the root, so each map's largest cell is CAM's; header and report
    name the method that auto has chosen.
    """
    report = cams(store, tmp_path / "cams.lmdb", model=RootNet(), method=method)
    heatmaps = HeatmapStore(tmp_path / "cams.lmdb")
    assert report["method"] == heatmaps.header["method"] == f"{named} at 32 pixels"
    assert [heatmap.argmax() for heatmap in heatmaps] == [heatmap.argmax() for heatmap in undisturbed]


def test_auto_is_cam_where_that_is_exact(store: ImageStore, undisturbed: np.ndarray, tmp_path: Path) -> None:
    """The maps and the name are those of --method cam; an unknown method is named."""
    assert cams(store, tmp_path / "auto.lmdb")["method"] == "CAM of SquareNet at 32 pixels"
    cams(store, tmp_path / "cam.lmdb", method="cam")
    assert np.array_equal(np.array(HeatmapStore(tmp_path / "auto.lmdb")), undisturbed)
    assert np.array_equal(np.array(HeatmapStore(tmp_path / "cam.lmdb")), undisturbed)
    with pytest.raises(InputError, match="method must be one of auto, cam, gradcam, got 'lime'"):
        cams(store, tmp_path / "no.lmdb", method="lime")


@pytest.mark.parametrize(
    ("method", "sentence"), [("cam", "SquareNet has no exact activation map"), ("auto", "SquareNet has no Grad-CAM")]
)
def test_a_refused_model_leaves_no_store(store: ImageStore, tmp_path: Path, method: Any, sentence: str) -> None:
    """A model that the method does not take is refused; nothing is published, and the path stays free."""
    model = SquareNet()
    model.fc = nn.Sequential(nn.Linear(3, 2), nn.ReLU())  # type: ignore[assignment]
    with pytest.raises(InputError, match=sentence):
        cams(store, tmp_path / "cams.lmdb", model=model, method=method)
    assert not (tmp_path / "cams.lmdb").exists()
    assert cams(store, tmp_path / "cams.lmdb")["made"] == COUNT


def test_values_that_no_map_can_have_are_refused(store: ImageStore, tmp_path: Path) -> None:
    """Foreground values that are no uint8, grids without cells and batches without images: the value is named."""
    path = tmp_path / "maps.lmdb"
    for foreground in ((), (3, 256), (-1,)):
        with pytest.raises(InputError, match="foreground must be mask values from 0 to 255, got"):
            from_masks(store, path, foreground=foreground)
    with pytest.raises(InputError, match="grid must be 1 to 4,096 cells on each side, got 0"):
        from_boxes(store, path, grid=0)
    with pytest.raises(InputError, match="batch_size must be at least 1 and whole, got 0"):
        cams(store, path, batch_size=0)
    assert os.listdir(tmp_path) == []


def test_survey_measures_spread(tmp_path: Path) -> None:
    """Uniform maps have spread 1, single cells 1 / cells, empty ones count apart."""
    maps = np.zeros((4, 2, 5), np.uint8)
    maps[0], maps[1, 1, 3] = 255, 255
    with HeatmapWriter(tmp_path / "maps.lmdb", count=4, images_digest="", method="") as writer:
        writer.put(range(4), maps)
        writer.finish()
    assert survey(HeatmapStore(tmp_path / "maps.lmdb")) == {"empty_share": 0.5, "mean_spread": pytest.approx(0.55)}
