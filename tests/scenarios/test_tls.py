"""TLS of a tenant's database: modes, rollback, and what is refused.

Trove's API takes certificates from Barbican, which the lab does not have: they
are sent as the API would send them, through Trove's own RPC client. The rest
goes through the API and the real client.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pymysql
import pytest

from lab.clients.trove import ApiError
from lab.lab import Lab
from lab.settings import DATASTORES
from lab.waiting import eventually
from scenarios.certificates import Authority, Certificate
from scenarios.conftest import DATABASE, PASSWORD, USER, Instance, delete

STATE = "/etc/trove/conf.d/ssl_state.json"
INFO = "/etc/trove/conf.d/guest_info.conf"
# Outcomes of a client without TLS, with it, and with a certificate.
OFF = (False, None, None)
BASIC = (False, True, True)
ENFORCED = (None, True, True)
MTLS = (None, None, True)


class Owner(Instance):
    """An instance with an authority."""

    files: Path
    authority: Authority
    client: Certificate

    def rpc(self, method: str, **arguments: Any) -> Any:
        rpc = self.lab.rpc(self.id)
        return rpc.call(method, version="1.3", timeout=180, **arguments)

    def enable(self, mode: str, certificate: Certificate, ca: str | None = None) -> bool:
        """Send what the API would; whether a restart is needed."""
        container = {
            "private_key": certificate.key,
            "certificate": certificate.pem,
            "ca": self.authority.pem if ca is None else ca,
        }
        arguments = {"mode": mode, "container": container, "enable": True}
        answer = self.rpc("ssl_action", disable=None, **arguments)
        return answer["restart_required"]

    def settle(self, restart: bool) -> None:
        """Restart the server if that was asked for."""
        if restart:
            eventually(
                lambda: self.trove.instance(self.id)["operating_status"]
                == "RESTART_REQUIRED"
            )
            self.trove.restart(self.id)
        self.trove.wait_active(self.id)

    def show(self, query: str = "") -> Any:
        return self.trove.request("GET", f"/instances/{self.id}/ssl{query}")["ssl"]

    def act(self, action: str) -> Any:
        body = {"ssl": {action: True}}
        return self.trove.request("POST", f"/instances/{self.id}/ssl", body)["ssl"]

    def clients(self, user: str = USER) -> tuple[bool | None, ...]:
        """For each kind of client whether its session is encrypted, or None."""
        return tuple(self._connect(user, kind) for kind in ("plain", "tls", "both"))

    def _connect(self, user: str, kind: str) -> bool | None:
        ca = str(self.files / "ca.pem")
        key, certificate = str(self.files / f"{user}.key"), str(self.files / f"{user}.pem")
        try:
            if self.datastore == "postgresql":
                options = {"sslmode": "disable" if kind == "plain" else "verify-ca"}
                if kind != "plain":
                    options["sslrootcert"] = ca
                if kind == "both":
                    options |= {"sslcert": certificate, "sslkey": key}
                else:
                    options["sslcertmode"] = "disable"
                with psycopg2.connect(
                    host=self.address, user=user, password=PASSWORD, dbname=DATABASE, **options
                ) as connection:
                    return bool(connection.info.ssl_in_use)
            tls: dict[str, Any] = {"ssl_disabled": True}
            if kind != "plain":
                tls = {"ssl_ca": ca, "ssl_verify_cert": True}
            if kind == "both":
                tls |= {"ssl_cert": certificate, "ssl_key": key}
            connection = pymysql.connect(
                host=self.address, user=user, password=PASSWORD, database=DATABASE, **tls
            )
            with connection, connection.cursor() as cursor:
                cursor.execute("show session status like 'Ssl_cipher'")
                return bool(cursor.fetchone()[1])
        except (psycopg2.OperationalError, pymysql.err.OperationalError) as error:
            print(f"{kind}: {error}")  # shown when the test fails
            return None


@pytest.fixture(scope="module", params=DATASTORES)
def owner(
    lab: Lab, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Owner]:
    """An instance with a user, and an authority that made its certificate."""
    lab.use_mode("encrypted")
    trove = lab.trove()
    user = {"name": USER, "password": PASSWORD, "databases": [{"name": DATABASE}]}
    created = trove.create_instance(
        f"tls-{request.param}", request.param, databases=[DATABASE], users=[user]
    )
    try:
        active = trove.wait_active(created["id"])
        owner = Owner(lab, trove, created["id"], request.param, trove.address(active))
        owner.files = tmp_path_factory.mktemp("tls")
        owner.authority = Authority()
        (owner.files / "ca.pem").write_text(owner.authority.pem)
        for name in (USER, "later"):
            owner.authority.certificate(name).write(owner.files, name)
        yield owner
    finally:
        delete(trove, created["id"])


def test_before(owner: Owner) -> None:
    """MySQL makes itself a certificate; the others have none."""
    shown = owner.show()
    expected = "on" if owner.datastore == "mysql" else "off"
    assert (shown["status"], shown["mode"]) == (expected, "builtin")
    with pytest.raises(ApiError, match="nothing to roll back to"):
        owner.act("rollback")


def test_what_is_refused_changes_nothing(owner: Owner) -> None:
    """A key of another certificate, an old one, one of another authority."""
    before = owner.guest.read_file(INFO), owner.show()
    good = owner.authority.certificate("db.example")
    other = owner.authority.certificate("db.example")
    old = owner.authority.certificate("db.example", timedelta(days=-1))
    for certificate, ca, words in [
        (Certificate(other.key, good.pem), None, "does not belong"),
        (old, None, "expired"),
        (good, Authority("Another").pem, "not made by"),
        (Certificate("garbage", good.pem), None, "private key"),
    ]:
        with pytest.raises(Exception, match=words) as refused:
            owner.enable("enforced", certificate, ca)
        assert "PRIVATE KEY-----\n" not in str(refused.value)
    with pytest.raises(Exception, match="authority"):
        owner.enable("mtls", good, "")
    assert (owner.guest.read_file(INFO), owner.show()) == before
    assert owner.guest.sh(f"ls {STATE} 2>/dev/null || true") == ""


def test_modes(owner: Owner) -> None:
    """Basic, enforced, mtls; users made later follow, a restart keeps it."""
    certificate = owner.authority.certificate("db.example")
    for mode, expected in (("basic", BASIC), ("enforced", ENFORCED), ("mtls", MTLS)):
        owner.settle(owner.enable(mode, certificate))
        assert owner.clients() == expected, mode
        assert f"ssl_mode={mode}\n" in owner.guest.read_file(INFO)
    shown = owner.show("?include_certificate=True")
    assert shown["status"] == "on"
    assert shown["certificate"]["cn"] == "db.example"
    assert shown["certificate"]["san"] == ["DNS:db.example", "DNS:*.db.example"]
    assert shown["certificate"]["payload"] == certificate.pem

    user = {"name": "later", "password": PASSWORD, "databases": [{"name": DATABASE}]}
    owner.trove.create_users(owner.id, user)
    eventually(lambda: owner.clients("later") == MTLS)
    owner.trove.restart(owner.id)
    owner.trove.wait_active(owner.id)
    assert owner.clients() == MTLS
    owner.trove.delete_user(owner.id, "later")


def test_secrets(owner: Owner) -> None:
    """Nobody else reads keys, and no log has them."""
    mode = owner.guest.sh(f"stat -c '%a %U' {STATE}").strip()
    assert mode == "600 root"
    saved = json.loads(owner.guest.read_file(STATE))
    assert saved["mode"] == "enforced"
    secret = saved["files"]["private_key"].splitlines()[1]
    assert secret not in "\n".join(owner.guest.messages())
    assert secret not in owner.guest.sh("ps axww -o args; cat /var/log/mysqld.log || true")


def test_rollback(owner: Owner) -> None:
    """To what was before the last change, once."""
    answer = owner.act("rollback")
    assert (answer["status"], answer["mode"]) == ("on", "enforced")
    owner.settle(answer["restart_required"])
    assert owner.clients() == ENFORCED
    assert "ssl_mode=enforced\n" in owner.guest.read_file(INFO)
    assert owner.show()["mode"] == "enforced"
    with pytest.raises(ApiError, match="nothing to roll back to"):
        owner.act("rollback")


def test_disable(owner: Owner) -> None:
    if owner.datastore == "mysql":
        with pytest.raises(ApiError, match="cannot be switched off"):
            owner.act("disable")
        assert owner.clients() == ENFORCED
        return
    owner.settle(owner.act("disable")["restart_required"])
    assert owner.clients() == OFF
    assert owner.show()["status"] == "off"
    assert "ssl_mode=None\n" in owner.guest.read_file(INFO)
