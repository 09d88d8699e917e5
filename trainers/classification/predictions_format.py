"""What lies in a file of predictions, and what a softmax in it must be.

`softmax` float32 [N, checkpoints, scales, views, K] lies in one piece and uncompressed: 36,500 images x 3 checkpoints x
32 views x 365 classes take 5.1 GB. Tried on synthetic softmax: shuffle and gzip save 13 % and write at a twentieth of
the speed; float16 saves half and keeps top-1 and top-5, but a probability below 3e-8 becomes 0, which spoils the loss
of a confident network with few views (3.129 to 3.147 nats; at twice the logits 5.06 to 7.77).

Beside it: `labels` int64 [N], `names` [N], `classes` [K], `scales` int64 (px), `checkpoints` (a JSON object each); as
attributes `format`, `version`, `store_digest` and `views`, which says what the views of an image are.
"""

from __future__ import annotations

import numpy as np

FORMAT = "sdali predictions"
VERSION = 1


def first_no_softmax(rows: np.ndarray) -> int | None:
    """The first place on axis 0 with a row (last axis) that holds a negative or no number, or whose sum is not about 1;
    None where all are sound.
    """
    with np.errstate(invalid="ignore"):
        sound = (rows.min(-1) >= 0) & (np.abs(rows.sum(-1) - 1) <= 0.01)
    bad = np.flatnonzero(~sound.all(tuple(range(1, sound.ndim))))
    return int(bad[0]) if len(bad) else None
