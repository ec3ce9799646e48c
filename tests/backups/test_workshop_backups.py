"""The workshop's second half: back up, restore, add to it, delete.

One story per datastore; every test goes on where the one before has ended.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from backups.steps import Owner, Record, check_whole, created, names_of, restored
from lab.clients.sql import SqlDenied
from lab.lab import Lab
from lab.settings import DATASTORES
from lab.waiting import eventually
from scenarios.conftest import DATABASE, PASSWORD, USER

ROOT_PASSWORD = "r00t:Pa's%1"
# Accounts with what matters of them: password, host, and whether it was changed.
PEOPLE: dict[str, dict[str, Any]] = {
    "ann": {"password": "p4:w%'\"\\x", "databases": [{"name": DATABASE}]},
    "bob": {"password": "b0b", "host": "198.51.100.%"},
    "carl": {"password": "one", "databases": [{"name": "second"}]},
}
CARLS_NEXT = "two"
LSN = r"[0-9A-F]{1,8}/[0-9A-F]{1,8}"


@dataclass
class Story:
    """What the tests of one datastore share."""

    source: Owner
    container: str
    stack: ExitStack


@pytest.fixture(scope="module", params=DATASTORES)
def story(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Story]:
    with ExitStack() as stack:
        source = stack.enter_context(created(lab, request.param, megabytes=24))
        trove = source.trove
        trove.create_databases(source.id, {"name": "second"})
        trove.create_users(
            source.id, *({"name": name, **person} for name, person in PEOPLE.items())
        )
        eventually(lambda: set(PEOPLE) <= source.account_names())
        trove.change_passwords(source.id, {"name": "carl", "password": CARLS_NEXT})
        trove.enable_root(source.id, ROOT_PASSWORD)
        # An increment begins at the last checkpoint, and a stop makes one.
        trove.restart(source.id)
        trove.wait_active(source.id)
        source.write("before the full backup")
        yield Story(source, f"story-{uuid.uuid4().hex[:8]}", stack)


@pytest.fixture(scope="module")
def full(story: Story) -> Record:
    """A full backup; what is written after it is not in it."""
    made = story.source.back_up(story.container)
    story.source.write("after the full backup")
    return made


@pytest.fixture(scope="module")
def copy(story: Story, full: Record) -> Owner:
    """An instance made of the full backup."""
    context = restored(story.source.lab, story.source.datastore, full.id)
    return story.stack.enter_context(context)


def test_full_backup_is_recorded(story: Story, full: Record) -> None:
    """State, size, location and checksum, as users and the control plane see it."""
    shown = story.source.backups.show(full.id)
    assert shown["status"] == "COMPLETED"
    assert shown["locationRef"] == full.location
    assert 0.02 < float(shown["size"]) < 1.0
    assert full.kind == "full"
    prefix = f"{story.source.objects.url}/{story.container}/{full.id}."
    assert full.location.startswith(prefix)
    listed = story.source.backups.all(story.source.id)
    assert full.id in [backup["id"] for backup in listed]


def test_full_backup_is_stored(story: Story, full: Record) -> None:
    """The object, its metadata, its segments and nothing else."""
    objects = story.source.objects
    check_whole(objects, full)
    assert full.object == f"{full.id}.{story.source.product.suffix}"
    assert set(objects.list(story.container)) == names_of(objects, full)
    headers = objects.head(story.container, full.object)
    assert headers["x-object-meta-datastore"] == story.source.datastore
    version = story.source.backups.show(full.id)["datastore"]["version"]
    assert headers["x-object-meta-datastore-version"] == version
    assert "x-object-meta-parent-location" not in headers
    if story.source.datastore == "mariadb":
        assert int(headers["x-object-meta-lsn"]) > 0
    if story.source.datastore == "postgresql":
        check_positions(headers, full)


def check_positions(headers: Mapping[str, str], made: Record) -> None:
    """Where in the server's log a PostgreSQL backup begins and ends."""
    assert headers["x-object-meta-label"] == made.id
    assert re.fullmatch(LSN, headers["x-object-meta-checkpoint-location"])
    for moment in ("start", "stop"):
        assert re.fullmatch(LSN, headers[f"x-object-meta-{moment}-segment"])
        file = headers[f"x-object-meta-{moment}-wal-file"]
        assert re.fullmatch(r"[0-9A-F]{24}", file)


def test_source_lives_on(story: Story, full: Record) -> None:
    """A backup leaves nothing behind in the guest."""
    assert story.source.told() == {
        "created",
        "before the full backup",
        "after the full backup",
    }
    find = f"find {story.source.product.mount_point} -maxdepth 1 -name '.clone*'"
    assert story.source.guest.sh(find) == ""
    assert story.source.guest.sh("systemctl --failed --plain --no-legend") == ""


def test_copy_has_the_data_of_that_moment(story: Story, copy: Owner) -> None:
    assert copy.told() == {"created", "before the full backup"}
    assert copy.checksums("filler") == story.source.checksums("filler")


