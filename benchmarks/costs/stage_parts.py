"""The parts of the pipeline, each alone, as peers that the harness can measure in turn.

Parts that need windows get those of real plan rows, decoded beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from ...pipelines.graph.kernels.window import transform_planes, window_to_planes
from ...pipelines.plan.order import shuffle
from ...pipelines.store.reader import ImageStore
from ..throughput.peer_process import Peer
from ..throughput.peers import decode_only, sdali
from ..throughput.workload import Workload


def read(work: Workload) -> Peer:
    """Records from the store, CRC32 checked."""
    store = ImageStore(work.store)

    def one_pass() -> Iterator[int]:
        for indices in _batches(store, work):
            yield len(store.read(indices))

    return Peer(one_pass, "")


def plan(work: Workload) -> Peer:
    """Plan rows, windows guided by heatmaps in memory."""
    store = ImageStore(work.store)
    planner = sdali.planner(store, work)

    def one_pass() -> Iterator[int]:
        for place, indices in enumerate(_batches(store, work)):
            yield len(planner.rows(0, place * work.batch_size, indices))

    return Peer(one_pass, "")


def decode(work: Workload) -> Peer:
    """DALI decoding the windows, records read without CRC32."""
    return Peer(decode_only.stream(work), "")


def kernel(work: Workload) -> Peer:
    """Resampling, flip, clamping and colour, on an epoch's decoded windows (512 at most)."""
    store = ImageStore(work.store)
    rows = sdali.planner(store, work).rows(0, 0, shuffle(store.labels, 0, 0)[:512])
    windows = [_window(data, row["window"]) for data, row in zip(store.read(rows["index"]), rows, strict=True)]
    planes = np.empty((work.batch_size, 3, work.size, work.size), np.float32)
    forward = np.arange(work.size, dtype=np.int32)
    columns = {False: forward, True: np.ascontiguousarray(forward[::-1])}

    def one_pass() -> Iterator[int]:
        for place, (row, window) in enumerate(zip(rows, windows, strict=True)):
            out = planes[place % len(planes)]
            window_to_planes(out, columns[bool(row["flip"])], window, row["colour"], row["interpolation"])
        yield len(rows)

    return Peer(one_pass, "")


def colour(work: Workload) -> Peer:
    """The kernel's last step: the 3 x 5 matrix over the planes."""
    planes = np.random.default_rng(0).random((work.batch_size, 3, work.size, work.size), np.float32)
    matrix = np.eye(3, 5, dtype=np.float32)

    def one_pass() -> Iterator[int]:
        for one in planes:
            transform_planes(one, matrix, np.float32(0.5))
        yield len(planes)

    return Peer(one_pass, "")


def whole(work: Workload) -> Peer:
    """The loader, as a trainer sees it."""
    return Peer(sdali.stream(work), "")


PARTS: dict[str, Callable[[Workload], Peer]] = {
    "read": read,
    "plan": plan,
    "decode": decode,
    "kernel": kernel,
    "colour": colour,
    "whole": whole,
}


def _batches(store: ImageStore, work: Workload) -> Iterator[np.ndarray]:
    """int64 [batch_size] each: an epoch's shuffled indices, without the last incomplete batch."""
    order = shuffle(store.labels, 0, 0)
    yield from order[: len(order) // work.batch_size * work.batch_size].reshape(-1, work.batch_size)


def _window(data: memoryview, window: np.ndarray) -> np.ndarray:
    """uint8 [h, w, 3] RGB."""
    y, x, height, width = window.tolist()
    image = np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB))
    return np.ascontiguousarray(image[y : y + height, x : x + width])
