"""A lab without a control plane: broker, name server, Trove's database."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import mariadb, network, rabbitmq, settings, tls
from lab.clients import rpc
from lab.lab import HOSTS, Lab
from lab.progress import Progress

# What the broker knows besides the lab's own account.
ODD_USER, ODD_VHOST = "us/er@:% é", "/odd vhost"
# May declare and bind everything but fanout exchanges.
MEEK_USER = "meek"
# Logs in with its certificate (EXTERNAL); the name is the certificate's.
CERTIFICATE_USER = "lab-client"
# Resolves to the broker, but is not in its certificate.
OTHER_NAME = "other.lab.test"

EXTRA_CONFIG = """\
auth_mechanisms.1 = PLAIN
auth_mechanisms.2 = AMQPLAIN
auth_mechanisms.3 = EXTERNAL
ssl_cert_login_from = common_name
"""


@contextmanager
def standing(lab: BrokerLab) -> Iterator[None]:
    """From nothing to nothing; the caller is inside its network meanwhile."""
    lab.clean()
    lab.up(progress=Progress())
    try:
        with lab.inside():
            rpc.configure(lab.trove_conf)
            yield
    finally:
        lab.clean()


class BrokerLab(Lab):
    """Comes up in a few seconds; everything else is as in a whole lab."""

    def __init__(self) -> None:
        super().__init__(Path(f"{settings.state_dir()}-wire"))

    @property
    def binary(self) -> Path:
        """The agent; a copy, so that a build meanwhile changes nothing."""
        return self.state / "trove-guestagent"

    @property
    def tls_files(self) -> Path:
        """Where ca.pem, client.pem and client.key are."""
        return self.state / "tls"

    def _start(self, mode: str, step: Any, _store: Path | None) -> None:
        step.detail = "network"
        self.state.mkdir(parents=True, exist_ok=True)
        self.state.chmod(0o755)
        for name in ("guests", "volumes", "log", "etc", "agents"):
            (self.state / name).mkdir()
        shutil.copy(settings.agent_binary(), self.binary)
        network.create_lab(self.name)
        self._daemons.create()
        tls.create(self.tls_files, [rabbitmq.NAME], [network.LAB_ADDRESS])
        hosts = HOSTS | {OTHER_NAME: network.LAB_ADDRESS}
        lines = (f"{address} {name}\n" for name, address in hosts.items())
        self.hosts_file.write_text("".join(lines))
        self._configure(mode)
        step.detail = "RabbitMQ, MariaDB"
        self._start_broker()
        self._start_database()
        self._daemon("dns", [*self._python("lab.dns"), network.LAB_ADDRESS, str(self.hosts_file)])
        with self.inside():
            mariadb.wait_ready(self._database_socket)
            rabbitmq.wait_ready()
        self._write_record(mode)

    def _start_broker(self) -> None:
        self.broker.configure()
        self._extend(self.state / "rabbitmq")
        self._daemon("epmd", self.broker.mapper_command())
        self.start_broker()

    @staticmethod
    def _extend(directory: Path) -> None:
        """More accounts, a second virtual host, and login by certificate."""
        with open(directory / "rabbitmq.conf", "a") as file:
            file.write(EXTRA_CONFIG)
        (directory / "enabled_plugins").write_text("[rabbitmq_auth_mechanism_ssl].\n")
        path = directory / "definitions.json"
        definitions = json.loads(path.read_text())
        (owner,) = definitions["users"]
        everything = definitions["permissions"][0]
        definitions["vhosts"].append({"name": ODD_VHOST})
        for name in (ODD_USER, MEEK_USER, CERTIFICATE_USER):
            definitions["users"].append({**owner, "name": name})
            vhost = ODD_VHOST if name == ODD_USER else rabbitmq.VHOST
            allowed = {**everything, "user": name, "vhost": vhost}
            if name == MEEK_USER:
                allowed["configure"] = r"^(?!.*_fanout$).*$"
            definitions["permissions"].append(allowed)
        path.write_text(json.dumps(definitions))
