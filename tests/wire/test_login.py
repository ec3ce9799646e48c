"""Logins and names: what works, and what a broken one says."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from lab import mariadb, network, rabbitmq

from wire import canary
from wire.agent import Agent, Sandbox
from wire.broker import MEEK_USER, ODD_USER, ODD_VHOST, BrokerLab
from wire.instance import Instance, url
from wire.peer import Peer
from wire.proxy import Proxy

# First words of what `doctor` calls the hops to the broker.
HOPS = {"DNS", "TCP", "TLS", "login", "virtual", "exchange", "queue"}
# Attempts follow quickly, so that repetition in the log would show.
QUICK = {"rabbit_retry_interval": 1, "rabbit_retry_backoff": 1, "rabbit_interval_max": 1}


def assert_said(agent: Agent, kind: str, text: str) -> None:
    """One line that names the cause and what to do, however many attempts."""
    lines = agent.logged("No connection to the broker, retrying")
    assert len(lines) == 1, lines
    assert f"kind={kind} " in lines[0] and re.search(text, lines[0]), lines
    assert 'hint="check' in lines[0]
    assert agent.alive()


def assert_doctor(agent: Agent, works: str, broken: str) -> None:
    """`doctor` names the hop: those before work, those behind are not tried."""
    doctor = agent.run("doctor")
    assert doctor.returncode == 1
    steps = [line.split()[:2] for line in doctor.stdout.splitlines()]
    hops = [(step[0], step[1]) for step in steps if len(step) == 2 and step[1] in HOPS]
    expected = [("ok", hop) for hop in works.split()] + [("FAIL", broken)]
    assert hops == expected, doctor.stdout
    assert "-> check" in doctor.stdout and not doctor.stderr


@pytest.mark.parametrize("method", ["PLAIN", "AMQPLAIN"])
def test_login_methods(
    sandbox: Sandbox, sealed: Instance, lab: BrokerLab, method: str
) -> None:
    rabbit = {"rabbit_login_method": method}
    with sandbox.agent(sealed, rabbit=rabbit) as agent, Peer(sealed) as peer:
        peer.ping()
        rows = lab.rabbitmqctl("list_connections", "auth_mechanism", "client_properties")
        name = f"trove-guestagent:{agent.process.pid}:"
        assert any(row.startswith(f"{method}\t") and name in row for row in rows.splitlines())


def test_percent_encoded_credentials_and_vhost(sandbox: Sandbox, sealed: Instance) -> None:
    """A user and a virtual host with everything a URL would misread."""
    odd = url(user=ODD_USER, vhost=ODD_VHOST)
    with sandbox.agent(sealed, transport_url=odd, wait=False) as agent:
        agent.wait_listening()
        doctor = agent.run("doctor")
        assert f"user {ODD_USER}" in doctor.stdout
        assert re.search(rf"ok   virtual host .* {ODD_VHOST}\n", doctor.stdout)
        assert re.search(r"ok   queue ", doctor.stdout)


def test_ipv6_literal(sandbox: Sandbox, sealed: Instance) -> None:
    with Proxy("::1") as proxy:
        broker = url(host="::1", port=proxy.port)
        with sandbox.agent(sealed, transport_url=broker) as agent, Peer(sealed) as peer:
            peer.ping()
            assert proxy.accepted == 1
            assert agent.logged(rf"Connected to the broker. host=\[::1\]:{proxy.port}")


def test_name(sandbox: Sandbox, sealed: Instance) -> None:
    """A name is looked up when it is needed."""
    with sandbox.agent(sealed, transport_url=url(host=rabbitmq.NAME)), Peer(sealed) as peer:
        peer.ping()


def test_unresolvable_name_heals(
    sandbox: Sandbox, sealed: Instance, lab: BrokerLab
) -> None:
    name = f"{sealed.exchange}.lab.test"
    broker = url(host=name)
    with sandbox.agent(sealed, transport_url=broker, rabbit=QUICK, wait=False) as agent:
        agent.wait_log("No connection to the broker, retrying")
        agent.wait_log("DEBUG No connection to the broker")
        assert_said(agent, "Dns", f"resolve {name}:5672")
        assert_doctor(agent, "", "DNS")
        with open(lab.hosts_file, "a") as hosts:
            hosts.write(f"{network.LAB_ADDRESS} {name}\n")
        agent.wait_listening()
        with Peer(sealed) as peer:
            peer.ping()


def test_wrong_password_heals(sandbox: Sandbox, sealed: Instance, lab: BrokerLab) -> None:
    """The user is made with this password later."""
    user, password = f"late-{sealed.exchange}", canary.make("broker password")
    with Proxy() as proxy:
        broker = url(port=proxy.port, user=user, password=password)
        with sandbox.agent(sealed, transport_url=broker, rabbit=QUICK, wait=False) as agent:
            proxy.wait_accepted(3)
            agent.wait_log("DEBUG No connection to the broker")
            assert_said(agent, "Auth", "ACCESS_REFUSED")
            assert_doctor(agent, "DNS TCP", "login")
            lab.rabbitmqctl("add_user", user, password)
            lab.rabbitmqctl("set_permissions", user, ".*", ".*", ".*")
            agent.wait_listening()
            with Peer(sealed) as peer:
                peer.ping()


def test_missing_vhost_heals(sandbox: Sandbox, sealed: Instance, lab: BrokerLab) -> None:
    vhost = f"late-{sealed.exchange}"
    with Proxy() as proxy:
        broker = url(port=proxy.port, vhost=vhost)
        with sandbox.agent(sealed, transport_url=broker, rabbit=QUICK, wait=False) as agent:
            proxy.wait_accepted(3)
            agent.wait_log("DEBUG No connection to the broker")
            assert_said(agent, "Vhost", vhost)
            assert_doctor(agent, "DNS TCP login", "virtual")
            lab.rabbitmqctl("add_vhost", vhost)
            lab.rabbitmqctl("set_permissions", "-p", vhost, rabbitmq.USER, ".*", ".*", ".*")
            agent.wait_listening()


def test_vhost_of_others(sandbox: Sandbox, sealed: Instance) -> None:
    """The virtual host exists, but this user has no right to it."""
    broker = url(user=MEEK_USER, vhost=ODD_VHOST)
    with sandbox.agent(sealed, transport_url=broker, rabbit=QUICK, wait=False) as agent:
        agent.wait_log("DEBUG No connection to the broker")
        assert_said(agent, "Vhost", re.escape(ODD_VHOST))
        assert_doctor(agent, "DNS TCP login", "virtual")


def test_not_a_broker(sandbox: Sandbox, sealed: Instance) -> None:
    """Something else answers on the port: the database."""
    broker = url(port=mariadb.PORT)
    with sandbox.agent(sealed, transport_url=broker, rabbit=QUICK, wait=False) as agent:
        agent.wait_log("No connection to the broker, retrying", timeout=30)
        assert_said(agent, "Protocol", f":{mariadb.PORT}")
        assert_doctor(agent, "DNS TCP", "login")


def test_doctor_finds_nothing_wrong_with_the_broker(sandbox: Sandbox, sealed: Instance) -> None:
    """Only the database is missing, which is not prepared."""
    with sandbox.agent(sealed) as agent:
        agent.wait_log("volume formatted and mounted")
        doctor = agent.run("doctor")
        failed = [line for line in doctor.stdout.splitlines() if line.startswith("FAIL")]
        assert len(failed) == 1 and failed[0].startswith("FAIL database"), doctor.stdout
        for hop in ("DNS", "TCP", "login", "virtual host", "exchange", "queue", "key"):
            assert f"ok   {hop}" in doctor.stdout
        assert doctor.returncode == 1


def test_exchange_of_another_control_plane(sandbox: Sandbox, sealed: Instance) -> None:
    """Nobody has declared our queue yet: `doctor` beside a stopped agent."""
    with sandbox.agent(sealed, transport_url=url(vhost="nowhere"), wait=False) as agent:
        agent.wait_log("No connection to the broker")
        doctor = agent.run("doctor", OS_DEFAULT__TRANSPORT_URL=url())
        assert doctor.returncode == 1 and "FAIL exchange" in doctor.stdout
        assert "FAIL queue" in doctor.stdout


def run_to_status_64(sandbox: Sandbox, instance: Instance, **options: object) -> str:
    """An agent that must refuse its configuration; what it says."""
    with sandbox.agent(instance, wait=False, **options) as agent:  # type: ignore[arg-type]
        assert agent.process.wait(10) == 64
        agent.stop()
        return "\n".join(agent.log())


BAD_URLS: dict[str, Callable[[], str]] = {
    "driver": lambda: "kafka://h/",
    "port": lambda: "rabbit://u:p@host:port/",
    "query": lambda: url(query="?no_such_option=1"),
    "value": lambda: url(query="?heartbeat_timeout_threshold=often"),
}


@pytest.mark.parametrize("kind", BAD_URLS)
def test_bad_url(sandbox: Sandbox, sealed: Instance, kind: str) -> None:
    """Refused at start with status 64; the password is not told."""
    said = run_to_status_64(sandbox, sealed, transport_url=BAD_URLS[kind]())
    assert "transport_url" in said and not canary.found_in(said.encode())


def test_contradicting_options(sandbox: Sandbox, sealed: Instance) -> None:
    rabbit = {"rabbit_quorum_queue": "true", "rabbit_ha_queues": "true"}
    said = run_to_status_64(sandbox, sealed, rabbit=rabbit)
    assert "rabbit_quorum_queue" in said and "rabbit_ha_queues" in said
