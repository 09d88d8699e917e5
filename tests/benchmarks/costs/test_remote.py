"""The benchmark of remote loaders: every source serves the images, and its cost is counted against the local one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pictures import jpeg, photo

from sdali.benchmarks.costs.remote import SOURCES, remote_cost
from sdali.pipelines import InputError


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "a").mkdir()
    for index in range(12):
        (tmp_path / "a" / f"{index}.jpg").write_bytes(jpeg(photo(index, 60, 80)))
    return tmp_path


@pytest.mark.slow
def test_each_source_is_measured(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None fails; what remote ones cost more is per batch of 4. So few images take too little time to say how much."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'sdali[ray]'")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    results = remote_cost(images, workers=(1,), rounds=1, images_a_round=16, batch_size=4, size=24)["results"]
    assert [(one["source"], one["workers"], one.get("failure")) for one in results] == [(s, 1, None) for s in SOURCES]
    assert all(one["cpu_ms_per_image"] > 0 and one["rounds"] == 1 for one in results)
    local = results[0]["cpu_ms_per_image"]
    for one in results[1:]:
        assert one["cpu_ms_more_per_batch"] == pytest.approx(4 * (one["cpu_ms_per_image"] - local))


def test_it_needs_ray(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"Ray is missing .*: install it with pip install 'sdali\[ray\]'"):
        remote_cost(images)