def test_copy_has_the_accounts(copy: Owner) -> None:
    """All four users log in over TCP with their own passwords and rights."""
    assert copy.login(USER, PASSWORD, DATABASE).execute("select 1") == [["1"]]
    ann = copy.login("ann", PEOPLE["ann"]["password"], DATABASE)
    ann.execute("create table of_ann (i int)")
    assert ann.execute("select count(*) from of_ann") == [["0"]]
    with pytest.raises(SqlDenied):
        copy.login("ann", PEOPLE["ann"]["password"], "second").execute(
            "create table t (i int)"
        )
    assert copy.login("bob", "b0b").execute("select 1") == [["1"]]
    assert copy.login("carl", CARLS_NEXT, "second").execute("select 1") == [["1"]]
    with pytest.raises(SqlDenied):
        copy.login("carl", "one").execute("select 1")
    assert ("bob", "198.51.100.%" if copy.product.hosts else "%") in copy.accounts()
    listed = {user["name"] for user in copy.trove.users(copy.id)}
    assert listed == {USER, *PEOPLE}
    assert copy.trove.databases(copy.id) == ["second", DATABASE]


def test_copy_has_the_root_of_the_source(copy: Owner) -> None:
    """Root was enabled: it works, and Trove knows."""
    root = copy.login("root", ROOT_PASSWORD)
    assert root.execute(copy.product.who_am_i) == [[copy.product.account("root")]]
    eventually(lambda: copy.trove.root_enabled(copy.id) is True)


def test_copy_is_a_server_of_its_own(story: Story, copy: Owner) -> None:
    """Its administrator has another password, its server another identity."""
    both = (copy, story.source)
    if copy.datastore != "postgresql":  # whose administrator has no password
        path = "/var/lib/mysql/conf.d/os_admin.cnf"
        files = [one.guest.read_file(path) for one in both]
        assert files[0] != files[1]
    if identity := copy.product.identity:
        found = [one.admin(identity) for one in both]
        assert found[0] != found[1]
    copy.trove.create_databases(copy.id, {"name": "made_in_copy"})
    eventually(lambda: "made_in_copy" in copy.databases())
    assert "made_in_copy" not in story.source.databases()
    copy.trove.restart(copy.id)
    copy.trove.wait_active(copy.id)
    assert copy.told() == {"created", "before the full backup"}


def test_copy_keeps_its_data_private(copy: Owner) -> None:
    """Files of the server's account alone; no leftovers of the restore."""
    # Certificates and public keys are MySQL's own, and no secret.
    data = copy.product.data
    find = f"find {data} -perm /o=rwx ! -type l ! -name '*.pem'"
    assert copy.guest.sh(find) == ""
    owners = copy.guest.sh(f"find {data} -printf '%u\\n' | sort -u")
    assert owners.split() == ["database"]


def test_increment(story: Story, full: Record) -> None:
    """Where the tool can, only what has changed is stored, and the chain restores."""
    source, objects = story.source, story.source.objects
    if source.datastore == "mysql":
        reason = source.fail_to_back_up(story.container, parent=full.id)
        assert "xtrabackup" in reason
        assert set(objects.list(story.container)) == names_of(objects, full)
        return
    first = source.back_up(story.container, parent=full.id)
    source.write("after the first increment")
    second = source.back_up(story.container, parent=first.id)
    assert (first.kind, second.kind) == ("incremental", "incremental")
    for made, parent in ((first, full), (second, first)):
        headers = objects.head(story.container, made.object)
        assert headers["x-object-meta-parent-location"] == parent.location
        assert headers["x-object-meta-parent-checksum"] == parent.checksum
    sizes = objects.list(story.container)
    assert sizes[first.object] < sizes[full.object] / 4
    assert set(sizes) == names_of(objects, full, first, second)
    with restored(source.lab, source.datastore, second.id) as latest:
        assert latest.told() == source.told()
        assert latest.checksums("filler") == source.checksums("filler")


def test_container_of_a_strategy(story: Story) -> None:
    """A backup without a container goes where the project's strategy says."""
    trove, name = story.source.trove, f"strategy-{uuid.uuid4().hex[:8]}"
    strategy = {"instance_id": story.source.id, "swift_container": name}
    trove.request("POST", "/backup_strategies", {"backup_strategy": strategy})
    backup_id = story.source.backups.create("by strategy", story.source.id)
    shown = story.source.backups.wait(backup_id)
    assert shown["locationRef"].split("/")[-2] == name
    story.source.backups.delete(backup_id)
    story.source.backups.wait_deleted(backup_id)
    eventually(lambda: story.source.objects.list(name) == {})


def test_delete(story: Story, full: Record) -> None:
    """Trove deletes the backup with what was added to it; nothing is left."""
    source = story.source
    of_this = [b["id"] for b in source.backups.all(source.id)]
    source.backups.delete(full.id)
    for backup_id in of_this:
        source.backups.wait_deleted(backup_id)
    eventually(lambda: source.objects.list(story.container) == {})
