"""Configuration groups, as the tenant's own session sees them.

One story; every test goes on where the one before has ended.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backups.steps import Owner, created
from lab.clients.openstack import OpenStackError
from lab.lab import Lab
from lab.waiting import eventually
from scenarios.day2 import Group, restart, server, show, status

GROUP = "/etc/postgresql/conf.d/20-user-001-common.conf"


@pytest.fixture(scope="module")
def owner(lab: Lab) -> Iterator[Owner]:
    with created(lab, "postgresql") as owner:
        yield owner


@pytest.fixture(scope="module")
def group(owner: Owner) -> Group:
    return Group(owner, {"work_mem": "9MB"})


def test_attach(owner: Owner, group: Group) -> None:
    """What needs no restart holds at once, for new sessions, and none is asked for."""
    before = server(owner)
    group.attach()
    eventually(lambda: show(owner, "work_mem") == "9MB")
    owner.trove.wait_active(owner.id)
    assert server(owner) == before


def test_patch(owner: Owner, group: Group) -> None:
    """What needs a restart waits for one; what left the group leaves the server."""
    group.patch({"max_connections": 130})
    owner.trove.wait_status(owner.id, "RESTART_REQUIRED")
    assert show(owner, "max_connections") == "100"
    restart(owner)
    assert show(owner, "max_connections") == "130"
    assert show(owner, "work_mem") == "9MB"
    group.replace({"max_connections": 130})
    eventually(lambda: owner.guest.read_file(GROUP) == "max_connections = '130'\n")
    restart(owner)
    assert show(owner, "work_mem") == "4MB"


def test_refused_value(owner: Owner, group: Group) -> None:
    """What the server cannot read is not written."""
    with pytest.raises(OpenStackError, match='invalid value for parameter "work_mem'):
        group.replace({"work_mem": "a lot", "max_connections": 140})
    assert owner.guest.read_file(GROUP) == "max_connections = '130'\n"
    assert any("work_mem" in message for message in owner.guest.messages())
    assert show(owner, "max_connections") == "130"


def test_value_that_keeps_the_server_down(owner: Owner, group: Group) -> None:
    """The server can read it, and not start with it: it runs with what it had."""
    group.replace({"max_connections": 50, "superuser_reserved_connections": 50})
    owner.trove.wait_status(owner.id, "RESTART_REQUIRED")
    before = server(owner)
    owner.trove.restart(owner.id)
    owner.guest.wait_message("runs with the one before", 60)
    owner.trove.wait_active(owner.id)
    assert server(owner) not in (before, "0")
    assert show(owner, "max_connections") == "130"
    assert owner.guest.read_file(GROUP) == "max_connections = '130'\n"


def test_detach(owner: Owner, group: Group) -> None:
    group.detach()
    eventually(lambda: owner.guest.sh(f"ls {GROUP}", check=False) == "")
    if status(owner) == "RESTART_REQUIRED":
        restart(owner)
    restart(owner)
    assert show(owner, "max_connections") == "100"
    group.remove()
