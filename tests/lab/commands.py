"""What the command line's commands do."""

from __future__ import annotations

import os
import shlex
import sys

from lab import network
from lab.clients import openstack
from lab.lab import Lab, LabError, remove_cache
from lab.progress import Progress


def _lab() -> Lab:
    lab = Lab()
    if not lab.running():
        raise LabError("the lab is not up")
    return lab


def up(mode: str) -> None:
    Lab().up(mode)


def down() -> None:
    Lab().down()


def clean(cache: bool) -> None:
    Lab().clean()
    if cache:
        remove_cache(Progress())


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
