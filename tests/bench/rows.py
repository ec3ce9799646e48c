"""Turns measured runs into rows with bars."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path
from statistics import median

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bench.report import MEGABYTE, Bar, Row

SIDES = ("ours", "upstream")
MILLISECONDS = 1e3


def installed_size(name: str) -> int:
    """Bytes of an installed Python package and of all that it requires."""
    total, seen, waiting = 0, set(), {name}
    while waiting:
        distribution = metadata.distribution(waiting.pop())
        seen.add(canonicalize_name(distribution.name))
        paths = (file.locate() for file in distribution.files or ())
        total += sum(os.path.getsize(path) for path in paths if os.path.isfile(path))
        for line in distribution.requires or ():
            required = Requirement(line)
            if required.marker is None or required.marker.evaluate({"extra": ""}):
                waiting.add(canonicalize_name(required.name))
        waiting -= seen
    return total


def rpc_rows(result: dict) -> list[Row]:
    """From what bench.measure prints: medians over the runs."""

    def row(name: str, quantity: str, unit: str, scale: float, bar: Bar | None = None) -> Row:
        ours, upstream = (
            median(run[quantity] for run in result[side]) * scale for side in SIDES
        )
        return Row(name, ours, upstream, unit, bar)

    memory = Bar(ratio=1 / 8, value=14)
    rows = [
        row("start to first answered call", "start", "ms", MILLISECONDS, Bar(ratio=1 / 30)),
        row("idle RSS, connected", "rss", "MB", 1 / MEGABYTE, memory),
        row("idle RSS, anonymous part", "rss_anon", "MB", 1 / MEGABYTE),
    ]
    for client, label, bar in (
        ("lean", "bare AMQP client", Bar(ratio=1 / 2)),
        ("oslo", "oslo.messaging client", None),
    ):
        for window in (1, 32):
            for percent in (50, 99):
                name = f"rpc_ping p{percent}, {window} in flight, {label}"
                quantity = f"{client}_{window}_p{percent}"
                rows.append(row(name, quantity, "ms", MILLISECONDS, bar))
    for window in (1, 32):
        name = f"CPU per 1,000 calls, {window} in flight"
        rows.append(row(name, f"cpu_{window}", "s", 1))
    return rows


def size_row(binary: Path) -> Row:
    """Our one file against upstream's package and its dependencies, without Python."""
    ours, upstream = binary.stat().st_size, installed_size("trove")
    return Row("size on disk", ours / MEGABYTE, upstream / MEGABYTE, "MB", Bar(value=14))


def floor(result: dict) -> str:
    """What broker and lean client take alone, to read the round trips against."""
    times = {k: f"{v * MILLISECONDS:.2f}" for k, v in result["alone"].items()}
    return (
        "Broker and bare client alone, one way through the broker (ms): "
        f"1 in flight p50 {times['lean_1_p50']}, p99 {times['lean_1_p99']}; "
        f"32 in flight p50 {times['lean_32_p50']}, p99 {times['lean_32_p99']}."
    )
