"""How members of a replication set stand to each other, asked of their servers."""

from __future__ import annotations

import re

from scenarios.conftest import Instance

# In the status of both servers, whatever its columns are called.
THREADS = slice(10, 12)
STATUS = {"mysql": "show replica status", "mariadb": "show slave status"}
# What a server answers that nobody may write to.
READ_ONLY = {
    "mysql": ("select @@global.super_read_only", "1"),
    "mariadb": ("select @@global.read_only", "1"),
    "postgresql": ("select pg_is_in_recovery()", "t"),
}
# Connections to replicas, those of them that are encrypted first. MariaDB does not
# tell: there, sources that take no others are proof.
SENDERS = {
    "mysql": "select sum(connection_type = 'SSL/TLS'), count(*) from "
    "performance_schema.threads where processlist_command like 'Binlog Dump%'",
    "mariadb": "select if(@@global.require_secure_transport, count(*), 0), count(*) from "
    "information_schema.processlist where command like 'Binlog Dump%'",
    "postgresql": "select count(*) filter (where ssl), count(*) from pg_stat_ssl join "
    "pg_stat_replication using (pid) where application_name like 'trove\\_%'",
}


def follows(replica: Instance) -> bool:
    """Whether it is connected to its source and takes what comes."""
    if replica.datastore == "postgresql":
        rows = replica.admin("select status from pg_stat_wal_receiver")
        return rows == [["streaming"]]
    rows = replica.admin(STATUS[replica.datastore])
    return [row[THREADS] for row in rows] == [["Yes", "Yes"]]


def read_only(member: Instance) -> bool:
    """Whether the server itself lets nobody write."""
    query, yes = READ_ONLY[member.datastore]
    return member.admin(query) == [[yes]]


def senders(source: Instance) -> tuple[int, int]:
    """How many encrypted connections to replicas there are, and how many at all."""
    ((encrypted, count),) = source.admin(SENDERS[source.datastore])
    return int(encrypted), int(count)


def peers(source: Instance, replica: Instance) -> tuple[str, str]:
    """Where the source sees its one replica, and where that sees its source."""
    if source.datastore == "postgresql":
        ((there,),) = source.admin("select host(client_addr) from pg_stat_replication")
        ((here,),) = replica.admin("select sender_host from pg_stat_wal_receiver")
        return there, here
    ((there,),) = source.admin(
        "select host from information_schema.processlist where command like 'Binlog Dump%'"
    )
    ((_state, here, *_more),) = replica.admin(STATUS[replica.datastore])
    return there.rsplit(":", 1)[0], here


def own_transactions(replica: Instance, source: Instance) -> list[str]:
    """What a replica has done that its source has not: nothing, if all is well."""
    if replica.datastore == "postgresql":
        return []  # a history of its own, with which it could not follow
    if replica.datastore == "mysql":
        ((done,),) = replica.admin("select replace(@@global.gtid_executed, '\\n', '')")
        ((more,),) = source.admin(f"select gtid_subtract('{done}', @@global.gtid_executed)")
        return more.split()
    done = _last(replica, "gtid_binlog_state")
    known = _last(source, "gtid_binlog_state", "gtid_slave_pos")
    # A source that was a replica before has those of earlier sources in its data,
    # and only their number tells.
    copied = _first_logged(source) - 1
    return [f"{key}-{last}" for key, last in done.items() if last > known.get(key, copied)]


def _first_logged(member: Instance) -> int:
    """The number of the first transaction in its binary logs, of the one domain."""
    ((log, *_size), *_logs) = member.admin("show binary logs")
    for event in member.admin(f"show binlog events in '{log}' limit 20"):
        if found := re.search(r"GTID 0-\d+-(\d+)", event[5]):
            return int(found[1])
    return 1


def _last(member: Instance, *variables: str) -> dict[str, int]:
    """The last number of every domain and server."""
    found: dict[str, int] = {}
    for variable in variables:
        ((text,),) = member.admin(f"select @@global.{variable}")
        for gtid in filter(None, text.split(",")):
            key, number = gtid.rsplit("-", 1)
            found[key] = max(found.get(key, 0), int(number))
    return found
