"""Every method of Trove's own client class, on a prepared guest.

`trove.guestagent.api.API`, unmodified, with keys from Trove's database; sealed
and in clear. Effects are checked in the database, not believed.
"""

from __future__ import annotations

import base64
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator

import pymysql
import pytest
from trove.common import exception, notification
from trove.guestagent.api import API

from wire import canary
from wire.guest import FLAVOR, VERSION, Guest
from wire.waiting import until

# Casts have no reply; their end is notified.
CAST_SECONDS = 20


@pytest.fixture(scope="module", params=["sealed", "clear"])
def mode(request: pytest.FixtureRequest, guest: Guest) -> Iterator[bool]:
    """Whether the guest has a key."""
    sealed = request.param == "sealed"
    if not sealed:
        guest.reconfigure(None)
    yield sealed
    if not sealed:
        guest.reconfigure(guest.key)


@pytest.fixture
def api(mode: bool, guest: Guest) -> API:
    """The client as the control plane makes it."""
    return guest.api(sealed=mode)


@pytest.fixture
def notified(mode: bool, guest: Guest) -> Callable[..., None]:
    """Runs a cast of the client class and waits for its end notification."""

    def run(kind: type, method: str, *arguments: object, fails: bool = False) -> None:
        context = guest.context(kind)
        getattr(guest.api(sealed=mode, context=context), method)(*arguments)
        end = guest.conductor.wait("notify_exc_info" if fails else "notify_end", CAST_SECONDS)
        told = end.args["notification"]
        assert told["request_id"] == context.request_id and told["server_type"] == "guest"
        assert told["notification_classname"] == f"{kind.__module__}.{kind.__name__}"

    return run


def database(name: str, charset: str | None = None, collation: str | None = None) -> dict:
    return {"_name": name, "_character_set": charset, "_collate": collation}


def user(name: str, password: str, *databases: str, host: str = "%") -> dict:
    return {
        "_name": name,
        "_host": host,
        "_password": password,
        "_databases": [database(name) for name in databases],
        "_is_root": False,
    }


def names(found: list[dict]) -> list[str]:
    return [row["_name"] for row in found]


def test_ping(api: API) -> None:
    assert api.rpc_ping() is True


def test_volume_info(api: API) -> None:
    info = api.get_volume_info()
    assert set(info) >= {"block_size", "total_blocks", "free_blocks", "avail_blocks"}
    assert 0.8 < info["total"] <= 1 and 0 < info["used"] < info["total"]
    assert isinstance(info["free"], int) and info["free"] < 1 << 30


def test_hardware_and_diagnostics(api: API) -> None:
    hardware = api.get_hwinfo()
    assert hardware["num_cpus"] >= 1 and hardware["mem_total"] > 0
    diagnostics = api.get_diagnostics()
    assert VERSION in diagnostics["version"]
    for name in ("threads", "fd_size", "vm_size", "vm_peak", "vm_rss", "vm_hwm"):
        assert diagnostics[name] > 0


def test_databases(api: API, guest: Guest, notified: Callable[..., None]) -> None:
    """Create, page through, delete."""
    wanted = [database("a1"), database("a2", "latin1", "latin1_german1_ci"), database("a3")]
    notified(notification.DBaaSDatabaseCreate, "create_database", wanted)
    everything, after = api.list_databases()
    assert names(everything) == ["a1", "a2", "a3", "wire"] and after is None
    assert everything[1] == wanted[1]
    page, after = api.list_databases(limit=2)
    assert names(page) == ["a1", "a2"] and after == "a2"
    page, after = api.list_databases(limit=2, marker=after)
    assert names(page) == ["a3", "wire"] and after is None
    page, after = api.list_databases(limit=1, marker="a2", include_marker=True)
    assert names(page) == ["a2"] and after == "a2"
    for row in wanted:
        notified(notification.DBaaSDatabaseDelete, "delete_database", row)
    assert names(api.list_databases()[0]) == ["wire"]


