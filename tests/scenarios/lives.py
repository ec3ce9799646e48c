"""Everything in an instance's life that has to do with a secret."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lab import network, rabbitmq, swift
from lab.clients import identity
from lab.clients.backups import BackupClient
from lab.cloud.keystone import ACCOUNTS, PROJECTS
from lab.lab import Lab
from lab.waiting import eventually

from scenarios.canaries import Canaries, Watched, powered_on
from scenarios.conftest import Instance, delete, guests_with

CONFIG = "etc/trove/conf.d"
LOGINS = "var/lib/mysql/conf.d"
GENERAL_LOG = "/var/lib/mysql/data/general.log"
# MySQL has a binary log unless told otherwise, MariaDB has none.
BINARY_LOG = "[mysqld]\nserver_id = 1\nlog_bin = binlog\n"
SERVERS = {"mysql": "/usr/sbin/mysqld", "mariadb": "/usr/sbin/mariadbd"}
AGENT = "/usr/local/bin/trove-guestagent"
# Slow enough, and too much for one part, so that a look in the middle of a
# backup is one.
BANDWIDTH = 16 << 20
FILLER = (
    "create table app.filler (id int auto_increment primary key, bytes blob);"
    "insert into app.filler (bytes) values (random_bytes(1024));"
    + "insert into app.filler (bytes) select random_bytes(1024) from app.filler;" * 15
)
# Nobody listens there.
NOBODY = f"http://{network.LAB_ADDRESS}:9/v1/AUTH_"


@dataclass
class Life:
    """An instance, one made of its backup, and one that could not be made."""

    lab: Lab
    datastore: str
    canaries: Canaries
    source: Watched
    copy: Watched | None = None
    refused: Watched | None = None
    # Modes of the files that held a secret in the middle of a backup or restore.
    transient: dict[str, set[int]] = field(default_factory=dict)
    # What users and callers were told about failures.
    told: list[str] = field(default_factory=list)

    @property
    def watched(self) -> list[Watched]:
        return [one for one in (self.source, self.copy, self.refused) if one is not None]

    def look_inside(self, watched: Watched) -> str:
        """A look in the middle of something; the processes."""
        for name, status in self.canaries.in_files(self.lab, watched.guest).items():
            self.transient.setdefault(name, set()).add(status.st_mode & 0o7777)
        return watched.look()


def store_options(canaries: Canaries) -> dict[str, Any]:
    """What the guests know about stores, with secrets of all kinds."""
    account = ACCOUNTS["demo"]
    canaries.needles["S3 secret"] = account.s3_secret
    return {
        "backup_bandwidth": BANDWIDTH,
        "backup_encryption_passphrase": canaries.plain("passphrase of backups"),
        "s3_endpoint": swift.S3_URL,
        "s3_region": swift.S3_REGION,
        "s3_path_style": True,
        "s3_access_key": account.s3_access,
        "s3_secret_key": account.s3_secret,
    }


@contextmanager
def lived(lab: Lab, datastore: str, directory: Path) -> Iterator[Life]:
    """A whole life, recorded from the boots on; all of it is deleted afterwards."""
    trove, canaries = lab.trove(), Canaries()
    life = Life(lab, datastore, canaries, Watched(Instance(lab, trove, "", datastore, "")))
    options = store_options(canaries)
    first = canaries.password("the first user")
    user = {"name": "first", "password": first, "databases": [{"name": "app"}]}
    try:
        with guests_with(lab, **options):
            create(life.source, directory, databases=["app"], users=[user])
            with life.source.recorded(directory):
                users(life, first)
                backup_id = back_up(life)
                fail_to_back_up(life)
                by_hand(life)
            life.copy = restore(life, backup_id, directory)
        options["backup_encryption_passphrase"] = canaries.plain("another passphrase")
        with guests_with(lab, **options):
            life.refused = fail_to_restore(life, backup_id, directory)
        learn(life)
        yield life
    finally:
        for watched in life.watched:
            if watched.instance.id:
                delete(trove, watched.instance.id)


def begin(watched: Watched, **more: Any) -> None:
    """Ask for the instance and wait for its boot."""
    instance = watched.instance
    name = f"secrets-{uuid.uuid4().hex[:6]}"
    instance.id = instance.trove.create_instance(name, instance.datastore, **more)["id"]
    powered_on(instance.lab, instance.id)


def create(watched: Watched, directory: Path, **more: Any) -> None:
    """Until it is ACTIVE."""
    begin(watched, **more)
    instance = watched.instance
    with watched.recorded(directory):
        active = instance.trove.wait_active(instance.id)
    instance.address = instance.trove.address(active)


def users(life: Life, first: str) -> None:
    """Users and root come, change and go."""
    canaries, watched, instance = life.canaries, life.source, life.source.instance
    trove = instance.trove
    logs_in(instance, "first", first)
    instance.guest.write_file("/etc/mysql/conf.d/90-binary-log.cnf", BINARY_LOG)
    trove.restart(instance.id)
    trove.wait_active(instance.id)
    instance.admin(
        f"set global general_log_file = '{GENERAL_LOG}'; "
        "set global log_output = 'FILE'; set global general_log = 1"
    )
    ann, bob = canaries.password("ann"), canaries.password("bob")
    trove.create_users(
        instance.id,
        {"name": "ann", "password": ann, "databases": [{"name": "app"}]},
        {"name": "bob", "password": bob, "host": "198.51.100.%"},
    )
    logs_in(instance, "ann", ann)
    logs_in(instance, "bob", bob)
    watched.look()
    ann = canaries.password("ann, changed")
    trove.change_passwords(instance.id, {"name": "ann", "password": ann})
    logs_in(instance, "ann", ann)
    watched.look()
    anna = canaries.password("ann, renamed")
    trove.update_user(instance.id, "ann", {"name": "anna", "password": anna})
    logs_in(instance, "anna", anna)
    watched.look()
    generated = trove.enable_root(instance.id)["password"]
    canaries.needles["password of root, generated"] = generated
    logs_in(instance, "root", generated)
    root = canaries.password("root")
    trove.enable_root(instance.id, root)
    logs_in(instance, "root", root)
    watched.look()
    trove.restart(instance.id)
    trove.wait_active(instance.id)
    logs_in(instance, "anna", anna)
    watched.look()


def logs_in(instance: Instance, user: str, password: str) -> None:
    """The password is the one that counts now."""
    eventually(lambda: instance.login(user, password).execute("select 1") == [["1"]])


def back_up(life: Life) -> str:
    """A backup into Swift, looked at all the time; its id."""
    instance = life.source.instance
    instance.admin(FILLER)
    # Travels in the context of every request of this account.
    life.canaries.needles["token"] = instance.trove.token
    backups = BackupClient(instance.trove)
    backup_id = backups.create("canary", instance.id)
    looks = watch_backup(life, backups, backup_id)
    if life.datastore == "mariadb":
        assert any("/mariadb-backup" in look for look in looks)
    assert backups.show(backup_id)["status"] == "COMPLETED"
    return backup_id


def watch_backup(life: Life, backups: BackupClient, backup_id: str) -> list[str]:
    """Look until the backup has ended; the processes of every look."""
    looks = []
    while backups.show(backup_id)["status"] in ("NEW", "BUILDING"):
        looks.append(life.look_inside(life.source))
    return looks


def fail_to_back_up(life: Life) -> None:
    """One whose token ends on the way, and one whose store is not there."""
    instance = life.source.instance
    other = life.lab.trove()
    backups = BackupClient(other)
    backup_id = backups.create("in vain", instance.id)
    life.canaries.needles["revoked token"] = other.token
    mine = BackupClient(instance.trove)
    eventually(lambda: mine.show(backup_id)["status"] == "BUILDING")
    identity.revoke(other.token)
    watch_backup(life, mine, backup_id)
    assert mine.show(backup_id)["status"] == "FAILED"
    eventually(lambda: "token" in fault(instance), 30)
    life.told.append(fault(instance))

    token = life.canaries.plain("token of a direct caller")
    url = NOBODY + PROJECTS[ACCOUNTS["demo"].project]
    info = {"id": str(uuid.uuid4()), "storage_driver": "swift", "swift_url": url}
    # What the exceptions of a call to a guest have in common.
    try:
        agent = life.lab.rpc(instance.id, token=token)
        agent.call("create_backup", backup_info=info, timeout=60)
    except Exception as error:
        life.told.append(repr(error))
    assert info["id"] in life.told[-1], life.told


def by_hand(life: Life) -> None:
    """Backups into S3 from the command line: one that works, one that does not."""
    guest, container = life.source.guest, f"canary-{uuid.uuid4().hex[:8]}"
    # As a unit it is a child of the guest's init, and is recorded.
    command = ["systemd-run", "--wait", "--pipe", "--quiet", AGENT]
    command += ["--config-dir=/etc/trove/conf.d", "backup", "create", "--store=s3"]
    works = guest.run([*command, "--id=by-hand", f"--container={container}"])
    fails = guest.run([*command, "--id=by-hand", "--container=x"], check=False)
    assert "by-hand" in works.stdout
    assert fails.returncode != 0
    life.told += [works.stdout, works.stderr, fails.stdout, fails.stderr]
    life.lab.objects().clear(container)


def fault(instance: Instance) -> str:
    """What the instance's user reads about its last failure."""
    found = instance.trove.instance(instance.id).get("fault") or {}
    return str(found.get("message", ""))


