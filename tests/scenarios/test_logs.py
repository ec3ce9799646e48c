"""Logs of the database, published to a real Swift, read with the real client."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from lab.clients.openstack import OpenStackError
from lab.clients.trove import ApiError
from lab.lab import Lab
from lab.settings import DATASTORES
from lab.waiting import eventually
from scenarios.conftest import DATABASE, PASSWORD, USER, Instance, delete

CONTAINER = "database_logs"
PATHS = {
    "mysql": "/var/lib/mysql/data/mysql-general.log",
    "mariadb": "/var/lib/mysql/data/mariadb-general.log",
    "postgresql": "/var/lib/postgresql/data/pgdata/postgresql-general.log",
}
FAMILY = ("mysql", "mariadb")


@pytest.fixture(scope="module", params=DATASTORES)
def owner(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Instance]:
    """An instance with a user, in a cloud with an object store."""
    lab.start_swift()
    lab.use_mode("encrypted")
    trove = lab.trove()
    user = {"name": USER, "password": PASSWORD, "databases": [{"name": DATABASE}]}
    created = trove.create_instance(
        f"logs-{request.param}", request.param, databases=[DATABASE], users=[user]
    )
    try:
        active = trove.wait_active(created["id"])
        address = trove.address(active)
        yield Instance(lab, trove, created["id"], request.param, address)
    finally:
        delete(trove, created["id"])


def act(owner: Instance, name: str, account: str = "demo", **action: bool) -> Any:
    """What `log set` posts."""
    body = {"name": name, **{key: int(value) for key, value in action.items()}}
    trove = owner.lab.trove(account)
    return trove.request("POST", f"/instances/{owner.id}/log", body)["log"]


def published(owner: Instance, name: str) -> bytes:
    """All objects of a log, one after the other."""
    objects = owner.lab.objects()
    prefix = f"{owner.id}/{owner.datastore}-{name}/"
    return b"".join(
        objects.get(CONTAINER, found) for found in sorted(objects.list(CONTAINER, prefix))
    )


def in_guest(owner: Instance, path: str) -> bytes:
    """A file in the guest, or nothing."""
    return base64.b64decode(owner.guest.sh(f"base64 -w0 {path} || true"))


def is_restart_required(owner: Instance) -> bool:
    return owner.trove.instance(owner.id)["operating_status"] == "RESTART_REQUIRED"


def enable_general(owner: Instance) -> None:
    """Switch the general log on, with a restart where the server needs one."""
    if act(owner, "general", enable=True)["status"] == "Restart Required":
        eventually(lambda: is_restart_required(owner))
        owner.trove.restart(owner.id)
        owner.trove.wait_active(owner.id)


def test_what_is_listed(owner: Instance) -> None:
    """Users see what is exposed, administrators see everything."""
    logs = owner.trove.request("GET", f"/instances/{owner.id}/log")["logs"]
    names = ["general", "slow_query"] if owner.datastore in FAMILY else ["general"]
    assert [log["name"] for log in logs] == names
    assert logs[0] == {
        "name": "general",
        "type": "USER",
        "status": "Disabled",
        "published": 0,
        "pending": logs[0]["pending"],
        "container": "None",
        "prefix": "None",
        "metafile": f"{owner.id}/{owner.datastore}-general_metafile",
    }
    admin = owner.lab.trove("admin")
    everything = admin.request("GET", f"/instances/{owner.id}/log")["logs"]
    system = [log["name"] for log in everything if log["type"] == "SYS"]
    assert system == (["error", "guest"] if owner.datastore in FAMILY else ["guest"])


def test_what_is_refused(owner: Instance) -> None:
    for name, action, words in [
        ("nonsense", {"publish": True}, "not defined"),
        ("guest", {"publish": True}, "must be admin to show log 'guest'"),
        ("guest", {"enable": True}, "Cannot enable a SYSTEM log"),
        ("general", {"enable": True, "disable": True}, "Cannot enable and disable"),
    ]:
        with pytest.raises(ApiError, match=words):
            act(owner, name, **action)


def test_life_of_a_log(owner: Instance) -> None:
    """Enable, publish, show, save, tail, rotate, discard, disable: the client's way."""
    openstack = owner.lab.openstack()
    enable_general(owner)
    client = owner.login(USER, PASSWORD, DATABASE)
    client.execute("select 'Zeile eins: äöü€😀'")
    eventually(lambda: "Zeile eins".encode() in in_guest(owner, PATHS[owner.datastore]))
    shown = openstack.json(
        *("database", "log", "set", owner.id, "general", "--publish")
    )
    assert shown["container"] == CONTAINER
    first = published(owner, "general")
    assert "Zeile eins: äöü€😀".encode() in first
    assert in_guest(owner, PATHS[owner.datastore]).startswith(first)
    assert len(first) == int(shown["published"])

    objects = owner.lab.objects()
    names = sorted(objects.list(CONTAINER, f"{shown['prefix']}"))
    headers = objects.head(CONTAINER, names[-1])
    assert int(headers["x-object-meta-lines"]) > 0
    assert "x-delete-at" in headers
    metafile = json.loads(objects.get(CONTAINER, shown["metafile"]))
    assert metafile["log_size"] == len(first)
    assert metafile["log_file"] == PATHS[owner.datastore]

    client.execute("select 'second line'")
    eventually(lambda: b"second line" in in_guest(owner, PATHS[owner.datastore]))
    assert act(owner, "general")["status"] == "Partial"
    act(owner, "general", publish=True)
    both = published(owner, "general")
    assert both.startswith(first) and b"second line" in both
    assert sorted(objects.list(CONTAINER, shown["prefix"]))[: len(names)] == names

    path = f"{owner.lab.state}/saved.log"
    openstack.run("database", "log", "save", owner.id, "general", "--file", path)
    with open(path, "rb") as saved:
        assert saved.read() == both
    tail = openstack.run("database", "log", "tail", owner.id, "general", "--lines", "5")
    assert tail.strip() and tail.strip() in both.decode()

    # Begun anew in place, as logrotate's copytruncate does it.
    owner.guest.sh(f"truncate --size 0 {PATHS[owner.datastore]}")
    client.execute("select 'after the rotation'")
    eventually(lambda: b"the rotation" in in_guest(owner, PATHS[owner.datastore]))
    assert act(owner, "general")["status"] == "Rotated"
    act(owner, "general", publish=True)
    anew = published(owner, "general")
    assert b"after the rotation" in anew and b"second line" not in anew
    assert in_guest(owner, PATHS[owner.datastore]).startswith(anew)

    gone = openstack.json(
        *("database", "log", "set", owner.id, "general", "--disable", "--discard")
    )
    assert gone["status"] == "Disabled" and gone["container"] == "None"
    assert objects.list(CONTAINER, owner.id) == {}
    # Nothing to discard is no error.
    assert act(owner, "general", discard=True)["published"] == 0
    client.execute("select 'nobody sees this'")
    assert b"nobody sees this" not in in_guest(owner, PATHS[owner.datastore])


