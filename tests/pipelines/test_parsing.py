"""What the parsing loaders promise: batches as documented, whole images and masks in a test, what is refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import reference
import torch
from damage import flip_a_byte
from levels import levels
from parsing_stores import CLASSES, IGNORE, make_parsing_store, mask_of, write_store
from pictures import jpeg, make_store, photo

from sdali.pipelines import BadSampleError, ImageStore, InputError, parsing
from sdali.pipelines.config import ParsingAugmentation, ParsingCrop
from sdali.pipelines.loader.loader import Loader
from sdali.pipelines.store.statistics import IMAGENET

SIZE = (30, 44)


class Corners:
    """Heatmaps whose only positive cell is the last; the third has none."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> np.ndarray:
        heatmap = np.zeros((8, 8), np.uint8)
        heatmap[7, 7] = 255 * (index != 2)
        return heatmap


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return make_parsing_store(tmp_path_factory.mktemp("store") / "s.lmdb", 50)


def make(store: ImageStore, batch_size: int = 8, **options) -> Loader:
    options = {"size": SIZE, "seed": 5, "device": "cpu", "threads": 2, "heatmaps": Corners(len(store)), **options}
    return parsing.train_loader(store, batch_size=batch_size, **options)


def by_position(*batches: dict) -> dict[int, tuple[bytes, ...]]:
    """position -> (plan row, image, mask) as bytes."""
    return {
        int(row["position"]): (row.tobytes(), image.numpy().tobytes(), mask.numpy().tobytes())
        for batch in batches
        for row, image, mask in zip(batch["plan"], batch["image"], batch["mask"], strict=True)
    }


def test_batches_are_what_is_documented(store) -> None:
    batch = next(iter(make(store)))
    assert batch["image"].shape == (8, 3, *SIZE) and batch["image"].dtype == torch.float32
    assert batch["mask"].shape == (8, *SIZE) and batch["mask"].dtype == torch.int64
    assert set(batch["mask"].unique().tolist()) <= {*range(CLASSES), IGNORE}
    assert batch["plan"]["index"].tolist() == batch["index"].tolist()
    assert next(iter(make(store, size=24)))["mask"].shape == (8, 24, 24)
    assert next(iter(make(store, dtype="float16")))["image"].dtype == torch.float16


def test_windows_follow_the_heatmap_where_there_is_one(store) -> None:
    """A window that shows a part only ends at the corner the maps name; the empty map's does not."""
    rows = np.concatenate([batch["plan"] for batch in make(store, 10, size=20)])
    np.testing.assert_array_equal(rows["guided"], rows["index"] != 2)
    guided = rows[rows["guided"]]
    sizes = store.sizes[guided["index"]]
    ends = guided["window"][:, :2] + guided["window"][:, 2:]
    centre = guided["window"][:, :2] + guided["window"][:, 2:] / 2
    assert ((ends == sizes) | (centre >= sizes * 7 / 8 - 1)).all()
    plain = np.concatenate([batch["plan"] for batch in make(store, 10, size=20, heatmaps=None)])
    assert not plain["guided"].any() and (plain["window"][:, :2] == 0).mean() < 0.7


def test_a_window_of_ignored_pixels_alone_is_handed_out(tmp_path) -> None:
    """As any other: its image is there, its mask has one value."""
    samples = [(jpeg(photo(i, 50, 50)), np.full((50, 50), IGNORE, np.uint8)) for i in range(4)]
    (batch,) = make(write_store(tmp_path / "s.lmdb", samples), 4, heatmaps=None)
    assert (batch["mask"] == IGNORE).all() and batch["image"].std() > 0.1


def test_a_base_size_halves_what_a_scale_of_one_means(tmp_path) -> None:
    """With shorter_side half of the images', scale 1 fills their half size, and pads the rest."""
    store = make_parsing_store(tmp_path / "s.lmdb", 10, (60, 80))
    augmentation = ParsingAugmentation(crop=ParsingCrop(scale=(1, 1), shorter_side=30))
    (batch,) = make(store, 10, size=(40, 48), augmentation=augmentation)
    assert (batch["plan"]["placed"][:, 2:] == (30, 40)).all() and (batch["plan"]["window"] == (0, 0, 60, 80)).all()
    assert len(set(batch["plan"]["placed"][:, 0].tolist())) > 3


@pytest.mark.parametrize("world_size", [1, 3])
def test_a_test_shows_each_whole_image_once(store, world_size: int) -> None:
    """Images of any sizes one by one, scaled as the reference does, and masks as they are at every scale."""
    served = []
    for rank in range(world_size):
        loader = parsing.test_loader(
            store, scale=0.6, statistics=IMAGENET, device="cpu", rank=rank, world_size=world_size
        )
        batches = list(loader)
        assert len(batches) == len(loader)
        for batch in batches:
            assert len(batch["image"]) == len(batch["mask"]) == len(batch["index"])
            for image, mask, index in zip(batch["image"], batch["mask"], batch["index"].tolist(), strict=True):
                original = reference.decode(store.read([index])[0])
                height, width = (int(side * 0.6 + 0.5) for side in original.shape[:2])
                want = reference.resize(original, (height, width), "linear").transpose(2, 0, 1)
                assert np.abs(levels(image.numpy()) - want).max() < 0.01
                np.testing.assert_array_equal(mask, store.mask(index))
                served.append(index)
    assert sorted(served) == list(range(len(store)))


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7])
def test_masks_may_be_scaled_with_their_images(store, scale: float) -> None:
    """To the image's sides, each pixel from the nearest of the mask."""
    for batch in parsing.test_loader(store, scale=scale, scale_masks=True, device="cpu"):
        (mask,), (image,) = batch["mask"].numpy(), batch["image"]
        whole = store.mask(int(batch["index"]))
        expected = reference.resize(whole[:, :, None], tuple(image.shape[1:]), "nearest")[:, :, 0]
        np.testing.assert_array_equal(mask, expected)


