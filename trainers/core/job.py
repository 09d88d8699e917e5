"""What a training run of any task is made of: its configuration, opened stores, loaders, network, loss and evaluation.

The job of each task fills in what differs: ClassificationJob, ParsingJob, DetectionJob.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Generic, TypeVar

from torch import Tensor, nn

from ...pipelines.io.publish import check_apart, paths_in
from ...pipelines.loader.loader import Loader
from ...pipelines.store.measure import opened_statistics
from ...pipelines.store.reader import ImageStore
from ...pipelines.store.statistics import Statistics
from .checks import check_same_classes
from .config import TrainingConfig, flattened
from .process import Process
from .resume import check_resumable, saved_run

Config = TypeVar("Config", bound=TrainingConfig)


class Job(ABC, Generic[Config]):
    """A training run on this process, not yet begun; making it opens and checks whatever a user can get wrong.

    `config`, `process`, `store` and `val_store` (opened), `statistics` (for normalisation);
    `saved`: the checkpoint to resume from, None at the start. Raises InputError before anything is written.
    """

    task: ClassVar[str]
    score: ClassVar[str]
    """The figure of an evaluation that best.pt is best in; higher is better."""
    check_store: ClassVar[Callable[[ImageStore], None]]
    """Raises InputError for a store that is not of this task."""

    def __init__(self, config: Config, process: Process) -> None:
        check_apart(config.out, paths_in(config, besides=["out"]))
        self.config, self.process = config, process
        self.store, self.val_store = ImageStore(config.store), ImageStore(config.val_store)
        for opened in (self.store, self.val_store):
            type(self).check_store(opened)
        check_same_classes(self.val_store, self.store.classes, self.store.path)
        self.saved = saved_run(config, self.task)
        if self.saved:
            check_resumable(self.saved, config, self.store)
            self.statistics = Statistics.from_dict(self.saved["statistics"])
        else:
            self.statistics = opened_statistics(config.statistics, self.store)

    @abstractmethod
    def train_loader(self) -> Loader:
        """The loader of this rank's share of the training images."""

    @abstractmethod
    def test_loader(self) -> Loader:
        """The loader of this rank's share of the images to evaluate on."""

    @abstractmethod
    def network(self) -> nn.Module:
        """The network at its start, on its device; the caller has set torch's random state."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: dict[str, Any]) -> Tensor | dict[str, Tensor]:
        """Mean loss of a batch, or its parts by name, with gradients, in float32 whatever the precision."""

    @abstractmethod
    def evaluate(self, model: nn.Module, batches: Iterable[dict[str, Any]]) -> dict[str, Any]:
        """The figures of a network over all ranks' batches of the test loader, the same on every rank."""

    @abstractmethod
    def describe(self, result: dict[str, Any]) -> str:
        """An evaluation in a few words."""

    @property
    @abstractmethod
    def about(self) -> dict[str, Any]:
        """What checkpoints say about the network beside its weights: enough to rebuild and feed it."""

    @property
    @abstractmethod
    def title(self) -> str:
        """The name of the network, for people."""

    @property
    def peak_learning_rate(self) -> float:
        """The peak as configured, or what follows from the images in a step."""
        return self.config.peak_learning_rate(self.process.world_size)

    @property
    def loading(self) -> dict[str, Any]:
        """The options that the loaders for training and for evaluation have in common."""
        return self.process.loading(self.statistics)

    @property
    def training_options(self) -> dict[str, Any]:
        """The options that the training loaders of all tasks take from the configuration."""
        names = ("batch_size", "seed", "augmentation", "epoch_length", "on_error", "max_bad_share")
        return {**{name: getattr(self.config, name) for name in names}, **self.loading}

    @property
    def facts(self) -> dict[str, Any]:
        """What every checkpoint of the run says beside its state."""
        return {
            "task": self.task,
            "classes": list(self.store.classes),
            "statistics": self.statistics.to_dict(),
            "store": self.store.digest,
            "identity": self.config.identity,
            "config": flattened(self.config),
            **self.about,
        }
