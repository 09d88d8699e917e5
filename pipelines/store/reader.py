"""Reading an image store: columns at once, records by index, CRC32 checked at each read.

Columns and records are zero-copy views of the map and keep it alive; nothing is unpickled. A store object may be
pickled (it reopens by path and refuses another content) and used after a fork. A folder of several files opens like a
single one (see shards).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from ..errors import BadSampleError, InputError
from ..images.header import MAX_PIXELS
from ..images.jpeg_png import png_size
from .boxes import Boxes, Objects, none_found
from .format import BYTES_A_BOX, decode_boxes, record_bytes
from .index import Part, Records, read_columns, read_header, read_offsets
from .lmdb_read import mapped_file
from .shards import is_sharded, open_shards
from .statistics import Statistics, load

_WRONG_MASK = "has a mask that is not single-channel uint8 of the image's size; build it again"


class Names(Sequence[str]):
    """The source paths of N samples, decoded one by one when asked for.

    raw: uint8, all of them one after another; begins, ends: int64 [N], the bytes of each.
    """

    def __init__(self, raw: np.ndarray, begins: np.ndarray, ends: np.ndarray) -> None:
        self._raw, self._begins, self._ends = raw, begins, ends

    def at(self, indices: np.ndarray) -> Names:
        """Those of int64 [n] samples."""
        return Names(self._raw, self._begins[indices], self._ends[indices])

    def __len__(self) -> int:
        return len(self._begins)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]
        return self._raw[self._begins[index] : self._ends[index]].tobytes().decode("utf-8", "surrogateescape")


class ImageStore:
    """An open store of N encoded images with labels, sizes and names, perhaps masks and boxes.

    Attributes: `path`; `classes` (names); `labels` int64 [N], -1 for none; `sizes` int32 [N, 2], height and width after
    EXIF orientation; `byte_sizes` int64 [N]; `names`, a sequence of relative source paths; `digest` (hex, identity of
    the content); `header` (dict); `has_masks`, `has_boxes`; `ignore_index`, in the masks the value of pixels without a
    class, None where the classes are those of the images. Of a source that numbers its images and classes (COCO):
    `image_ids` int64 [N] and `category_ids`, a tuple, those numbers, and `source_sizes` int32 [N, 2], the sizes there;
    else None. The arrays are read-only. `max_pixels`: a sample that is
    larger, as the store or the header of the image says, is refused as bad before memory is taken for its pixels.
    Raises InputError for a file that is missing, foreign, truncated or of another schema, and for columns that are not
    those of the digest.
    """

    def __init__(self, path: str | Path, *, max_pixels: int = MAX_PIXELS) -> None:
        if max_pixels < 1:
            raise InputError(f"max_pixels must be at least 1, got {max_pixels}")
        self.path, self.max_pixels = Path(path), max_pixels
        self.header, columns, records = (open_shards if is_sharded(self.path) else _open_file)(self.path)
        self._records: Records | None = records
        self.classes = tuple(str(name) for name in self.header["classes"])
        self.digest: str = self.header["digest"]
        self.labels, self.byte_sizes, self._crc32 = columns["labels"], columns["byte_sizes"], columns["crc32"]
        self.sizes = columns["sizes"].reshape(-1, 2)
        self.names = Names(columns["names"], columns["name_offsets"][:-1], columns["name_offsets"][1:])
        self._mask_sizes, self._mask_crc32 = columns.get("mask_byte_sizes"), columns.get("mask_crc32")
        self._box_counts, self._box_crc32 = columns.get("box_counts"), columns.get("box_crc32")
        self.has_masks, self.has_boxes = self._mask_sizes is not None, self._box_counts is not None
        self.ignore_index: int | None = self.header.get("ignore_index")
        self._box_areas = columns.get("box_areas")
        self.image_ids, self.source_sizes, self.category_ids = columns.get("image_ids"), None, None
        if self.image_ids is not None:
            self.source_sizes = columns["source_sizes"].reshape(-1, 2)
            self.category_ids = tuple(self.header["category_ids"])

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: Iterable[int], *, check: bool = True) -> list[memoryview]:
        """Encoded bytes of the samples, as read-only views of the map (they keep it alive).

        With `check` each CRC32 is compared with the one recorded at build. Raises BadSampleError for a damaged record
        and for one of too many pixels, InputError for an index outside the store.
        """
        wanted = self.checked(indices)
        self._check_pixels(wanted)
        return self._read("image", wanted, self.byte_sizes[wanted], self._crc32 if check else None)

    def mask(self, index: int) -> np.ndarray:
        """Class indices of every pixel, a fresh uint8 [H, W] array of the image's oriented size."""
        import cv2  # here, so that opening a store loads no OpenCV

        encoded = self.encoded_mask(index)
        decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
        if decoded is None or decoded.dtype != np.uint8 or decoded.shape != tuple(self.sizes[index]):
            raise self._bad(index, _WRONG_MASK)
        return np.asarray(decoded)

    def has_mask(self, index: int) -> bool:
        """Whether this sample has a mask."""
        return self._mask_sizes is not None and bool(self._mask_sizes[index])

    def encoded_mask(self, index: int) -> memoryview:
        """The mask's PNG bytes; raises InputError where the sample has none, BadSampleError where it is damaged."""
        wanted = self.checked([index])
        if self._mask_sizes is None or not self.has_mask(index):
            raise InputError(f"sample {index} ({self.names[index]}) of {self.path} has no mask; build with masks")
        self._check_pixels(wanted)
        (view,) = self._read("mask", wanted, self._mask_sizes[wanted], self._mask_crc32)
        if png_size(view) != tuple(self.sizes[index].tolist()):
            raise self._bad(index, _WRONG_MASK)
        return view

    def boxes(self, index: int) -> Boxes:
        """The image's objects; none where it is not annotated. Raises BadSampleError for a damaged record."""
        wanted = self.checked([index])
        if self._box_counts is None:
            raise InputError(f"{self.path} has no boxes; build it from a source that has")
        counts = self._box_counts[wanted]
        if counts[0] <= 0:
            return none_found() if self._box_areas is None else none_found()._replace(areas=np.zeros(0))
        (view,) = self._read("box", wanted, counts * BYTES_A_BOX, self._box_crc32)
        boxes = decode_boxes(view, int(counts[0]))
        if self._box_areas is None:
            return boxes
        end = int(self._box_ends[index])
        return boxes._replace(areas=self._box_areas[end - len(boxes.labels) : end])

    @cached_property
    def _box_ends(self) -> np.ndarray:
        """int64 [N]: where in the column of areas those of each image end."""
        assert self._box_counts is not None
        return np.maximum(self._box_counts, 0).cumsum()

    def objects(self) -> Objects:
        """The objects of all images, without their edges, for 2 us an image; raises InputError for a damaged record."""
        if self._box_counts is None:
            raise InputError(f"{self.path} has no boxes; build it from a source that has")
        parts = [self._objects_of(part, self._box_counts) for part in self._opened().parts]
        return Objects(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def _objects_of(self, part: Part, box_counts: np.ndarray) -> Objects:
        offsets = part.offsets["box"]
        counts = np.maximum(box_counts[part.begin : part.begin + len(offsets)], 0)
        annotated = part.begin + np.flatnonzero(counts)
        self._read("box", annotated, box_counts[annotated] * BYTES_A_BOX, self._box_crc32)
        images = np.arange(len(counts)).repeat(counts)
        within = np.arange(len(images)) - (counts.cumsum() - counts)[images]  # which of its image's boxes it is
        # Class and flag of each box, 8 bytes, lie behind the edges of all boxes of its image.
        at = offsets[images] + 16 * counts[images] + 8 * within
        labels, difficult = np.frombuffer(part.file.view, np.uint8)[at[:, None] + np.arange(8)].view("<i4").T
        if part.labels is not None and len(labels):
            labels = part.labels.take(labels, mode="clip")
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.classes):
            raise InputError(f"{self.path} has boxes of no class, so it is damaged; build it again")
        return Objects(part.begin + images, labels.astype(np.int64), difficult != 0)

    def _read(self, what: str, indices: np.ndarray, sizes: np.ndarray, crc32: np.ndarray | None) -> list[memoryview]:
        """The records of these samples, of these sizes; BadSampleError unless each has its CRC32 of the column."""
        views = self._opened().read(what, indices, sizes)
        if crc32 is not None:
            for index, view, expected in zip(indices.tolist(), views, crc32[indices].tolist(), strict=True):
                if zlib.crc32(view) != expected:
                    reason = f"is damaged: the CRC32 of its {what} differs from the one at build; build it again"
                    raise self._bad(index, reason)
        return views

    def _check_pixels(self, indices: np.ndarray) -> None:
        too_large = self.sizes[indices].prod(axis=1, dtype=np.int64) > self.max_pixels
        if too_large.any():
            index = int(indices[too_large.argmax()])
            height, width = self.sizes[index].tolist()
            raise self._bad(
                index,
                f"has {height:,} x {width:,} px, more than the {self.max_pixels:,} allowed; build the store again with "
                "--shorter-side, or open it with ImageStore(path, max_pixels=...)",
            )

    def _bad(self, index: int, reason: str) -> BadSampleError:
        for part in self._opened().parts:  # the sample is not to blame, nor does its name still stand there
            part.file.check_unchanged()
        return BadSampleError(reason, index=index, name=self.names[index], store=self.path)

    def checked(self, indices: Iterable[int]) -> np.ndarray:
        """The indices as int64 [n], or those where a boolean mask with a value for each sample is True.

        Raises InputError unless all of them are integers and within the store.
        """
        try:
            wanted = np.asarray(indices if hasattr(indices, "__array__") else list(indices))
        except (TypeError, ValueError):  # not iterable, ragged, or a tensor on a GPU
            kind = type(indices).__name__
            raise InputError(f"indices of {self.path} are a list or array of integers, not {kind}") from None
        if wanted.dtype == np.bool_ and wanted.shape == (len(self),):
            return np.flatnonzero(wanted)
        if wanted.size == 0:
            return np.zeros(0, np.int64)
        if wanted.dtype.kind not in "iu" or wanted.ndim != 1:
            raise InputError(
                f"indices of {self.path} are a list of integers, not {wanted.dtype} {list(wanted.shape)}, or a mask of "
                f"{len(self)} booleans"
            )
        if wanted.min() < 0 or wanted.max() >= len(self):
            outside = wanted[(wanted < 0) | (wanted >= len(self))][0]
            raise InputError(f"{self.path} has no sample {outside}: its indices are 0 to {len(self) - 1}")
        return wanted.astype(np.int64)

    def _opened(self) -> Records:
        if self._records is None:
            raise InputError(f"{self.path} has been closed; open it again with ImageStore")
        return self._records

    @property
    def file_bytes(self) -> int:
        """Bytes of the file, or of all shards together."""
        return self._opened().file_bytes

    @property
    def identity(self) -> str:
        """What the state of a loader names as its samples: the digest, or what a Subset puts in its stead."""
        return self.digest

    @property
    def statistics(self) -> Statistics | None:
        """What `sdali stats` measured, from STORE.stats.json beside the store; None where it has not run."""
        return load(self.path, self.digest)

    def close(self) -> None:
        """Let go of the file; views and columns already handed out stay valid."""
        self._records = None

    def __enter__(self) -> ImageStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path.absolute(), "max_pixels": self.max_pixels, "digest": self.digest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"], max_pixels=state["max_pixels"])
        if self.digest != state["digest"]:
            raise InputError(f"{self.path} was replaced by another store while in use; start again with the new one")

    def __repr__(self) -> str:
        return f"ImageStore({str(self.path)!r}): {len(self)} images, {len(self.classes)} classes"


def _open_file(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray], Records]:
    """Header, columns and records of a store that is one file."""
    file = mapped_file(path)
    header = read_header(file, path)
    columns = read_columns(file, path, header)
    return header, columns, Records([Part(0, file, read_offsets(file, path, header, record_bytes(columns)))])


def check_masks_of_classes(store: ImageStore) -> None:
    """Raise InputError unless the store was built for scene parsing: with masks whose pixels have the classes."""
    if store.ignore_index is None or not store.has_masks:
        raise InputError(f"{store.path} has no masks of classes; build it with sdali build --format masks")
