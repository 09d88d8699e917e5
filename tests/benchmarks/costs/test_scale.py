from __future__ import annotations

from pathlib import Path

import pytest
from pictures import jpeg, photo

from sdali.benchmarks.costs import scale
from sdali.benchmarks.costs.scale_samples import cost_of_order, cost_of_samples, cost_of_shards
from sdali.pipelines.errors import InputError


@pytest.mark.slow
def test_cost_of_samples_is_measured_on_a_real_store(tmp_path: Path) -> None:
    """Times and memory are there and sane, the list is about twice as long, and nothing stays in the folder."""
    cost = cost_of_samples(20_000, tmp_path)
    assert cost["samples"] == 20_000 and 36_000 < cost["label_shuffle_length"] < 60_000
    assert 0 < cost["open_seconds"] < 1 and 0 < cost["shuffle_seconds"] < 1 and 0 < cost["label_shuffle_seconds"] < 1
    assert cost["plan_rows_per_second"] > 10_000
    assert cost["growth_mb_over_epochs"] < 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_cost_of_an_order_is_that_of_its_array() -> None:
    """8 bytes a sample and the words of one chunk at a time, whatever else the process holds; plans come quickly."""
    cost = cost_of_order(5_000_000)
    assert cost["samples"] == 5_000_000 and 38 < cost["shuffle_mb"] < 70
    assert 0 < cost["shuffle_cpu_seconds"] < 10 and cost["plan_rows_per_second"] > 10_000


@pytest.mark.slow
def test_cost_of_shards_is_measured_on_a_sharded_store(tmp_path: Path) -> None:
    """So many files are open, beside the six columns; an order of magnitude bounds what a record costs."""
    few, many = (cost_of_shards(count, tmp_path) for count in (1, 30))
    assert (few["shards"], many["shards"]) == (1, 30)
    assert (few["open_files"], many["open_files"]) == (1 + 6, 30 + 6)
    assert 0 < many["cpu_us_per_record"] < 10 * few["cpu_us_per_record"]


@pytest.mark.slow
@pytest.mark.perf
def test_settings_are_measured_on_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each setting, for the loader and for decoding alone; larger pictures are larger, and cost more."""
    for index in range(6):
        (tmp_path / f"{index}.jpg").write_bytes(jpeg(photo(index, 90, 120)))
    monkeypatch.setattr(scale, "THREADS", (1,))
    monkeypatch.setattr(scale, "BATCH_SIZES", (2,))
    monkeypatch.setattr(scale, "SIDES", (60, 600))
    record = scale.scale(
        scale.ScaleConfig(images=tmp_path, samples=(100,), orders=(100,), shards=(2,), rounds=1, images_a_round=12)
    )
    assert record["orders"][0]["samples"] == 100 and record["shards"][0]["shards"] == 2
    results = {result["peer"]: result for result in record["photographs"]}
    names = ["threads 1", "batch size 2", "shorter side 60", "shorter side 600"]
    assert list(results) == [name + suffix for name in names for suffix in ("", " decode_only")]
    small, large = results["shorter side 60 decode_only"], results["shorter side 600 decode_only"]
    assert large["workload"]["mean_kilobytes"] > 5 * small["workload"]["mean_kilobytes"]
    assert large["cpu_ms_per_image"] > small["cpu_ms_per_image"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"samples": (0,)}, "samples must be at least 1, got 0"), ({"rounds": 0}, "rounds must be at least 1, got 0")],
)
def test_bad_options_are_refused(options: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        scale.scale(scale.ScaleConfig(**options))
