"""The binary in an empty root and in Debian 11, 12 and 13.

Every run of the agent's program in these tests is recorded, and fails if it
opens a shared library of the root (see Root.traced).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from lab import rabbitmq
from lab.waiting import eventually

from static.conftest import KEY, NO_VOLUME, UNPREPARED, Configuration
from static.hub import Hub
from static.roots import CA_FILE, CONFIG, CONFIG_DIR, PROGRAM, Root

# `doctor` cannot find these well without an agent that has prepared a guest.
UNPREPARED_GUEST = ["data volume", "database"]


@pytest.fixture
def queue(config: Configuration, hub: Hub) -> Iterator[None]:
    """Exchange and queue as the control plane declares them."""
    with rabbitmq.connect() as connection, connection.channel() as channel:
        channel.exchange_declare("trove", "topic", durable=False, auto_delete=False)
        name = f"guestagent.{config.guest_id}"
        channel.queue_declare(name, durable=False, auto_delete=False)
        yield
        channel.queue_delete(name)


def hops(texts: list[str]) -> list[str]:
    """`doctor`'s lines without broker and detail."""
    names = ("DNS", "TCP", "TLS", "login", "virtual host", "exchange", "queue")
    names += ("configuration", "key", "data volume", "database")
    return [name for text in texts for name in names if re.match(rf"{name}\b", text)]


def test_only_the_configuration_is_needed(root: Root, config: Configuration) -> None:
    """Nothing has slipped into the roots that would help the binary."""
    names = ("guest_info.conf", "trove-guestagent.conf")
    wanted = {PROGRAM, "/etc/resolv.conf", *(f"{CONFIG_DIR}/{name}" for name in names)}
    assert root.files() == wanted


def test_version(root: Root) -> None:
    done = root.run("version")
    assert (done.status, done.err) == (0, "")
    assert re.fullmatch(r"trove-guestagent \d+\.\d+\.\d+\n", done.out)


def test_check_prints_what_is_in_effect(root: Root, config: Configuration) -> None:
    done = root.run("check", CONFIG)
    assert (done.status, done.err) == (0, "")
    assert config.guest_id in done.out
    assert rabbitmq.NAME in done.out
    for secret in (rabbitmq.PASSWORD, quote(rabbitmq.PASSWORD, safe=""), KEY):
        assert secret not in done.out


def test_check_refuses_a_bad_value(root: Root, config: Configuration) -> None:
    """File, section, option and what would be allowed; EX_USAGE."""
    config.write("volume_fstype = ntfs\n")
    done = root.run("check", CONFIG)
    assert done.status == 64
    for part in (f"{CONFIG_DIR}/trove-guestagent.conf", "[DEFAULT]", "volume_fstype", "xfs"):
        assert part in done.err


def test_agent_refuses_a_bad_value(root: Root, config: Configuration) -> None:
    config.write("volume_fstype = ntfs\n")
    done = root.run(CONFIG)
    assert done.status == 64
    assert "volume_fstype" in done.err


def test_status_without_an_agent(root: Root) -> None:
    done = root.run("status")
    assert done.status == 1
    assert "the agent is not running" in done.err


def test_doctor_finds_the_broker_by_name(root: Root, config: Configuration, queue: None) -> None:
    """Name, connection, login and queue are well; the rest cannot be."""
    done = root.run("doctor", CONFIG)
    assert done.status == 1, done
    assert hops([text for well, text in done.steps() if well]) == [
        "configuration", "DNS", "TCP", "login", "virtual host", "exchange", "queue", "key"
    ]  # fmt: skip
    assert hops(done.broken()) == UNPREPARED_GUEST


def test_doctor_verifies_the_broker(root: Root, config: Configuration, hub: Hub) -> None:
    """TLS with a private authority: its own certificate code, clock and random
    numbers work as well."""
    root.write(CA_FILE, (hub.state / "tls/ca.pem").read_text())
    config.transport_url = rabbitmq.transport_url(rabbitmq.NAME, rabbitmq.TLS_PORT)
    config.write(f"[oslo_messaging_rabbit]\nssl = true\nssl_ca_file = {CA_FILE}\n")
    done = root.run("doctor", CONFIG)
    well = [text for good, text in done.steps() if good]
    assert re.search(r"^TLS .* verified$", "\n".join(well), re.MULTILINE), done
    assert "login" in hops(well)


