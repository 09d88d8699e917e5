"""Commands that are killed lose nothing, and what a kill must not do would be seen. The long version is
`scripts/robustness faults kills`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from robustness import kills as kills_module
from robustness.kills import kills


@pytest.mark.parametrize(("what", "count"), [("build", 3), ("cams", 3), ("train", 3)])
def test_nothing_is_lost_or_published_by_halves(what: str, count: int) -> None:
    """Real kills at random moments of the real commands."""
    record = kills(what, count)
    assert record["failures"] == [] and record["kills"] == count


def test_what_a_kill_must_not_do_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A half-written file that stays, a store that differs: each gives a sentence."""
    (tmp_path / "last.pt.7.partial").touch()
    assert kills_module._left(tmp_path, {"last.pt"}) == ["last.pt.7.partial was left behind"]
    monkeypatch.setattr(kills_module, "_run", lambda *_: (1.0, ""))
    answers = iter([("whole",), ("other",)])
    monkeypatch.setattr(kills_module, "_image_records", lambda path: next(answers))
    _, attempts = kills_module._build(tmp_path, kills_module.np.random.default_rng(0))
    (tmp_path / "killed" / "s.lmdb").touch()
    assert next(attempts) == (False, True, ["a store was published that is not right"])
