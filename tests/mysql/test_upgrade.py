"""Other versions of the server, asked for through the API.

A guest's image decides what is installed, and Debian has one version of each
product: what can be shown is the way to the same version, and what is refused.
"""

from __future__ import annotations

from backups.steps import Owner
from lab import settings
from lab.lab import Lab
from lab.waiting import eventually
from scenarios.day2 import LIMIT, refused, register, server, upgrade
from scenarios.together import at_once

INFO = "/var/lib/mysql/data/mysql_upgrade_info"
PROGRAM = "/usr/bin/mariadb-upgrade"


def series(owner: Owner) -> str:
    return settings.versions().datastore(owner.datastore).series


def test_versions_that_are_not_there(lab: Lab, owners: list[Owner]) -> None:
    """The log says what is installed; an older one is no way either."""

    def story(owner: Owner) -> None:
        datastore = settings.versions().datastore(owner.datastore)
        for name, number, words in [
            ("99-of-nobody", "99.1", "99.1 is not installed"),
            ("5-of-old", "5.5.1", "there is no way back"),
        ]:
            register(lab, f"{owner.datastore}-{name}", number, datastore)
            told = refused(owner, f"{owner.datastore}-{name}", words)
            assert series(owner) in told

    at_once(story, owners)


def test_same_version(owners: list[Owner]) -> None:
    def story(owner: Owner) -> None:
        before = server(owner)
        upgrade(owner, f"{series(owner)}-next")
        owner.guest.wait_message("of that version already", LIMIT)
        owner.trove.wait_active(owner.id)
        assert server(owner) == before
        shown = owner.trove.instance(owner.id)
        assert shown["datastore"]["version"] == f"{series(owner)}-next"

    at_once(story, owners)


def test_data_of_an_older_server(lab: Lab, owners: list[Owner]) -> None:
    """Its tables are upgraded, and a failure of that is told."""
    (owner,) = (owner for owner in owners if owner.datastore == "mariadb")
    guest = owner.guest
    guest.sh(f"printf 10.6.1-MariaDB > {INFO} && mv {PROGRAM} {PROGRAM}.away")
    datastore = settings.versions().datastore("mariadb")
    for name in ("in-vain", "again"):
        register(lab, name, series(owner), datastore)
    told = refused(owner, "in-vain", "there is no mariadb-upgrade")
    assert "10.6.1" in told
    guest.sh(f"mv {PROGRAM}.away {PROGRAM}")
    upgrade(owner, "again")
    guest.wait_message("Upgrading the system tables.", LIMIT)
    owner.trove.wait_active(owner.id)
    eventually(lambda: series(owner) in guest.read_file(INFO))
    assert owner.told() == {"created"}