@pytest.mark.parametrize(
    ("hop", "change"),
    [
        ("DNS", (rabbitmq.NAME, "no-such-name.lab.test")),
        ("TCP", (f":{rabbitmq.PORT}/", ":5999/")),
        ("login", (f"{rabbitmq.USER}:", f"{rabbitmq.USER}:wrong")),
        ("virtual host", (f":{rabbitmq.PORT}/", f":{rabbitmq.PORT}/no-such-vhost")),
        ("queue", ("", "")),
    ],
)
def test_doctor_names_the_broken_hop(
    hop: str, change: tuple[str, str], root: Root, config: Configuration, hub: Hub
) -> None:
    """It stops at what is broken and says what to do."""
    config.transport_url = config.transport_url.replace(*change)
    config.write()
    with rabbitmq.connect() as connection, connection.channel() as channel:
        channel.exchange_declare("trove", "topic", durable=False, auto_delete=False)
    done = root.run("doctor", CONFIG)
    assert done.status == 1, done
    assert hops(done.broken()) == [hop, *UNPREPARED_GUEST], done
    following = done.out.split("FAIL ", 1)[1].splitlines()[1]
    assert re.match(r" +-> \w+", following)


def test_agent_runs_and_tells_what_it_lacks(root: Root, config: Configuration) -> None:
    """It serves its queue whatever the root is like, and ends when told to."""
    with root.agent(config.guest_id) as agent:
        assert agent.libraries() == []
        lacking = NO_VOLUME if root.debian else "groupadd"

        def refused() -> None:
            assert re.search(f"Guest not ready.*{lacking}", agent.log()), agent.log()

        eventually(refused)
        assert agent.stop() == 0, agent.log()


def test_root_is_a_trap(debian: Root, unprepared: object, hub: Hub) -> None:
    """An unprepared static program loads systemd's modules in these roots."""
    services = debian.read("/etc/nsswitch.conf")
    assert re.search(r"^passwd:.*\bsystemd\b", services, re.MULTILINE)
    assert re.search(r"^hosts:.*\bresolve\b", services, re.MULTILINE)
    assert re.search(r"^hosts:.*\bmyhostname\b", services, re.MULTILINE)
    debian.install(hub.state / "unprepared", UNPREPARED)
    _status, loaded = debian.loaded_by(UNPREPARED)
    assert any("libnss_systemd" in path for path in loaded), loaded


def test_agent_creates_the_service_account(debian: Root, config: Configuration) -> None:
    """It looks up a user and a group that do not exist and creates them with
    the root's own programs; beside it `status` and `doctor` work."""
    passwd, group = debian.read("/etc/passwd"), debian.read("/etc/group")
    assert "database:" not in passwd and "database:" not in group
    with debian.agent(config.guest_id) as agent:

        def created() -> None:
            assert re.search(r"^database:", debian.read("/etc/passwd"), re.MULTILINE)

        eventually(created)
        eventually(lambda: "connected to" in agent.run("status").out)
        done = agent.run("status")
        assert done.status == 0 and "running" in done.out, done
        doctor = agent.run("doctor", CONFIG)
        assert hops(doctor.broken()) == UNPREPARED_GUEST, doctor
        assert agent.libraries() == []
        assert agent.stop() == 0, agent.log()
    entry = "database:x:1001:1001:Database service:/nonexistent:/usr/sbin/nologin\n"
    assert debian.read("/etc/passwd") == passwd + entry
    assert debian.read("/etc/group") == group + "database:x:1001:\n"


@pytest.mark.parametrize("name", ["pinned.example", "pinned"])
def test_names_of_etc_hosts(name: str, debian: Root, config: Configuration, queue: None) -> None:
    config.transport_url = rabbitmq.transport_url(name)
    config.write()
    done = debian.run("doctor", CONFIG)
    assert hops(done.broken()) == UNPREPARED_GUEST, done


def test_localhost(debian: Root, config: Configuration) -> None:
    """Resolved from /etc/hosts; no broker listens there."""
    config.transport_url = rabbitmq.transport_url("localhost")
    config.write()
    done = debian.run("doctor", CONFIG)
    assert hops(done.broken()) == ["TCP", *UNPREPARED_GUEST], done
    assert "127.0.0.1" in next(text for _, text in done.steps() if text.startswith("DNS"))
