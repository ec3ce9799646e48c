"""The workshop's first half, for real: `make demo`.

An instance is created, used and deleted with the commands of the workshop: the
real `openstack` client against the real control plane, the stock database
client over TCP. Every step shows its command, what came of it and how long it
took, and checks the result; the first surprise ends the demo with an error.
"""

from __future__ import annotations

import shlex
import sys
import time

from typing import Any, TextIO

from lab.clients.openstack import OpenStackError
from lab.clients.sql import SqlClient, SqlDenied
from lab.cloud.neutron import NETWORK_IDS
from lab.lab import Lab
from lab.network import USER
from lab.products import PRODUCTS
from lab.progress import Progress
from lab.waiting import eventually

DATABASE, ACCOUNT, PASSWORD = "testdb", "testuser", "password123"


class Workshop:
    """The steps, in order; each is a method named in STEPS."""

    def __init__(self, lab: Lab, datastore: str, out: TextIO) -> None:
        self._lab = lab
        self._datastore = datastore
        self._product = PRODUCTS[datastore]
        self._out = out
        self._openstack = lab.openstack()
        self._trove = lab.trove()
        self._name = f"{datastore}-instance-01"
        self._address = ""
        self._root_password = ""

    STEPS: tuple[tuple[str, str], ...] = (
        ("What can be created", "datastores"),
        ("Create an instance with a database and a user", "create"),
        ("Wait until it is ACTIVE", "wait_active"),
        ("Log in over TCP and work", "work"),
        ("Create a database", "create_database"),
        ("Delete it", "delete_database"),
        ("Create a user", "create_user"),
        ("Grant access to a database", "grant"),
        ("Revoke it", "revoke"),
        ("Delete the user", "delete_user"),
        ("Enable root", "enable_root"),
        ("Log in as root", "root_works"),
        ("Restart the database", "restart"),
        ("Delete the instance", "delete"),
    )

    def run(self) -> None:
        """Run all steps; an exception is the one that failed."""
        begun = time.monotonic()
        for number, (title, method) in enumerate(self.STEPS, 1):
            self._write(f"\n{number:2}. {title}")
            started = time.monotonic()
            getattr(self, method)()
            self._write(f"    done in {time.monotonic() - started:.1f} s")
        self._write(
            f"\nAll {len(self.STEPS)} steps in {time.monotonic() - begun:.1f} s"
        )

    # Showing

    def _write(self, text: str) -> None:
        self._out.write(text + "\n")
        self._out.flush()

    def _show(self, text: str) -> None:
        for line in text.rstrip().splitlines():
            self._write(f"      {line}")

    def _cloud(self, command: str) -> str:
        """Run `openstack database COMMAND`, shown as a user would type it."""
        self._write(f"    $ openstack {command}")
        output = self._openstack.run(*shlex.split(command))
        self._show(output)
        return output

    def _cloud_rows(self, command: str) -> list[dict[str, Any]]:
        """The rows of a list command; shown as a table of values."""
        self._write(f"    $ openstack {command}")
        rows = self._openstack.json(*shlex.split(command))
        for row in rows:
            self._show("  ".join(str(value) for value in row.values()))
        return rows

    def _client(self, user: str, password: str, database: str = "") -> SqlClient:
        return self._lab.sql(self._datastore, self._address, user, password, database)

    def _sql(self, client: SqlClient, statement: str) -> list[list[str]]:
        """Run a statement in the stock client, shown with its rows."""
        shown = self._product.shown.format(
            user=client.user, host=client.host, database=client.database
        )
        self._write(f'    $ {" ".join(shown.split())} "{statement}"')
        rows = client.execute(statement)
        for row in rows:
            self._show("  ".join(row))
        return rows

    @staticmethod
    def _expect(condition: bool, what: str) -> None:
        if not condition:
            raise AssertionError(what)

    # Steps

    def datastores(self) -> None:
        rows = self._cloud_rows(f"datastore version list {self._datastore}")
        self._expect(bool(rows), "no version is registered")

    def create(self) -> None:
        self._cloud(
            f"database instance create {self._name} --flavor 2 --size 1 "
            f"--nic net-id={NETWORK_IDS[USER.name]} --datastore {self._datastore} "
            f"--databases {DATABASE} --users {ACCOUNT}:{PASSWORD} "
            "-c id -c name -c status -c datastore"
        )

    def wait_active(self) -> None:
        (created,) = [i for i in self._trove.instances() if i["name"] == self._name]
        begun = time.monotonic()
        last = ""

        def look() -> bool:
            nonlocal last
            instance = self._trove.instance(created["id"])
            state = f"{instance['status']} {instance.get('operating_status') or ''}"
            if state != last:
                self._show(f"{time.monotonic() - begun:5.1f} s  {state}")
                last = state
            return instance["status"] in ("ACTIVE", "ERROR", "FAILED")

        eventually(look, timeout=300)
        active = self._trove.wait_active(created["id"])
        self._address = self._trove.address(active)
        self._cloud(
            f"database instance show {self._name} -c status -c operating_status "
            "-c addresses -c datastore_version"
        )

    def work(self) -> None:
        client = self._client(ACCOUNT, PASSWORD, DATABASE)
        self._sql(client, "create table people (id int primary key, name varchar(20))")
        self._sql(client, "insert into people values (1, 'Ada'), (2, 'Grace')")
        rows = self._sql(client, "select * from people order by id")
        self._expect(rows == [["1", "Ada"], ["2", "Grace"]], f"wrong rows: {rows}")

    def create_database(self) -> None:
        self._cloud(f"database db create {self._name} shop")
        eventually(lambda: "shop" in self._databases(), timeout=30)
        names = [
            row["Name"] for row in self._cloud_rows(f"database db list {self._name}")
        ]
        self._expect(names == ["shop", DATABASE], f"the API lists {names}")

    def delete_database(self) -> None:
        self._cloud(f"database db delete {self._name} shop")
        eventually(lambda: "shop" not in self._databases(), timeout=30)
        names = [
            row["Name"] for row in self._cloud_rows(f"database db list {self._name}")
        ]
        self._expect(names == [DATABASE], f"the API lists {names}")

    def _databases(self) -> list[str]:
        """Straight from the API, where a change shows when it is done."""
        return self._trove.databases(self._instance_id())

    def _instance_id(self) -> str:
        (found,) = [i for i in self._trove.instances() if i["name"] == self._name]
        return found["id"]

    def create_user(self) -> None:
        self._cloud(f"database user create {self._name} ann s3cret")
        eventually(
            lambda: self._client("ann", "s3cret").execute("select 1"), timeout=30
        )
        self._cloud_rows(f"database user list {self._name}")
        self._cloud(f"database user show {self._name} ann")
        self._sql(self._client("ann", "s3cret"), self._product.who_am_i)

    def grant(self) -> None:
        self._cloud(f"database user grant access {self._name} ann {DATABASE}")
        self._cloud(f"database user show access {self._name} ann")
        client = self._client("ann", "s3cret", DATABASE)
        self._sql(client, "create table notes (text varchar(20))")
        self._sql(client, "insert into notes values ('by ann')")
        rows = self._sql(client, "select * from notes")
        self._expect(rows == [["by ann"]], f"ann sees {rows}")

    def revoke(self) -> None:
        self._cloud(f"database user revoke access {self._name} ann {DATABASE}")
        self._refused("ann", "s3cret", "select * from notes", DATABASE)

    def delete_user(self) -> None:
        self._cloud(f"database user delete {self._name} ann")
        eventually(lambda: self._denied("ann", "s3cret", "select 1"), timeout=30)
        self._refused("ann", "s3cret", "select 1")

    def _denied(self, user: str, password: str, statement: str) -> bool:
        try:
            self._client(user, password).execute(statement)
        except SqlDenied:
            return True
        return False

    def _refused(
        self, user: str, password: str, statement: str, database: str = ""
    ) -> None:
        """The statement must fail for lack of rights; shows how."""
        try:
            self._sql(self._client(user, password, database), statement)
        except SqlDenied as error:
            self._show(str(error))
        else:
            raise AssertionError(f"{user} may still: {statement}")

    def enable_root(self) -> None:
        command = f"database root enable {self._name}"
        self._write(f"    $ openstack {command}")
        root = self._openstack.json(*command.split())
        self._root_password = root["password"]
        self._show(
            f"name {root['name']}, password of {len(self._root_password)} characters"
        )
        self._cloud(f"database root show {self._name}")

    def root_works(self) -> None:
        client = self._client("root", self._root_password)
        rows = self._sql(client, self._product.who_am_i)
        who = self._product.account("root")
        self._expect(rows == [[who]], f"logged in as {rows}")

    def restart(self) -> None:
        instance = self._instance_id()
        self._cloud(f"database instance restart {self._name}")
        self._trove.wait_active(instance)
        rows = self._sql(
            self._client(ACCOUNT, PASSWORD, DATABASE), "select * from people"
        )
        self._expect(len(rows) == 2, "the data is not there any more")

    def delete(self) -> None:
        instance = self._instance_id()
        self._cloud(f"database instance delete {self._name}")
        self._trove.wait_deleted(instance)
        self._expect(not self._lab.guests(), "its guest is still there")


def main(datastore: str) -> int:
    """Bring a lab up if none is, run the workshop, and clean up; exit status."""
    progress = Progress()
    lab = Lab()
    started = not lab.running()
    if started:
        lab.up(progress=progress)
    try:
        with lab.inside():
            Workshop(lab, datastore, sys.stdout).run()
    except (AssertionError, RuntimeError, TimeoutError, OpenStackError) as error:
        print(f"\nFAILED: {error}")
        for guest in lab.guests():
            print(f"\nWhat the agent of {guest.spec.name} said last:")
            print("\n".join(guest.messages()[-30:]))
        return 1
    finally:
        if started:
            with progress.step("Stopping the lab"):
                lab.down()
    return 0
