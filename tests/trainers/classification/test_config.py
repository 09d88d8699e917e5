"""Configurations: every field is documented and checked, and the rules behind `None`."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from pathlib import Path
from typing import Any

import pytest

from sdali.pipelines.errors import InputError
from sdali.pipelines.loader.soft_labels import SoftLabels
from sdali.trainers.classification import config as classification_config
from sdali.trainers.classification.config import EvaluateConfig, TrainConfig
from sdali.trainers.core import config as training_config
from sdali.trainers.parsing import config as parsing_config

PATHS: dict[str, Any] = {"store": Path("s"), "val_store": Path("v"), "out": Path("o")}


def undocumented(source: str) -> list[str]:
    """Annotated fields of classes that no docstring follows."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            for field, after in zip(node.body, [*node.body[1:], None], strict=True):
                documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
                if isinstance(field, ast.AnnAssign) and not documented:
                    found.append(ast.unparse(field.target))
    return found


def test_every_field_has_a_docstring() -> None:
    """The command line's help is made from them; the checker finds a field without."""
    for module in (training_config, classification_config, parsing_config):
        assert undocumented(inspect.getsource(module)) == []
    assert undocumented('class C:\n    a: int = 1\n    """A."""\n    b: int = 2\n') == ["b"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0), ("batch_size", 0), ("size", -1), ("evaluate_every", 0), ("save_every", 0), ("threads", 0),
        ("keep_every", -1), ("epoch_length", 0), ("sizes", (32, 0)), ("sizes", (32, 32)), ("soft", SoftLabels(eps=0.3)),
        ("lr", -0.1), ("lr", 0.0), ("lr", float("nan")), ("weight_decay", -1.0), ("warmup_epochs", -1.0),
        ("warmup_epochs", 31.0), ("save_minutes", float("inf")), ("momentum", 1.0), ("label_smoothing", 1.0),
        ("ema", 1.5), ("optimizer", "adam"), ("schedule", "linear"), ("precision", "float16"), ("test_crop", "center"),
        ("model_args", ("depth",)),
    ],
)  # fmt: skip
def test_bad_values_are_refused_by_name(field: str, value: Any) -> None:
    """The sentence names the field and the value."""
    with pytest.raises(InputError, match=f"{field} must .*{value:g}" if isinstance(value, float) else field):
        TrainConfig(**{**PATHS, field: value})


def test_evaluation_is_checked_too() -> None:
    """Sizes, crops and precisions that do not exist."""
    wrong: dict[str, Any] = {"size": 0, "crop": "squash", "precision": "half"}
    for name, value in wrong.items():
        with pytest.raises(InputError, match=name):
            EvaluateConfig(checkpoint=Path("c"), store=Path("s"), **{name: value})


def test_defaults_that_depend() -> None:
    """The linear rule of sgd, the square root of adamw, their decays; a given value stands, 0 decay too."""
    sgd = TrainConfig(**PATHS, batch_size=64)
    adamw = dataclasses.replace(sgd, optimizer="adamw")
    assert sgd.peak_learning_rate(8) == pytest.approx(0.2)
    assert adamw.peak_learning_rate(16) == pytest.approx(0.002)
    assert (sgd.resolved_weight_decay, adamw.resolved_weight_decay) == (1e-4, 0.05)
    given = dataclasses.replace(sgd, lr=0.5, weight_decay=0.0)
    assert (given.peak_learning_rate(8), given.resolved_weight_decay) == (0.5, 0.0)
