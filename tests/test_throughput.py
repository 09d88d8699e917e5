from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import cv2
import pytest
from pictures import jpeg, photo

from sdali.benchmarks.chart import save_chart
from sdali.benchmarks.throughput import PEERS, throughput
from sdali.pipelines.errors import InputError

PACKAGES = {"ffcv_raw": "ffcv", "torchvision_pil": "torchvision"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos")
    (path / "class").mkdir()
    for index in range(12):
        (path / "class" / f"{index:02}.jpg").write_bytes(jpeg(photo(index, 60 + index, 90)))
    return path


def installed(peer: str) -> bool:
    name = PACKAGES.get(peer, peer)
    return name.startswith(("sdali", "dali", "decode")) or importlib.util.find_spec(name) is not None


def test_every_peer_serves_or_says_why_not(folder: Path, tmp_path: Path) -> None:
    """Each peer in its own process; its images are checked for shape and dtype on the way."""
    record = throughput(folder, peers=PEERS, rounds=1, images_a_round=8, batch_size=4, size=32)
    assert [result["peer"] for result in record["results"]] == list(PEERS)
    for result in record["results"]:
        if "failure" not in result:
            assert (
                result["cpu_ratio"] > 0
                and result["cpu_ms_per_image"] > 0
                and result["images_per_second"] > 0
                and result["peak_memory_mb"] > 50
            )
        elif installed(result["peer"]):  # its libraries of the system are missing
            assert result["peer"] == "spdl" and "libav" in result["failure"]
        else:
            assert result["failure"].startswith("not installed")
    chart = tmp_path / "chart.png"
    save_chart(chart, json.loads(json.dumps(record)))
    drawn = cv2.imread(str(chart))
    assert (
        drawn is not None and drawn.shape[1] > 600 and len({tuple(pixel) for pixel in drawn[:, ::7].reshape(-1, 3)}) > 4
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"peers": ("stock",)}, "no peer is called stock; there are sdali,"),
        ({"peers": ()}, "no peer is called"),
        ({"peers": ("sdali", "sdali")}, "named once each"),
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
        ({"batch_size": 0}, "batch size must be at least 1"),
        ({"threads": 0}, "threads must be at least 1"),
    ],
)
def test_bad_options_are_refused(folder: Path, options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        throughput(folder, **options)


def test_no_peer_that_runs_is_an_error(folder: Path) -> None:
    with pytest.raises(InputError, match=r"sdali: .*device"):
        throughput(folder, peers=("sdali",), device="cuda:99", rounds=1)


def test_a_chart_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    result = {"peer": "sdali", "cpu_ms_per_image": 1.0, "cpu_ms_per_image_range": [0.9, 1.1]}
    work = {"images": 1, "mean_kilobytes": 1.0, "size": 224, "batch_size": 1, "threads": 1, "device": "cpu"}
    record = {"results": [result], "workload": work, "machine": {"gpu": None, "processor": "one"}}
    with pytest.raises(InputError, match="name a file in a folder that exists"):
        save_chart(tmp_path / "none" / "chart.png", record)
