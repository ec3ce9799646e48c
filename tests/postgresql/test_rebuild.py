"""New root disks below the same data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backups.steps import Owner, created
from lab.lab import Lab
from lab.waiting import eventually
from scenarios.day2 import Group, rebuild, show, stop

# As the image of a container leaves it on the volume.
FOREIGN = """\
set -e
cd /var/lib/postgresql
echo 'local all all trust' > data/pgdata/pg_hba.conf
echo 'max_connections = 120' >> data/pgdata/postgresql.auto.conf
mkdir -p conf.d
printf '[client]\\nuser = postgres\\npassword = old\\nhost = localhost\\n' > conf.d/postgres.cnf
chown -R 4711:4711 data
chmod 0777 data/pgdata
"""


@pytest.fixture(scope="module")
def owner(lab: Lab) -> Iterator[Owner]:
    with created(lab, "postgresql", megabytes=8) as owner:
        yield owner


def test_rebuild(owner: Owner) -> None:
    """Data, users and the configuration group are there; the disk is not."""
    group = Group(owner, {"work_mem": "9MB"})
    group.attach()
    eventually(lambda: show(owner, "work_mem") == "9MB")
    sums = owner.checksums("filler")
    for _ in range(2):
        rebuild(owner)
        assert owner.checksums("filler") == sums
        assert show(owner, "work_mem") == "9MB"
        assert owner.told() == {"created"}
    root = owner.trove.enable_root(owner.id)
    owner.login("root", root["password"]).execute("create database by_root")
    assert owner.guest.sh("systemctl --failed --plain --no-legend") == ""
    group.detach()
    group.remove()


def test_volume_of_another_agent(owner: Owner) -> None:
    """It keeps its data and its limits, and nobody is trusted any more."""
    sums = owner.checksums("filler")
    stop(owner)
    owner.guest.sh(FOREIGN)
    rebuild(owner)
    assert owner.checksums("filler") == sums
    assert show(owner, "max_connections") == "120"
    query = "select count(*) from pg_hba_file_rules where auth_method = 'trust'"
    assert owner.admin(query) == [["0"]]
    found = owner.guest.sh("stat --format '%U %a' /var/lib/postgresql/data/pgdata")
    assert found.split() == ["database", "700"]


def test_empty_volume(owner: Owner) -> None:
    """Nothing is made in the place of data that is not there. Leaves a wreck."""
    stop(owner)
    owner.guest.sh("cd /var/lib/postgresql/data && mv pgdata elsewhere")
    arguments = {"ds_version": "17", "config_contents": "", "config_overrides": {}}
    owner.lab.rpc(owner.id).cast("rebuild", version="1.2", **arguments)
    owner.guest.wait_message("There is no data in /var/lib/postgresql/data/pgdata", 60)
    assert owner.guest.sh("ls /var/lib/postgresql/data/pgdata", check=False) == ""
    # The data was only away: it is found at the next time.
    owner.guest.sh("cd /var/lib/postgresql/data && mv elsewhere pgdata")
    rebuild(owner)
    assert owner.told() == {"created"}
