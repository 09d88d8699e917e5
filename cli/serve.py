"""`sdali serve`: workers on a Ray cluster that stay, with their graphs built, for several trainers' RemoteLoaders."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

from ..pipelines.errors import InputError
from ..pipelines.io.bounds import whole_number
from ..pipelines.remote.cluster import check_alive, join, require_ray, start_pool

logger = logging.getLogger("sdali")


@dataclass(frozen=True, kw_only=True)
class Serve:
    """Flags of `sdali serve`."""

    name: str = "sdali"
    """What trainers call it by: RemoteLoader(loader, pool=NAME)."""

    actors: int = 2
    """Workers, each with a DALI pipeline of its own for each of the last four loaders."""

    cpus: int = 1
    """CPUs of each, which Ray reserves; a loader's own `cpus` says how many threads DALI has."""

    address: str | None = None
    """The cluster, HOST:PORT or auto (RAY_ADDRESS, else this machine's). None: so too, else a new one."""

    def __post_init__(self) -> None:
        whole_number("actors", self.actors)
        whole_number("cpus", self.cpus)
        if not self.name or "/" in self.name:
            raise InputError(f"name must be some characters without a slash, got {self.name!r}")

    def run(self) -> dict[str, Any]:
        """Until interrupted: the workers end with this process, however it ends."""
        join(self.address)
        ray = require_ray()
        begun, pool = time.monotonic(), start_pool(self.name, self.actors, self.cpus)
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
