"""A BUILD that does not go on, as an operator meets it: one look says why."""

from __future__ import annotations

from lab import rabbitmq
from lab.lab import Lab
from scenarios.conftest import delete
from scenarios.test_life import booting_guest, event

# Lines of a terminal.
SCREEN = 24


def test_broker_that_is_not_there(lab: Lab) -> None:
    """The cause stands on one screen, is told how to mend, and once mended is enough."""
    trove, hosts = lab.trove(), lab.hosts_file.read_text()
    others = [line for line in hosts.splitlines(True) if rabbitmq.NAME not in line]
    lab.hosts_file.write_text("".join(others))
    try:
        created = trove.create_instance("stuck", "mariadb")
        guest = booting_guest(lab, trove, created["id"])
        guest.wait_message("No connection to the broker", 60)
        journal = "journalctl --no-pager --unit=trove-guestagent"
        screen = guest.sh(f"{journal} --priority=info").splitlines()
        assert len(screen) <= SCREEN, screen
        (alarm,) = guest.sh(f"{journal} --priority=warning --output=cat").splitlines()
        assert rabbitmq.NAME in alarm and "hint=" in alarm
        (entry,) = event(guest, "broker_unreachable")
        assert entry["TROVE_HOST"].startswith(rabbitmq.NAME)
        guest.run(["journalctl", "--update-catalog"])
        explained = guest.sh(f"{journal} -x MESSAGE_ID={entry['MESSAGE_ID']}")
        assert "stays in BUILD" in explained and entry["TROVE_HINT"] in explained
        doctor = ["trove-guestagent", "doctor", "--config-dir=/etc/trove/conf.d"]
        assert "FAIL DNS" in guest.run(doctor, check=False).stdout
        assert trove.instance(created["id"])["status"] == "BUILD"
        lab.hosts_file.write_text(hosts)
        trove.wait_active(created["id"])
        assert event(guest, "listening")
    finally:
        lab.hosts_file.write_text(hosts)
        delete(trove, created["id"])
