"""What the README shows is what happens: its example of scene parsing, run as it stands there; its flags, parsed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch
from parsing_stores import make_parsing_store

from sdali.cams.heatmaps import from_rare_classes
from sdali.cli.evaluate import EvaluateParsing
from sdali.cli.main import main
from sdali.cli.train import TrainParsing

ROOT = Path(__file__).resolve().parents[2]
LINE = re.compile(r'^    (batch\["\w+"\]) +# (\w+) \[([\d, ]+)\]', re.MULTILINE)


def test_the_parsing_example_does_what_its_comments_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On stores of its names, each line `batch[...]  # type [shape]` finds that type and shape in every batch."""
    readme = (ROOT / "README.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(from sdali.pipelines import parsing.*?)```", readme, re.DOTALL)
    promised = [(kind, [int(side) for side in shape.split(",")]) for _, kind, shape in LINE.findall(example)]
    assert len(promised) == 4
    monkeypatch.chdir(tmp_path)
    from_rare_classes(make_parsing_store(tmp_path / "camvid.lmdb", 8, (360, 480)), "camvid.rare.lmdb")
    make_parsing_store(tmp_path / "camvid.val.lmdb", 2, (360, 480))
    found: list[tuple[str, list[int]]] = []

    def look(tensor: torch.Tensor) -> None:
        found.append((str(tensor.dtype).removeprefix("torch."), list(tensor.shape)))

    exec(LINE.sub(r"    look(\1)  # ", example), {"look": look})
    assert found == [*promised[:2], *promised[2:] * 2]


def test_its_commands_of_scene_parsing_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every `sdali train parsing` and `evaluate parsing`, with all flags of the table of choices besides."""
    section = (ROOT / "README.md").read_text("utf-8").split("### Training and evaluating\n")[1].split("\n## ")[0]
    commands = re.findall(r"^sdali ((?:train|evaluate) parsing .*)$", section.replace("\\\n", " "), re.MULTILINE)
    assert len(commands) == 5
    choices = [
        cell for row in re.findall(r"^\| .* \| (`.*) \|$", section, re.MULTILINE) for cell in row.split("`")[1::2]
    ]
    flags = " ".join(cell for cell in choices if cell.startswith("--") and not cell.endswith("*"))
    made: list[object] = []
    for kind in (TrainParsing, EvaluateParsing):
        monkeypatch.setattr(kind, "run", lambda config: made.append(config))
    assert [main(shlex.split(command)) for command in [*commands, f"{commands[0]} {flags}"]] == [0] * 6
    chosen = made[-1]
    assert isinstance(chosen, TrainParsing)
    assert (chosen.network.auxiliary, chosen.augmentation.crop.p_sda, chosen.resume) == (True, 0.5, True)
