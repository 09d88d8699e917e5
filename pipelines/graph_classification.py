"""The DALI graph of classification: encoded bytes and plan rows -> normalised images [3, size, size].

    encoded --decode the window--> uint8 HWC --resize with the row's kernel--> uint8 size x size --colour--> float CHW

One function for both devices: only the decoder's device and the colour stage differ. Training and testing share it,
because whatever differs between them stands in the plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import nvidia.dali.fn as fn
import nvidia.dali.types as types
from nvidia.dali import Pipeline
from nvidia.dali.pipeline import DataNode

from .colour import GREY
from .config import INTERPOLATIONS
from .kernel_op import colour as colour_kernel

_INTERP = {
    "nearest": types.INTERP_NN,
    "linear": types.INTERP_LINEAR,
    "cubic": types.INTERP_CUBIC,
    "lanczos": types.INTERP_LANCZOS3,
    "gaussian": types.INTERP_GAUSSIAN,
}
_INTERP_CODES = np.array([int(_INTERP[name]) for name in INTERPOLATIONS], np.int32)
_DTYPES = {"float32": types.FLOAT, "float16": types.FLOAT16}
DTYPES = tuple(_DTYPES)

Feed = tuple[list[np.ndarray], np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def feed(records: list[memoryview], rows: np.ndarray) -> Feed:
    """What the graph's source returns for a batch: encoded bytes, anchors, shapes, kernels, matrices, flips."""
    encoded = [np.frombuffer(record, np.uint8) for record in records]
    anchors, shapes = np.ascontiguousarray(rows["window"][:, :2]), np.ascontiguousarray(rows["window"][:, 2:])
    return (
        encoded,
        anchors,
        shapes,
        _INTERP_CODES[rows["interpolation"]],
        np.ascontiguousarray(rows["colour"]),
        np.ascontiguousarray(rows["flip"]),
    )


@dataclass(frozen=True, kw_only=True)
class Graph:
    """How to build the pipeline; `cuda` is the ordinal of the GPU, None for the CPU."""

    size: int
    dtype: str
    cuda: int | None
    threads: int
    prefetch: int = 2

    def pipeline(self, source: Callable[[], Feed], batch_size: int) -> Pipeline:
        """A built pipeline that pulls batches of at most batch_size from `source` until it raises StopIteration."""
        pipeline = Pipeline(
            batch_size=batch_size,
            num_threads=self.threads,
            device_id=self.cuda,
            prefetch_queue_depth=self.prefetch,
        )
        assert pipeline.exec_dynamic, "batches stay intact without a copy only under the dynamic executor"
        with pipeline:
            inputs = fn.external_source(source=source, num_outputs=6, batch=True, no_copy=True)
            pipeline.set_outputs(self._images(*inputs))
        pipeline.build()
        return pipeline

    def _images(
        self,
        encoded: DataNode,
        anchors: DataNode,
        shapes: DataNode,
        kernels: DataNode,
        matrices: DataNode,
        flips: DataNode,
    ) -> DataNode:
        windows = decode_windows(encoded, anchors, shapes, on_gpu=self.cuda is not None)  # HWC uint8
        kernels = fn.reinterpret(kernels, dtype=types.INTERP_TYPE)
        resized = fn.resize(windows, size=[self.size, self.size], interp_type=kernels)  # HWC uint8
        if self.cuda is not None:
            return colour_arithmetic(resized, matrices.gpu(), flips, _DTYPES[self.dtype])
        planes = colour_kernel(resized, matrices, flips)  # CHW float32
        return planes if self.dtype == "float32" else fn.cast(planes, dtype=_DTYPES[self.dtype])


def decode_windows(encoded: DataNode, anchors: DataNode, shapes: DataNode, *, on_gpu: bool) -> DataNode:
    """uint8 [h, w, 3] RGB: only the window of each image, EXIF orientation applied.

    The anchors depend on the peeked shape (times zero): a header that cannot be parsed then raises there, where the
    decoder itself would kill the process in batches of 48 and more.
    """
    peeked = fn.peek_image_shape(encoded, dtype=types.INT32)
    return fn.decoders.image_slice(
        encoded,
        anchors + 0 * peeked[:2],
        shapes,
        device="mixed" if on_gpu else "cpu",
        axes=[0, 1],
        output_type=types.RGB,
        jpeg_fancy_upsampling=True,  # as the CPU's decoder does; the GPU's default differs
    )


def colour_arithmetic(images: DataNode, matrices: DataNode, flips: DataNode, dtype: types.DALIDataType) -> DataNode:
    """The colour kernel in DALI arithmetic, for the GPU (and, to compare the two, on the CPU).

    images uint8 HWC and matrices float32 [3, 5] on the device, flips bool on the CPU -> dtype CHW.
    """
    weights = types.Constant(GREY.astype(np.float32), device=images.device)
    mean_grey = fn.reductions.sum(fn.reductions.mean(images, axes=[0, 1]) * weights)
    offset = matrices[:, 3] * mean_grey + matrices[:, 4]
    red, green, blue = images[:, :, 0:1], images[:, :, 1:2], images[:, :, 2:3]
    mapped = red * matrices[:, 0] + green * matrices[:, 1] + blue * matrices[:, 2] + offset  # HWC float32
    mirror = fn.cast(flips, dtype=types.INT32)
    mapped = fn.reshape(mapped, layout="HWC")
    return fn.crop_mirror_normalize(mapped, mirror=mirror, dtype=dtype, output_layout="CHW", mean=[0.0], std=[1.0])
