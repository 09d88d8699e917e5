"""Reading an image store: columns at once, records by index, CRC32 checked at each read.

Columns and records are zero-copy views of the map and keep it alive; nothing is unpickled. A store object may be
pickled (it reopens by path and refuses another content) and used after a fork. Several objects of one file share one
map (store_open says how). A folder of several files opens like a single one (store_shards says how).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ..errors import BadSampleError, InputError
from ..images.header import MAX_PIXELS
from ..images.jpeg_png import png_size
from . import format as store_format
from .boxes import Boxes, Objects, none_found
from .format import BOXES, IMAGES, MASKS
from .index import read_columns, read_header
from .open_file import shared_file
from .records import Part, Records
from .shards import is_sharded, open_shards

if TYPE_CHECKING:
    from .statistics import Statistics

_WRONG_MASK = "has a mask that is not single-channel uint8 of the image's size; build it again"
_FEW = 4  # so many records are found in Python; for more the compiled search is loaded


class Names(Sequence[str]):
    """The source paths, decoded one by one when asked for."""

    def __init__(self, raw: np.ndarray, offsets: np.ndarray) -> None:
        self._raw, self._offsets = raw, offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        start, stop = self._offsets[position : position + 2]
        return self._raw[start:stop].tobytes().decode("utf-8", "surrogateescape")


class ImageStore:
    """An open store of N encoded images with labels, sizes and names, perhaps masks and boxes.

    Attributes: `path`; `classes` (names); `labels` int64 [N], -1 for none; `sizes` int32 [N, 2], height and width after
    EXIF orientation; `byte_sizes` int64 [N]; `names`, a sequence of relative source paths; `digest` (hex, identity of
    the content); `header` (dict); `has_masks`, `has_boxes`; `ignore_index`, in the masks the value of pixels without a
    class, None where the classes are those of the images. The arrays are read-only. `max_pixels`: larger samples, by
    the store or by an image's own header, are bad ones, refused before memory is taken for their pixels.
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
        self.names = Names(columns["names"], columns["name_offsets"])
        self._mask_sizes, self._mask_crc32 = columns.get("mask_byte_sizes"), columns.get("mask_crc32")
        self._box_counts, self._box_crc32 = columns.get("box_counts"), columns.get("box_crc32")
        self.has_masks, self.has_boxes = self._mask_sizes is not None, self._box_counts is not None
        self.ignore_index: int | None = self.header.get("ignore_index")

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, indices: Iterable[int], *, check: bool = True) -> list[memoryview]:
        """Encoded bytes of the samples, as read-only views of the map (they keep it alive).

        With `check` each CRC32 is compared with the one recorded at build. Raises BadSampleError for a damaged record
        and for one of too many pixels, InputError for an index outside the store.
        """
        records, wanted = self._opened(), self._checked(indices)
        crc32 = self._crc32 if check else None
        self._check_pixels(wanted)
        if len(wanted) < _FEW:
            views = [records.get(IMAGES, index) for index in wanted]
        else:
            views = records.images(np.array(wanted, np.int64))
        return [
            self._sound(index, view, self.byte_sizes, crc32, "image") for index, view in zip(wanted, views, strict=True)
        ]

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
        (index,) = self._checked([index])
        if self._mask_sizes is None or self._mask_crc32 is None or not self.has_mask(index):
            raise InputError(f"sample {index} ({self.names[index]}) of {self.path} has no mask; build with masks")
        self._check_pixels([index])
        view = self._opened().get(MASKS, index)
        view = self._sound(index, view, self._mask_sizes, self._mask_crc32, "mask")
        if png_size(view) != tuple(self.sizes[index].tolist()):
            raise self._bad(index, _WRONG_MASK)
        return view

    def boxes(self, index: int) -> Boxes:
        """The image's objects; none where it is not annotated. Raises BadSampleError for a damaged record."""
        (index,) = self._checked([index])
        if self._box_counts is None or self._box_crc32 is None:
            raise InputError(f"{self.path} has no boxes; build it from a source that has")
        count = max(int(self._box_counts[index]), 0)
        if count == 0:
            return none_found()
        view = self._opened().get(BOXES, index)
        sizes = self._box_counts * store_format.BYTES_A_BOX
        return store_format.decode_boxes(self._sound(index, view, sizes, self._box_crc32, "box"), count)

    def objects(self) -> Objects:
        """The objects of all images, without their edges, for 2 us an image; raises InputError for a damaged record."""
        if self._box_counts is None or self._box_crc32 is None:
            raise InputError(f"{self.path} has no boxes; build it from a source that has")
        parts = [self._objects_of(part) for part in self._opened().parts(BOXES)]
        return Objects(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))

    def _objects_of(self, part: Part) -> Objects:
        from .lmdb_read import find  # here, so that opening a store loads no numba

        assert self._box_counts is not None and self._box_crc32 is not None
        file, counts = part.file.file, np.maximum(self._box_counts[part.begin : part.end], 0)
        begins, sizes = find(file, part.database, np.arange(len(counts)))
        images = np.arange(len(counts)).repeat(counts)
        flags = np.arange(len(images)) - (counts.cumsum() - counts)[images]  # place within the image
        at = begins[images] + 16 * counts[images] + 8 * flags
        if (sizes != store_format.BYTES_A_BOX * counts).any():
            raise InputError(f"{self.path} has boxes that are not complete; build it again")
        for place in np.flatnonzero(counts).tolist():
            index, view = part.begin + place, part.file.view[begins[place] : begins[place] + sizes[place]]
            if zlib.crc32(view) != self._box_crc32[index]:
                raise self._bad(index, "is damaged: the CRC32 of its box differs from the one at build; build it again")
        labels, difficult = file[at[:, None] + np.arange(8)].view("<i4").T
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.classes):
            raise InputError(f"{self.path} has boxes of no class, so it is damaged; build it again")
        return Objects(part.begin + images, labels.astype(np.int64), difficult != 0)

    def _sound(
        self, index: int, view: memoryview | None, sizes: np.ndarray, crc32: np.ndarray | None, what: str
    ) -> memoryview:
        if view is None or view.nbytes != sizes[index]:
            raise self._bad(index, f"has no complete {what} record; build it again")
        if crc32 is not None and zlib.crc32(view) != crc32[index]:
            raise self._bad(index, f"is damaged: the CRC32 of its {what} differs from the one at build; build it again")
        return view

    def _check_pixels(self, indices: list[int]) -> None:
        too_large = self.sizes[indices].prod(axis=1, dtype=np.int64) > self.max_pixels
        if too_large.any():
            index = indices[int(too_large.argmax())]
            height, width = self.sizes[index].tolist()
            raise self._bad(
                index,
                f"has {height:,} x {width:,} px, more than the {self.max_pixels:,} allowed; build the store again with "
                "--shorter-side, or open it with ImageStore(path, max_pixels=...)",
            )

    def _bad(self, index: int, reason: str) -> BadSampleError:
        return BadSampleError(reason, index=index, name=self.names[index], store=self.path)

    def _checked(self, indices: Iterable[int]) -> list[int]:
        positions = np.asarray(indices if isinstance(indices, np.ndarray) else list(indices))
        if positions.size == 0:
            return []
        if positions.dtype.kind not in "iu" or positions.ndim != 1:
            raise InputError(f"indices of {self.path} are a list of integers, not {positions.dtype} {positions.shape}")
        outside = positions[(positions < 0) | (positions >= len(self))]
        if outside.size:
            raise InputError(f"{self.path} has no sample {outside[0]}: its indices are 0 to {len(self) - 1}")
        return positions.tolist()

    def _opened(self) -> Records:
        if self._records is None:
            raise InputError(f"{self.path} has been closed; open it again with ImageStore")
        return self._records

    @property
    def file_bytes(self) -> int:
        """Of the file, or of all shards."""
        return self._opened().file_bytes

    @property
    def identity(self) -> str:
        """What a loader's state names: the digest, but of a Subset its own."""
        return self.digest

    @property
    def statistics(self) -> Statistics | None:
        """What `sdali stats` measured, from STORE.stats.json beside the store; None where it has not run."""
        from .statistics import load

        return load(self)

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
    file = shared_file(path)
    header = read_header(file, path)
    return header, read_columns(file, path, header), Records([file], [header["count"]])
