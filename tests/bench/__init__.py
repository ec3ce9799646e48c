"""Side-by-side benchmarks with upstream's guest agent on one lab.

See report.py for what a row means and measure.py for what is done.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import string
import subprocess
import sys
from pathlib import Path

from lab import network, settings
from lab.lab import Lab
from lab.progress import Progress

from bench import backups, create_active, measure, operations, report, rows
from bench.report import Row

OUTPUT = settings.REPO / "target/bench"
BINARY = settings.REPO / "dist/trove-guestagent"
# With --only: these have no bars, and take long.
EXTRA = ("growth", "operations")
PARTS = ("rpc", "create", "backup", *EXTRA)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lab bench", description=__doc__)
    parser.add_argument("--agent", type=Path, default=BINARY, help="the binary to measure")
    parser.add_argument("--runs", type=int, default=5, help="starts of each agent")
    parser.add_argument("--calls", type=int, default=1000, help="per run and window")
    parser.add_argument("--creates", type=int, default=5, help="instances per datastore")
    parser.add_argument("--backups", type=int, default=3, help="backups of each kind")
    parser.add_argument("--operations", type=int, default=3, help="of each kind")
    parser.add_argument(
        "--rows", type=int, default=131_072, help="in each table that is backed up"
    )
    parser.add_argument(
        "--datastore", choices=backups.SOURCES, help="backups of one of them"
    )
    parser.add_argument("--only", choices=PARTS, help="one part of it")
    return parser.parse_args(argv)


def random_key() -> str:
    """An RPC key of the kind Trove makes."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(32))


def measure_rpc(lab: Lab, options: argparse.Namespace) -> tuple[list[Row], str]:
    """Both agents on the lab's broker; the rows and a note."""
    what = measure.Settings(
        key=random_key(),
        binary=str(options.agent.resolve()),
        runs=options.runs,
        calls=options.calls,
        memory=str(OUTPUT / "memory"),
        logs=str(OUTPUT / "logs"),
    )
    argv = network.entering(lab.name, measure.command(Path(sys.executable), what))
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(done.stdout)
    found = [*rows.rpc_rows(result), rows.size_row(options.agent)]
    note = (
        f"RPC: medians of {options.runs} runs after one to warm up; {options.calls} calls per "
        f"run, side and window, in blocks by turns; sealed with a key; all on "
        f"{os.cpu_count()} CPUs.\n{rows.floor(result)}"
    )
    return found, note


def main(argv: list[str]) -> int:
    """Run the benchmarks; 1 if a bar is missed."""
    options = parse(argv)
    if not options.agent.is_file():
        raise LookupError(f"{options.agent} is not there: run `make dist`")
    (OUTPUT / "logs").mkdir(parents=True, exist_ok=True)
    os.environ["TROVE_GUESTAGENT_BINARY"] = str(options.agent.resolve())
    progress = Progress()
    lab = Lab()
    lab.token_cache = 300  # as where nobody has chosen
    lab.up("encrypted", progress, objects=options.only in (None, "backup", *EXTRA))
    found: list[Row] = []
    notes: list[str] = []
    try:
        if options.only in (None, "rpc"):
            with progress.step("Both agents on one broker"):
                some, note = measure_rpc(lab, options)
            found += some
            notes.append(note)
        if options.only in (None, "create"):
            with progress.step("Instances, by agent and by hand"):
                some, several = create_active.compare(lab, options.creates, progress.say)
            found += some
            notes += several
        for datastore in backups.SOURCES if options.only in (None, "backup") else ():
            if options.datastore not in (None, datastore):
                continue
            with progress.step(f"Backups of {datastore}, by both programs"):
                some, several = backups.compare(
                    lab, datastore, options.agent, options.backups, options.rows, progress
                )
            found += some
            notes += several
        if options.only == "growth":
            with progress.step("Growth of backups"):
                notes += backups.growth(
                    lab,
                    options.datastore or "mariadb",
                    options.agent,
                    options.backups,
                    progress,
                )
        if options.only == "operations":
            with progress.step("What users wait for"):
                some, several = operations.compare(lab, options.operations, progress.say)
            found += some
            notes += several
    finally:
        lab.down()
    report.write(found, OUTPUT / "results.json")
    load = " ".join(f"{average:.1f}" for average in os.getloadavg())
    notes.append(f"Load averages of the machine at the end: {load}.")
    print("\n".join([report.table(found), "", *notes]))
    missed = [row.name for row in found if row.missed]
    if missed:
        print("Missed: " + "; ".join(missed))
    return 1 if missed else 0
