"""What a heatmap store looks like, in two numbers: how many maps guide nothing, and how far the others spread."""

from __future__ import annotations

import numpy as np

from ..pipelines.store.heatmaps import HeatmapStore

MAPS_SURVEYED = 10_000  # evenly spaced: a standard error below 0.5 %


def survey(heatmaps: HeatmapStore) -> dict[str, float]:
    """What the maps look like, in two numbers over all maps, or over 10,000 evenly spaced ones.

    `empty_share` is the share of maps without a positive cell, whose crops are not guided. `mean_spread` is
    exp(entropy) / cells of a map taken as a distribution, averaged over the other maps: 1 for a uniform map, which
    guides nothing, and 1 / (h * w) for a map with a single positive cell.
    """
    count = len(heatmaps)
    indices = np.linspace(0, count - 1, min(count, MAPS_SURVEYED)).astype(int).tolist()
    spreads = [_spread(heatmaps[index]) for index in indices]
    guiding = [spread for spread in spreads if spread > 0]
    return {
        "empty_share": 1 - len(guiding) / len(spreads),
        "mean_spread": float(np.mean(guiding)) if guiding else 0.0,
    }


def _spread(heatmap: np.ndarray) -> float:
    cells = heatmap[heatmap > 0].astype(np.float64)
    if not len(cells):
        return 0.0
    shares = cells / cells.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()) / heatmap.size)