def test_switch_survives_a_restart(owner: Instance) -> None:
    enable_general(owner)
    owner.trove.restart(owner.id)
    owner.trove.wait_active(owner.id)
    owner.login(USER, PASSWORD, DATABASE).execute("select 'after the restart'")
    eventually(lambda: b"the restart" in in_guest(owner, PATHS[owner.datastore]))
    assert act(owner, "general")["status"] in ("Ready", "Partial")
    assert act(owner, "general", disable=True)["status"] == "Disabled"
    listed = owner.lab.openstack().json("database", "log", "list", owner.id)
    assert listed[0]["Status"] == "Disabled"


def test_error_log(owner: Instance) -> None:
    """It says what the server says, and administrators can have it."""
    if owner.datastore not in FAMILY:
        with pytest.raises(ApiError, match="not defined"):
            act(owner, "error", account="admin", publish=True)
        return
    shown = act(owner, "error", account="admin", publish=True)
    assert shown["status"] in ("Published", "Partial") and shown["published"] > 0
    admin = owner.lab.objects("admin")
    names = sorted(admin.list(CONTAINER, shown["prefix"]))
    text = b"".join(admin.get(CONTAINER, name) for name in names)
    assert b"ready for connections" in text


def test_secrets_stay_out(owner: Instance) -> None:
    """What the agent does with passwords is in no log that users can publish."""
    enable_general(owner)
    user = {"name": "canary", "password": "C4nary-in-a-log"}
    owner.trove.create_users(owner.id, user)
    eventually(lambda: "canary" in owner.account_names())
    act(owner, "general", publish=True)
    assert b"C4nary-in-a-log" not in published(owner, "general")
    act(owner, "general", disable=True, discard=True)


def test_client_says_what_is_wrong(owner: Instance) -> None:
    with pytest.raises(OpenStackError, match="not defined"):
        owner.lab.openstack().run("database", "log", "show", owner.id, "nonsense")