def test_images_of_one_size_make_batches(tmp_path) -> None:
    """The same values as one by one; shorter_side is the length at a scale of 1."""
    store = make_parsing_store(tmp_path / "s.lmdb", 7, (40, 50))
    singles = list(parsing.test_loader(store, scale=1.5, shorter_side=20, device="cpu"))
    batches = list(parsing.test_loader(store, batch_size=3, scale=1.5, shorter_side=20, device="cpu"))
    assert [len(batch["index"]) for batch in batches] == [3, 3, 1] and batches[0]["image"].shape == (3, 3, 30, 38)
    assert by_position(*batches) == by_position(*singles)


def test_a_damaged_mask_is_named_or_skipped(tmp_path) -> None:
    """By its CRC32 when its batch is due; on_error="skip" puts another sample in its place."""
    store = make_parsing_store(tmp_path / "s.lmdb", 12)
    record, content = bytes(store.encoded_mask(7)), store.path.read_bytes()
    with store.path.open("r+b") as file:
        file.seek(content.index(record) + len(record) // 2)
        file.write(bytes([content[file.tell()] ^ 0xFF]))
    with pytest.raises(BadSampleError, match=r"sample 7 \(7\.jpg\) .* CRC32 of its mask"):
        list(make(store, 4))
    loader = make(store, 4, on_error="skip")
    indices = [index for batch in loader for index in batch["index"].tolist()]
    assert len(indices) == 12 and 7 not in indices and loader.skipped == [(7, "7.jpg")]
    flip_a_byte(store, 3)
    with pytest.raises(BadSampleError, match=r"sample 3 \(3\.jpg\) .* CRC32 of its image"):
        list(parsing.test_loader(store, device="cpu"))


def test_a_mask_that_does_not_decode_is_named(tmp_path) -> None:
    """One whose bytes are those of the build, but no PNG: what a store made by hand may hold."""
    samples = [(jpeg(photo(i, 40, 40)), mask_of(i, 40, 40)) for i in range(6)]
    from sdali.pipelines.store.writer import StoreWriter

    with StoreWriter(tmp_path / "s.lmdb", classes=["a"], has_masks=True, ignore_index=255) as writer:
        for index, (data, mask) in enumerate(samples):
            encoded = cv2.imencode(".png", mask)[1].tobytes() if index != 4 else b"no picture at all"
            writer.add(data, label=-1, height=40, width=40, name=f"{index}.jpg", mask=encoded)
    store = ImageStore(tmp_path / "s.lmdb")
    with pytest.raises(BadSampleError, match=r"sample 4 \(4\.jpg\) .* has a mask that is not single-channel uint8"):
        list(make(store, 6, heatmaps=None))
    loader = make(store, 6, heatmaps=None, on_error="skip")
    assert all(4 not in batch["index"].tolist() for batch in loader) and loader.skipped == [(4, "4.jpg")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (30, 44, 3)}, r"size must be \(height, width\) or one side, got \(30, 44, 3\)"),
        ({"size": (16_000, 16_000)}, "size has 16000 x 16000 px, more than 178,956,970; lower it"),
        ({"size": 0}, "size must be at least 1"),
        ({"size": (30, 4.5)}, "size must be at least 1 and whole, got 4.5"),
        ({"seed": 1.5}, "seed must be whole, got 1.5"),
        ({"batch_size": 51}, "has 50 images, fewer than the 51 of one step"),
        ({"dtype": "int8"}, "dtype must be one of float32, float16"),
        ({"threads": 0}, "threads must be at least 1"),
        ({"heatmaps": Corners(7)}, "there are 7 heatmaps for the 50 images"),
        ({"order": "random"}, "no order is called 'random'"),
    ],
)
def test_bad_options_are_named(store, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(store, options.pop("batch_size", 8), **options)


def test_what_a_test_cannot_show_is_named(store, tmp_path) -> None:
    """Batches of several sizes, scales that are none, and stores whose classes are those of images."""
    with pytest.raises(InputError, match=r"have sides of \[\d+, \d+\] to \[\d+, \d+\] px, .* use batch_size=1"):
        parsing.test_loader(store, batch_size=2, device="cpu")
    with pytest.raises(InputError, match="scale must be above 0 and finite, got 0"):
        parsing.test_loader(store, scale=0, device="cpu")
    with pytest.raises(InputError, match="scale must be above 0 and finite, got '1'"):
        parsing.test_loader(store, scale="1", device="cpu")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"would have up to \d+ x \d+ px, more than 178,956,970; lower the scale"):
        parsing.test_loader(store, scale=1e9, device="cpu")
    with pytest.raises(InputError, match="has no masks of classes; build it with sdali build --format masks"):
        parsing.train_loader(make_store(tmp_path / "s.lmdb", 10), batch_size=2)


@pytest.mark.parametrize(
    ("crop", "message"),
    [
        ({"scale": (0, 1)}, "crop scale must be two ascending numbers above 0"),
        ({"scale": (1, 1e300)}, "crop scale must be two ascending numbers above 0 and at most 1000"),
        ({"scale": (2, 1)}, "crop scale must be two ascending numbers"),
        ({"shorter_side": 0}, "crop shorter_side must be at least 1 px, got 0"),
        ({"gamma": 0}, "crop gamma must be above 0"),
    ],
)
def test_crops_that_are_none(crop: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ParsingCrop(**crop)
