"""`sdali ensemble`: stored predictions combined, without a GPU or an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from ..pipelines.io.outputs import HDF5, PNG, check_outputs
from ..pipelines.io.tables import show
from ..trainers.core.config import Sides


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Flags of `sdali ensemble`."""

    files: Positional[tuple[Path, ...]]
    """Predictions of the same image store, made with sdali evaluate classification."""

    weights: tuple[float, ...] | None = None
    """One positive number a file. None: all alike."""

    checkpoints: tuple[int, ...] | None = None
    """Of each file only these, counted from 0; -1 is the last. None: all."""

    scales: Sides = ()
    """Of each file only these, px, such as 224,256. None: all."""

    out: Path | None = None
    """Keep the ensemble's mean as a file of predictions, for an ensemble of ensembles."""

    picture: Path | None = None
    """Draw the confusion matrix into this PNG."""

    overwrite: bool = False
    """Replace an existing --out."""

    def run(self) -> dict[str, Any]:
        from ..trainers.classification.ensemble import ensemble

        check_outputs(self, {"out": HDF5, "picture": PNG})
        result = ensemble(
            self.files,
            self.weights,
            checkpoints=self.checkpoints,
            scales=self.scales or None,
            out=self.out,
            picture=self.picture,
            overwrite=self.overwrite,
        )
        columns = [name for name in ("top1", "top5", "loss", "ece") if name in result]
        members = [[member["file"], f"{member['weight']:.3f}", member] for member in result["members"]]
        rows = [[*names, *(f"{figures[c]:.4f}" for c in columns)] for *names, figures in members]
        rows.append(["ensemble", "1.000", *(f"{result[c]:.4f}" for c in columns)])
        show(f"{result['images']:,} images", ["", "share", *columns], rows)
        return result
