"""What the detection loaders promise: images and boxes together, sides, padding, orders, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from coco_files import coco_store
from damage import damage_boxes, flip_a_byte
from detection_stores import CLASSES, boxes_of, make_detection_store, write_store
from pictures import jpeg, make_store, photo

from sdali.pipelines import BadSampleError, DetectionAugmentation, ImageStore, InputError, IouCrop, detection
from sdali.pipelines.loader.loader import Loader
from sdali.pipelines.store.boxes import none_found

COUNT = 30


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    return make_detection_store(tmp_path_factory.mktemp("store") / "s.lmdb", COUNT)


def make(store: ImageStore, batch_size: int = 4, **options) -> Loader:
    options = {"seed": 5, "device": "cpu", "threads": 2, "shorter_side": (20, 33, 40), **options}
    options.setdefault("augmentation", DetectionAugmentation(crop=IouCrop(probability=0.5)))
    return detection.train_loader(store, batch_size=batch_size, longer_side=60, **options)


def by_position(*batches: dict) -> dict[int, tuple[bytes, ...]]:
    """position -> (plan row, pixels within the true size, boxes, labels, flags) as bytes."""
    return {
        int(row["position"]): (
            row.tobytes(),
            image[:, :height, :width].numpy().tobytes(),
            *(batch[name][place].numpy().tobytes() for name in ("boxes", "labels", "difficult", "original_size")),
        )
        for batch in batches
        for place, (row, image, (height, width)) in enumerate(
            zip(batch["plan"], batch["image"], batch["size"].tolist(), strict=True)
        )
    }


def test_a_side_for_each_step_is_the_same_on_all_ranks(store) -> None:
    """Two ranks of 3 are one of 6; sides differ between steps, and no side gets longer than it may."""
    together = make(store, 6, augmentation=DetectionAugmentation())
    ranks = [make(store, 3, augmentation=DetectionAugmentation(), rank=rank, world_size=2) for rank in (0, 1)]
    want = by_position(*together)
    assert by_position(*(batch for rank in ranks for batch in rank)) == want
    shorter = []
    for batch in together:
        sizes = batch["size"].numpy()
        capped = sizes.max(1) == 60
        shorter.append(set(sizes.min(1)[~capped].tolist()))
        assert (sizes.max(1) <= 60).all() and (sizes.min(1)[capped] <= 40).all()
    assert all(len(sides) <= 1 for sides in shorter) and len(set.union(*shorter)) > 1


def test_padding_is_the_batch_s_own(store) -> None:
    """Largest height and width of its images, rounded up to the divisor, and 0 there."""
    for divisor in (1, 32):
        for batch in make(store, 5, size_divisor=divisor, side_per="sample"):
            height, width = (-(-side // divisor) * divisor for side in batch["size"].max(0).values.tolist())
            assert batch["image"].shape == (5, 3, height, width)
            for image, (tall, wide) in zip(batch["image"], batch["size"].tolist(), strict=True):
                assert not image[:, tall:].any() and not image[:, :, wide:].any() and image[:, :tall, :wide].any()


def test_batches_are_what_is_documented(store) -> None:
    batch = next(iter(make(store)))
    assert batch["image"].dtype == torch.float32 and batch["size"].dtype == torch.int64 == batch["original_size"].dtype
    for boxes, labels, difficult, (height, width) in zip(
        batch["boxes"], batch["labels"], batch["difficult"], batch["size"].tolist(), strict=True
    ):
        assert (boxes.dtype, labels.dtype, difficult.dtype) == (torch.float32, torch.int64, torch.bool)
        assert boxes.shape == (len(labels), 4) and len(difficult) == len(labels)
        assert ((boxes >= 0) & (boxes <= torch.tensor([width, height] * 2))).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all() and (labels < CLASSES).all()
    for boxes, areas in zip(batch["boxes"], batch["areas"], strict=True):
        assert torch.allclose(areas, (boxes[:, 2:] - boxes[:, :2]).prod(1)) and areas.dtype == torch.float32
    assert next(iter(make(store, dtype="float16")))["image"].dtype == torch.float16
    assert batch["original_size"].tolist() == store.sizes[batch["index"].numpy()].tolist()


def test_areas_of_outlines_are_scaled_and_cut_as_their_boxes(tmp_path: Path) -> None:
    """The share of its box that an outline fills stays what it was in the source, mirrored, cropped or scaled."""
    store = coco_store(tmp_path, range(12), [5, 9])
    shares = {}
    for annotation in json.loads((tmp_path / "coco.json").read_text())["annotations"]:
        key = annotation["image_id"], {5: 0, 9: 1}[annotation["category_id"]]
        shares[key] = annotation["area"] / (annotation["bbox"][2] * annotation["bbox"][3])
    seen = 0
    for batch in make(store, augmentation=DetectionAugmentation(crop=IouCrop(probability=1.0))):
        for index, boxes, labels, areas in zip(
            *(batch[name] for name in ("index", "boxes", "labels", "areas")), strict=True
        ):
            filled = areas / (boxes[:, 2:] - boxes[:, :2]).prod(1)
            assert filled.tolist() == pytest.approx([shares[int(index), label] for label in labels.tolist()], rel=1e-4)
            seen += len(labels)
    assert seen > 8


@pytest.mark.parametrize("world_size", [1, 4])
def test_a_test_shows_each_whole_image_once(store, world_size: int) -> None:
    """In store order, with all its boxes, which times original over true size are the store's; mirrored where asked."""
    options = {"shorter_side": 33, "longer_side": 60, "device": "cpu", "threads": 2, "world_size": world_size}
    for flip in (False, True):
        batches = [
            batch
            for rank in range(world_size)
            for batch in detection.test_loader(store, batch_size=4, rank=rank, flip=flip, **options)
        ]
        assert sorted(index for batch in batches for index in batch["index"].tolist()) == list(range(COUNT))
        for batch in batches:
            for index, boxes, labels, size, original in zip(
                *(batch[name] for name in ("index", "boxes", "labels", "size", "original_size")), strict=True
            ):
                edges = boxes.double()
                if flip:
                    edges[:, [0, 2]] = size[1] - edges[:, [2, 0]]
                back = edges * (original / size).flip(0).repeat(2)
                want = store.boxes(int(index))
                np.testing.assert_allclose(back, want.xyxy, atol=1e-3)
                assert labels.tolist() == want.labels.tolist()
    assert world_size == 1 or len(batches[-1]["index"]) < 4


