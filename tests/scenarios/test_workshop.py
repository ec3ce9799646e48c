"""The workshop's operations, asserted from the database's side.

Runs on every datastore, with sealed and with clear RPC. The instance is
shared; every test uses names of its own.
"""

from __future__ import annotations

import pytest

from lab.clients.sql import SqlClient, SqlDenied
from lab.clients.trove import ApiError
from lab.waiting import eventually
from scenarios.conftest import DATABASE, PASSWORD, USER, Instance


def test_rpc_is_what_the_control_plane_asked_for(mode: str, instance: Instance) -> None:
    """The key is injected exactly when RPC is sealed, and Trove has stored it."""
    injected = instance.guest.read_file("/etc/trove/conf.d/guest_info.conf")
    stored = instance.lab.trove_sql(
        f"select encrypted_key is not null from instances where id = '{instance.id}'"
    )
    sealed = mode == "encrypted"
    assert ("instance_rpc_encr_key=" in injected) == sealed
    assert stored == [["1" if sealed else "0"]]


def test_user_of_create_logs_in_and_works(instance: Instance) -> None:
    """`--databases testdb --users testuser:password123`, with the stock client."""
    client = instance.login(USER, PASSWORD, DATABASE)
    client.execute("create table people (id int primary key, name varchar(40))")
    client.execute("insert into people values (1, 'Ada'), (2, 'Grace')")
    rows = client.execute("select id, name from people order by id")
    assert rows == [["1", "Ada"], ["2", "Grace"]]
    who = instance.product.account(USER)
    assert client.execute(instance.product.who_am_i) == [[who]]


def test_wrong_password_is_refused(instance: Instance) -> None:
    with pytest.raises(SqlDenied):
        instance.login(USER, "wrong").execute("select 1")


def test_server_is_secured(instance: Instance) -> None:
    """Its administrators and the user of create, who cannot be taken for one."""
    own = {account for account in instance.accounts() if account[0] != USER}
    # MySQL has accounts that are locked and belong to the server itself.
    own = {(user, host) for user, host in own if not user.startswith("mysql")}
    own -= {("mariadb.sys", "localhost")}
    assert own == instance.product.administrators
    assert "test" not in instance.databases()
    for administrator, _host in own:
        for password in ("", PASSWORD, administrator):
            with pytest.raises(SqlDenied):
                instance.login(administrator, password).execute("select 1")


def test_data_is_on_the_volume(instance: Instance) -> None:
    """The datadir is on /dev/vdb, mounted where upstream mounts it."""
    product = instance.product
    find = f"findmnt --noheadings --output SOURCE {product.mount_point}"
    source = instance.guest.sh(find)
    assert source.split("[")[0].strip() == "/dev/vdb"
    (row,) = instance.admin(product.data_directory)
    assert row[0].rstrip("/") == product.data


def test_databases(instance: Instance) -> None:
    """Create with and without character set, list in pages, delete."""
    product = instance.product
    names = ["shop", "wiki-2", "zoo"]
    instance.trove.create_databases(
        instance.id,
        {"name": "shop"},
        {"name": "wiki-2", **product.options},
        {"name": "zoo"},
    )
    eventually(lambda: set(names) <= instance.databases())
    (collation,) = instance.admin(product.collation.format("wiki-2"))
    assert collation == [product.options["collate"]]
    assert instance.trove.databases(instance.id) == ["shop", DATABASE, "wiki-2", "zoo"]
    assert instance.trove.databases(instance.id, "?limit=2") == ["shop", DATABASE]
    page = instance.trove.databases(instance.id, f"?limit=2&marker={DATABASE}")
    assert page == ["wiki-2", "zoo"]
    for name in names:
        instance.trove.delete_database(instance.id, name)
    eventually(lambda: not set(names) & instance.databases())
    assert instance.trove.databases(instance.id) == [DATABASE]


def test_system_databases_cannot_be_created(instance: Instance) -> None:
    name = instance.product.reserved_database

    def refused() -> bool:
        fault = instance.trove.instance(instance.id).get("fault") or {}
        return f"{name} is on the reserved list" in fault.get("message", "")

    try:
        instance.trove.create_databases(instance.id, {"name": name})
    except ApiError as error:
        assert error.status == 400
    else:  # Trove knows the names of MySQL only: it is up to the agent
        eventually(refused)


