"""Secrets stay where they belong through the whole life of an instance.

Every password is a canary; after the life the guest is searched for them:
arguments and environments of all programs, the journal, and every file.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest

from lab import rabbitmq, settings
from lab.guests.guest import Guest
from lab.lab import Lab
from lab.settings import DATASTORES
from lab.waiting import eventually

from scenarios.conftest import Instance, delete

# Follows every canary: what must be quoted in SQL, URLs and option files.
AWKWARD = "'\\%:\"w"
CONFIG = "etc/trove/conf.d"
LOGINS = "var/lib/mysql/conf.d"
GENERAL_LOG = "/var/lib/mysql/data/general.log"
# MySQL has a binary log unless told otherwise, MariaDB has none.
BINARY_LOG = "[mysqld]\nserver_id = 1\nlog_bin = binlog\n"
SERVERS = {"mysql": "/usr/sbin/mysqld", "mariadb": "/usr/sbin/mariadbd"}

# The only files that may hold secrets.
PRIVATE = {
    f"{CONFIG}/guest_info.conf",
    f"{CONFIG}/trove-guestagent.conf",
    f"{LOGINS}/os_admin.cnf",
    f"{LOGINS}/root.cnf",
}


@dataclass
class Life:
    """An instance's life and what was seen of it."""

    instance: Instance
    # Text to search for, by what it is.
    needles: dict[str, str] = field(default_factory=dict)
    # Arguments and environments, one JSON object per line.
    executions: str = ""
    # Of all processes, at several moments.
    processes: list[str] = field(default_factory=list)

    def password(self, owner: str) -> str:
        """A new password; the part of it that no quoting changes is a needle."""
        core = f"canary{secrets.token_hex(12)}"
        self.needles[f"password of {owner}"] = core
        return core + AWKWARD

    def found_in(self, text: str) -> list[str]:
        """What the text gives away."""
        return [what for what, needle in self.needles.items() if needle in text]

    def look(self) -> None:
        """Keep the arguments and environments of all processes now."""
        script = "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null"
        self.processes.append(self.instance.guest.sh(script, check=False))


def powered_on(lab: Lab, instance_id: str) -> Guest:
    """The guest as soon as its init runs, long before its agent does."""

    def running() -> bool:
        return any(g.instance_id == instance_id and g.running() for g in lab.guests())

    eventually(running, 60)
    return lab.guest(instance_id)


@contextmanager
def recorded(guest: Guest, path: Path) -> Iterator[None]:
    """Record every program that starts in the guest."""
    argv = [sys.executable, "-m", "scenarios.executions", str(guest.leader().pid), str(path)]
    follower = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(settings.LAB_DIR.parent)},
    )
    try:
        assert follower.stdout is not None and follower.stdout.readline()
        yield
        assert follower.poll() is None, "the guest was not followed to the end"
    finally:
        follower.terminate()
        follower.wait()


def live(life: Life) -> None:
    """Everything that has to do with a password, on a running instance."""
    trove, instance = life.instance.trove, life.instance
    instance.guest.write_file("/etc/mysql/conf.d/90-binary-log.cnf", BINARY_LOG)
    trove.restart(instance.id)
    trove.wait_active(instance.id)
    instance.admin(
        f"set global general_log_file = '{GENERAL_LOG}'; "
        "set global log_output = 'FILE'; set global general_log = 1"
    )
    ann, bob = life.password("ann"), life.password("bob")
    trove.create_users(
        instance.id,
        {"name": "ann", "password": ann, "databases": [{"name": "app"}]},
        {"name": "bob", "password": bob, "host": "198.51.100.%"},
    )
    logs_in(instance, "ann", ann)
    logs_in(instance, "bob", bob)
    life.look()
    ann = life.password("ann, changed")
    trove.change_passwords(instance.id, {"name": "ann", "password": ann})
    logs_in(instance, "ann", ann)
    life.look()
    anna = life.password("ann, renamed")
    trove.update_user(instance.id, "ann", {"name": "anna", "password": anna})
    logs_in(instance, "anna", anna)
    life.look()
    generated = trove.enable_root(instance.id)["password"]
    life.needles["password of root, generated"] = generated
    logs_in(instance, "root", generated)
    root = life.password("root")
    trove.enable_root(instance.id, root)
    logs_in(instance, "root", root)
    life.look()
    trove.restart(instance.id)
    trove.wait_active(instance.id)
    logs_in(instance, "anna", anna)
    life.look()


def logs_in(instance: Instance, user: str, password: str) -> None:
    """The password is the one that counts now."""
    eventually(lambda: instance.login(user, password).execute("select 1") == [["1"]])


