"""An image's root, booted by systemd-nspawn, under the real control plane."""

from __future__ import annotations

from image.conftest import created
from lab.fetch.image import Image
from lab.lab import Lab
from lab.waiting import eventually
from scenarios.conftest import DATABASE, PASSWORD, USER


def test_life(lab: Lab, image: Image) -> None:
    """ACTIVE, used, restarted, rebooted, stopped and rebooted, started."""
    series = lab.offer_image(image, virtual=False)
    with created(lab, image.datastore, series) as instance:
        trove, guest, unit = instance.trove, instance.guest, instance.product.unit
        assert guest.sh("systemctl --failed --plain --no-legend") == ""
        client = instance.login(USER, PASSWORD, DATABASE)
        client.execute("create table kept (id int primary key)")
        client.execute("insert into kept values (42)")

        trove.restart(instance.id)
        trove.wait_active(instance.id)
        assert client.execute("select id from kept") == [["42"]]

        reboot(instance.lab, guest)
        eventually(lambda: guest.unit(unit)["ActiveState"] == "active", 60)
        trove.wait_active(instance.id)
        assert client.execute("select id from kept") == [["42"]]

        lab.rpc(instance.id).call("stop_db", version="1.1")
        eventually(lambda: guest.unit(unit)["ActiveState"] == "inactive", 60)
        reboot(instance.lab, guest)
        guest.wait_message("Status reported. status=shutdown", 60)
        assert guest.unit(unit)["ActiveState"] == "inactive"
        lab.rpc(instance.id).call("restart", timeout=60)
        trove.wait_active(instance.id)
        assert client.execute("select id from kept") == [["42"]]


def reboot(lab: Lab, guest) -> None:
    """Nova's soft reboot, to the end of the boot."""
    before = guest.leader()
    lab.openstack("admin").run("server", "reboot", guest.id)
    eventually(lambda: guest.running() and guest.leader() != before, 120)
    guest.wait_booted()
