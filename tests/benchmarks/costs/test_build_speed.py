from __future__ import annotations

from pathlib import Path

import pytest
from pictures import jpeg, photo

from sdali.benchmarks.costs.build_speed import build_speed
from sdali.pipelines.errors import InputError


def test_building_is_measured_against_copying(tmp_path: Path) -> None:
    for index in range(20):
        (tmp_path / f"{index}.jpg").write_bytes(jpeg(photo(index, 90, 120)))
    record = build_speed(tmp_path, rounds=2)
    assert record["images"] == 20 and record["megabytes"] > 0
    assert 0 < record["ratio"] < 3 and record["copy_mb_per_second"] > 0 and record["build_mb_per_second"] > 0
    with pytest.raises(InputError, match="rounds must be at least 1, got 0"):
        build_speed(tmp_path, rounds=0)
