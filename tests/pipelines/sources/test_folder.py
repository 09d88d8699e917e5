"""Folders as sources: which files, in which order, with which labels and masks, and every way a folder can be wrong."""

from __future__ import annotations

import io
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sdali.pipelines.errors import InputError
from sdali.pipelines.sources.folder import folder
from sdali.pipelines.sources.mask_png import as_index_png
from sdali.pipelines.sources.source import natural_key


def _touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content of " + name.encode())
    return root


def test_classes_are_folders_and_images_lie_anywhere_below(tmp_path: Path) -> None:
    """Natural order of classes and of images, ending in any case, dot files and other files left out."""
    names = ["img10/b/2.PNG", "img10/b/10.jpg", "img2/1.JPEG", "img10/a.webp", "img2/._1.jpg", "img2/notes.txt"]
    source = folder(_touch(tmp_path, *names, "img2/.cache/x.jpg", "readme.md"))
    assert source.classes == ("img2", "img10")
    assert [(item.name, item.label) for item in source.items] == [
        ("img2/1.JPEG", 0),
        ("img10/a.webp", 1),
        ("img10/b/2.PNG", 1),
        ("img10/b/10.jpg", 1),
    ]
    assert source.items[1].load().data == b"content of img10/a.webp"
    assert [item.name for item in source.items[1:3]] == ["img10/a.webp", "img10/b/2.PNG"]


def test_every_image_format_is_taken_and_all_else_is_counted(tmp_path: Path) -> None:
    """Formats that DALI does not decode too: the build refuses them by name."""
    endings = ("mpo", "jxl", "apng", "heic", "heics", "hif", "j2c", "jpc", "jxr", "avifs", "heifs", "JPG")
    images = [f"c/{ending}.{ending}" for ending in endings]
    others = ["c/notes.txt", "c/b.json", "c/a.json", "readme", "c/._1.jpg", ".git/x/y.jpg", "c/Thumbs.db"]
    source = folder(_touch(tmp_path, *images, *others))
    assert sorted(item.name for item in source.items) == sorted(images)
    found = source.left_out.report()
    json = found.pop("files that end in .json")
    assert json["count"] == 2 and sorted(json["examples"]) == ["c/a.json", "c/b.json"]
    assert found.pop("hidden files and folders")["count"] == 2
    assert {kind: one["examples"] for kind, one in found.items()} == {
        "files that end in .txt": ["c/notes.txt"],
        "files that end in .db": ["c/Thumbs.db"],
        "files without an ending": ["readme"],
    }


def test_classes_come_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    """By text they have the numbers that torchvision's ImageFolder gives them; the images stay where they are."""
    _touch(tmp_path, *(f"{name}/{k}.jpg" for name in ("1", "2", "10", "B", "a") for k in range(2)))
    natural, text = folder(tmp_path), folder(tmp_path, class_order="text")
    assert natural.classes == ("1", "2", "10", "B", "a") and text.classes == ("1", "10", "2", "B", "a")
    for one in (natural, text):
        assert [one.classes[item.label] for item in one.items] == [item.name.split("/")[0] for item in one.items]
    with pytest.raises(InputError, match="class_order is one of natural, text, got 'size'"):
        folder(tmp_path, class_order="size")  # pyright: ignore[reportArgumentType]


def test_images_without_class_folders_have_no_class(tmp_path: Path) -> None:
    """Images directly in the folder have label -1, and there are no classes; names may be Chinese."""
    source = folder(_touch(tmp_path, "图10.jpg", "图9.jpg"))
    assert source.classes == () and not source.has_masks
    assert [(item.name, item.label) for item in source.items] == [("图9.jpg", -1), ("图10.jpg", -1)]


