"""The bar chart of `sdali bench throughput`: CPU milliseconds an image, one bar a peer, cheapest on top."""

from __future__ import annotations

import importlib.util
import io
import logging
from pathlib import Path
from typing import Any

from ...pipelines.errors import InputError
from ...pipelines.io.publish import write_file

_OURS, _FLOOR, _OTHER = "#0b7285", "#adb5bd", "#748ffc"


def save_chart(path: Path, record: dict[str, Any], *, overwrite: bool = False) -> None:
    """Draw the record of `throughput` as a PNG; whiskers span the rounds.

    Raises InputError where matplotlib is not installed or the file cannot be written.
    """
    check_chart()
    import matplotlib

    logging.getLogger("matplotlib").setLevel(logging.WARNING)  # it logs its fonts
    matplotlib.use("Agg")
    from matplotlib import pyplot

    results = sorted((r for r in record["results"] if "failure" not in r), key=lambda r: r["cpu_ms_per_image"])
    values = [result["cpu_ms_per_image"] for result in results]
    spans = [result["cpu_ms_per_image_range"] for result in results]
    errors = [
        [value - low for value, (low, _) in zip(values, spans, strict=True)],
        [high - value for value, (_, high) in zip(values, spans, strict=True)],
    ]
    figure, axes = pyplot.subplots(figsize=(8, 1.2 + 0.36 * len(results)), layout="constrained")
    names = [result["peer"] for result in results]
    axes.barh(names, values, xerr=errors, color=[_colour(name) for name in names], ecolor="#343a40", capsize=2)
    longest = max(high for _, high in spans)
    for row, (value, (_, high)) in enumerate(zip(values, spans, strict=True)):
        axes.text(high + 0.01 * longest, row, f"{value:.2f}", va="center", fontsize=9)
    axes.set_xlim(0, 1.1 * longest)
    axes.invert_yaxis()
    axes.set_xlabel("CPU milliseconds an image: user + system, worker processes included; bar: median, line: range")
    axes.xaxis.label.set_fontsize(9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(_title(record), loc="left", fontsize=10)
    encoded = io.BytesIO()
    figure.savefig(encoded, dpi=120, format="png", metadata={"Software": None})
    pyplot.close(figure)
    write_file(path, encoded.getvalue(), overwrite=overwrite)


def check_chart() -> None:
    """Raise InputError where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("the chart needs matplotlib; pip install 'sdali[peers]', or leave --chart out")


def _colour(peer: str) -> str:
    return _FLOOR if peer == "decode_only" else _OURS if peer.startswith("sdali") else _OTHER


def _title(record: dict[str, Any]) -> str:
    work, machine = record["workload"], record["machine"]
    return (
        f"{work['images']} photographs, {work['mean_kilobytes']:.0f} KB on average, to {work['size']} px batches of "
        f"{work['batch_size']}\n{machine['gpu'] or machine['processor']}, {work['threads']} threads, {work['device']}"
    )
