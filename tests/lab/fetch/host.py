"""Debian packages that the machine itself must have."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import settings
from lab.cache import locked
from lab.fetch.run import run
from lab.progress import Progress

POLICY = Path("/usr/sbin/policy-rc.d")
# invoke-rc.d(8): 101 means "action forbidden by policy".
DENY_ALL = "#!/bin/sh\nexit 101\n"


def missing(packages: tuple[str, ...]) -> list[str]:
    """Those of `packages` that are not installed."""
    query = subprocess.run(
        ["dpkg-query", "-W", "-f=${Package} ${db:Status-Status}\n", *packages],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    lines = (line.split() for line in query.stdout.splitlines())
    installed = {fields[0] for fields in lines if fields[-1] == "installed"}
    return [package for package in packages if package not in installed]


@contextmanager
def services_denied() -> Iterator[None]:
    """Keep maintainer scripts from starting servers on this machine.

    The lab runs its own RabbitMQ; the package's own service must not.
    An existing policy is put back afterwards, even one left by a run that died.
    """
    saved = POLICY.with_suffix(".d.lab-saved")
    if POLICY.exists() and not saved.exists():
        os.rename(POLICY, saved)
    POLICY.write_text(DENY_ALL)
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()
        if saved.exists():
            os.rename(saved, POLICY)


def ensure_packages(progress: Progress, more: tuple[str, ...] = ()) -> None:
    """Install what is missing; without network access if nothing is."""
    wanted = settings.versions().host_packages + more
    if not missing(wanted):
        return
    if os.geteuid() != 0:
        raise PermissionError("the lab installs Debian packages: run it as root")
    with locked(settings.cache_dir() / "host-packages.lock"):
        packages = missing(wanted)
        if not packages:
            return
        with progress.step("Debian packages: " + " ".join(packages)) as step:
            env = {"DEBIAN_FRONTEND": "noninteractive"}
            wait = "-oDPkg::Lock::Timeout=300"
            with services_denied():
                run(["apt-get", wait, "update"], step, env=env)
                run(
                    ["apt-get", wait, "-y", "install", "--no-install-recommends"]
                    + packages,
                    step,
                    env=env,
                )
                _disable_services(packages)


def _disable_services(installed: list[str]) -> None:
    """Nor may they start at the machine's next boot, if it was us who brought them."""
    if "rabbitmq-server" in installed:
        units = ["rabbitmq-server.service", "epmd.service", "epmd.socket"]
        for unit in units:
            argv = ["systemctl", "--quiet", "disable", unit]
            subprocess.run(argv, check=False, capture_output=True)
