"""The learning rate as a pure function of the step, so that a resumed run needs nothing but its step."""

from __future__ import annotations

import math


def learning_rate(step: int, *, peak: float, steps: int, warmup_steps: int) -> float:
    """Linear warm-up to `peak` over the first `warmup_steps`, then half a cosine towards 0 at `steps`.

    `step` counts from 0: step 0 gets peak / warmup_steps, step warmup_steps - 1 and the one after it get `peak`.
    Source: Goyal et al. 2017 (warm-up), Loshchilov and Hutter 2017 (cosine without restarts).
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(steps - warmup_steps, 1)
    return peak * (1 + math.cos(math.pi * min(done, 1.0))) / 2
