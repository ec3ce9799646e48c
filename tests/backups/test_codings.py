"""Other ways to store a backup than upstream's, through the control plane.

One MariaDB instance whose agent is configured anew for each of them; the
instances that are made of its backups are configured the same way.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from backups.steps import Owner, Record, created, restored, restoring, wait_failed
from lab.lab import Lab
from scenarios.conftest import PASSWORD, USER, guests_with

PASSPHRASE = "a passphrase: 'quoted', with # and %"
TABLES = ("told", "filler")
# Options, the end of the object's name, and the first bytes of the object.
CODINGS = {
    "zstd": ({"backup_compression": "zstd"}, ".zst", b"\x28\xb5\x2f\xfd"),
    "none": ({"backup_compression": "none"}, "", b"XBSTCK01"),
    "encrypted": (
        {"backup_encryption_passphrase": PASSPHRASE},
        ".gz.age",
        b"age-encryption.org/v1\n",
    ),
    "zstd, encrypted": (
        {"backup_compression": "zstd", "backup_encryption_passphrase": PASSPHRASE},
        ".zst.age",
        b"age-encryption.org/v1\n",
    ),
}


@pytest.fixture(scope="module")
def instance(lab: Lab) -> Iterator[Owner]:
    with created(lab, "mariadb", megabytes=20) as owner:
        yield owner


@contextmanager
def configured(instance: Owner, options: dict[str, str]) -> Iterator[None]:
    """The instance's own agent, and those of instances made inside of the block."""
    path = "/etc/trove/conf.d/trove-guestagent.conf"
    before = instance.guest.read_file(path)
    with guests_with(instance.lab, **options):
        configure(instance, path, instance.lab.guest_conf.read_text())
        try:
            yield
        finally:
            configure(instance, path, before)


def configure(instance: Owner, path: str, text: str) -> None:
    """Replace the agent's configuration and start it again."""
    guest, before = instance.guest, instance.guest.agent_pid()
    guest.write_file(path, text)
    guest.run(["systemctl", "restart", "trove-guestagent.service"])
    guest.wait_agent_restarted(before)


def check_stored(instance: Owner, made: Record, suffix: str, magic: bytes) -> None:
    """The object is what its name says."""
    assert made.object == f"{made.id}.xbstream{suffix}"
    body = instance.objects.get(made.container, made.object)
    assert body.startswith(magic)
    # What does not compress is stored as it is, so that only age hides it.
    if suffix.endswith(".age"):
        assert b"XBSTCK01" not in body
    if suffix == ".zst":
        argv = ["zstd", "--test", "--quiet"]
        subprocess.run(argv, input=body, check=True, capture_output=True)
    shown = instance.backups.show(made.id)
    assert (shown["status"], shown["locationRef"]) == ("COMPLETED", made.location)


@pytest.mark.parametrize(
    ("options", "suffix", "magic"), CODINGS.values(), ids=CODINGS.keys()
)
def test_there_and_back(
    instance: Owner, container: str, options: dict[str, str], suffix: str, magic: bytes
) -> None:
    """A full backup as others make it, and an increment stored in another way."""
    full = instance.back_up(container)
    assert full.object.endswith(".xbstream.gz")
    with configured(instance, options):
        instance.write(f"before the backup with {suffix} in {container}")
        increment = instance.back_up(container, parent=full.id)
        check_stored(instance, increment, suffix, magic)
        expected = instance.checksums(*TABLES)
        with restored(instance.lab, "mariadb", increment.id) as copy:
            assert copy.checksums(*TABLES) == expected
            assert copy.login(USER, PASSWORD).execute("select 1") == [["1"]]


def test_without_the_key(instance: Owner, container: str) -> None:
    """The instance fails and names the option; its server never starts."""
    with configured(instance, {"backup_encryption_passphrase": PASSPHRASE}):
        made = instance.back_up(container)
    with restoring(instance.lab, "mariadb", made.id) as copy:
        told = wait_failed(copy, "backup_encryption_passphrase")
        assert made.object in told
        assert copy.guest.unit("mariadb.service")["ActiveState"] == "inactive"
