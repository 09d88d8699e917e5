from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest
from pictures import jpeg, photo

from sdali.benchmarks.throughput.chart import save_chart
from sdali.benchmarks.throughput.measure import PEERS, ThroughputConfig, throughput
from sdali.cli.main import main
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


@pytest.mark.slow
def test_every_peer_serves_or_says_why_not(folder: Path, tmp_path: Path) -> None:
    """Each peer in its own process; its images are checked for shape and dtype on the way."""
    record = throughput(ThroughputConfig(images=folder, rounds=1, images_a_round=8, batch_size=4, size=32))
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
        ({"peers": "stock"}, "no peer is called stock; there are sdali,"),
        ({"peers": " ,"}, "no peer is called"),
        ({"peers": "sdali, sdali"}, "named once each"),
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"threads": 0}, "threads must be at least 1"),
    ],
)
def test_bad_options_are_refused(folder: Path, options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        throughput(ThroughputConfig(images=folder, **options))


@pytest.mark.parametrize("device", ["cuda:99", "nonsense", "cuda:abc"])
def test_a_device_that_is_not_there_is_refused_at_once(folder: Path, device: str) -> None:
    with pytest.raises(InputError, match=device):
        throughput(ThroughputConfig(images=folder, device=device))


def test_a_chart_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    result = {"peer": "sdali", "cpu_ms_per_image": 1.0, "cpu_ms_per_image_range": [0.9, 1.1]}
    work = {"images": 1, "mean_kilobytes": 1.0, "size": 224, "batch_size": 1, "threads": 1, "device": "cpu"}
    record = {"results": [result], "workload": work, "machine": {"gpu": None, "processor": "one"}}
    with pytest.raises(InputError, match=r"there is no folder .*none; make it, or name another"):
        save_chart(tmp_path / "none" / "chart.png", record)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("after", [3.0, 8.0])
def test_a_signal_leaves_nothing_behind(folder: Path, tmp_path: Path, number: signal.Signals, after: float) -> None:
    """No traceback, no temporary folder, no process, whether the peers are being opened or measured."""
    options = [
        "--images",
        str(folder),
        "--rounds",
        "50",
        "--images-a-round",
        "500",
        "--size",
        "32",
        "--batch-size",
        "4",
    ]
    command = [
        sys.executable,
        "-m",
        "sdali.cli",
        "bench",
        "throughput",
        *options,
        "--peers",
        "sdali,torchvision",
    ]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    started = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background job inherits that it is ignored
    )
    time.sleep(after)
    if number == signal.SIGINT:  # as a terminal does
        os.killpg(started.pid, number)
    else:
        started.send_signal(number)
    out, err = started.communicate(timeout=60)
    # An interrupt within exec(), as of an import that makes dataclasses, ends `python -m` by the signal (CPython 3.11).
    assert started.returncode in (130, 143, -signal.SIGINT) and out == "" and "Traceback" not in err, err
    assert not list(tmp_path.glob("sdali-bench-*"))
    for _ in range(100):  # multiprocessing's own helper ends a moment after its parent
        try:
            os.killpg(started.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("processes are left")


@pytest.mark.slow
def test_images_that_cannot_be_used_are_named_and_left_out(folder: Path, tmp_path: Path, caplog) -> None:
    shutil.copytree(folder, tmp_path / "photos")
    (tmp_path / "photos" / "class" / "note.jpg").write_text("hello")
    options = {"peers": "sdali", "rounds": 1, "images_a_round": 8, "batch_size": 4, "size": 32}
    record = throughput(ThroughputConfig(images=tmp_path / "photos", **options))
    assert record["workload"]["images"] == 12
    assert "left out: class/note.jpg is not an image" in caplog.text


@pytest.mark.perf
def test_an_output_that_cannot_be_written_is_refused_before_measuring(folder: Path, tmp_path: Path, capsys) -> None:
    for flag in ("--json", "--chart"):
        begun = time.perf_counter()
        words = ["bench", "throughput", "--images", str(folder), flag, str(tmp_path / "none" / "x")]
        assert main(words) == 2 and time.perf_counter() - begun < 2
        assert "there is no folder" in capsys.readouterr().err
