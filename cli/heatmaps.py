"""`sdali cams` and `sdali preview`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from ..cams.heatmaps import Method, from_boxes, from_hdf5, from_masks, from_rare_classes
from ..cams.store.hdf5 import export
from ..pipelines.config import Augmentation, ParsingCrop
from ..pipelines.errors import InputError
from ..pipelines.io.progress import track
from ..pipelines.io.publish import check_outputs
from ..pipelines.store.heatmaps import HeatmapStore
from ..pipelines.store.reader import ImageStore


@dataclass(frozen=True, kw_only=True)
class Cams:
    """Write a heatmap for each image of a store. A run that was killed continues when the command is given again."""

    store: Positional[Path]
    """The image store."""

    cams: Positional[Path]
    """The heatmap store to write, such as pets.cams.lmdb."""

    checkpoint: Path | None = None
    """Make the maps with this classifier of the store's classes (best.pt or last.pt): where it sees each image's
    class."""

    method: Method = "auto"
    """With --checkpoint: cam is exact, and needs a network that ends in average pooling and one linear layer; gradcam
    takes nearly every network; auto is cam where that is exact, else gradcam."""

    source: Annotated[Literal["masks", "boxes", "rare-classes"] | None, arg(name="from")] = None
    """Make the maps from the store's masks or boxes instead. rare-classes is for scene parsing: each pixel has the
    weight 1 / frequency of its class in the store."""

    maps: Path | None = None
    """Take the maps from this HDF5 file instead: a dataset [N, h, w] of float or uint8 values, in the order of the
    store, or with a dataset `names` of the images' names. It may be a file that --export has written."""

    maps_dataset: str = "maps"
    """With --maps: the name of the dataset of maps."""

    foreground: tuple[int, ...] | None = None
    """With --from masks: the mask values that are the object. None: all but 0 and 255."""

    grid: int = 32
    """With --from: cells on each side of a map."""

    batch_size: int = 64
    """With --checkpoint: how many images the network sees at a time."""

    device: str = "auto"
    """With --checkpoint: auto (a GPU if there is one), cpu, cuda, or one GPU such as cuda:1."""

    threads: int | None = None
    """CPU threads. None: as many as there are cores."""

    export: Path | None = None
    """Also write the maps to this HDF5 file, for other tools. Without --checkpoint, --from and --maps, the maps of the
    existing store CAMS are written."""

    overwrite: bool = False
    """Replace a heatmap store and a file of --export that exist."""

    def run(self) -> dict[str, Any] | None:
        sources = sum(given is not None for given in (self.checkpoint, self.source, self.maps))
        if sources > 1 or (sources == 0 and self.export is None):
            raise InputError("give one of --checkpoint FILE, --from masks|boxes|rare-classes and --maps FILE.h5")
        check_outputs(self, *(["export", "cams"] if sources else ["export"]))
        store = ImageStore(self.store)
        report = self._make(store) if sources else {"heatmaps": str(self.cams), "images": len(store)}
        if self.export is None or report is None:  # None: another rank reports and exports
            return report
        export(HeatmapStore(self.cams), store, self.export, overwrite=self.overwrite)
        return {**report, "export": str(self.export)}

    def _make(self, store: ImageStore) -> dict[str, Any] | None:
        common: dict[str, Any] = {"overwrite": self.overwrite, "progress": track}
        if self.checkpoint is not None:
            from ..trainers.classification.activation_maps import activation_maps

            network = {"batch_size": self.batch_size, "device": self.device, "threads": self.threads}
            return activation_maps(
                store, self.cams, checkpoint=self.checkpoint, method=self.method, **network, **common
            )
        if self.maps is not None:
            return from_hdf5(store, self.cams, maps=self.maps, dataset=self.maps_dataset, **common)
        common |= {"grid": self.grid, "workers": self.threads}
        if self.source == "masks":
            return from_masks(store, self.cams, foreground=self.foreground, **common)
        return (from_boxes if self.source == "boxes" else from_rare_classes)(store, self.cams, **common)


@dataclass(frozen=True, kw_only=True)
class Preview:
    """Draw what training will see. Scene parsing is shown with its masks, and objects with their boxes."""

    store: Positional[Path]
    """The image store."""

    png: Positional[Path]
    """The picture to write."""

    heatmaps: Annotated[Path | None, arg(name="cams")] = None
    """A heatmap store of these images, which windows follow."""

    count: int = 6
    """How many images are shown; they are spread over the classes."""

    size: int | tuple[int, int] | None = None
    """Side of the tensors in pixels; for scene parsing also height and width; for objects the shorter side. None: 224,
    for scene parsing 473."""

    seed: int = 0
    """Seed of the choice of images, of windows and of colours."""

    font: Path | None = None
    """A font file for names in the picture. None: one of this machine's that has their characters."""

    overwrite: bool = False
    """Replace a picture that exists."""

    augmentation: Annotated[Augmentation, arg(name="")] = field(default_factory=Augmentation)

    parsing_crop: ParsingCrop = field(default_factory=ParsingCrop)
    """For scene parsing, in place of --crop: how the window is drawn."""

    def run(self) -> dict[str, Any]:
        from ..cams.drawing.fonts import use_font
        from ..cams.previews.preview import preview

        check_outputs(self, "png")
        use_font(self.font)
        return preview(
            ImageStore(self.store),
            self.png,
            heatmaps=self.heatmaps,
            count=self.count,
            size=self.size,
            seed=self.seed,
            augmentation=self.augmentation,
            parsing_crop=self.parsing_crop,
            overwrite=self.overwrite,
        )