def test_users(api: API, guest: Guest, notified: Callable[..., None]) -> None:
    """Create, list, show, grant, revoke, change, delete."""
    notified(notification.DBaaSDatabaseCreate, "create_database", [database("b1"), database("b2")])
    one, two = canary.make("user password"), canary.make("user password")
    users = [user("ann", one, "b1"), user("bob", two, host="198.51.100.%")]
    notified(notification.DBaaSUserCreate, "create_user", users)
    guest.query("ann", one, "create table b1.t (i int)")
    found, after = api.list_users()
    assert names(found) == ["ann", "bob", "wire"] and after is None
    assert all(row["_password"] is None for row in found)
    page, after = api.list_users(limit=1)
    assert names(page) == ["ann"] and after == "ann@%"
    page, _ = api.list_users(limit=1, marker="bob@198.51.100.%", include_marker=True)
    assert names(page) == ["bob"]

    shown = api.get_user("ann", "%")
    assert set(shown) == {"_name", "_host", "_password", "_databases", "_is_root"}
    assert names(shown["_databases"]) == ["b1"]
    assert api.get_user("nobody", "%") is None

    assert api.grant_access("ann", "%", ["b2"]) is None
    assert names(api.list_access("ann", "%")) == ["b1", "b2"]
    guest.query("ann", one, "create table b2.t (i int)")
    assert api.revoke_access("ann", "%", "b1") is None
    assert names(api.list_access("ann", "%")) == ["b2"]
    with pytest.raises(pymysql.err.OperationalError, match="denied"):
        guest.query("ann", one, "select * from b1.t")

    three = canary.make("user password")
    change = [{"name": "ann", "host": "%", "password": three}]
    notified(notification.DBaaSUserChangePassword, "change_passwords", change)
    with pytest.raises(pymysql.err.OperationalError, match="denied"):
        guest.login("ann", one)
    four = canary.make("user password")
    attributes = {"name": "anna", "password": four}
    notified(notification.DBaaSUserUpdateAttributes, "update_attributes", "ann", "%", attributes)
    guest.query("anna", four, "select * from b2.t")

    for name, host in (("anna", "%"), ("bob", "198.51.100.%")):
        notified(notification.DBaaSUserDelete, "delete_user", user(name, "", host=host))
    assert names(api.list_users()[0]) == ["wire"]
    for name in ("b1", "b2"):
        notified(notification.DBaaSDatabaseDelete, "delete_database", database(name))


def test_failing_cast_tells_the_user(api: API, guest: Guest, notified: Callable[..., None]) -> None:
    notified(notification.DBaaSDatabaseDelete, "delete_database", database("none"), fails=True)
    assert "none" in guest.conductor.all[-1].args["message"]


def test_failing_call_tells_the_user(api: API) -> None:
    with pytest.raises(exception.GuestError, match="nobody") as error:
        api.grant_access("nobody", "%", ["wire"])
    assert "Traceback" not in str(error.value)


def test_root(api: API, guest: Guest) -> None:
    """Enable twice, with and without a password, then disable."""
    seen = []
    given = canary.make("root password")
    for enable in (api.enable_root, api.enable_root, lambda: api.enable_root_with_password(given)):
        root = enable()
        assert root["_name"] == "root" and root["_host"] == "%" and root["_is_root"] is True
        password = canary.keep("root password", root["_password"])
        assert guest.query("root", password, "select current_user()") == [("root@%",)]
        seen.append(password)
        assert api.is_root_enabled() is True
    assert len(set(seen)) == 3 and seen[2] == given
    assert api.disable_root() is None
    with pytest.raises(pymysql.err.OperationalError, match="denied"):
        guest.login("root", given)


def test_restart(api: API, guest: Guest) -> None:
    before = guest.machine.unit("mariadb.service")["MainPID"]
    assert api.restart() is None
    assert guest.machine.unit("mariadb.service")["MainPID"] not in ("0", before)
    guest.query("wire", guest.user_password, "select 1")


def test_stop_and_start(api: API, guest: Guest) -> None:
    """stop_db within its caller's patience; start with another configuration."""
    begun = time.monotonic()
    assert api.stop_db() is None
    assert time.monotonic() - begun < 15
    assert guest.machine.unit("mariadb.service")["ActiveState"] == "inactive"
    guest.conductor.wait_status("shutdown", 20)
    original = guest.config_contents()
    contents, changed = re.subn("(?m)^max_allowed_packet = .*", "max_allowed_packet = 7M", original)
    assert changed >= 1
    assert api.start_db_with_conf_changes(contents, VERSION) is None
    sql = "select @@max_allowed_packet, @@max_connections"
    # The second one is an override of prepare; it stays.
    assert guest.query("wire", guest.user_password, sql) == [(7 << 20, 77)]
    assert api.reset_configuration({"config_contents": original}) is None
    assert api.restart() is None
    ((packet, _),) = guest.query("wire", guest.user_password, sql)
    assert packet != 7 << 20


def test_volume(api: API, guest: Guest) -> None:
    """Unmount, mount, grow: twice each, which is no error."""
    volume = {"device_path": "/dev/vdb", "mount_point": "/var/lib/mysql"}
    where = ["findmnt", "--noheadings", "--output=SOURCE", "--mountpoint=/var/lib/mysql"]
    with pytest.raises(exception.GuestError, match="mariadbd"):
        api.unmount_volume(**volume)
    assert api.stop_db() is None
    for _ in range(2):
        assert api.unmount_volume(**volume) is None
    assert guest.machine.run(where, check=False).stdout == ""
    assert api.resize_fs(**volume) is None
    for _ in range(2):
        assert api.mount_volume(**volume) is None
    assert guest.machine.run(where).stdout == "/dev/vdb\n"
    assert api.restart() is None
    guest.query("wire", guest.user_password, "select 1")