def learn(life: Life) -> None:
    """Secrets that the control plane and the agent made."""
    guest = life.instance.guest
    info = guest.read_file(f"/{CONFIG}/guest_info.conf")
    (life.needles["key"],) = re.findall(r"^instance_rpc_encr_key\s*=\s*(\S+)", info, re.M)
    life.needles["broker's password"] = rabbitmq.PASSWORD
    life.needles["broker's password in a URL"] = quote(rabbitmq.PASSWORD, safe="")
    for user in ("os_admin", "root"):
        login = guest.read_file(f"/{LOGINS}/{user}.cnf")
        (password,) = re.findall(r"^password\s*=\s*(\S+)", login, re.M)
        life.needles[f"password in {user}.cnf"] = password
    # Travels in the context of every request.
    token = life.instance.trove._session.headers["X-Auth-Token"]
    life.needles["token"] = str(token)
    assert all(len(needle) >= 16 for needle in life.needles.values())


@pytest.fixture(scope="module", params=DATASTORES)
def life(
    lab: Lab, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Life]:
    """Create, users, passwords, root and restart; recorded from the boot on."""
    lab.use_mode("encrypted")
    trove = lab.trove()
    life = Life(Instance(lab, trove, "", request.param, ""))
    first = life.password("the first user")
    user = {"name": "first", "password": first, "databases": [{"name": "app"}]}
    created = trove.create_instance(
        f"secrets-{request.param}", request.param, databases=["app"], users=[user]
    )
    life.instance.id = created["id"]
    record = tmp_path_factory.mktemp("secrets") / "executions"
    try:
        with recorded(powered_on(lab, created["id"]), record):
            life.instance.address = trove.address(trove.wait_active(created["id"]))
            logs_in(life.instance, "first", first)
            live(life)
        learn(life)
        life.executions = record.read_text()
        yield life
    finally:
        delete(trove, created["id"])


def search(places: list[Path], needles: list[str], directory: Path) -> list[Path]:
    """Regular files below `places` that hold any of the needles."""
    patterns = directory / "needles"
    patterns.write_text("\n".join(needles) + "\n")
    grep = ["grep", "--files-with-matches", "--text", "--fixed-strings"]
    done = subprocess.run(
        ["find", *map(str, places), "-xdev", "-type", "f"]
        + ["-exec", *grep, f"--file={patterns}", "{}", "+"],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
    )
    gone = "No such file or directory"
    assert [line for line in done.stderr.splitlines() if gone not in line] == []
    return [Path(line) for line in done.stdout.splitlines()]


@pytest.fixture
def places(life: Life) -> dict[Path, str]:
    """Everything written since the image: root disk, volume and memory, and
    what these are called in the guest."""
    guest = life.instance.guest
    inside = Path(f"/proc/{guest.leader().pid}/root")
    mounts = ("var/lib/mysql", "run", "tmp", "dev/shm")
    root_disk = life.instance.lab.state / "guests" / guest.id / "upper"
    return {root_disk: "", **{inside / mount: f"{mount}/" for mount in mounts}}


def test_arguments_and_environments(life: Life) -> None:
    """Of every program that was started, and of every process at rest."""
    started = [json.loads(line)["argv"][0] for line in life.executions.splitlines()]
    assert "/usr/local/bin/trove-guestagent" in started
    assert SERVERS[life.instance.datastore] in started
    assert any(program.endswith("mkfs.ext4") for program in started), sorted(set(started))
    seen = [json.loads(line) for line in life.executions.splitlines()]
    talkative = [entry["argv"] for entry in seen if life.found_in("\0".join(
        entry["argv"] + entry["environment"]))]  # fmt: skip
    assert talkative == []
    assert len(life.processes) == 5
    for snapshot in life.processes:
        assert SERVERS[life.instance.datastore] in snapshot
        assert life.found_in(snapshot) == []


def test_journal(life: Life) -> None:
    """Every field of every entry of every unit, at debug level."""
    entries = life.instance.guest.journal(unit=None)
    assert any("Agent started." in str(entry.get("MESSAGE")) for entry in entries)
    for entry in entries:
        # Fields as they are: JSON would escape what is awkward.
        text = "\0".join(map(str, entry.values()))
        assert life.found_in(text) == [], entry.get("_CMDLINE")


def test_files(life: Life, places: dict[Path, str], tmp_path: Path) -> None:
    """Only four files hold secrets, and nobody but their owners reads those."""
    holding = {}
    for path in search(list(places), list(life.needles.values()), tmp_path):
        place = next(place for place in places if path.is_relative_to(place))
        holding[places[place] + str(path.relative_to(place))] = path.stat()
    assert set(holding) == PRIVATE
    for name, status in holding.items():
        assert status.st_mode & 0o007 == 0, f"{name} has mode {status.st_mode:o}"
        assert status.st_gid == 0, f"{name} belongs to group {status.st_gid}"
        # The owner of an injected file is whom the control plane named.
        if not name.startswith(CONFIG):
            assert status.st_uid == 0, f"{name} belongs to {status.st_uid}"


def test_logs_of_the_database(life: Life, tmp_path: Path) -> None:
    """Binary and general log know the users, and no password of them (that
    they hold no secret is part of the search in all files)."""
    data = Path(f"/proc/{life.instance.guest.leader().pid}/root/var/lib/mysql/data")
    logs = [path.name for path in search([data], ["anna"], tmp_path)]
    assert any(re.fullmatch(r"binlog\.\d+", name) for name in logs), logs
    assert Path(GENERAL_LOG).name in logs
