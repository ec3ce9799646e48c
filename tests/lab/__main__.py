"""The lab's command line: `tests/lab/cli COMMAND`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from lab import settings, teardown
from lab.cache import Cache, locked, remove_tree
from lab.fetch import fetch, fetch_for_backups, fetched, host, image
from lab.progress import Progress
from lab.settings import DATASTORES

DESCRIPTION = "A real Trove control plane and real guests on this machine."


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lab", description=DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("packages", help="install Debian packages for build and lab")
    commands.add_parser("fetch", help="install and build what the lab needs")
    demo = commands.add_parser("demo", help="the workshop, step by step")
    demo.add_argument("--datastore", choices=DATASTORES, default="mysql")
    tests = commands.add_parser("pytest", help="run suites; arguments go to pytest")
    tests.add_argument("argv", nargs=argparse.REMAINDER)
    bench = commands.add_parser("bench", help="benchmarks; --help for its options")
    bench.add_argument("argv", nargs=argparse.REMAINDER)
    servers = commands.add_parser(
        "servers", help="run a command that finds database servers on this machine"
    )
    servers.add_argument("--postgresql", metavar="SERIES", help="other than the usual")
    servers.add_argument("argv", nargs=argparse.REMAINDER)
    stores = commands.add_parser(
        "object-store", help="run a command that finds a Swift, which speaks S3, too"
    )
    stores.add_argument("argv", nargs=argparse.REMAINDER)
    image = commands.add_parser("image", help="build a guest image")
    image.add_argument("datastore", choices=DATASTORES)
    image.add_argument("output", type=Path, help="without its suffix")
    image.add_argument("--binary", type=Path, required=True, help="the agent")
    up = commands.add_parser("up", help="start the control plane")
    up.add_argument("--rpc", choices=("encrypted", "unencrypted"), default="encrypted")
    up.add_argument("--swift", action="store_true", help="with the object store")
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


def remove(*, keep_logs: bool) -> None:
    """End the lab; works with and without what was fetched."""
    state = settings.state_dir()
    name = settings.lab_name(state)
    with locked(settings.lock_file(name)):
        teardown.destroy(state, name, keep_logs=keep_logs)


def build_image(datastore: str, output: Path, binary: Path) -> None:
    """Build an image for people; tests have theirs in the cache."""
    cache, progress = Cache(settings.cache_dir()), Progress()
    output.parent.mkdir(parents=True, exist_ok=True)
    with progress.step(f"Guest image {output}.qcow2") as step:
        image.make(cache, datastore, binary, output.resolve(), "qcow2", step)
    disk = Path(f"{output}.qcow2")
    print(f"{disk}: {disk.stat().st_size / 1e6:.0f} MB")


def without_dashes(argv: list[str]) -> list[str]:
    return argv[1:] if argv[:1] == ["--"] else argv


def main() -> None:
    arguments = parse()
    match arguments.command:
        case "packages":
            host.ensure_packages(Progress(), settings.versions().build_packages)
            return
        case "image":
            build_image(arguments.datastore, arguments.output, arguments.binary)
            return
        case "fetch":
            progress = Progress()
            fetch_for_backups(fetch(progress), progress)
            return
        case "down":
            remove(keep_logs=True)
            return
        case "clean":
            remove(keep_logs=False)
            if arguments.cache:
                remove_tree(settings.cache_dir())
            return
    in_environment()
    from lab import commands

    match arguments.command:
        case "up":
            commands.up(arguments.rpc, arguments.swift)
        case "status":
            commands.status()
        case "env":
            commands.env(arguments.account)
        case "exec":
            commands.exec(without_dashes(arguments.argv))
        case "guest":
            commands.guest(arguments.name, without_dashes(arguments.argv))
        case "demo":
            commands.demo(arguments.datastore)
        case "pytest":
            commands.pytest(without_dashes(arguments.argv))
        case "bench":
            commands.bench(without_dashes(arguments.argv))
        case "servers":
            commands.servers(without_dashes(arguments.argv), arguments.postgresql)
        case "object-store":
            sys.exit(commands.object_store(without_dashes(arguments.argv)))


if __name__ == "__main__":
    try:
        main()
    except (RuntimeError, LookupError, TimeoutError) as error:
        sys.exit(f"lab: {shlex.join(sys.argv[1:])}: {error}")
