"""Arguments of a model as words: what they mean, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from sdali.pipelines.errors import InputError
from sdali.trainers.models.classification.arguments import format_arguments, parse_arguments


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("a=1", 1), ("a=0.2", 0.2), ("a=True", True), ("a=None", None), ("a=3,4,11,3", (3, 4, 11, 3)),
        ("a=(8, 16)", (8, 16)), ("a=[1]", [1]), ("a={'b': 2}", {"b": 2}), ("a='1'", "1"), ("a=avg", "avg"), ("a=", ""),
        ("a=b=c", "b=c"), ("a=os.system(1)", "os.system(1)"), ("a=" + "(" * 9999, "(" * 9999),
    ],
)  # fmt: skip
def test_a_value_is_a_literal_or_else_text(word: str, value: Any) -> None:
    """With its type; nothing is called."""
    assert parse_arguments([word, "other=1"]) == {"a": value, "other": 1}
    assert type(parse_arguments([word])["a"]) is type(value)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["layers"], "are key=value, such as drop_rate=0.2, got 'layers'"),
        (["2x=1"], "are key=value"),
        (["=1"], "are key=value"),
        (["a=1", "a=2"], "hold a twice"),
        (["pretrained=True"], "must not hold pretrained"),
        (["checkpoint_path=x.pth"], "must not hold checkpoint_path"),
        (["a={1, 2}"], "numbers, text and tuples of them, got 'a={1, 2}'"),
        (["a=b'x'"], "numbers, text and tuples"),
    ],
)
def test_other_words_are_refused(words: list[str], sentence: str) -> None:
    """One sentence with the word."""
    with pytest.raises(InputError, match=sentence):
        parse_arguments(words)


def test_format() -> None:
    """Whatever their order, equal arguments read the same."""
    assert format_arguments(parse_arguments(["b=avg", "a=1,2"])) == "a=(1, 2) b='avg'"
    assert format_arguments({}) == "none"