def restore(life: Life, backup_id: str, directory: Path) -> Watched:
    """A new instance from the backup, looked at all the time."""
    watched = life.copy = another(life)
    instance, looks = watched.instance, 0
    begin(watched, restorePoint={"backupRef": backup_id})
    mark = ["test", "-e", "/var/lib/mysql/.restoring"]
    with watched.recorded(directory):
        while instance.trove.instance(instance.id)["status"] == "BUILD":
            life.look_inside(watched)
            looks += instance.guest.run(mark, check=False).returncode == 0
        active = instance.trove.wait_active(instance.id)
    assert looks > 0, "nobody saw the restore"
    instance.address = instance.trove.address(active)
    return watched


def fail_to_restore(life: Life, backup_id: str, directory: Path) -> Watched:
    """A new instance that has another key than the backup."""
    watched = life.refused = another(life)
    begin(watched, restorePoint={"backupRef": backup_id})
    with watched.recorded(directory):
        option = "backup_encryption_passphrase"
        eventually(lambda: option in fault(watched.instance), 120)
        life.look_inside(watched)
    life.told.append(fault(watched.instance))
    return watched


def another(life: Life) -> Watched:
    """For one more instance of the same user."""
    instance = life.source.instance
    return Watched(Instance(life.lab, instance.trove, "", life.datastore, ""))


def learn(life: Life) -> None:
    """Secrets that the control plane and the agents made."""
    needles = life.canaries.needles
    needles["broker's password"] = rabbitmq.PASSWORD
    needles["broker's password in a URL"] = quote(rabbitmq.PASSWORD, safe="")
    for number, watched in enumerate(life.watched):
        info = watched.guest.read_file(f"/{CONFIG}/guest_info.conf")
        (key,) = re.findall(r"^instance_rpc_encr_key\s*=\s*(\S+)", info, re.M)
        needles[f"key {number}"] = key
        if watched is life.refused:
            continue
        for user in ("os_admin", "root"):
            login = watched.guest.read_file(f"/{LOGINS}/{user}.cnf")
            (password,) = re.findall(r"^password\s*=\s*(\S+)", login, re.M)
            needles[f"password {number} in {user}.cnf"] = password
    assert all(len(needle) >= 15 for needle in needles.values())
