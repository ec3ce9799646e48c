"""Configuration groups, as the tenant's own session sees them.

One story; every test goes on where the one before has ended.
"""

from __future__ import annotations

import pytest

from backups.steps import Owner
from lab.clients.openstack import OpenStackError
from lab.clients.trove import Json
from lab.waiting import eventually
from scenarios.day2 import Group, restart, server, show, status
from scenarios.together import at_once

DIRECTORY = "/etc/mysql/conf.d"
FILE = f"{DIRECTORY}/20-user-001-common.cnf"
# What the template has for the flavor of these instances.
TEMPLATE = {"wait_timeout": "120", "max_connections": "200"}


# What the server can read and not start with, and what it says then. (MySQL would
# try to have more memory than there is until it is killed.)
FATAL: dict[str, tuple[Json, str]] = {
    "mysql": ({"innodb_page_size": "4096"}, "page size"),
    "mariadb": ({"innodb_buffer_pool_size": 1 << 50}, "innodb_buffer_pool_size"),
}


@pytest.fixture(scope="module")
def groups(owners: list[Owner]) -> dict[str, Group]:
    values = {"wait_timeout": 1234, "max_connections": 77}
    return {owner.datastore: Group(owner, values) for owner in owners}


def in_force(owner: Owner, **values: str) -> None:
    """The server has these values, and is the one that the tenant knows."""
    for name, value in values.items():
        assert show(owner, name) == value, name


def in_file(owner: Owner) -> Json:
    """The group as it is written."""
    lines = owner.guest.read_file(FILE).splitlines()
    assert lines[0] == "[mysqld]"
    return dict(line.split(" = ") for line in lines[1:])


def wait_for_call(owner: Owner) -> None:
    """Trove or the agent calls for a restart."""

    def called() -> bool:
        shown = owner.trove.instance(owner.id)
        return "RESTART_REQUIRED" in (shown["status"], shown["operating_status"])

    eventually(called, 30)


def test_attach(owners: list[Owner], groups: dict[str, Group]) -> None:
    """What needs no restart holds at once, and none is asked for."""

    def story(owner: Owner) -> None:
        before = server(owner)
        groups[owner.datastore].attach()
        in_force(owner, wait_timeout="1234", max_connections="77")
        owner.trove.wait_active(owner.id)
        assert server(owner) == before
        assert in_file(owner) == {"max_connections": "77", "wait_timeout": "1234"}

    at_once(story, owners)


def test_what_leaves_the_group_leaves_the_server(
    owners: list[Owner], groups: dict[str, Group]
) -> None:
    def story(owner: Owner) -> None:
        before = server(owner)
        groups[owner.datastore].replace({"max_connections": 78})
        in_force(owner, wait_timeout=TEMPLATE["wait_timeout"], max_connections="78")
        owner.trove.wait_active(owner.id)
        assert server(owner) == before
        assert in_file(owner) == {"max_connections": "78"}

    at_once(story, owners)


def test_what_only_a_start_changes(owners: list[Owner], groups: dict[str, Group]) -> None:
    """It waits for one, and so does its going."""

    def story(owner: Owner) -> None:
        group, own = groups[owner.datastore], show(owner, "innodb_open_files")
        group.patch({"innodb_open_files": 333})
        owner.trove.wait_status(owner.id, "RESTART_REQUIRED")
        in_force(owner, innodb_open_files=own)
        restart(owner)
        in_force(owner, innodb_open_files="333", max_connections="78")
        # To Trove nothing is left in the group that needs a restart.
        group.replace({"max_connections": 79})
        in_force(owner, max_connections="79", innodb_open_files="333")

        wait_for_call(owner)
        restart(owner)
        in_force(owner, innodb_open_files=own, max_connections="79")

    at_once(story, owners)


def test_value_that_is_refused(owners: list[Owner], groups: dict[str, Group]) -> None:
    """The user is told which, and nothing changes: not the values beside it."""

    def story(owner: Owner) -> None:
        group, before = groups[owner.datastore], server(owner)
        with pytest.raises(OpenStackError, match="nonsense"):
            group.replace({"character_set_server": "nonsense", "max_connections": 80})
        in_force(owner, max_connections="79")
        assert in_file(owner) == {"max_connections": "79"}
        owner.trove.wait_active(owner.id)
        assert server(owner) == before

    at_once(story, owners)


def test_value_that_only_the_running_server_refuses(
    owners: list[Owner], groups: dict[str, Group]
) -> None:
    """What was applied before it is taken back. (Trove offers none for MariaDB.)"""
    (owner,) = (owner for owner in owners if owner.datastore == "mysql")
    values = {"innodb_ft_server_stopword_table": "no/table", "connect_timeout": 16}
    with pytest.raises(OpenStackError, match="innodb_ft_server_stopword_table"):
        groups["mysql"].replace(values)
    in_force(owner, connect_timeout="15", max_connections="79")
    assert in_file(owner) == {"max_connections": "79"}
    # Trove marks instances before it applies.
    if status(owner) == "RESTART_REQUIRED":
        restart(owner)
    in_force(owner, connect_timeout="15", max_connections="79")


def test_full_disk(owners: list[Owner], groups: dict[str, Group]) -> None:
    """What cannot be written is an error, and the old files stay."""

    def story(owner: Owner) -> None:
        guest = owner.guest
        guest.sh(
            f"cp -a {DIRECTORY} /root/conf.d && mount -t tmpfs -o size=64k,mode=755 none "
            f"{DIRECTORY} && cp -a /root/conf.d/. {DIRECTORY}/ "
            f"&& dd if=/dev/zero of={DIRECTORY}/full bs=4k 2>/dev/null || true"
        )
        try:
            with pytest.raises(OpenStackError, match="No space left"):
                groups[owner.datastore].replace({"max_connections": 80})
            assert in_file(owner) == {"max_connections": "79"}
        finally:
            guest.sh(f"umount {DIRECTORY} && rm -r /root/conf.d")
        in_force(owner, max_connections="79")
        assert in_file(owner) == {"max_connections": "79"}

    at_once(story, owners)


def test_value_that_keeps_the_server_down(
    owners: list[Owner], groups: dict[str, Group]
) -> None:
    """The server can read it, and not start with it: it runs with what it had."""

    def story(owner: Owner) -> None:
        values, reason = FATAL[owner.datastore]
        groups[owner.datastore].replace({**values, "max_connections": 81})
        wait_for_call(owner)
        before = server(owner)
        owner.trove.restart(owner.id)
        told = owner.guest.wait_message("runs with the one before", 60)
        owner.trove.wait_active(owner.id)
        assert server(owner) not in (before, "0")
        in_force(owner, max_connections="79")
        assert in_file(owner) == {"max_connections": "79"}
        # The server's own words.
        assert reason in told

    at_once(story, owners)


def test_detach(owners: list[Owner], groups: dict[str, Group]) -> None:
    """What the template has holds again, at once."""

    def story(owner: Owner) -> None:
        group, before = groups[owner.datastore], server(owner)
        group.replace({"max_connections": 82})
        owner.trove.wait_active(owner.id)
        group.detach()
        in_force(owner, max_connections=TEMPLATE["max_connections"])
        owner.trove.wait_active(owner.id)
        assert server(owner) == before
        assert owner.guest.sh(f"ls {FILE}", check=False) == ""
        group.remove()
        assert owner.told() == {"created"}

    at_once(story, owners)
