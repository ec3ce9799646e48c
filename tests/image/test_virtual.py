"""An image booted as a virtual machine, in emulation: minutes where a cloud takes
seconds. `make test-image-vm`.

One life, in order: boot with a blank volume as /dev/vdb and the injected files on a
config drive, ACTIVE, users, restart, backup, reboot, stop and reboot, a new root
disk below the same data.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from backups.steps import Owner
from image.conftest import created, record
from lab.clients.backups import BackupClient
from lab.fetch import host
from lab.fetch.image import Image
from lab.guests.virtual_guest import VirtualGuest
from lab.lab import Lab
from lab.progress import Progress
from lab import network, settings
from lab.waiting import eventually
from scenarios.conftest import DATABASE, PASSWORD, USER
from scenarios.day2 import rebuild

# A boot in emulation, with another program on the machine's second processor.
BOOT = 900.0


@pytest.fixture(scope="module")
def owner(lab: Lab, image: Image) -> Iterator[Owner]:
    """An instance that has become ACTIVE; how long that took is recorded."""
    assert settings.patience() > 1, "run this by `make test-image-vm`"
    with network.outside():
        host.ensure_packages(Progress(), settings.versions().vm_packages)
    series = lab.offer_image(image, virtual=True)
    started = time.monotonic()
    with created(lab, image.datastore, series, timeout=BOOT) as owner:
        took = time.monotonic() - started
        record(image.datastore, emulated_boot_to_active_s=round(took, 1))
        yield owner


def test_guest_is_a_machine_of_its_own(owner: Owner) -> None:
    """Its own kernel, its own disks, the account and the files of cloud-init."""
    guest = owner.guest
    assert isinstance(guest, VirtualGuest)
    assert guest.sh("systemd-detect-virt").strip() in ("qemu", "kvm")
    assert guest.sh("findmnt --noheadings --output=SOURCE /").strip() == "/dev/vda1"
    mount = owner.product.mount_point
    assert guest.sh(f"findmnt --noheadings --output=SOURCE {mount}").strip() == "/dev/vdb"
    owners = guest.sh("stat --format='%U %a' /etc/trove/conf.d/guest_info.conf")
    assert owners.split() == ["ubuntu", "640"]
    assert guest.sh("cloud-init status", check=False).strip() == "status: done"
    assert guest.sh("systemctl --failed --plain --no-legend") == ""


def test_volume_grows_while_mounted(owner: Owner) -> None:
    """ext4 online, which the sandbox of a container may not allow."""
    guest, mount = owner.guest, owner.product.mount_point
    assert guest.sh(f"findmnt --noheadings --output=FSTYPE {mount}").strip() == "ext4"
    server = guest.unit(owner.product.unit)["MainPID"]
    owner.trove.resize_volume(owner.id, 2)
    eventually(lambda: int(guest.sh(f"df --output=size --block-size=1M {mount} | tail -n1")) > 1500, 120)
    owner.trove.wait_active(owner.id, timeout=BOOT)
    assert guest.unit(owner.product.unit)["MainPID"] == server


def test_journal_and_console_tell_the_boot(owner: Owner) -> None:
    """From the start of the agent to ACTIVE on one screen; the console has no alarm."""
    said = [message for message in owner.guest.messages() if not message.startswith("Call ")]
    at = [next(i for i, m in enumerate(said) if m.startswith(text)) for text in TOLD]
    assert at == sorted(at), said
    assert "trove-guestagent" not in owner.guest.console()
    for priority in ("info", "warning"):
        say = ["systemd-cat", "--identifier=trove-guestagent", f"--priority={priority}"]
        owner.guest.run([*say, "echo", f"of priority {priority}"])
    eventually(lambda: "of priority warning" in owner.guest.console(), 60)
    assert "of priority info" not in owner.guest.console()


# In this order.
TOLD = (
    "Agent started.",
    "Connected to the broker.",
    "Listening.",
    "Instance prepared.",
    "Status reported. status=healthy",
)


def test_users_and_restart(owner: Owner) -> None:
    client = owner.login(USER, PASSWORD, DATABASE)
    client.execute("create table kept (id int primary key)")
    client.execute("insert into kept values (42)")
    owner.trove.create_users(
        owner.id, {"name": "ann", "password": "ann-pass-1", "databases": [{"name": DATABASE}]}
    )
    ann = owner.login("ann", "ann-pass-1", DATABASE)
    eventually(lambda: ann.execute("select 1") == [["1"]], 60)
    assert {user["name"] for user in owner.trove.users(owner.id)} == {USER, "ann"}
    owner.trove.restart(owner.id)
    owner.trove.wait_active(owner.id, timeout=BOOT)
    eventually(lambda: client.execute("select id from kept") == [["42"]], 60)


def test_backup(owner: Owner) -> None:
    """Into the real Swift outside of the machine."""
    backups = BackupClient(owner.trove)
    backup_id = backups.create("from a machine", owner.id)
    eventually(lambda: backups.show(backup_id)["status"] in ("COMPLETED", "FAILED"), 300)
    assert backups.show(backup_id)["status"] == "COMPLETED"
    backups.delete(backup_id)


def reboot(owner: Owner) -> None:
    """Nova's soft reboot: the power button, and on again."""
    before = owner.guest.leader()
    owner.lab.openstack("admin").run("server", "reboot", owner.guest.id)
    eventually(lambda: owner.guest.running() and owner.guest.leader() != before, 400)
    owner.guest.wait_booted(timeout=BOOT)


def test_reboot_brings_the_database_back(owner: Owner) -> None:
    reboot(owner)
    owner.trove.wait_active(owner.id, timeout=BOOT)
    client = owner.login(USER, PASSWORD, DATABASE)
    eventually(lambda: client.execute("select id from kept") == [["42"]], 120)


def test_stopped_database_stays_down(owner: Owner) -> None:
    unit = owner.product.unit
    owner.lab.rpc(owner.id).call("stop_db", version="1.1", timeout=60)
    eventually(lambda: owner.guest.unit(unit)["ActiveState"] == "inactive", 120)
    reboot(owner)
    owner.guest.wait_message("Status reported. status=shutdown", 120)
    assert owner.guest.unit(unit)["ActiveState"] == "inactive"
    owner.lab.rpc(owner.id).call("restart", timeout=180)
    owner.trove.wait_active(owner.id, timeout=BOOT)


def test_rebuild(owner: Owner) -> None:
    """A new root disk; the data are found on the volume."""
    rebuild(owner)
    client = owner.login(USER, PASSWORD, DATABASE)
    eventually(lambda: client.execute("select id from kept") == [["42"]], 120)
