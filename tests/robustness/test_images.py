"""Damaged images stop nothing and cost no sound sample; what must not be would be seen. The long version is
`scripts/robustness faults images`.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from robustness import images
from robustness.image_damage import ENDINGS, KINDS, damage_picture, photographs, sound_pictures
from robustness.image_folders import built, refusal
from robustness.image_lots import SAMPLES, Sample, lot_of
from robustness.images import damaged_images, loaded

from sdali.pipelines import InputError

pytest.importorskip("nvidia.dali")
TEXT = b"this is no picture at all, only some text\n" * 9


def test_no_damage_does_harm() -> None:
    """One lot through the loaders, build and info, in a process of its own."""
    record = damaged_images(40, seed=3)
    assert record["failures"] == []
    found = record["outcomes"].values()
    assert sum(row["files"] for row in found) == 40
    assert all(sum(row[name] for row in found) > 15 for name in ("replaced", "found", "refused"))


def test_damage_is_a_function_of_seed_and_number() -> None:
    """The same again, of all kinds, to every picture; a folder's photographs come in the order of their paths."""
    pictures = sound_pictures()
    damaged = [damage_picture(pictures[number % len(pictures)], number, 5) for number in range(400)]
    assert damaged == [damage_picture(pictures[number % len(pictures)], number, 5) for number in range(400)]
    assert {kind for kind, _ in damaged} == set(KINDS)
    same = [number for number, (_, data) in enumerate(damaged) if data == pictures[number % len(pictures)][1]]
    assert len(same) < 40 and {ending for ending, _ in pictures} == set(ENDINGS)


def test_a_folder_of_photographs(tmp_path: Path) -> None:
    """JPEG, PNG and WebP below it; without any it is refused before anything is done."""
    (tmp_path / "b").mkdir()
    for name, data in (("z.JPEG", b"1"), ("b/a.png", b"2"), ("notes.txt", b"3")):
        (tmp_path / name).write_bytes(data)
    assert photographs(tmp_path) == [(".png", b"2"), (".jpg", b"1")]
    with pytest.raises(InputError, match="holds no photographs"):
        damaged_images(1, images=tmp_path / "nowhere")


def lot(**changed: Sample) -> list[Sample]:
    samples = lot_of(sound_pictures(), 0, 0, 0)
    return [changed.get(f"at_{index}", sample) for index, sample in enumerate(samples)]


@pytest.mark.parametrize("task", ["classification", "parsing", "detection"])
def test_what_a_loader_must_not_do_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    """Of a lot that is not what it says: a sound sample that is replaced, others' pixels, bad ones that are served."""
    sound = lot()
    other = cv2.imencode(".png", np.zeros(sound[9].size, np.uint8))[1].tobytes()
    samples = lot(
        at_5=sound[5]._replace(data=TEXT),
        at_9=sound[9]._replace(sound=other),
        at_70=sound[70]._replace(damage="none"),
    )
    monkeypatch.setattr(images, "is_image", lambda data: False)
    replaced, found, failures = loaded(tmp_path, task, samples)
    assert replaced == found == {5}
    message = [failure.partition(" ")[2] for failure in failures]
    assert message == [
        "(sound) is sound and was replaced",
        "(sound) is sound and was listed",
        "(none) is no image and was not replaced",
        "(sound) has other pixels",
        "(sound) has other pixels",
    ]


def test_a_batch_that_names_nothing_is_seen(tmp_path: Path) -> None:
    """A bad sample that is served where errors are raised, and an error that names a sound one."""
    samples = lot(at_70=lot()[70]._replace(data=TEXT, damage="junk"))
    images._write(tmp_path / "s.lmdb", "classification", [(s.name, s.data, s.size) for s in samples])
    loader = images._loader("classification", tmp_path / "s.lmdb", 64)
    assert images._raised(loader, {70}) == []
    served, named = images._raised(loader, {150})
    assert "the batch at 64 does not name" in served and named == "the batch at 128 was served with a bad sample"


def test_what_a_build_must_not_do_is_seen(tmp_path: Path) -> None:
    """A sound file that is left out; a status that is not 2, and words that are not a sentence of ours."""
    files = [("a/0.jpg", sound_pictures()[0][1], ""), ("a/1.jpg", TEXT, ""), ("a/2.jpg", TEXT, "junk")]
    refused, failures = built(tmp_path, files)
    assert refused == {1, 2}
    assert failures == ["a/1.jpg is sound and was left out", "a/1.jpg is sound and not in the store"]
    assert refusal(2, "sdali: no") == [] and refusal(1, "sdali: no") and refusal(2, "ValueError: no")


def test_a_process_that_dies_is_a_crash_and_the_next_lot_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """It is started again behind the lot that killed it; any error in a lot is a failure of that lot."""
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\n[ "$4" = 0 ] && kill -SEGV $$\necho \'{"first": 48, "failures": []}\'\n')
    fake.chmod(0o755)
    monkeypatch.setattr(images.sys, "executable", str(fake))
    found = list(images._lots(tmp_path, 60, 0, None))
    assert [(one["first"], one["failures"]) for one in found] == [(0, ["crash: SIGSEGV"]), (48, [])]


def test_an_exception_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Any but InputError, with its kind and its words."""
    monkeypatch.setattr(images, "_outcomes", lambda *_: {}["x"])
    images._use(tmp_path, 0, 10, 0, None)
    assert '"failures": ["KeyError: \'x\'"]' in capsys.readouterr().out


def test_lots_are_strewn() -> None:
    """48 damaged ones at random places of 192, every one of them with its number's damage."""
    samples = lot_of(sound_pictures(), 96, 48, 0)
    places = [index for index, sample in enumerate(samples) if sample.damage]
    assert len(samples) == SAMPLES and len(places) == 48 and places[0] < 20 < 170 < places[-1]
    assert all(sample.data == sample.sound for sample in samples if not sample.damage)