def test_folders_that_are_wrong(tmp_path: Path) -> None:
    """Missing, empty, mixed, and with an empty class: each is one sentence that names what is wrong."""
    _touch(tmp_path, "file.jpg", "mixed/a.jpg", "mixed/cat/1.jpg", "hole/cat/1.jpg", "text/cat/notes.txt")
    (tmp_path / "hole" / "dog").mkdir()
    (tmp_path / "empty").mkdir()
    for name, reason in {
        "missing": "missing is no folder",
        "file.jpg": "file.jpg is no folder",
        "empty": "empty has no images",
        "text": "text has no images",
        "mixed": r"mixed has images in class folders \(cat/\) and outside \(a.jpg\)",
        "hole": "class folder .*hole/dog has no images",
    }.items():
        with pytest.raises(InputError, match=reason):
            folder(tmp_path / name)


def test_symbolic_links_are_followed_once(tmp_path: Path) -> None:
    """A link to a class elsewhere is a class; a link to its own ancestor, or to itself, ends there."""
    _touch(tmp_path, "data/cat/1.jpg", "elsewhere/2.jpg")
    (tmp_path / "data" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "cat" / "loop").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "cat" / "self").symlink_to("self")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data")
    names = [item.name for item in folder(tmp_path / "data").items]
    assert names == ["cat/1.jpg", "dog/2.jpg"]


@given(st.lists(st.text("ab019/", min_size=1, max_size=8), max_size=12))
def test_natural_order_is_total_and_numeric(paths: list[str]) -> None:
    """Any paths can be sorted, differently spelt ones never tie, and padding numbers with zeros gives the order."""
    keys = [natural_key(path) for path in set(paths)]
    assert len(set(keys)) == len(keys)
    padded = {path: re.sub(r"\d+", lambda digits: digits[0].lstrip("0").zfill(9), path).split("/") for path in paths}
    ordered = sorted(paths, key=natural_key)
    plain = [path for path in ordered if not re.search(r"0\d", path)]  # 01 and 1 are ordered by text, beyond padding
    assert [padded[path] for path in plain] == sorted(padded[path] for path in plain)


def _png(image: Image.Image, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


def _indices(data: bytes) -> np.ndarray:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))


def test_masks_are_found_by_path_then_by_stem(tmp_path: Path) -> None:
    """The mask beside wins; else the only one of that stem; a stem of two images or two masks is no answer."""
    _touch(tmp_path, "i/cat/a.jpg", "i/cat/b.jpg", "i/cat/c.jpg", "i/dog/c.jpg", "i/dog/d.jpg")
    values = {"cat/a": 1, "x/a": 2, "deep/er/b": 3, "c": 4, "x/d": 5, "y/d": 6}
    for name, value in values.items():
        (tmp_path / "m" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "m" / f"{name}.png").write_bytes(_png(Image.fromarray(np.full((2, 3), value, np.uint8))))
    source = folder(tmp_path / "i", masks=tmp_path / "m")
    items = {item.name: item for item in source.items}
    assert source.has_masks
    for name, value in {"cat/a.jpg": 1, "cat/b.jpg": 3}.items():
        mask = items[name].load().mask
        assert mask is not None and (_indices(mask) == value).all()
    assert items["cat/b.jpg"].mask_name == str(tmp_path / "m" / "deep/er/b.png")
    for name, reason in {
        "cat/c.jpg": r"has no mask .*m/cat/c\.png",
        "dog/c.jpg": r"has no mask .*m/dog/c\.png",
        "dog/d.jpg": r"masks .*x/d\.png and .*y/d\.png",
    }.items():
        with pytest.raises(InputError, match=reason):
            items[name].load()


def test_a_mask_folder_inside_is_no_class(tmp_path: Path) -> None:
    """Masks that lie in the source's own folder are left out of its classes."""
    _touch(tmp_path, "cat/1.jpg", "masks/1.png")
    assert folder(tmp_path, masks=tmp_path / "masks").classes == ("cat",)
    with pytest.raises(InputError, match="is no folder"):
        folder(tmp_path, masks=tmp_path / "none")


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_masks_become_indices_of_their_palette_or_grey(bits: int) -> None:
    """Whatever the bit depth, and with a palette or without, the values are the indices that were drawn."""
    indices = np.random.default_rng(bits).integers(0, 2**bits, (5, 7)).astype(np.uint8)
    palette = Image.fromarray(indices)
    palette.putpalette(np.random.default_rng(1).integers(0, 256, 768).astype(np.uint8).tobytes())
    assert np.array_equal(_indices(as_index_png(_png(palette, bits=bits))), indices)
    packed = np.packbits(
        (np.pad(indices, ((0, 0), (0, 1)))[..., None] >> np.arange(bits)[::-1] & 1).reshape(5, -1).astype(np.uint8), 1
    )
    assert np.array_equal(_indices(as_index_png(_grey_png(packed, 5, 7, bits))), indices)


