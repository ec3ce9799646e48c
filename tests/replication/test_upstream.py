"""Our sources with upstream's replicas, and the other way round.

MariaDB, whose backup tool both sides can run here. Upstream's side is its own
backup program and the statements of its agent
(trove/guestagent/strategies/replication/mariadb_gtid.py), on a server that has
its template's configuration.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from backups.steps import Owner, created, restored
from lab.lab import Lab
from lab.local_server import LocalServer
from lab.network import USER as SEGMENT
from lab.upstream_backup import Backup
from lab.waiting import eventually
from scenarios import standing
from scenarios.conftest import DATABASE, PASSWORD, USER

PORT = 3306
ACCOUNT, WORD = "slave_0a1b2c3d", "0123456789abcdef"
# What the control plane's templates say of sources and of replicas.
SOURCE = """\
[mysqld]
log_bin = /var/lib/mysql/data/mariadb-bin.log
binlog_format = MIXED
log_slave_updates = ON
"""
REPLICA = SOURCE + "read_only = true\n"
LIMIT = 60.0


@contextmanager
def upstreams_server(lab: Lab, number: int) -> Iterator[LocalServer]:
    """A server on the network of databases; it is not started here."""
    directory = lab.state / "work" / f"upstream-{uuid.uuid4().hex[:8]}"
    options = [
        "--skip-networking=0",
        f"--bind-address={SEGMENT.gateway}",
        f"--port={PORT}",
        f"--server-id={number}",
        f"--log-bin={directory}/data/mariadb-bin.log",
        "--log-slave-updates=ON",
    ]
    server = LocalServer(lab, lab.backup_tools(), directory, options=options)
    try:
        yield server
    finally:
        server.stop()


def tell(server: LocalServer, text: str) -> None:
    server.sql(f"insert into {DATABASE}.told values ('{text}')")


@pytest.fixture(scope="module")
def source(lab: Lab) -> Iterator[Owner]:
    with created(lab, "mariadb") as owner:
        yield owner


def test_our_source_and_an_upstream_replica(lab: Lab, source: Owner, container: str) -> None:
    """It begins with our backup and follows with our account."""
    rpc = lab.rpc(source.id)
    rpc.call("enable_as_master", timeout=180, replica_source_config=SOURCE)
    source.write("in the backup")
    made = source.back_up(container)
    source.write("after the backup")
    info = rpc.call("get_replica_context", timeout=180)
    account = info["replica_conf"]["replication_user"]
    # Asked again, it is the same: no account is left behind.
    assert rpc.call("get_replica_context", timeout=180)["replica_conf"] == info["replica_conf"]
    assert account["name"] in source.account_names()
    assert account["name"] not in {user["name"] for user in source.trove.users(source.id)}
    with upstreams_server(lab, 77) as replica:
        lab.upstream_backup().restore(
            "mariadb", Backup(made.location, made.checksum), replica.directory
        )
        # As upstream's agent does it: the data has other passwords.
        replica.start(without_accounts=True)
        replica.sql(
            "set sql_log_bin = 0; flush privileges; alter user root@localhost identified by ''"
        )
        replica.stop()
        replica.start()
        (place,) = replica.data.glob("*backup_binlog_info")
        position = place.read_text().strip().split("\t")[2]
        replica.sql(
            f"set global gtid_slave_pos = '{position}'; change master to "
            f"master_host = '{info['master']['host']}', "
            f"master_port = {info['master']['port']}, "
            f"master_user = '{account['name']}', master_password = '{account['password']}', "
            "master_connect_retry = 15, master_use_gtid = slave_pos, "
            "master_ssl_verify_server_cert = 0, master_ssl = 0; start slave"
        )
        source.write("after the attach")
        wanted = [["created"], ["in the backup"], ["after the backup"], ["after the attach"]]
        query = f"select text from {DATABASE}.told"
        eventually(lambda: sorted(replica.sql(query)) == sorted(wanted), LIMIT)


def test_our_replica_of_an_upstream_snapshot(lab: Lab, source: Owner) -> None:
    """It begins where the snapshot ends, whatever its own server has done."""
    with upstreams_server(lab, 78) as server:
        server.create()
        server.sql(
            f"create database {DATABASE}; use {DATABASE};"
            "create table told (text varchar(80) primary key);"
            "insert into told values ('before the snapshot');"
            f"create user {USER}@'%' identified by '{PASSWORD}';"
            f"grant all on {DATABASE}.* to {USER}@'%'"
        )
        upstream = lab.upstream_backup()
        made = upstream.backup("mariadb", server.directory, str(uuid.uuid4()))
        # Upstream makes its account after the backup.
        server.sql(
            f"create user {ACCOUNT}@'%' identified by '{WORD}';"
            f"grant replication slave on *.* to {ACCOUNT}@'%'"
        )
        tell(server, "after the snapshot")
        snapshot = {
            "dataset": {
                "datastore_manager": "mariadb",
                "dataset_size": 0.1,
                "volume_size": 1.0,
                "snapshot_id": str(uuid.uuid4()),
            },
            "replication_strategy": "MariaDBGTIDReplication",
            "master": {"host": SEGMENT.gateway, "port": PORT},
            "replica_conf": {
                "log_position": {},
                "replication_user": {"name": ACCOUNT, "password": WORD},
            },
        }
        backup_id = source.backups.adopt("snapshot", made.location, "mariadb")
        with restored(lab, "mariadb", backup_id) as replica:
            rpc = lab.rpc(replica.id)
            rpc.call(
                "attach_replica",
                timeout=180,
                replica_info=snapshot,
                slave_config=REPLICA,
                restart=False,
            )
            assert standing.follows(replica) and standing.read_only(replica)
            tell(server, "after the attach")
            words = {"before the snapshot", "after the snapshot", "after the attach"}
            eventually(lambda: replica.told() == words, LIMIT)
            ((state,),) = replica.admin("select @@global.gtid_binlog_state")
            assert {gtid.split("-")[1] for gtid in state.split(",")} == {"78"}
            answer = rpc.call("detach_replica", timeout=180, for_failover=False)
            assert answer == {"replication_user": ACCOUNT}
            eventually(lambda: not standing.read_only(replica), LIMIT)
            assert ACCOUNT not in replica.account_names()
            replica.write("its own")
