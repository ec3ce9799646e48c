"""What differs between the datastores for those who look at their servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Product:
    """One datastore's server, in a guest and for its users."""

    unit: str
    program: str
    mount_point: str
    data: str
    # What is lost when the server's directories are empty, for find(1).
    contents: str
    # The client with which the guest's root is the server's administrator; it
    # prints rows as SqlClient reads them.
    client: Sequence[str]
    # How a user would call the client: with {user}, {host} and {database}.
    shown: str
    # The administrators a secured server has, and a database that is none of
    # the users'.
    administrators: frozenset[tuple[str, str]]
    reserved_database: str
    # Queries.
    databases: str
    accounts: str
    data_directory: str
    who_am_i: str
    # A query for the parameter {}.
    show: str
    connection: str
    # What the template gives more of to a larger flavor, and what stays.
    sized: str
    # A database with options; a query for its collation.
    options: dict[str, str]
    collation: str
    # Columns of a table whose `bytes` no compressor makes smaller, what to put in
    # there for each row of that table, and a checksum of a whole table.
    filler: str
    random_kib: str
    checksum: str
    # What the server would otherwise do to new rows at some later time, and write
    # down; empty if nothing.
    settle: str
    # A query for what no two servers share, not even a copy; empty if there is none.
    identity: str
    # How a backup's object ends.
    suffix: str
    # Whether accounts have hosts, and one connection reaches all databases.
    hosts: bool = True
    across: bool = True

    def account(self, user: str) -> str:
        """How the server calls a user who has logged in."""
        return f"{user}@%" if self.hosts else user


def _mysql_family(
    name: str, program: str, suffix: str, identity: str = ""
) -> Product:
    login = "--defaults-file=/var/lib/mysql/conf.d/os_admin.cnf"
    return Product(
        unit=f"{name}.service",
        program=program,
        mount_point="/var/lib/mysql",
        data="/var/lib/mysql/data",
        contents="/var/lib/mysql/data -mindepth 1",
        client=(name, login, "--batch", "--skip-column-names"),
        shown=name + " -h {host} -u {user} -p*** {database} -e",
        administrators=frozenset({("os_admin", "localhost"), ("root", "localhost")}),
        reserved_database="mysql",
        databases="show databases",
        accounts="select user, host from mysql.user",
        data_directory="select @@datadir",
        who_am_i="select current_user()",
        show="select @@global.{}",
        connection="select connection_id()",
        sized="select @@innodb_buffer_pool_size, @@server_id",
        options={"character_set": "latin2", "collate": "latin2_general_ci"},
        collation="select default_collation_name from information_schema.schemata "
        "where schema_name = '{}'",
        filler="id int auto_increment primary key, bytes blob",
        random_kib="random_bytes(1024)",
        checksum="checksum table {}",
        settle="",
        identity=identity,
        suffix=suffix,
    )


PRODUCTS = {
    "mysql": _mysql_family(
        "mysql", "/usr/sbin/mysqld", "tar.gz", "select @@server_uuid"
    ),
    "mariadb": _mysql_family("mariadb", "/usr/sbin/mariadbd", "xbstream.gz"),
    "postgresql": Product(
        unit="trove-postgresql.service",
        program="/etc/postgresql/server/postgres",
        mount_point="/var/lib/postgresql",
        data="/var/lib/postgresql/data/pgdata",
        contents="/var/lib/postgresql/data -mindepth 2",
        client=(
            *("psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--csv"),
            *("--tuples-only", "--host=/var/run/postgresql", "--username=postgres"),
        ),
        shown="psql -h {host} -U {user} {database} -c",
        administrators=frozenset({("postgres", "%")}),
        reserved_database="postgres",
        databases="select datname from pg_database",
        accounts="select rolname, '%' from pg_roles where rolcanlogin",
        data_directory="show data_directory",
        who_am_i="select current_user",
        show="show {}",
        connection="select pg_backend_pid()",
        sized="select setting, system_identifier from pg_settings,"
        " pg_control_system() where name = 'shared_buffers'",
        options={"character_set": "UTF8", "collate": "C"},
        collation="select datcollate from pg_database where datname = '{}'",
        filler="id serial primary key, bytes bytea",
        # Refers to the row: what does not is computed once for all.
        random_kib="(select string_agg(sha256((random()::text || filler.id || n)::bytea),"
        " '') from generate_series(1, 32) n)",
        checksum="select '{0}', count(*), sum(hashtextextended(t::text, 0)) from {0} t",
        # Reading marks rows as committed, and these marks are in the log.
        settle="vacuum (freeze, analyze) {}",
        # A copy leaves the source's history when its recovery ends.
        identity="select left(pg_walfile_name(pg_current_wal_lsn()), 8)",
        suffix="tar.gz",
        hosts=False,
        across=False,
    ),
}
