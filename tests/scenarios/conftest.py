"""One lab for the whole session, and instances that tests share."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from lab.clients.sql import SqlClient, rows
from lab.clients.trove import ApiError, TroveClient
from lab.guests.guest import Guest
from lab.lab import MODES, Lab
from lab.products import PRODUCTS, Product
from lab.settings import DATASTORES

USER, PASSWORD, DATABASE = "testuser", "password123", "testdb"


@dataclass
class Instance:
    """An ACTIVE instance, from the user's and from the machine's side."""

    lab: Lab
    trove: TroveClient
    id: str
    datastore: str
    address: str

    @property
    def guest(self) -> Guest:
        return self.lab.guest(self.id)

    def login(self, user: str, password: str, database: str = "") -> SqlClient:
        """The stock client over TCP; fails at its first statement if refused."""
        return self.lab.sql(self.datastore, self.address, user, password, database)

    @property
    def product(self) -> Product:
        """What is to be known of the datastore's server."""
        return PRODUCTS[self.datastore]

    def admin(self, sql: str, database: str = "") -> list[list[str]]:
        """Ask the server itself, inside the guest, as its administrator."""
        argv = [*self.product.client, *([database] if database else [])]
        done = self.guest.run(argv, input=sql)
        return rows(self.datastore, done.stdout)

    def databases(self) -> set[str]:
        """Every database the server has."""
        return {row[0] for row in self.admin(self.product.databases)}

    def accounts(self) -> set[tuple[str, str]]:
        """Every account the server has, as user and host."""
        return {(row[0], row[1]) for row in self.admin(self.product.accounts)}

    def account_names(self) -> set[str]:
        """The accounts' names alone."""
        return {user for user, _host in self.accounts()}


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab that is up already, or one that ends with the session."""
    lab = Lab()
    started = not lab.running()
    if started:
        lab.up(objects=True)
    else:
        lab.start_swift()
    with lab.inside():
        yield lab
    if started:
        lab.down()


@pytest.fixture(scope="module", params=MODES)
def mode(lab: Lab, request: pytest.FixtureRequest) -> str:
    """Sealed and clear RPC; Trove's services are restarted in between."""
    lab.use_mode(request.param)
    return request.param


@pytest.fixture(scope="module", params=DATASTORES)
def instance(mode: str, lab: Lab, request: pytest.FixtureRequest) -> Iterator[Instance]:
    """An instance made as the workshop makes it, and deleted afterwards."""
    trove = lab.trove()
    user = {"name": USER, "password": PASSWORD, "databases": [{"name": DATABASE}]}
    created = trove.create_instance(
        f"{request.param}-{mode}", request.param, databases=[DATABASE], users=[user]
    )
    try:
        active = trove.wait_active(created["id"])
        address = trove.address(active)
        yield Instance(lab, trove, created["id"], request.param, address)
    finally:
        delete(trove, created["id"])


@contextmanager
def guests_with(
    lab: Lab, *, group: str = "guest_agent", **options: object
) -> Iterator[None]:
    """The guests created inside of the block have these options in that group."""
    before = lab.guest_conf.read_text()
    lines = "".join(f"{name} = {value}\n" for name, value in options.items())
    section = f"[{group}]\n"
    assert section in before
    lab.guest_conf.write_text(before.replace(section, section + lines, 1))
    try:
        yield
    finally:
        lab.guest_conf.write_text(before)


def delete(trove: TroveClient, instance_id: str) -> None:
    """Delete an instance, whatever became of it, and wait for its end."""
    try:
        trove.delete_instance(instance_id)
    except ApiError:  # not while it is building, unless forced
        trove.force_delete_instance(instance_id)
    trove.wait_deleted(instance_id)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what the agents said last."""
    report = yield
    if not report.failed or report.when == "teardown":
        return report
    shared = getattr(item, "funcargs", {}).get("instance")
    guests = [shared.guest] if shared else Lab().guests()
    for guest in guests:
        text = "\n".join(guest.messages()[-30:])
        report.sections.append((f"agent of {guest.spec.name}", text))
    return report
