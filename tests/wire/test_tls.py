"""TLS to the broker: whom the agent believes, and who it says it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab import network, rabbitmq, tls

from wire.agent import Agent, Sandbox
from wire.broker import CERTIFICATE_USER, OTHER_NAME, BrokerLab
from wire.instance import Instance, url
from wire.peer import Peer
from wire.test_login import QUICK, assert_doctor, assert_said

CA = "/etc/trove/ca.pem"
CERTIFICATE, KEY = "/etc/trove/client.pem", "/etc/trove/client.key"


def broker(host: str = rabbitmq.NAME, **options: str) -> str:
    return url(host=host, port=rabbitmq.TLS_PORT, **options)


def seen_by_broker(lab: BrokerLab, agent: Agent, *columns: str) -> list[str]:
    """What the broker knows about the agent's connection."""
    name = f"trove-guestagent:{agent.process.pid}:"
    rows = lab.rabbitmqctl("list_connections", *columns, "client_properties").splitlines()
    (row,) = [row for row in rows if name in row]
    return row.split("\t")[: len(columns)]


@pytest.mark.parametrize("host", [rabbitmq.NAME, network.LAB_ADDRESS])
def test_private_authority(
    sandbox: Sandbox, sealed: Instance, lab: BrokerLab, host: str
) -> None:
    """Verified, by name and by address."""
    rabbit = {"ssl": "true", "ssl_ca_file": CA}
    files = {CA: lab.tls_files / "ca.pem"}
    with sandbox.agent(sealed, transport_url=broker(host), rabbit=rabbit, files=files) as agent:
        with Peer(sealed) as peer:
            peer.ping()
        assert not agent.logged("NOT verified")
        assert "verified" in agent.run("doctor").stdout
        assert seen_by_broker(lab, agent, "ssl", "peer_cert_subject") == ["true", ""]


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_version(sandbox: Sandbox, sealed: Instance, lab: BrokerLab, version: str) -> None:
    rabbit = {"ssl": "true", "ssl_ca_file": CA, "ssl_version": version}
    files = {CA: lab.tls_files / "ca.pem"}
    with sandbox.agent(sealed, transport_url=broker(), rabbit=rabbit, files=files) as agent:
        (spoken,) = seen_by_broker(lab, agent, "ssl_protocol")
        assert spoken == version.lower().replace("_", ".")


def test_options_in_the_query(sandbox: Sandbox, sealed: Instance, lab: BrokerLab) -> None:
    query = f"?ssl=1&ssl_ca_file={CA}&heartbeat_timeout_threshold=7"
    files = {CA: lab.tls_files / "ca.pem"}
    with sandbox.agent(sealed, transport_url=broker(query=query), files=files) as agent:
        assert seen_by_broker(lab, agent, "ssl", "timeout") == ["true", "7"]


def test_foreign_authority(
    sandbox: Sandbox, sealed: Instance, tmp_path: Path
) -> None:
    tls.create(tmp_path, ["elsewhere.test"], [])
    rabbit = {"ssl": "true", "ssl_ca_file": CA, **QUICK}
    files = {CA: tmp_path / "ca.pem"}
    with sandbox.agent(
        sealed, transport_url=broker(), rabbit=rabbit, files=files, wait=False
    ) as agent:
        agent.wait_log("DEBUG No connection to the broker")
        assert_said(agent, "Tls", "invalid peer certificate")
        assert_doctor(agent, "DNS TCP", "TLS")


def test_other_name(sandbox: Sandbox, sealed: Instance, lab: BrokerLab) -> None:
    """The certificate is the broker's, but not for this name."""
    rabbit = {"ssl": "true", "ssl_ca_file": CA, **QUICK}
    files = {CA: lab.tls_files / "ca.pem"}
    options = {"transport_url": broker(OTHER_NAME), "files": files}
    with sandbox.agent(sealed, rabbit=rabbit, wait=False, **options) as agent:
        agent.wait_log("DEBUG No connection to the broker")
        assert_said(agent, "Tls", "not valid for name")
        assert_doctor(agent, "DNS TCP", "TLS")
    rabbit["ssl_enforce_hostname_verification"] = "false"
    with sandbox.agent(sealed, rabbit=rabbit, **options), Peer(sealed) as peer:
        peer.ping()


