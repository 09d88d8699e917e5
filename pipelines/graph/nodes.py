"""What the DALI graphs of all tasks share: how a pipeline is built, and the nodes that decode, resize and colour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import nvidia.dali.fn as fn
from nvidia.dali import Pipeline
from nvidia.dali.types import Constant, DALIDataType, DALIImageType, DALIInterpType

from ..config import INTERPOLATIONS
from ..io.dali import Node
from ..plan.colour import GREY
from ..store.reader import ImageStore

_INTERP: dict[str, Any] = {
    "nearest": DALIInterpType.INTERP_NN,
    "linear": DALIInterpType.INTERP_LINEAR,
    "cubic": DALIInterpType.INTERP_CUBIC,
    "lanczos": DALIInterpType.INTERP_LANCZOS3,
    "gaussian": DALIInterpType.INTERP_GAUSSIAN,
}
INTERP_CODES = np.array([int(_INTERP[name]) for name in INTERPOLATIONS], np.int32)
DTYPES = {"float32": DALIDataType.FLOAT, "float16": DALIDataType.FLOAT16, "uint8": DALIDataType.UINT8}

Feed = tuple[list[np.ndarray] | np.ndarray, ...]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """How to build the pipeline of a task; `cuda` is the number of the GPU, None for the CPU."""

    dtype: str
    """float32 or float16; uint8: images are not coloured."""
    cuda: int | None
    threads: int

    @property
    def on_gpu(self) -> bool:
        return self.cuda is not None

    @property
    def coloured(self) -> bool:
        return self.dtype != "uint8"

    def cast(self, images: Node) -> Node:
        """Images float32 in the graph's number type."""
        return images if self.dtype == "float32" else fn.cast(images, dtype=DTYPES[self.dtype])

    def read(self, store: ImageStore, indices: np.ndarray) -> list[memoryview]:
        """The records that a batch needs, first those of the images."""
        return store.read(indices)

    def feed(self, records: list[memoryview], rows: np.ndarray) -> Feed:
        """What the source returns for a batch of rows."""
        raise NotImplementedError

    def outputs(self, source: Callable[[], Feed]) -> tuple[Node, ...]:
        """The output nodes, from what `source` feeds."""
        raise NotImplementedError

    def pipeline(self, source: Callable[[], Feed], batch_size: int) -> Pipeline:
        """A built pipeline that pulls batches of at most batch_size from `source` until it raises StopIteration."""
        pipeline = Pipeline(batch_size=batch_size, num_threads=self.threads, device_id=self.cuda)
        assert pipeline.exec_dynamic, "batches stay intact without a copy only under the dynamic executor"
        with pipeline:
            pipeline.set_outputs(*self.outputs(source))
        pipeline.build()
        return pipeline


def inputs(source: Callable[[], Feed], count: int) -> list[Node]:
    """The nodes that a batch of `source` feeds; DALI does not copy the buffers, so the source keeps them alive."""
    nodes: Any = fn.external_source(source=source, num_outputs=count, batch=True, no_copy=True)
    return list(nodes)


def resize(windows: Node, kernels: Node, sizes: Node) -> Node:
    """Windows uint8 HWC resized by DALI to `sizes` float32 [2], each with its kernel, an int32 from INTERP_CODES."""
    return fn.resize(windows, size=sizes, interp_type=fn.reinterpret(kernels, dtype=DALIDataType.INTERP_TYPE))


def decode_windows(encoded: Node, anchors: Node, shapes: Node, *, on_gpu: bool, masks: bool = False) -> Node:
    """Only the region of each image, uint8 [h, w, 3] RGB, EXIF orientation applied; of masks [h, w, 1], as they are.

    Without the term of zero times the peeked shape, a header that cannot be parsed kills the process in batches of 48
    and more; with it the decoder waits for peek_image_shape, which raises. A window that leaves its image would kill
    the process too; the engine has checked that the headers have the sizes which the plan goes by.
    """
    peeked = fn.peek_image_shape(encoded, dtype=DALIDataType.INT32)
    return fn.decoders.image_slice(
        encoded,
        anchors + 0 * peeked[:2],
        shapes,
        device="mixed" if on_gpu else "cpu",
        axes=[0, 1],
        output_type=DALIImageType.ANY_DATA if masks else DALIImageType.RGB,
        adjust_orientation=not masks,
        jpeg_fancy_upsampling=True,  # as the CPU's decoder does; the GPU's default differs
    )


def colour(images: Node, matrices: Node, flips: Node, dtype: DALIDataType) -> Node:
    """The colour stage in DALI arithmetic, for the GPU (and, to compare it with the kernel, on the CPU).

    images uint8 HWC and matrices float32 [3, 5] on the device, flips int32 on the CPU -> dtype CHW.
    """
    weights = Constant(GREY.astype(np.float32), device=images.device)
    mean: Node = fn.reductions.mean(images, axes=[0, 1])
    mean_grey = fn.reductions.sum(mean * weights)
    offset = matrices[:, 3] * mean_grey + matrices[:, 4]
    red, green, blue = images[:, :, 0:1], images[:, :, 1:2], images[:, :, 2:3]
    mapped = red * matrices[:, 0] + green * matrices[:, 1] + blue * matrices[:, 2] + offset  # HWC float32
    mapped = fn.reshape(mapped, layout="HWC")
    return fn.crop_mirror_normalize(mapped, mirror=flips, dtype=dtype, output_layout="CHW", mean=[0.0], std=[1.0])
