"""The floor: DALI decodes the windows that sdali planned, from the same store, and hands them over; nothing else.

Windows are planned once, and CRCs are not checked, so that none of our own work counts. What comes out are uint8
windows of many sizes: no trainer could use them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import nvidia.dali.fn as fn
from nvidia.dali import Pipeline
from nvidia.dali.types import DALIImageType

from ....pipelines.plan.order import shuffle
from ....pipelines.store.reader import ImageStore
from ..peer_process import Stream
from ..workload import Workload
from .sdali import planner

LACKS = "all but decoding: resize, colour, flip, normalisation, planning, CRC"


def stream(work: Workload) -> Stream:
    """Whole batches, one epoch of windows a pass, the same every time."""
    store = ImageStore(work.store)
    plan, order = planner(store, work), shuffle(store.labels, 0, 0)
    starts = range(0, len(order) - work.batch_size + 1, work.batch_size)
    planned = [plan.rows(0, start, order[start : start + work.batch_size]) for start in starts]
    fed: list[tuple[list[np.ndarray], np.ndarray, np.ndarray]] = []  # used in place, so kept while DALI prefetches

    def source(iteration: int) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
        rows = planned[iteration % len(planned)]
        encoded = [np.frombuffer(record, np.uint8) for record in store.read(rows["index"], check=False)]
        window = rows["window"]
        fed.append((encoded, np.ascontiguousarray(window[:, :2]), np.ascontiguousarray(window[:, 2:])))
        del fed[:-8]
        return fed[-1]

    pipeline = Pipeline(batch_size=work.batch_size, num_threads=work.threads, device_id=work.cuda)
    with pipeline:
        encoded, anchors, shapes = fn.external_source(source=source, num_outputs=3, batch=True, no_copy=True)
        windows = fn.decoders.image_slice(
            encoded,
            anchors,
            shapes,
            device="cpu" if work.cuda is None else "mixed",
            axes=[0, 1],
            output_type=DALIImageType.RGB,
        )
        pipeline.set_outputs(windows)
    pipeline.build()

    def one_pass() -> Iterator[int]:
        for _ in planned:
            (windows,) = pipeline.run()
            yield len(windows)

    return one_pass
