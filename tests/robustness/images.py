"""`scripts/robustness faults images`: damaged JPEG, PNG and WebP files stop nothing and cost no sound sample.

They are strewn among sound ones and put into stores, past the check that a build makes, and into folders; see
image_damage for the damage. Each lot goes through the loaders of a task in batches of 64 or 96, on_error="skip" and
"raise", and through `sdali build`, `sdali build --skip-bad --verify` and `sdali info --verify`, in a process that a
crash or an alarm may end. What must be:

    skip     every position is served once; every sound sample at its position, with the pixels of a store without
             damage; what was replaced is damaged, and what neither Pillow nor OpenCV takes for an image was replaced
    raise    the error of each batch names a sample that was replaced there; batches without one are served
    verify   lists all that was replaced, and nothing sound
    build    is refused with one sentence and leaves nothing, or leaves out damaged files and no others; what it has
             verified can be verified again, and loads without an error
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from robustness.image_damage import photographs, sound_pictures
from robustness.image_folders import built
from robustness.image_lots import SAMPLES, Sample, is_image, lot_of, size_of

from sdali.benchmarks.throughput.workload import at_least_one
from sdali.pipelines import BadSampleError, ImageStore, classification, detection, parsing
from sdali.pipelines.io.progress import Track, silent
from sdali.pipelines.loader.loader import Loader
from sdali.pipelines.sources.mask_png import encode_mask
from sdali.pipelines.store.boxes import Boxes
from sdali.pipelines.store.verify import verify_store
from sdali.pipelines.store.writer import StoreWriter

DAMAGED_A_LOT = 48
SECONDS_A_LOT = 300.0
_MEMORY = 2 << 30  # address space, in bytes, that a lot may take beside what the first sound one took
_TASKS = ("classification", "parsing", "detection")
_OPTIONS: dict[str, dict[str, Any]] = {
    "classification": {"size": 32},
    "parsing": {"size": 48},
    "detection": {"shorter_side": 48, "longer_side": 80},
}

Failures = list[str]


def damaged_images(
    count: int, *, seed: int = 0, images: Path | None = None, progress: Track = silent
) -> dict[str, Any]:
    """Damage `count` pictures, generated ones and those of a folder, and use them.

    Returns {"files", "seed", "outcomes": {kind: {"files", "replaced", "found", "refused"}}, "failures": [{"first",
    "message"}]}: how many of a kind a loader replaced, `info --verify` lists, `build --verify` refuses; and a message
    for all that must not be, with the number of the lot's first picture.
    """
    at_least_one("count", count)
    if images is not None:
        photographs(images)
    outcomes: dict[str, Counter[str]] = {}
    failures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="sdali-faults-") as scratch:
        lots = _lots(Path(scratch), count, seed, images)
        for lot in progress(lots, -(-count // DAMAGED_A_LOT), "using damaged images"):
            for kind, found in lot["outcomes"].items():
                outcomes.setdefault(kind, Counter()).update(found)
            failures += [{"first": lot["first"], "message": message} for message in lot["failures"]]
    found = {kind: dict(outcomes[kind]) for kind in sorted(outcomes)}
    return {"files": count, "seed": seed, "outcomes": found, "failures": failures}


def _lots(folder: Path, count: int, seed: int, images: Path | None) -> Iterator[dict[str, Any]]:
    """{"first", "outcomes", "failures"} of each lot, from a process that is started again after a crash."""
    first, module = 0, "robustness.images"
    while first < count:
        command = [sys.executable, "-m", module, *map(str, (folder, first, count, seed)), *([images] if images else [])]
        with (
            open(folder / "stderr", "w+") as stderr,  # where decoders complain at length
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True) as process,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                yield json.loads(line)
                first += DAMAGED_A_LOT
            status = process.wait()
            stderr.seek(0)
            assert status <= 0, f"the process failed by itself: {stderr.read()[-2000:]}"
        if status < 0:
            message = "hang" if status == -signal.SIGALRM else f"crash: {signal.Signals(-status).name}"
            yield {"first": first, "outcomes": {}, "failures": [message]}
            first += DAMAGED_A_LOT


def _use(folder: Path, first: int, stop: int, seed: int, images: Path | None) -> None:
    """Print what came of each lot, one JSON object a line."""
    pictures = [*sound_pictures(), *(photographs(images) if images else [])]
    taken = 0
    for start in range(first, stop, DAMAGED_A_LOT):
        signal.setitimer(signal.ITIMER_REAL, SECONDS_A_LOT)
        samples = lot_of(pictures, start, min(DAMAGED_A_LOT, stop - start), seed)
        task = _TASKS[start // DAMAGED_A_LOT % len(_TASKS)]
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            try:
                outcomes, failures = _outcomes(Path(scratch), task, samples)
            except Exception as error:
                outcomes, failures = {}, [f"{type(error).__name__}: {error}"]
        taken = taken or _address_space()
        if _address_space() > taken + _MEMORY:
            failures.append(f"{(_address_space() - taken) >> 20} MiB were taken")
            taken = _address_space()
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps({"first": start, "outcomes": outcomes, "failures": failures}), flush=True)


def _outcomes(folder: Path, task: str, samples: list[Sample]) -> tuple[dict[str, Counter[str]], Failures]:
    """Per kind of damage, how many files were used, and what became of them; and what must not be."""
    replaced, found, failures = loaded(folder, task, samples)
    refused, message = built(folder, [(sample.name, sample.data, sample.damage) for sample in samples])
    known = {"replaced": replaced, "found": found, "refused": refused}
    outcomes: dict[str, Counter[str]] = {}
    for index, sample in enumerate(samples):
        if sample.damage:
            row = outcomes.setdefault(sample.damage, Counter(replaced=0, found=0, refused=0))
            row.update({"files": 1})
            row.update(name for name, those in known.items() if index in those)
    return outcomes, failures + message


def loaded(folder: Path, task: str, samples: list[Sample]) -> tuple[set[int], set[int], Failures]:
    """The samples that a loader replaced and those that verifying lists, and what must not be, from stores of them."""
    bad, whole = folder / "bad.lmdb", folder / "whole.lmdb"
    _write(bad, task, [(sample.name, sample.data or b"\0", sample.size) for sample in samples])
    _write(whole, task, [(sample.name, sample.sound, size_of(sample.sound)) for sample in samples])
    batch_size = 64 if len(samples[0].data) % 2 else 96
    damaged = {index for index, sample in enumerate(samples) if sample.damage}
    want = {index: pixels for index, (_, pixels) in _served(_loader(task, whole, batch_size)).items()}
    loader = _loader(task, bad, batch_size, on_error="skip", max_bad_share=1)
    served = _served(loader)
    replaced = {index for index, _ in loader.skipped}
    found = {each.index for each in verify_store(ImageStore(bad), progress=silent)}
    failures = [
        *_sentences("is sound and was replaced", replaced - damaged, samples),
        *_sentences("is sound and was listed", found - damaged, samples),
        *_sentences("was replaced and not listed", replaced - found, samples),
        *_sentences(
            "is no image and was not replaced",
            {i for i in damaged if not is_image(samples[i].data)} - replaced,
            samples,
        ),
        *_sentences("was not served", set(range(SAMPLES)) - set(served), samples),
        *_sentences("is not at its place", {p for p, (i, _) in served.items() if i != p} - replaced, samples),
        *_sentences("has other pixels", {p for p, (_, x) in served.items() if x != want[p]} - damaged, samples),
    ]
    return replaced, found, [*failures, *_raised(_loader(task, bad, batch_size), replaced)]


def _raised(loader: Loader, replaced: set[int]) -> Failures:
    """What must not be where errors are raised: each batch on its own, beginning there."""
    failures, begin = [], loader.state_dict()
    for start in range(0, SAMPLES, loader.batch_size):
        loader.load_state_dict({**begin, "position": start})
        batches, bad = iter(loader), replaced & set(range(start, start + loader.batch_size))
        try:
            next(batches)
            failures += [f"the batch at {start} was served with a bad sample"] if bad else []
        except BadSampleError as error:
            if error.index not in bad or loader.store.names[error.index] not in str(error):
                failures.append(f"the batch at {start} does not name one of its bad samples: {error}")
    return failures


def _write(path: Path, task: str, samples: list[tuple[str, bytes, tuple[int, int]]]) -> None:
    none = Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, bool))
    options: dict[str, Any] = {"parsing": {"has_masks": True, "ignore_index": 255}, "detection": {"has_boxes": True}}
    with StoreWriter(path, classes=["a"], **options.get(task, {})) as writer:
        for name, data, (height, width) in samples:
            mask = np.zeros((height, width) if height * width < 10**7 else (1, 1), np.uint8)
            beside: dict[str, Any] = {"parsing": {"mask": encode_mask(mask)}, "detection": {"boxes": none}}
            writer.add(data, label=0, height=height, width=width, name=name, **beside.get(task, {}))


def _loader(task: str, path: Path, batch_size: int, **options: Any) -> Loader:
    make = {"classification": classification, "parsing": parsing, "detection": detection}[task].train_loader
    beside = {"batch_size": batch_size, "order": "sequential", "device": "cpu", "threads": 2}
    return make(path, **beside, **_OPTIONS[task], **options)


def _served(loader: Loader) -> dict[int, tuple[int, bytes]]:
    """position -> (index, pixels as bytes) of one epoch, without padding."""
    served = {}
    for batch in loader:
        for row, image in zip(batch["plan"], batch["image"], strict=True):
            height, width = np.broadcast_to(row["size"], 2).tolist()
            assert int(row["position"]) not in served, "a position was served twice"
            served[int(row["position"])] = int(row["index"]), image[:, :height, :width].numpy().tobytes()
    return served


def _sentences(what: str, places: set[int], samples: list[Sample]) -> Failures:
    return [f"{samples[place].name} ({samples[place].damage or 'sound'}) {what}" for place in sorted(places)]


def _address_space() -> int:
    """The most bytes that this process had mapped."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmPeak:")]
    return int(line.split()[1]) << 10


if __name__ == "__main__":
    _folder, _first, _stop, _seed, *_images = sys.argv[1:]
    _use(Path(_folder), int(_first), int(_stop), int(_seed), Path(_images[0]) if _images else None)
