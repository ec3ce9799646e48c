"""Backups from the command line of a guest, into S3 and back.

The agent finds the store in its configuration alone. Swift's own S3 API is the
service here.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from backups.steps import Owner, created
from lab import swift
from lab.cloud.keystone import ACCOUNTS
from lab.lab import Lab
from lab.settings import DATASTORES
from scenarios.conftest import PASSWORD, USER, guests_with

AGENT = ["/usr/local/bin/trove-guestagent", "--config-dir=/etc/trove/conf.d"]
TABLES = ("told", "filler")


@pytest.fixture(scope="module", params=DATASTORES)
def instance(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Owner]:
    """An instance whose guest has an account at an S3 service."""
    account = ACCOUNTS["demo"]
    options = {
        "s3_endpoint": swift.S3_URL,
        "s3_region": swift.S3_REGION,
        "s3_path_style": True,
        "s3_access_key": account.s3_access,
        "s3_secret_key": account.s3_secret,
    }
    with guests_with(lab, **options), created(lab, request.param, megabytes=20) as owner:
        yield owner


def backup(instance: Owner, action: str, *arguments: str) -> list[str]:
    """Run the command in the guest; what it prints."""
    argv = [*AGENT, "backup", action, "--store=s3", *arguments]
    return instance.guest.run(argv, timeout=240).stdout.splitlines()


def create(instance: Owner, container: str, *arguments: str) -> dict[str, Any]:
    """Make a backup; what is printed of it."""
    name = [f"--id={uuid.uuid4()}", f"--container={container}"]
    return json.loads(backup(instance, "create", *name, *arguments)[-1])


def lose_everything(instance: Owner) -> None:
    """The server is down, and its data directory empty."""
    service = f"{instance.datastore}.service"
    instance.guest.run(["systemctl", "stop", service], timeout=120)
    instance.guest.sh("find /var/lib/mysql/data -mindepth 1 -delete")


def test_back_and_forth(instance: Owner, container: str) -> None:
    """Create, list, verify, lose everything, restore."""
    chain = [create(instance, container)]
    if instance.datastore == "mariadb":
        instance.write("before the increment")
        parent = f"--parent={chain[0]['location']}"
        chain.append(create(instance, container, parent))
    expected = instance.checksums(*TABLES)
    instance.write("lost")
    last = f"--location={chain[-1]['location']}"

    listed = backup(instance, "list", f"--container={container}")
    sizes = dict(line.split("  ") for line in listed)
    assert sizes == {place(made): str(made["size"]) for made in chain}
    # Several parts, one of them the last and smaller.
    assert chain[0]["size"] > 16 << 20
    body = instance.objects.get(*place(chain[0]).split("/"))
    assert len(body) == chain[0]["size"]

    verified = backup(instance, "verify", last)
    assert [line.split(": ok, ")[0] for line in verified] == [
        made["location"] for made in chain
    ]

    lose_everything(instance)
    restored = json.loads(
        backup(instance, "restore", last, f"--checksum={chain[-1]['checksum']}")[-1]
    )
    assert restored["restored"] == [made["location"] for made in chain]
    service = f"{instance.datastore}.service"
    instance.guest.run(["systemctl", "start", service], timeout=120)
    instance.trove.wait_active(instance.id)
    assert instance.checksums(*TABLES) == expected
    assert instance.login(USER, PASSWORD).execute("select 1") == [["1"]]


def place(made: dict[str, Any]) -> str:
    """CONTAINER/NAME of a backup."""
    return "/".join(made["location"].split("/")[-2:])


def test_what_is_damaged_is_not_restored(instance: Owner, container: str) -> None:
    """The data directory stays as empty as it was, and no server starts on it."""
    made = create(instance, container)
    bucket, name = place(made).split("/")
    body = bytearray(instance.objects.get(bucket, name))
    body[len(body) // 2] ^= 1
    instance.objects.put(bucket, name, bytes(body))
    for action in ("verify", "restore"):
        argv = [*AGENT, "backup", action, "--store=s3"]
        if action == "restore":
            lose_everything(instance)
        done = instance.guest.run(
            [*argv, f"--location={made['location']}"], check=False, timeout=240
        )
        assert done.returncode != 0
        assert name in done.stdout + done.stderr
    service = f"{instance.datastore}.service"
    assert instance.guest.unit(service)["ActiveState"] == "inactive"
