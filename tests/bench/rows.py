"""Turns measured runs into rows with bars."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from bench.report import MEGABYTE, Bar, Row

SIDES = ("ours", "upstream")
MILLISECONDS = 1e3


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a directory."""
    if path.is_file():
        return path.stat().st_size
    return sum(p.lstat().st_size for p in path.rglob("*") if not p.is_dir())


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


def size_row(binary: Path, venv: Path) -> Row:
    """Our one file against upstream's Python environment, without Python itself."""
    ours, upstream = size(binary) / MEGABYTE, size(venv) / MEGABYTE
    return Row("size on disk", ours, upstream, "MB", Bar(value=14))


def floor(result: dict) -> str:
    """What broker and lean client take alone, to read the round trips against."""
    times = {k: f"{v * MILLISECONDS:.2f}" for k, v in result["alone"].items()}
    return (
        "Broker and bare client alone, one way through the broker (ms): "
        f"1 in flight p50 {times['lean_1_p50']}, p99 {times['lean_1_p99']}; "
        f"32 in flight p50 {times['lean_32_p50']}, p99 {times['lean_32_p99']}."
    )
