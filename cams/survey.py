"""How the maps of a heatmap store look, in two numbers: how many are empty, and how far the others spread."""

from __future__ import annotations

import numpy as np

from ..pipelines.store.heatmaps import HeatmapStore

MAPS_SURVEYED = 10_000  # evenly spaced: a standard error below 0.5 %


def survey(heatmaps: HeatmapStore) -> dict[str, float]:
    """How the maps look, over all of them or up to 10,000 evenly spaced ones.

    `empty_share`: maps without a positive cell, which leave the draw plain. `mean_spread`: exp(entropy) over the number
    of cells, averaged over the others: 1 for a uniform map, which guides nothing, 1 / (h * w) for a single cell.
    """
    count = len(heatmaps)
    spreads = [_spread(heatmaps[i]) for i in np.linspace(0, count - 1, min(count, MAPS_SURVEYED)).astype(int).tolist()]
    guiding = [spread for spread in spreads if spread > 0]
    return {
        "empty_share": 1 - len(guiding) / len(spreads),
        "mean_spread": float(np.mean(guiding)) if guiding else 0.0,
    }


def _spread(heatmap: np.ndarray) -> float:
    """exp(entropy) / cells of a map taken as a distribution; 0 for an empty one."""
    cells = heatmap[heatmap > 0].astype(np.float64)
    if not len(cells):
        return 0.0
    shares = cells / cells.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()) / heatmap.size)
