"""What the evaluations of all tasks share: opening store and networks, checking that they fit, loaders, and reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...cams.drawing.fonts import use_font
from ...pipelines.errors import InputError
from ...pipelines.io.progress import Track, silent
from ...pipelines.loader.loader import Loader
from ...pipelines.store.reader import ImageStore
from .checks import check_same_classes
from .config import EvaluationConfig
from .networks import LoadedNetwork, load_network
from .process import Process, joined_process


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Trained networks of one task, and the images to evaluate them on, opened on this process."""

    process: Process
    store: ImageStore
    networks: Sequence[LoadedNetwork]
    opened: ExitStack
    """Closes the loaders."""

    @property
    def modules(self) -> list[Any]:
        """The networks themselves, in evaluation mode, on the device."""
        return [network.module for network in self.networks]

    def loader(self, test_loader: Callable[..., Loader], **options: Any) -> Loader:
        """This rank's share of the store's images, from the `test_loader` of a task with `options`.

        It is closed when the evaluation ends. Loaders with the same batch size make the same batches.
        """
        loading = self.process.loading(self.networks[0].statistics)
        return self.opened.enter_context(closing(test_loader(self.store, **options, **loading)))

    def batches(
        self, loaders: Sequence[Loader], progress: Track, what: str = "evaluating"
    ) -> Iterable[tuple[dict[str, Any], ...]]:
        """The loaders' batches side by side, their count shown by `progress` on the first rank."""
        shown = progress if self.process.is_first else silent
        return shown(zip(*loaders, strict=True), len(loaders[0]), what)


@contextmanager
def opened_evaluation(
    config: EvaluationConfig, checkpoints: Sequence[Path], *, task: str, check_store: Callable[[ImageStore], None]
) -> Iterator[Evaluation]:
    """Join the ranks, open the store, and load the networks of `checkpoints`, one at least.

    check_store: raises InputError for a store that is not of this task. Raises InputError for what cannot be used, for
    networks of other classes than the store's, and for networks that were trained with different normalisations: all
    of them see the same tensors.
    """
    use_font(config.font)
    with joined_process(config.device, config.threads, precision=config.precision) as process, ExitStack() as opened:
        networks = [load_network(path, process.device, task=task) for path in checkpoints]
        store = ImageStore(config.store)
        for network in networks:
            check_same_classes(store, network.classes, network.path)
            if network.contents["statistics"] != networks[0].contents["statistics"]:
                raise InputError(
                    f"{network.path} was trained with another normalisation than {networks[0].path}; evaluate them "
                    "one by one"
                )
        check_store(store)
        yield Evaluation(process=process, store=store, networks=networks, opened=opened)


def written_files(config: EvaluationConfig, *names: str) -> dict[str, str]:
    """The paths among these options that were given, for the report."""
    return {name: str(path) for name in names if (path := getattr(config, name)) is not None}
