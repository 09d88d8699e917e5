"""`sdali cams` and `sdali preview`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from ..cams.generate import Method
from ..pipelines.config import Augmentation, Crop, ParsingAugmentation, ParsingCrop
from ..pipelines.errors import InputError
from ..pipelines.io.progress import track
from ..pipelines.io.publish import check_outputs
from ..pipelines.store.heatmaps import HeatmapStore
from ..pipelines.store.reader import ImageStore


@dataclass(frozen=True, kw_only=True)
class Cams:
    """Flags of `sdali cams`. A killed run goes on where it was when the command is given again."""

    store: Positional[Path]
    """The image store."""

    cams: Positional[Path]
    """The heatmap store to be, such as pets.cams.lmdb."""

    checkpoint: Path | None = None
    """A classifier of these classes (best.pt or last.pt); gives the activation map of each image's own class."""

    method: Method = "auto"
    """--checkpoint: cam is exact and needs average pooling and one linear layer; gradcam takes nearly every network;
    auto is cam where that is exact, else gradcam."""

    source: Annotated[Literal["masks", "boxes", "rare-classes"] | None, arg(name="from")] = None
    """Instead of a checkpoint: the store's own masks or boxes; in a store for scene parsing, rare-classes weighs each
    pixel by 1 / frequency of its class."""

    maps: Path | None = None
    """Instead of both: an HDF5 file of maps [N, h, w], float or uint8, in the order of the store, or with a dataset
    names of the images' names; also what --export has written."""

    maps_dataset: str = "maps"
    """--maps: where in the file the maps are."""

    foreground: tuple[int, ...] | None = None
    """--from masks: values that are the object. None: all but 0 and 255."""

    grid: int = 32
    """--from: cells a side of a map."""

    batch_size: int = 64
    """--checkpoint: images at a time."""

    device: str = "auto"
    """--checkpoint: auto (a GPU where there is one), cpu, cuda, or cuda:1."""

    threads: int | None = None
    """CPU threads. None: one a core."""

    export: Path | None = None
    """Besides, write the maps to this HDF5 file, for other tools; without a source, those that CAMS already holds."""

    overwrite: bool = False
    """Replace a heatmap store and a file of --export that exist."""

    def run(self) -> dict[str, Any] | None:
        sources = sum(given is not None for given in (self.checkpoint, self.source, self.maps))
        if sources > 1 or (sources == 0 and self.export is None):
            raise InputError("give one of --checkpoint FILE, --from masks|boxes|rare-classes and --maps FILE.h5")
        check_outputs(self, *(["export", "cams"] if sources else ["export"]))
        store = ImageStore(self.store)
        if self.export is None:
            return self._make(store)
        from ..cams.store.hdf5 import export

        made = self._make(store) if sources else {"heatmaps": str(self.cams), "images": len(store)}
        if made is None:  # the first rank exports
            return None
        export(HeatmapStore(self.cams), store, self.export, overwrite=self.overwrite)
        return {**made, "export": str(self.export)}

    def _make(self, store: ImageStore) -> dict[str, Any] | None:
        if self.checkpoint is not None:
            return self._from_checkpoint(store, self.checkpoint)
        from ..cams.generate import from_boxes, from_hdf5, from_masks

        if self.maps is not None:
            dataset, overwrite = self.maps_dataset, self.overwrite
            return from_hdf5(store, self.cams, maps=self.maps, dataset=dataset, overwrite=overwrite, progress=track)
        common = {"grid": self.grid, "overwrite": self.overwrite, "workers": self.threads, "progress": track}
        if self.source == "masks":
            return from_masks(store, self.cams, foreground=self.foreground, **common)
        if self.source == "boxes":
            return from_boxes(store, self.cams, **common)
        from ..cams.rare_classes import from_rare_classes

        return from_rare_classes(store, self.cams, **common)

    def _from_checkpoint(self, store: ImageStore, checkpoint: Path) -> dict[str, Any] | None:
        from ..trainers.classification.activation_maps import activation_maps

        return activation_maps(
            store,
            self.cams,
            checkpoint=checkpoint,
            method=self.method,
            batch_size=self.batch_size,
            device=self.device,
            threads=self.threads,
            overwrite=self.overwrite,
            progress=track,
        )


@dataclass(frozen=True, kw_only=True)
class Preview:
    """Flags of `sdali preview`. A store for scene parsing is shown with its masks, one of objects with its boxes."""

    store: Positional[Path]
    """The image store."""

    png: Positional[Path]
    """The picture to write."""

    cams: Path | None = None
    """Heatmap store: windows follow it."""

    count: int = 6
    """Images shown, spread over the classes."""

    size: int | tuple[int, int] | None = None
    """Side of the tensors, pixels; in scene parsing also height and width; of a store of objects their shorter side.
    None: 224, in scene parsing 473."""

    seed: int = 0
    """Of the choice of images, the windows and colours."""

    overwrite: bool = False
    """Replace a picture that exists."""

    augmentation: Annotated[Augmentation, arg(name="")] = field(default_factory=Augmentation)

    parsing_crop: ParsingCrop = field(default_factory=ParsingCrop)
    """In scene parsing: how the window is drawn, in place of --crop."""

    def run(self) -> dict[str, Any]:
        check_outputs(self, "png")
        store = ImageStore(self.store)
        common: dict[str, Any] = {
            "heatmaps": self.cams, "count": self.count, "seed": self.seed, "overwrite": self.overwrite
        }  # fmt: skip
        if store.ignore_index is None:
            if self.parsing_crop != ParsingCrop() or isinstance(self.size, tuple):
                raise InputError(
                    f"{self.store} is no store for scene parsing; leave out --parsing-crop and a --size of two sides"
                )
            if store.has_boxes and (store.labels < 0).all():
                return self._boxes(store, 224 if self.size is None else self.size)
            from ..cams.preview.classification import preview

            return preview(
                store, self.png, size=224 if self.size is None else self.size, augmentation=self.augmentation, **common
            )
        if self.augmentation.crop != Crop():
            raise InputError(f"{self.store} is a store for scene parsing: give --parsing-crop in place of --crop")
        from ..cams.preview.parsing import preview_parsing

        augmentation = ParsingAugmentation(
            colour=self.augmentation.colour,
            flip=self.augmentation.flip,
            interpolations=self.augmentation.interpolations,
            crop=self.parsing_crop,
        )
        return preview_parsing(
            store, self.png, size=473 if self.size is None else self.size, augmentation=augmentation, **common
        )

    def _boxes(self, store: ImageStore, shorter_side: int) -> dict[str, Any]:
        """Of a store whose classes are those of objects."""
        from ..cams.preview.detection import preview_boxes

        if self.cams is not None:
            raise InputError(f"{store.path} has objects, whose crops no heatmap guides; leave out --cams")
        options = {"count": self.count, "shorter_side": shorter_side, "seed": self.seed, "overwrite": self.overwrite}
        return preview_boxes(store, self.png, how=self.augmentation, **options)