def test_no_authority(sandbox: Sandbox, sealed: Instance) -> None:
    """As upstream: anybody is believed. Unlike upstream, that is said."""
    with sandbox.agent(sealed, transport_url=broker(), rabbit={"ssl": "true"}) as agent:
        with Peer(sealed) as peer:
            peer.ping()
        assert len(agent.logged("WARN .*the broker is NOT verified")) == 1
        assert "NOT verified" in agent.run("doctor").stdout


def test_client_certificate(sandbox: Sandbox, sealed: Instance, lab: BrokerLab) -> None:
    rabbit = {
        "ssl": "true",
        "ssl_ca_file": CA,
        "ssl_cert_file": CERTIFICATE,
        "ssl_key_file": KEY,
    }
    files = {
        CA: lab.tls_files / "ca.pem",
        CERTIFICATE: lab.tls_files / "client.pem",
        KEY: lab.tls_files / "client.key",
    }
    with sandbox.agent(sealed, transport_url=broker(), rabbit=rabbit, files=files) as agent:
        assert seen_by_broker(lab, agent, "peer_cert_subject") == ["CN=lab-client"]
    rabbit["rabbit_login_method"] = "EXTERNAL"
    with sandbox.agent(sealed, transport_url=broker(), rabbit=rabbit, files=files) as agent:
        columns = ("user", "auth_mechanism")
        assert seen_by_broker(lab, agent, *columns) == [CERTIFICATE_USER, "EXTERNAL"]
        with Peer(sealed) as peer:
            peer.ping()


def test_client_certificate_of_a_stranger(
    sandbox: Sandbox, sealed: Instance, lab: BrokerLab, tmp_path: Path
) -> None:
    """The broker refuses it. With TLS 1.3 that comes after the client's part of
    the handshake, so it shows there or as a connection that is hung up on."""
    tls.create(tmp_path, ["elsewhere.test"], [])
    rabbit = {
        "ssl": "true",
        "ssl_ca_file": CA,
        "ssl_cert_file": CERTIFICATE,
        "ssl_key_file": KEY,
        **QUICK,
    }
    files = {
        CA: lab.tls_files / "ca.pem",
        CERTIFICATE: tmp_path / "client.pem",
        KEY: tmp_path / "client.key",
    }
    options = {"transport_url": broker(), "rabbit": rabbit, "files": files}
    with sandbox.agent(sealed, wait=False, **options) as agent:
        agent.wait_log("No connection to the broker, retrying")
        (line,) = agent.logged("No connection to the broker, retrying")
        assert re.search("kind=(Tls|Protocol) .*(alert|hung up during the handshake)", line), line
        assert re.search("^FAIL (TLS|login) ", agent.run("doctor").stdout, re.MULTILINE)


def test_missing_files(sandbox: Sandbox, sealed: Instance) -> None:
    rabbit = {"ssl": "true", "ssl_ca_file": CA, **QUICK}
    with sandbox.agent(sealed, transport_url=broker(), rabbit=rabbit, wait=False) as agent:
        agent.wait_log("No connection to the broker, retrying")
        assert_said(agent, "Config", CA)
        assert_doctor(agent, "DNS TCP", "TLS")


def test_tls_to_a_plain_port(sandbox: Sandbox, sealed: Instance) -> None:
    rabbit = {"ssl": "true", **QUICK}
    with sandbox.agent(sealed, rabbit=rabbit, wait=False) as agent:
        agent.wait_log("No connection to the broker, retrying")
        assert_said(agent, "Tls", ":5672")
        assert_doctor(agent, "DNS TCP", "TLS")


def test_plain_to_a_tls_port(sandbox: Sandbox, sealed: Instance) -> None:
    with sandbox.agent(sealed, transport_url=broker(), rabbit=QUICK, wait=False) as agent:
        agent.wait_log("No connection to the broker, retrying")
        assert_said(agent, "Protocol", 'hint="check that the port speaks AMQP.*TLS')
        assert_doctor(agent, "DNS TCP", "login")
