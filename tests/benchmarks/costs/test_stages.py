from __future__ import annotations

from pathlib import Path

import pytest
from pictures import jpeg, photo

from sdali.benchmarks.costs.stages import StagesConfig, stages
from sdali.pipelines.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photos")
    for index in range(10):
        (path / f"{index:02}.jpg").write_bytes(jpeg(photo(index, 200, 240)))
    return path


@pytest.mark.slow
@pytest.mark.perf
def test_the_stages_add_up(folder: Path) -> None:
    """The parts sum to the whole; decoding costs more than reading; colour stays below 0.05 ms at 224 px."""
    record = stages(StagesConfig(images=folder, rounds=1, images_a_round=100, batch_size=5, model="convnet4", steps=2))
    costs = record["cpu_ms_per_image"]
    parts = ("read", "plan", "decode", "resize", "colour", "hand_over")
    assert list(costs) == [*parts, "whole"]
    assert sum(costs[part] for part in parts) == pytest.approx(costs["whole"])
    assert costs["decode"] > costs["read"] > 0
    assert 0 < costs["colour"] < 0.05
    trained = record["training"]
    assert trained["model"] == "convnet4" and trained["images_per_second"] > 0 and 0 <= trained["data_wait_share"] < 1


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rounds": 0}, "rounds must be at least 1, got 0"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"model": "resnet19", "rounds": 1, "images_a_round": 10}, "no model called 'resnet19'"),
    ],
)
def test_bad_options_are_refused(folder: Path, options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        stages(StagesConfig(images=folder, **options))
