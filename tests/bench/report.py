"""What a benchmark found, as a table for people and JSON for programs.

`limit` has the row's unit and is the largest value of `ours` that passes; rows
without a limit inform and cannot fail. `ratio` is ours divided by upstream.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

MEGABYTE = 1e6


@dataclass(frozen=True)
class Bar:
    """What `ours` must not exceed: a share of upstream's value, a value, or both."""

    ratio: float | None = None
    value: float | None = None

    def limit(self, upstream: float) -> float:
        """The lower of the two, in the row's unit."""
        shares = [] if self.ratio is None else [upstream * self.ratio]
        return min(shares + ([] if self.value is None else [self.value]))

    def __str__(self) -> str:
        parts = []
        if self.ratio is not None:
            share = f"{self.ratio:g}" if self.ratio >= 1 else f"1/{1 / self.ratio:g}"
            parts.append(f"ratio <= {share}")
        if self.value is not None:
            parts.append(f"<= {self.value:g}")
        return " and ".join(parts)


@dataclass(frozen=True)
class Row:
    """One comparison; smaller is better."""

    name: str
    ours: float
    upstream: float
    unit: str
    bar: Bar | None = None
    # `upstream` is only a part of what there is to compare with.
    partial: bool = False

    @property
    def limit(self) -> float | None:
        return None if self.bar is None else self.bar.limit(self.upstream)

    @property
    def missed(self) -> bool:
        return self.limit is not None and self.ours > self.limit

    def record(self) -> dict[str, object]:
        """The form every benchmark's results have."""
        return {
            "name": self.name,
            "ours": _round(self.ours),
            "upstream": _round(self.upstream),
            "limit": None if self.limit is None else _round(self.limit),
            "unit": self.unit,
            "ratio": None if self.partial else _round(self.ours / self.upstream),
        }


def _round(value: float) -> float:
    """Four significant digits: more would be noise."""
    return float(f"{value:.4g}")


def table(rows: list[Row]) -> str:
    """The rows with aligned columns."""
    lines = [("", "ours", "upstream", "unit", "ratio", "limit", "bar", "")]
    for row in rows:
        record = row.record()
        verdict = "" if row.bar is None else "MISSED" if row.missed else "met"
        numbers = [_show(record[key]) for key in ("ours", "upstream")]
        ends = [_show(record["ratio"]), _show(record["limit"])]
        bar = "" if row.bar is None else str(row.bar)
        lines.append((row.name, *numbers, row.unit, *ends, bar, verdict))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    right = {1, 2, 4, 5}
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in lines
    )


def _show(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:,.3f}" if abs(float(str(value))) < 1000 else f"{value:,.0f}"


def write(rows: list[Row], path: Path) -> None:
    """Write the results for programs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([row.record() for row in rows], indent=2) + "\n")