def test_second_prepare_is_refused(api: API, guest: Guest) -> None:
    """The instance stays as it is, whatever arrives."""
    refusals = sum("prepared already" in line for line in guest.machine.messages())
    api.prepare(FLAVOR["ram"], "", [], [], config_contents="[mysqld]\n", ds_version=VERSION)
    until(
        lambda: sum("prepared already" in line for line in guest.machine.messages()) > refusals, 20
    )
    guest.query("wire", guest.user_password, "select 1")


def test_volume_snapshot(api: API, guest: Guest) -> None:
    """Server and file system hold still in between, and go on in any case."""
    freeze = ["fsfreeze", "--freeze", "/var/lib/mysql"]
    position = api.pre_create_backup()
    try:
        assert isinstance(position, dict)
        # Who is frozen already cannot be frozen.
        assert "busy" in guest.machine.run(freeze, check=False).stderr
        with pytest.raises(exception.GuestError, match="snapshot"):
            api.pre_create_backup()
    finally:
        assert api.post_create_backup() == {}
    guest.query("wire", guest.user_password, "create or replace table wire.thawed (id int)")
    assert api.post_create_backup() == {}


def module(name: str, **other: object) -> dict:
    """As the control plane sends it; its message is its name."""
    contents = base64.b64encode(f"message={name}\n".encode()).decode()
    digest = hashlib.md5(contents.encode()).hexdigest()
    fields = {"id": f"id-{name}", "name": name, "type": "ping", "md5": digest}
    fields |= {"contents": contents, "datastore": "all", "datastore_version": "all"}
    # A user's own; others are an administrator's.
    fields |= {"tenant": "t", "auto_apply": False, "visible": True}
    return {"module": {**fields, **other}}


def test_modules(api: API) -> None:
    """Applied in their order, listed and removed; results have every key."""
    first, second = module("first", priority_apply=True), module("second", apply_order=1)
    results = api.module_apply([second, first])
    assert [one["message"] for one in results] == ["first", "second"]
    (found,) = [one for one in api.module_list(True) if one["name"] == "first"]
    assert base64.b64decode(found["contents"]) == b"message=first\n"
    assert found == {**results[0], "contents": found["contents"]}
    for each in (first, second):
        assert api.module_remove(each) is None
    assert api.module_list(False) == []


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"type": "nobody_knows"}, "No driver implemented for module type 'nobody_knows'"),
        ({"type": "../../etc"}, "not a module's type"),
        ({"id": "../../etc"}, "not a module's type or id"),
        ({"datastore": "mysql"}, "is for datastore mysql, and this guest has mariadb"),
        ({"md5": "e75474d2b6187060b01908d5d41cbb1e"}, "another MD5"),
        ({"contents": None}, "has no contents"),
        ({"contents": "message=x", "md5": None}, "not base64"),
    ],
    ids=["type", "path", "id", "datastore", "md5", "empty", "coding"],
)
def test_module_refused(api: API, other: dict, why: str) -> None:
    """With its neighbour, which could have been applied."""
    with pytest.raises(exception.GuestError, match=why):
        api.module_apply([module("good"), module("bad", **other)])
    assert api.module_list(False) == []


def test_module_not_applied(api: API) -> None:
    with pytest.raises(exception.GuestError, match="has not been applied"):
        api.module_remove(module("never"))


UNSUPPORTED: dict[str, Callable[[API], object]] = {
    "cleanup_source_on_replica_detach": lambda api: api.cleanup_source_on_replica_detach({}),
    "get_root_password": lambda api: api.get_root_password(),
    "get_txn_count": lambda api: api.get_txn_count(),
    "update_guest": lambda api: api.update_guest(),
}


@pytest.mark.parametrize("method", UNSUPPORTED)
def test_unsupported_call(api: API, method: str) -> None:
    """One sentence that the user understands, at once."""
    begun = time.monotonic()
    with pytest.raises(exception.GuestError, match=f"{method}.* not supported") as error:
        UNSUPPORTED[method](api)
    assert "\n" not in str(error.value)
    assert time.monotonic() - begun < 5


def test_effects_happen_once(api: API, guest: Guest) -> None:
    """Twenty calls with an effect, the connection cut while each is on its way
    or at work: the password in the reply is the one that is valid, so nothing
    ran a second time."""
    for delay in range(20):
        cutter = threading.Timer(delay / 100, guest.proxy.cut)
        cutter.start()
        try:
            password = canary.keep("root password", api.enable_root()["_password"])
        finally:
            cutter.join()
        # A repetition would come with the next connection.
        guest.proxy.wait_links(1)
        assert api.rpc_ping() is True
        assert guest.query("root", password, "select 1") == [(1,)]
    api.disable_root()
