"""What the command line's commands do."""

from __future__ import annotations

import os
import shlex
import sys

from lab import network, settings
from lab.cache import Cache
from lab.clients import openstack
from lab.fetch import servers as database_servers
from lab.fetch import trees
from lab.lab import Lab, LabError
from lab.progress import Progress


# The variable that names each datastore's server to the tests.
SERVER_VARIABLES = {
    "mysql": "MYSQLD_BINARY",
    "mariadb": "MARIADBD_BINARY",
    # The directory of all its programs.
    "postgresql": "POSTGRES_BINARY",
}


def _lab() -> Lab:
    lab = Lab()
    if not lab.exists():
        raise LabError("the lab is not up")
    return lab


def up(mode: str, objects: bool) -> None:
    Lab().up(mode, objects=objects)


def status() -> None:
    lab = Lab()
    print(f"lab {lab.name} in {lab.state}: {'up' if lab.running() else 'not up'}")
    for name in lab.processes.names():
        process = lab.processes.get(name)
        print(f"  {name:18} {f'pid {process.pid}' if process else 'DEAD'}")
    for guest in lab.guests():
        state = f"init {guest.leader().pid}" if guest.running() else "off"
        addresses = " ".join(nic.address for nic in guest.spec.nics)
        print(f"  {guest.spec.name:18} {guest.id} {addresses} {state}")


def env(account: str) -> None:
    lab = _lab()
    for name, value in openstack.environment(account).items():
        print(f"export {name}={shlex.quote(value)}")
    print(f"export PATH={lab.parts.venv}/bin:$PATH")


def exec(argv: list[str]) -> None:
    lab = _lab()
    argv = argv or [os.environ.get("SHELL", "/bin/bash")]
    path = f"{lab.parts.venv}/bin:{os.environ['PATH']}"
    inside = network.entering(lab.name, argv)
    environment = {**os.environ, **openstack.environment(), "PATH": path}
    os.execvpe(inside[0], inside, environment)


def guest(name: str, argv: list[str]) -> None:
    command = _lab().guest(name).command(argv or ["bash", "-l"])
    sys.stdout.flush()
    os.execvp(command[0], command)


def demo(datastore: str) -> None:
    from lab import demo as workshop

    sys.exit(workshop.main(datastore))


def pytest(arguments: list[str]) -> None:
    tests = settings.LAB_DIR.parent
    argv = [sys.executable, "-m", "pytest", "-c", str(tests / "pytest.ini"), *arguments]
    os.execv(sys.executable, argv)


def bench(arguments: list[str]) -> None:
    from bench import main

    sys.exit(main(arguments))


def object_store(argv: list[str]) -> int:
    """Stores and their keys are named in the command's environment.

    They are those of the lab that is up, or live as long as the command.
    """
    from lab import swift
    from lab.cloud.keystone import ACCOUNTS

    lab, account = Lab(), ACCOUNTS["demo"]
    started = not lab.exists()
    if started:
        lab.up_store()
    else:
        lab.start_swift()
    try:
        with lab.inside():
            objects = lab.objects(account.name)
            variables = {
                "SWIFT_URL": objects.url,
                "SWIFT_TOKEN": objects.token,
                "S3_ENDPOINT": swift.S3_URL,
                "S3_REGION": swift.S3_REGION,
                "S3_KEY": account.s3_access,
                "S3_SECRET": account.s3_secret,
            }
        return lab.run(argv, env={**os.environ, **variables}).returncode
    finally:
        if started:
            lab.down()


def postgresql_programs(cache: Cache, progress: Progress) -> list[str]:
    """Directories of the programs of every series, for upgrades between them."""
    series = [each for each in settings.versions().all if each.name == "postgresql"]
    found = [trees.ensure(cache, each, progress) for each in series]
    return [str(database_servers.ensure(cache, tree, progress).parent) for tree in found]


def servers(argv: list[str], postgresql: str | None) -> None:
    """The database servers' programs are named in the command's environment."""
    cache, progress = Cache(settings.cache_dir()), Progress()
    variables = {}
    for name, variable in SERVER_VARIABLES.items():
        series = postgresql if name == "postgresql" else None
        datastore = settings.versions().datastore(name, series)
        tree = trees.ensure(cache, datastore, progress)
        program = database_servers.ensure(cache, tree, progress)
        variables[variable] = str(program)
        if name == "postgresql":
            variables[variable] = str(program.parent)
            # Where its locales are; C and C.UTF-8 need none.
            variables["LOCPATH"] = str(tree.path / "usr/lib/locale")
    if postgresql:
        variables["POSTGRES_BINARIES"] = ":".join(postgresql_programs(cache, progress))
    os.execvpe(argv[0], argv, {**os.environ, **variables})
