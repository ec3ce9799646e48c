"""The real `openstack` command line client, inside the lab's network."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from lab import network
from lab.cloud.keystone import ACCOUNTS, REGION
from lab.controlplane.config import CLOUD


def environment(account: str = "demo") -> dict[str, str]:
    """What an openrc file of that account would export."""
    who = ACCOUNTS[account]
    return {
        "OS_AUTH_TYPE": "password",
        "OS_AUTH_URL": f"{CLOUD}/identity/v3",
        "OS_IDENTITY_API_VERSION": "3",
        "OS_USERNAME": who.name,
        "OS_PASSWORD": who.password,
        "OS_PROJECT_NAME": who.project,
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_REGION_NAME": REGION,
    }


def troveclient(account: str = "demo") -> Any:
    """Trove's own Python library as that account.

    The calling thread must be inside the lab's network.
    """
    # Takes a second to load, which only those who call need to pay.
    from keystoneauth1 import session
    from keystoneauth1.identity import v3
    from troveclient import client

    variables = environment(account)
    names = ("auth_url", "username", "password", "project_name")
    names += ("user_domain_name", "project_domain_name")
    auth = v3.Password(**{name: variables[f"OS_{name.upper()}"] for name in names})
    connection = session.Session(auth=auth)
    return client.Client("1.0", session=connection, region_name=REGION)


class OpenStackError(RuntimeError):
    """The client ended with an error; the message is what it wrote."""


class OpenStack:
    """Runs `openstack ARGUMENTS` as one account."""

    def __init__(self, venv: Path, namespace: str, account: str = "demo") -> None:
        self._venv = venv
        self._namespace = namespace
        self._environment = environment(account)

    def run(self, *arguments: str, timeout: float = 120.0) -> str:
        """The client's standard output."""
        argv = [str(self._venv / "bin/openstack"), *arguments]
        done = subprocess.run(
            network.entering(self._namespace, argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={
                "PATH": f"{self._venv}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": "/nonexistent",
                "LC_ALL": "C.UTF-8",
                **self._environment,
            },
        )
        if done.returncode != 0:
            raise OpenStackError(
                f"openstack {' '.join(arguments)}: {done.stderr.strip()}"
            )
        return done.stdout

    def json(self, *arguments: str, timeout: float = 120.0) -> Any:
        """The decoded output of a command that can print JSON."""
        return json.loads(self.run(*arguments, "-f", "json", timeout=timeout))