def test_batches_without_objects_and_with_hundreds(tmp_path: Path) -> None:
    """No object in a batch, an image that is not annotated, 300 in one: all are handed out."""
    samples = [
        (jpeg(photo(0, 60, 80)), (60, 80), none_found()),
        (jpeg(photo(1, 60, 80)), (60, 80), None),
        (jpeg(photo(2, 60, 80)), (60, 80), boxes_of(2, 60, 80, 300)),
    ]
    store = write_store(tmp_path / "s.lmdb", samples)
    batches = list(make(store, 1, order="sequential", augmentation=DetectionAugmentation()))
    assert [tuple(batch["boxes"][0].shape) for batch in batches] == [(0, 4), (0, 4), (300, 4)]
    assert [batch["labels"][0].dtype for batch in batches] == [torch.int64] * 3
    assert all(batch["image"].std() > 0.1 for batch in batches)
    only = write_store(tmp_path / "t.lmdb", samples[:2])
    (batch,) = make(only, 2)
    assert [len(boxes) for boxes in batch["boxes"]] == [0, 0]


@pytest.mark.parametrize("crop", [0.0, 1.0])
def test_damaged_boxes_are_named_or_skipped(tmp_path: Path, crop: float) -> None:
    """By their CRC32 when their batch is due, also where a crop is drawn by them; "skip" replaces the sample."""
    store = make_detection_store(tmp_path / "s.lmdb", 12)
    damage_boxes(store, 8)
    options = {"augmentation": DetectionAugmentation(crop=IouCrop(probability=crop))}
    with pytest.raises(BadSampleError, match=r"sample 8 \(8\.jpg\) .* CRC32 of its box"):
        list(make(store, 4, **options))
    loader = make(store, 4, on_error="skip", **options)
    indices = [index for batch in loader for index in batch["index"].tolist()]
    assert len(indices) == 12 and 8 not in indices and loader.skipped == [(8, "8.jpg")]
    flip_a_byte(store, 3)
    with pytest.raises(BadSampleError, match=r"sample 3 \(3\.jpg\) .* CRC32 of its image"):
        list(detection.test_loader(store, device="cpu"))


def test_balanced_orders_go_by_objects(store) -> None:
    """An image comes as often as a class drawn evenly and then one of its images says, within 5 standard errors; never
    one without an object, or with difficult ones alone.
    """
    loader = make(store, 30, order="class_balanced", epoch_length=3000)
    holders = {
        k: [i for i in range(COUNT) if k in store.boxes(i).labels[~store.boxes(i).difficult]] for k in range(CLASSES)
    }
    indices = loader._share.indices(0)
    expected = np.zeros(COUNT)
    for images in holders.values():
        expected[images] += 1 / len(images) / CLASSES
    shares = np.bincount(indices, minlength=COUNT) / 3000
    assert (shares[expected == 0] == 0).all() and (expected == 0).any()
    assert (np.abs(shares - expected) <= 5 * np.sqrt(expected / 3000)).all()
    assert len(next(iter(loader))["boxes"]) == 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shorter_side": 0}, "shorter_side must be at least 1"),
        ({"shorter_side": ()}, "shorter_side must be one side or several"),
        ({"shorter_side": (600, 7.5)}, "shorter_side must be at least 1 and whole, got 7.5"),
        ({"side_per": "epoch"}, "side_per must be step or sample, got 'epoch'"),
        ({"size_divisor": 0}, "size_divisor must be at least 1"),
        ({"batch_size": 31}, "has 30 images, fewer than the 31 of one step"),
        ({"seed": "x"}, "seed must be whole"),
        ({"dtype": "int8"}, "dtype must be one of float32, float16"),
        ({"order": "random"}, "no order is called 'random'"),
    ],
)
def test_bad_options_are_named(store, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(store, options.pop("batch_size", 4), **options)


def test_stores_without_objects_are_named(tmp_path: Path) -> None:
    """Those without boxes by any loader, those where none is annotated by orders that count them."""
    with pytest.raises(InputError, match="has no boxes; build it with sdali build --format voc, coco"):
        detection.test_loader(make_store(tmp_path / "s.lmdb", 4))
    empty = write_store(tmp_path / "t.lmdb", [(jpeg(photo(0, 40, 40)), (40, 40), none_found())] * 4)
    with pytest.raises(InputError, match="has no objects that this order could count; use shuffle"):
        make(empty, 2, order="class_balanced")
