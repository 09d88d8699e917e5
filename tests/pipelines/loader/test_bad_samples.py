"""What stands in a bad sample's place depends on its position and on the store, not on what else was found bad."""

from __future__ import annotations

from pathlib import Path

import pytest
from damage import BROKEN, damage_boxes, flip_a_byte
from detection_stores import make_detection_store
from loading import by_position, make
from parsing_stores import make_parsing_store
from pictures import jpeg, make_store, photo

from sdali.pipelines import ImageStore, InputError, classification, detection, parsing
from sdali.pipelines.loader import engine
from sdali.pipelines.loader.loader import Loader
from sdali.pipelines.plan.random_words import Purpose, uniforms
from sdali.pipelines.store.writer import StoreWriter

COUNT = 60


def indices_of(loader: Loader) -> dict[int, int]:
    return {int(row["position"]): int(row["index"]) for batch in loader for row in batch["plan"]}


def damage_mask(store: ImageStore, index: int) -> None:
    record, content = bytes(store.encoded_mask(index)), store.path.read_bytes()
    with store.path.open("r+b") as file:
        file.seek(content.index(record) + len(record) // 2)
        file.write(b"\xff\xff")


@pytest.fixture
def three_kinds(tmp_path: Path) -> dict[str, tuple]:
    """Per kind of damage: an undamaged twin, the damaged store, its bad samples, its loader."""
    made = {}
    for folder in ("sound", "bad"):
        (tmp_path / folder).mkdir()
        for name, maker in (("image", make_store), ("mask", make_parsing_store), ("box", make_detection_store)):
            made[folder, name] = maker(tmp_path / folder / f"{name}.lmdb", COUNT)
    for index in (7, 8, 31):
        flip_a_byte(made["bad", "image"], index)
    damage_mask(made["bad", "mask"], 7)
    flip_a_byte(made["bad", "mask"], 8)
    damage_boxes(made["bad", "box"], 8)
    damage_boxes(made["bad", "box"], 31)
    return {
        "image": (made["sound", "image"], made["bad", "image"], {7, 8, 31}, classification.train_loader, {"size": 16}),
        "mask": (made["sound", "mask"], made["bad", "mask"], {7, 8}, parsing.train_loader, {"size": 24}),
        "box": (
            made["sound", "box"], made["bad", "box"], {8, 31}, detection.train_loader,
            {"shorter_side": 20, "longer_side": 40},
        ),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["image", "mask", "box"])
def test_a_place_is_filled_by_the_rule_alone(three_kinds: dict[str, tuple], kind: str) -> None:
    """The first of the indices drawn for (seed, epoch, position, attempt) that is sound, in any batch size and after a
    resumption by a loader that knows of nothing bad; every other place is as it would have been.
    """
    sound, bad, culprits, train_loader, options = three_kinds[kind]
    options = {"seed": 5, "device": "cpu", "threads": 1, **options}
    want = {}
    for position, index in indices_of(train_loader(sound, batch_size=20, **options)).items():
        attempt = 0
        while index in culprits:
            attempt += 1
            index = int(uniforms(5, 0, Purpose.REPLACEMENT, position, 1, 1, attempt)[0, 0] * COUNT)
        want[position] = index
    for batch_size in (4, 20):
        loader = train_loader(bad, batch_size=batch_size, on_error="skip", max_bad_share=0.1, **options)
        assert indices_of(loader) == want
        assert {index for index, _ in loader.skipped} == culprits
    resumed = train_loader(bad, batch_size=4, on_error="skip", max_bad_share=0.1, **options)
    resumed.load_state_dict({**loader.state_dict(), "epoch": 0, "position": 20})
    assert indices_of(resumed) == {position: index for position, index in want.items() if position >= 20}


def test_padding_repeats_the_replacement(tmp_path: Path) -> None:
    """Of 60 images the last is bad; rank 6 of 7 has it and three repeats, of one position and so of one replacement."""
    bad = make_store(tmp_path / "s.lmdb", COUNT, bad={COUNT - 1: BROKEN["text"]})
    options = {"order": "sequential", "on_error": "skip", "drop_last": False, "heatmaps": None}
    *_, last = make(bad, 5, rank=6, world_size=7, pad=True, **options)
    assert last["padding"].tolist() == [False, True, True, True] and last["plan"]["position"].tolist() == [59] * 4
    assert all(row == last["plan"][0] for row in last["plan"]) and last["plan"]["index"][0] != COUNT - 1
    assert all(image.equal(last["image"][0]) for image in last["image"])
    *_, alone = make(bad, 10, **options)
    assert alone["plan"][-1] == last["plan"][0]


def test_only_the_window_that_fails_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that is cut short, past the header check, fails by window: its sound windows are kept, whether or not
    one beside them failed.
    """
    monkeypatch.setattr(engine, "fault", lambda *_: None)
    with StoreWriter(tmp_path / "s.lmdb", classes=["a"]) as writer:
        for index in range(3):
            data = jpeg(photo(index, 100, 100))
            data = data[: len(data) * 2 // 3] if index == 1 else data
            writer.add(data, label=0, height=100, width=100, name=f"{index}.jpg")
    options = {"size": 16, "device": "cpu", "on_error": "skip", "max_bad_share": 1, "epoch_length": 36}

    def loader(batch_size: int) -> Loader:
        return classification.train_loader(tmp_path / "s.lmdb", batch_size=batch_size, order="sequential", **options)

    epochs = [by_position(*loader(batch_size)) for batch_size in (2, 6, 36)]
    assert epochs[0] == epochs[1] == epochs[2] and len(epochs[0]) == 36
    kept = list(indices_of(loader(36)).values())[1::3]
    assert kept.count(1) > 0 and len(set(kept)) > 1


def test_more_than_the_share_ends_it(tmp_path: Path) -> None:
    """One bad sample never does; the sentence says how many, of how many, which was last, and what to do."""
    one = make_store(tmp_path / "one.lmdb", COUNT, bad={5: BROKEN["text"]})
    assert len(indices_of(make(one, 10, heatmaps=None, on_error="skip", max_bad_share=0))) == COUNT
    many = make_store(tmp_path / "many.lmdb", COUNT, bad=dict.fromkeys(range(10), BROKEN["text"]))
    loader = make(many, 10, heatmaps=None, on_error="skip", max_bad_share=0.05)
    with pytest.raises(InputError, match=r"4 of the 60 samples of .*many\.lmdb are bad, more than max_bad_share 0\.05"):
        list(loader)
    assert len(loader.skipped) == 4
    every = make_store(tmp_path / "every.lmdb", 4, bad=dict.fromkeys(range(4), BROKEN["zeros"]))
    with pytest.raises(InputError, match="4 of the 4 samples"):
        list(make(every, 2, heatmaps=None, on_error="skip", max_bad_share=1))
    with pytest.raises(InputError, match=r"max_bad_share must be within \[0, 1\], got 2"):
        make(one, 10, max_bad_share=2)
