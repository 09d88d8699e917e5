"""A folder of damaged images through the command line: `sdali build`, refused or without them, and `info --verify`."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from sdali.pipelines import ImageStore, classification

Failures = list[str]


def built(folder: Path, files: list[tuple[str, bytes, str]]) -> tuple[set[int], Failures]:
    """Which of the files (name, content, kind of damage or "") a verifying build refuses, and what must not be."""
    photos, store, kept = folder / "photos", folder / "stores" / "s.lmdb", folder / "kept.lmdb"
    for name, data, _ in files:
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(data)
    store.parent.mkdir()
    status, message, _ = command("build", photos, store)
    failures = refusal(status, message) if status else []
    if status and list(store.parent.iterdir()):
        failures.append("a refused build has left something behind")
    status, message, printed = command("build", photos, kept, "--skip-bad", "--verify", "--transcode")
    if status:
        return set(), [*failures, f"build --skip-bad ended with {status}: {message}"]
    refused = {entry["name"] for entry in json.loads(printed.splitlines()[-1])["skipped"]}
    failures += [f"{name} is sound and was left out" for name, _, kind in files if name in refused and not kind]
    failures += _differing(kept, {name: data for name, data, kind in files if not kind})
    status, message, _ = command("info", kept, "--verify")
    failures += [f"what was built with --verify is not verified: {message}"] if status else []
    for _ in classification.test_loader(kept, batch_size=64, size=32, crop="whole", device="cpu", threads=2):
        pass
    return {index for index, (name, _, _) in enumerate(files) if name in refused}, failures


def _differing(path: Path, sound: dict[str, bytes]) -> Failures:
    store = ImageStore(path)
    records = dict(zip(store.names, map(bytes, store.read(range(len(store)))), strict=True))
    return [f"{name} is sound and not in the store" for name, data in sound.items() if records.get(name) != data]


def command(*words: object) -> tuple[int, str, str]:
    """Exit status of `sdali WORDS` in this process, the last line of its stderr, and its stdout."""
    from sdali.cli.main import main

    printed, complaints = io.StringIO(), io.StringIO()
    with redirect_stdout(printed), redirect_stderr(complaints):
        status = main([str(word) for word in words])
    return status, (complaints.getvalue().splitlines() or [""])[-1], printed.getvalue()


def refusal(status: int, message: str) -> Failures:
    """Bad input ends with status 2 and one sentence."""
    return [] if status == 2 and message.startswith("sdali: ") else [f"a command ended with {status}: {message}"]
