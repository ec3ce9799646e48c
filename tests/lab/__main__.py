"""The lab's command line: `tests/lab/cli COMMAND`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from lab.fetch import fetch, fetched
from lab.progress import Progress

DESCRIPTION = "A real Trove control plane and real guests on this machine."


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lab", description=DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("fetch", help="install and build what the lab needs")
    up = commands.add_parser("up", help="start the control plane")
    up.add_argument("--rpc", choices=("encrypted", "unencrypted"), default="encrypted")
    commands.add_parser("down", help="stop everything; logs stay")
    commands.add_parser("status", help="daemons and guests")
    env = commands.add_parser("env", help="shell exports for the openstack client")
    env.add_argument("--account", default="demo")
    run = commands.add_parser("exec", help="run a command in the lab's network")
    run.add_argument("argv", nargs=argparse.REMAINDER)
    guest = commands.add_parser("guest", help="run a command in a guest")
    guest.add_argument("name", help="instance or server, by id or name")
    guest.add_argument("argv", nargs=argparse.REMAINDER)
    clean = commands.add_parser("clean", help="remove every trace, also of a crash")
    clean.add_argument("--cache", action="store_true", help="what was fetched, too")
    return parser.parse_args()


def in_environment() -> None:
    """Continue in the lab's own Python, which has the clients' libraries."""
    parts = fetched() or fetch(Progress())
    python = parts.venv / "bin/python"
    if Path(sys.prefix) != parts.venv:
        os.execv(python, [str(python), "-m", "lab", *sys.argv[1:]])


def without_dashes(argv: list[str]) -> list[str]:
    return argv[1:] if argv[:1] == ["--"] else argv


def main() -> None:
    arguments = parse()
    if arguments.command == "fetch":
        fetch(Progress())
        return
    in_environment()
    from lab import commands

    command = getattr(commands, arguments.command)
    match arguments.command:
        case "up":
            command(arguments.rpc)
        case "env":
            command(arguments.account)
        case "exec":
            commands.exec(without_dashes(arguments.argv))
        case "guest":
            command(arguments.name, without_dashes(arguments.argv))
        case "clean":
            command(arguments.cache)
        case _:
            command()


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, LookupError, TimeoutError) as error:
        sys.exit(f"lab: {shlex.join(sys.argv[1:])}: {error}")
