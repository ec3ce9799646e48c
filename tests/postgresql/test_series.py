"""The series beside everybody's: made, used and restarted, all at once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import settings
from lab.lab import Lab
from lab.waiting import eventually
from scenarios.conftest import DATABASE, PASSWORD, USER, Instance, delete

SERIES = [each.series for each in settings.versions().more if each.name == "postgresql"]


@pytest.fixture(scope="module")
def instances(lab: Lab) -> Iterator[dict[str, Instance]]:
    """One of each; they boot side by side."""
    lab.use_mode("encrypted")
    trove, found = lab.trove(), {}
    user = {"name": USER, "password": PASSWORD, "databases": [{"name": DATABASE}]}
    try:
        for series in SERIES:
            lab.offer("postgresql", series)
            made = trove.create_instance(
                f"series-{series}", "postgresql", series, databases=[DATABASE], users=[user]
            )
            found[series] = Instance(lab, trove, made["id"], "postgresql", "")
        for instance in found.values():
            instance.address = trove.address(trove.wait_active(instance.id))
        yield found
    finally:
        for instance in found.values():
            delete(trove, instance.id)


@pytest.mark.parametrize("series", SERIES)
def test_life(instances: dict[str, Instance], series: str) -> None:
    """The control plane's template and rules fit this series' server, too."""
    instance = instances[series]
    trove = instance.trove
    client = instance.login(USER, PASSWORD, DATABASE)
    ((version,),) = client.execute("show server_version")
    assert version.split(" ")[0].split(".")[0] == series
    client.execute("create table t (i int)")
    trove.create_databases(instance.id, {"name": "second", **instance.product.options})
    user = {"name": "ann", "password": "it's", "databases": [{"name": "second"}]}
    eventually(lambda: "second" in instance.databases())
    trove.create_users(instance.id, user)
    eventually(lambda: instance.login("ann", "it's", "second").execute("select 1"))
    instance.login("ann", "it's", "second").execute("create table t (i int)")
    root = trove.enable_root(instance.id)
    instance.login("root", root["password"]).execute("create database by_root")
    trove.restart(instance.id)
    trove.wait_active(instance.id)
    assert client.execute("select count(*) from t") == [["0"]]
    trove.delete_user(instance.id, "ann")
    eventually(lambda: "ann" not in instance.account_names())
    assert instance.guest.sh("systemctl --failed --plain --no-legend") == ""