def _grey_png(rows: np.ndarray, height: int, width: int, bits: int) -> bytes:
    """A greyscale PNG of 1 to 8 bits, written by hand: no library here writes 2 and 4."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    row_bytes = (width * bits + 7) // 8
    pixels = b"".join(b"\0" + row[:row_bytes].tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def test_masks_that_are_none(tmp_path: Path) -> None:
    """Colours, 16-bit values above 255, JPEGs and damaged files are named; 16 bits with small values are taken."""
    grey = np.zeros((2, 3), np.uint8)
    sixteen = cv2.imencode(".png", np.full((2, 3), 7, np.uint16))[1].tobytes()
    assert (_indices(as_index_png(sixteen)) == 7).all()
    for data, reason in [
        (_png(Image.fromarray(np.zeros((2, 3, 3), np.uint8))), "has colours"),
        (cv2.imencode(".png", np.full((2, 3), 256, np.uint16))[1].tobytes(), "class index 256"),
        (cv2.imencode(".jpg", grey)[1].tobytes(), "is not a PNG"),
        (_png(Image.fromarray(grey))[:-5], "is truncated"),
    ]:
        with pytest.raises(InputError, match=reason):
            as_index_png(data)


def _masked(root: Path, masks: dict[str, np.ndarray]) -> Path:
    for name, mask in masks.items():
        _touch(root, f"i/{name}.jpg")
        (root / "m" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "m" / f"{name}.png").write_bytes(_png(Image.fromarray(mask)))
    return root


@given(st.integers(0, 10_000))
def test_a_box_goes_around_the_pixels_of_some_values(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Pixel (x, y) is the box (x, y, x + 1, y + 1); brute force over pixels; the class is the image's."""
    rng = np.random.default_rng(seed)
    mask = np.where(rng.random((9, 12)) < 0.04, rng.integers(1, 4, (9, 12)), 0).astype(np.uint8)
    root = _masked(tmp_path_factory.mktemp("boxes"), {"cat/a": mask, "dog/b": mask})
    source = folder(root / "i", masks=root / "m", boxes_from_masks=(1, 3))
    wanted = [(x, y) for y in range(9) for x in range(12) if mask[y, x] in (1, 3)]
    assert source.has_boxes and source.has_masks
    for label, item in enumerate(source.items):
        boxes = item.load().boxes
        assert boxes is not None
        assert boxes.labels.tolist() == [label] * bool(wanted) and not boxes.difficult.any()
        if wanted:
            xs, ys = zip(*wanted, strict=True)
            assert boxes.xyxy.tolist() == [[min(xs), min(ys), max(xs) + 1, max(ys) + 1]]


def test_boxes_from_masks_that_cannot_be(tmp_path: Path) -> None:
    root = _masked(tmp_path, {"cat/a": np.ones((4, 5), np.uint8)})
    _touch(tmp_path, "flat/a.jpg")
    images, masks = root / "i", root / "m"
    with pytest.raises(InputError, match="boxes_from_masks needs masks"):
        folder(images, boxes_from_masks=(1,))
    with pytest.raises(InputError, match="from annotations or from boxes_from_masks"):
        folder(images, masks=masks, annotations=masks, boxes_from_masks=(1,))
    with pytest.raises(InputError, match="which are 0 to 255, got 256"):
        folder(images, masks=masks, boxes_from_masks=(1, 256))
    with pytest.raises(InputError, match="has no class folders"):
        folder(tmp_path / "flat", masks=masks, boxes_from_masks=(1,))
