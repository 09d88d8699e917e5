"""`sdali serve`: start workers on a Ray cluster that keep their graphs and make batches for several trainers."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

from ..pipelines.config import MOST_THREADS
from ..pipelines.errors import InputError
from ..pipelines.io.bounds import whole_number
from ..pipelines.remote.cluster import MOST_ACTORS, check_alive, join, require_ray, start_actors

logger = logging.getLogger("sdali")


@dataclass(frozen=True, kw_only=True)
class Serve:
    """The flags of `sdali serve`."""

    name: str = "sdali"
    """The name of this pool of workers; trainers use it with RemoteLoader(loader, pool=NAME)."""

    actors: int = 2
    """The number of workers. Each keeps a DALI pipeline for each of the last four loaders that it worked for."""

    cpus: int = 1
    """The number of CPUs that Ray reserves for each worker. DALI's threads there are the `cpus` of the RemoteLoader."""

    address: str | None = None
    """The Ray cluster: HOST:PORT, or auto (that of RAY_ADDRESS, else of this machine). None: as auto, or a new cluster
    where there is none."""

    def __post_init__(self) -> None:
        whole_number("actors", self.actors, MOST_ACTORS)
        whole_number("cpus", self.cpus, MOST_THREADS)
        if not self.name or "/" in self.name:
            raise InputError(f"name must be some characters without a slash, got {self.name!r}")

    def run(self) -> dict[str, Any]:
        """Serve until interrupted; the workers end with this process, however it ends."""
        join(self.address)
        ray = require_ray()
        begun, pool = time.monotonic(), start_actors(self.actors, self.cpus, self.name)
        try:
            address = ray.get_runtime_context().gcs_address
            logger.info("pool %s of %d workers on %s; end it with Ctrl-C", self.name, len(pool), address)
            while True:
                time.sleep(1)
                check_alive()
        except KeyboardInterrupt:
            return {"pool": self.name, "actors": self.actors, "seconds": round(time.monotonic() - begun)}
        finally:
            ray.shutdown()