def test_users_and_access(instance: Instance) -> None:
    """Create, show, list, grant, revoke and delete, seen by the server."""
    trove = instance.trove
    trove.create_databases(instance.id, {"name": "first"}, {"name": "second"})
    trove.create_users(
        instance.id,
        {"name": "ann", "password": "p4:w%'\"\\x", "databases": [{"name": "first"}]},
        {"name": "bob", "password": "b0b", "host": "198.51.100.%"},
    )
    bobs_host = "198.51.100.%" if instance.product.hosts else "%"
    created = {("ann", "%"), ("bob", bobs_host)}
    eventually(lambda: created <= instance.accounts())
    eventually(lambda: trove.access(instance.id, "ann") == ["first"])
    shown = trove.user(instance.id, "ann")
    assert shown["name"] == "ann" and shown["host"] == "%"
    assert shown["databases"] == [{"name": "first"}]
    listed = [user["name"] for user in trove.users(instance.id)]
    assert listed == sorted(["ann", "bob", USER])

    def ann(database: str) -> SqlClient:
        return instance.login("ann", "p4:w%'\"\\x", database)

    ann("first").execute("create table t (i int)")
    with pytest.raises(SqlDenied):
        ann("second").execute("create table t (i int)")
    trove.grant(instance.id, "ann", "second")
    assert trove.access(instance.id, "ann") == ["first", "second"]
    ann("second").execute("create table t (i int)")
    trove.revoke(instance.id, "ann", "first")
    assert trove.access(instance.id, "ann") == ["second"]
    with pytest.raises(SqlDenied):
        ann("first").execute("select * from t")
    # Nobody else has lost anything.
    assert instance.login("bob", "b0b").execute("select 1") == [["1"]]

    trove.delete_user(instance.id, "ann")
    trove.delete_user(instance.id, "bob@198.51.100.%25" if instance.product.hosts else "bob")
    eventually(lambda: not {"ann", "bob"} & instance.account_names())
    with pytest.raises(SqlDenied):
        ann("second").execute("select 1")
    for name in ("first", "second"):
        trove.delete_database(instance.id, name)


def test_user_attributes(instance: Instance) -> None:
    """Password, name and host of a user change without losing its grants."""
    trove = instance.trove
    user = {"name": "carl", "password": "one", "databases": [{"name": DATABASE}]}
    trove.create_users(instance.id, user)
    eventually(lambda: instance.login("carl", "one", DATABASE).execute("select 1"))
    trove.change_passwords(instance.id, {"name": "carl", "password": "two"})
    eventually(lambda: instance.login("carl", "two", DATABASE).execute("select 1"))
    with pytest.raises(SqlDenied):
        instance.login("carl", "one").execute("select 1")
    trove.update_user(instance.id, "carl", {"name": "karl", "password": "three"})
    eventually(lambda: instance.login("karl", "three", DATABASE).execute("select 1"))
    assert "carl" not in instance.account_names()
    assert trove.access(instance.id, "karl") == [DATABASE]
    trove.delete_user(instance.id, "karl")
    eventually(lambda: "karl" not in instance.account_names())


def test_root(instance: Instance) -> None:
    """Enable with a generated and with a given password, then disable."""
    trove = instance.trove
    assert trove.root_enabled(instance.id) is False
    root = trove.enable_root(instance.id)
    assert root["name"] == "root" and len(root["password"]) >= 16
    client = instance.login("root", root["password"])
    client.execute("create database made_by_root")
    client.execute("drop database made_by_root")
    assert trove.root_enabled(instance.id) is True
    trove.enable_root(instance.id, "gi:ven'Pass%1")
    with pytest.raises(SqlDenied):
        client.execute("select 1")
    given = instance.login("root", "gi:ven'Pass%1")
    who = instance.product.account("root")
    assert given.execute(instance.product.who_am_i) == [[who]]
    trove.disable_root(instance.id)
    with pytest.raises(SqlDenied):
        given.execute("select 1")


def test_restart(instance: Instance) -> None:
    """The server process is another one, the data is the same."""
    unit = instance.product.unit
    client = instance.login(USER, PASSWORD, DATABASE)
    client.execute("create table kept (i int); insert into kept values (42)")
    before = instance.guest.unit(unit)["MainPID"]
    instance.trove.restart(instance.id)
    instance.trove.wait_active(instance.id)
    after = instance.guest.unit(unit)["MainPID"]
    assert before != after and after != "0"
    assert client.execute("select i from kept") == [["42"]]


def test_agent_dies_and_the_database_lives_on(instance: Instance) -> None:
    """SIGKILL to the agent: the server goes on, the next agent takes over."""
    unit = instance.product.unit
    server = instance.guest.unit(unit)["MainPID"]
    agent = instance.guest.agent_pid()
    instance.guest.kill_agent()
    instance.guest.wait_agent_restarted(agent)
    assert instance.guest.unit(unit)["MainPID"] == server
    instance.trove.create_databases(instance.id, {"name": "after_crash"})
    eventually(lambda: "after_crash" in instance.databases())
    instance.trove.delete_database(instance.id, "after_crash")


def test_agent_answers_directly(instance: Instance) -> None:
    """Calls that no REST request reaches, through oslo.messaging's client."""
    rpc = instance.lab.rpc(instance.id)
    assert rpc.call("rpc_ping") is True
    stats = rpc.call("get_filesystem_stats", fs_path=instance.product.mount_point)
    assert 0 < stats["used"] < stats["total"] <= 1.0
    hardware = rpc.call("get_hwinfo")
    assert hardware["mem_total"] > 0 and hardware["num_cpus"] >= 1
    diagnostics = rpc.call("get_diagnostics")
    assert diagnostics["threads"] >= 1


def test_no_broken_units(instance: Instance) -> None:
    """Nothing in the guest has failed on the way."""
    failed = instance.guest.sh("systemctl --failed --plain --no-legend")
    assert failed == ""
