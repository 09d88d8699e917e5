"""`scripts/robustness faults stores`: damaged stores are refused or read right, and nothing worse happens.

Each file is opened and all of it read, in a process whose memory is limited. What may come of it: `refused` when
opened; `reported`, where samples raise and all others are right; `unharmed`, everything is right; and what must not:
`wrong` (other content, without a word; of a lie, which is a store of its own, this is not asked), `error` (any other
exception, with its last line), `crash`, `hang`.
"""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from robustness.store_damage import damage

from sdali.benchmarks.throughput.workload import at_least_one
from sdali.cams.store.writer import HeatmapWriter
from sdali.pipelines.errors import InputError
from sdali.pipelines.io.progress import Track, silent
from sdali.pipelines.sources.mask_png import encode_mask
from sdali.pipelines.store.boxes import Boxes
from sdali.pipelines.store.heatmaps import HeatmapStore
from sdali.pipelines.store.index import read_columns
from sdali.pipelines.store.lmdb_read import mapped_file
from sdali.pipelines.store.reader import ImageStore
from sdali.pipelines.store.writer import StoreWriter

IMAGES, MAPS = "images.lmdb", "maps.lmdb"
SAMPLES = 90  # several leaf pages of records, and 110 pages in all
SECONDS_A_FILE = 20.0
_MEMORY = 1 << 30  # bytes that reading a damaged file of 0.4 MB may take beside the process itself
_BAD = ("wrong", "error", "crash", "hang")

Content = dict[str, Any]


def damaged_stores(count: int, *, seed: int = 0, progress: Track = silent) -> dict[str, Any]:
    """Damage `count` files, every second one a heatmap store, and read them.

    Returns {"files", "seed", "outcomes": {kind: {outcome: files}}, "failures": [{"number", "kind", "outcome",
    "message"}]} with a failure for each outcome that must not be.
    """
    at_least_one("count", count)
    with tempfile.TemporaryDirectory(prefix="sdali-faults-") as scratch:
        make_stores(Path(scratch))
        found = list(progress(_outcomes(Path(scratch), count, seed), count, "reading damaged stores"))
    outcomes: dict[str, Counter[str]] = {}
    for one in found:
        outcomes.setdefault(one["kind"], Counter())[one["outcome"]] += 1
    failures = [one for one in found if one["outcome"] in _BAD]
    return {"files": count, "seed": seed, "outcomes": {k: dict(v) for k, v in outcomes.items()}, "failures": failures}


def make_stores(folder: Path, samples: int = SAMPLES) -> None:
    """An image store with masks and boxes and a heatmap store, of records within pages and on pages of their own."""
    rng = np.random.default_rng(0)
    options: dict[str, Any] = {"has_masks": True, "has_boxes": True, "ignore_index": 255}
    with StoreWriter(folder / IMAGES, classes=["a", "b"], provenance={"room": "x" * 300}, **options) as writer:
        for index in range(samples):
            height, width = (int(side) for side in rng.integers(8, 40, 2))
            count = index % 4
            edges = np.sort(rng.random((count, 2, 2)), 1).reshape(count, 4).astype(np.float32)
            writer.add(
                rng.bytes(int(rng.integers(20, 200 if index % 3 else 9000))),
                label=-1,
                height=height,
                width=width,
                name=f"folder {index % 7}/{index}.jpg",
                mask=encode_mask(rng.integers(0, 2, (height, width), np.uint8)) if index % 5 else None,
                boxes=Boxes(edges, rng.integers(0, 2, count), np.zeros(count, bool)) if index % 6 else None,
            )
    digest = ImageStore(folder / IMAGES).digest
    maps = [rng.integers(0, 256, rng.integers(1, 60, 2), np.uint8) for _ in range(samples)]
    with HeatmapWriter(folder / MAPS, count=samples, images_digest=digest, method="test") as heatmaps:
        heatmaps.put(range(samples), maps)
        heatmaps.finish()


def _outcomes(folder: Path, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """{"number", "kind", "outcome", "message"} of each file, from a process that is started again after a crash."""
    number = 0
    while number < count:
        command = [sys.executable, "-m", "robustness.stores", *map(str, (folder, number, count, seed))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                yield json.loads(line)
                number += 1
            status = process.wait()
        assert status <= 0, "the reading process failed by itself; its stderr says how"
        if status < 0:
            outcome = "hang" if status == -signal.SIGALRM else "crash"
            yield {"number": number, "kind": "?", "outcome": outcome, "message": signal.Signals(-status).name}
            number += 1


def _read_damaged(folder: Path, first: int, stop: int, seed: int) -> None:
    """Print the outcome of each of these files, one JSON object a line."""
    images, maps = folder / IMAGES, folder / MAPS
    header = ImageStore(images).header
    sources = [
        (images.read_bytes(), header, read_columns(mapped_file(images), images, header), images_content),
        (maps.read_bytes(), HeatmapStore(maps).header, {}, maps_content),
    ]
    originals = [images_content(images), maps_content(maps)]
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + _MEMORY, taken + _MEMORY))
    for number in range(first, stop):
        whole, header, columns, content = sources[number % 2]
        kind, file = damage(whole, header, columns, number // 2, seed)
        path = folder / f"{number}.lmdb"
        path.write_bytes(file)
        signal.setitimer(signal.ITIMER_REAL, SECONDS_A_FILE)
        outcome, message = _outcome(path, content, originals[number % 2], kind)
        signal.setitimer(signal.ITIMER_REAL, 0)
        path.unlink()
        print(json.dumps({"number": number, "kind": kind, "outcome": outcome, "message": message}), flush=True)


def _outcome(path: Path, content: Callable[[Path], Content], original: Content, kind: str) -> tuple[str, str]:
    try:
        found = content(path)
    except InputError as error:
        return "refused", str(error)
    except Exception as error:
        return "error", f"{type(error).__name__}: {error}"
    differing = [name for name, value in found.items() if value != original.get(name)]
    wrong = [name for name in differing if found[name] is not None]
    if wrong and kind != "lie":
        return "wrong", ", ".join(wrong[:5])
    return ("reported" if differing else "unharmed"), ""


def images_content(path: Path) -> Content:
    """All that an image store says, None for what it reports as damaged; raises InputError where it is refused."""
    store = ImageStore(path)
    content: Content = {
        "labels": store.labels.tolist(),
        "sizes": store.sizes.tolist(),
        "classes": store.classes,
        "ignore_index": store.ignore_index,
        "objects": _or_none(lambda: [part.tolist() for part in store.objects()]),
    }
    for index in range(len(store)):
        content[f"name {index}"] = store.names[index]
        content[f"image {index}"] = _or_none(lambda index=index: bytes(store.read([index])[0]))
        content[f"mask {index}"] = _or_none(lambda index=index: bytes(store.encoded_mask(index)))
        content[f"boxes {index}"] = _or_none(lambda index=index: [part.tolist() for part in store.boxes(index)[:3]])
    return content


def maps_content(path: Path) -> Content:
    """The same of a heatmap store beside its images; its maps one by one and as a loader reads them."""
    store, images = HeatmapStore(path), ImageStore(path.with_name(IMAGES))
    content: Content = {"belongs to its images": _or_none(lambda: store.check(images) or True)}
    for index in range(len(store)):
        content[f"map {index}"] = _or_none(lambda index=index: store[index].tolist())
        content[f"cells {index}"] = _or_none(lambda index=index: store.cells(np.array([index])).values.tolist())
    return content


def _or_none(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except InputError:
        return None


if __name__ == "__main__":
    _read_damaged(Path(sys.argv[1]), *(int(word) for word in sys.argv[2:]))
