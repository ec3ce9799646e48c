"""Secrets stay where they belong through the whole life of an instance.

Every secret is a canary; after the life its guests are searched for them:
arguments and environments of all programs, the journal, and every file. So is
what users were told. Backups and restores are looked at while they run, too.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.lab import Lab
from lab.settings import DATASTORES

from scenarios.canaries import Canaries, search
from scenarios.lives import AGENT, CONFIG, GENERAL_LOG, LOGINS, TOOLS, Life, lived

# The only files that may hold secrets.
INJECTED = {f"{CONFIG}/guest_info.conf", f"{CONFIG}/trove-guestagent.conf"}
PRIVATE = {
    "mysql": {*INJECTED, f"{LOGINS}/os_admin.cnf", f"{LOGINS}/root.cnf"},
    "mariadb": {*INJECTED, f"{LOGINS}/os_admin.cnf", f"{LOGINS}/root.cnf"},
    # Its administrator has no password.
    "postgresql": INJECTED,
}
# What an agent remembers of a backup as long as it runs: the user's token.
JOURNAL = "var/lib/trove-guestagent/backup.json"


@pytest.fixture(scope="module", params=DATASTORES)
def life(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Life]:
    """Create, users, passwords, root, restart, backups and restores."""
    lab.use_mode("encrypted")
    with lived(lab, request.param, tmp_path_factory.mktemp("secrets")) as life:
        yield life


def test_arguments_and_environments(life: Life) -> None:
    """Of every program that was started, and of every process at several moments."""
    server = life.source.instance.product.program
    assert any(program.endswith("mkfs.ext4") for program in life.source.programs)
    for watched in life.watched:
        assert AGENT in watched.programs
        assert life.canaries.talkative(watched.executions) == []
        assert watched.processes != []
        for snapshot in watched.processes:
            assert life.canaries.found_in(snapshot) == []
    assert life.copy is not None
    for watched in (life.source, life.copy):
        assert server in watched.programs
        assert any(server in snapshot for snapshot in watched.processes)
    names = {Path(program).name for program in life.source.programs}
    assert TOOLS.get(life.datastore) in (None, *names)
    if life.datastore == "mariadb":
        # Unpacking and preparing them.
        names = {Path(program).name for program in life.copy.programs}
        assert "mariadb-backup" in names


def test_journal(life: Life) -> None:
    """Every field of every entry of every unit, at debug level."""
    for watched in life.watched:
        said = watched.guest.messages()
        assert any("Agent started." in line for line in said)
        assert life.canaries.in_journal(watched.guest) == []
    assert any("Backup completed." in line for line in life.source.guest.messages())


def test_files(life: Life) -> None:
    """Few files hold secrets, and nobody but their owners reads those."""
    private = PRIVATE[life.datastore]
    for watched in life.watched:
        holding = life.canaries.in_files(life.lab, watched.guest)
        assert set(holding) == (INJECTED if watched is life.refused else private)
        for name, status in holding.items():
            assert status.st_mode & 0o007 == 0, f"{name} has mode {status.st_mode:o}"
            assert status.st_gid == 0, f"{name} belongs to group {status.st_gid}"
            # The owner of an injected file is whom the control plane named.
            if not name.startswith(CONFIG):
                assert status.st_uid == 0, f"{name} belongs to {status.st_uid}"


def test_files_in_the_middle(life: Life) -> None:
    """What a backup or a restore needs as long as it runs is as private."""
    assert life.transient[JOURNAL] == {0o600}
    for name, modes in life.transient.items():
        # Until its agent runs, a new guest has these as cloud-init wrote them.
        if name not in INJECTED:
            assert all(mode & 0o077 == 0 for mode in modes), f"{name}: {modes}"


def test_what_is_told(life: Life) -> None:
    """Faults of instances, replies to callers and the output of commands."""
    # A token that ended, a store that is not there, two runs by hand with both
    # outputs, another passphrase.
    assert len(life.told) == 7
    for text in life.told:
        assert life.canaries.found_in(text) == [], text


def test_logs_of_the_database(life: Life) -> None:
    """Binary and general log know the users, and no password of them (that
    they hold no secret is part of the search in all files)."""
    product, guest = life.source.instance.product, life.source.guest
    data = Path(f"/proc/{guest.leader().pid}/root{product.data}")
    if life.datastore == "postgresql":
        said = guest.messages(product.unit)
        assert any("statement: select 1" in line for line in said)
        assert any("user=anna" in line for line in said)
        assert any(path.parent.name == "pg_wal" for path in search([data], ["anna"]))
        return
    logs = [path.name for path in search([data], ["anna"])]
    assert any(re.fullmatch(r"binlog\.\d+", name) for name in logs), logs
    assert Path(GENERAL_LOG).name in logs


def test_a_secret_that_gets_out_is_seen(life: Life, tmp_path: Path) -> None:
    """Wherever one is planted, the searches above find it."""
    planted, watched = Canaries(), life.source
    secret, guest = planted.plain("planted"), watched.guest
    tail = len(watched.executions)
    with watched.recorded(tmp_path):
        for index, argv in enumerate(
            (["env", f"TOKEN={secret}", "true"], ["/usr/bin/sh", "-c", f": {secret}"])
        ):
            run = ["systemd-run", "--wait", "--quiet", f"--unit=planted-{index}"]
            guest.run([*run, *argv])
        argv = ["systemd-run", "--service-type=exec", "--unit=planted"]
        guest.run([*argv, f"--setenv=TOKEN={secret}", "sleep", "600"])
        assert planted.found_in(watched.look()) == ["planted"]
        guest.run(["systemctl", "stop", "planted.service"])
    watched.processes.pop()
    started = planted.talkative(watched.executions[tail:])
    assert ["true"] in started
    assert ["/usr/bin/sh", "-c", f": {secret}"] in started
    assert ["/usr/bin/sleep", "600"] in started

    guest.run(["systemd-cat", "echo", f"the token is {secret}"])
    assert planted.in_journal(guest) != []
    names = {f"{place}/planted-{uuid.uuid4().hex}" for place in
             ("tmp", "var/log", life.source.instance.product.mount_point[1:], "run")
             }  # fmt: skip
    for name in names:
        guest.write_file(f"/{name}", f"token = {secret}\n")
    found = planted.in_files(life.lab, guest)
    assert names <= set(found)
    assert all(found[name].st_mode & 0o004 for name in names)
    for name in names:
        guest.run(["rm", f"/{name}"])
