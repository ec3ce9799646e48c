"""A lab without control plane and guests: network, broker and name server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab import network, rabbitmq, settings, tls
from lab.lab import HOSTS, Lab


class Hub(Lab):
    """Comes up in a few seconds, beside any other lab."""

    def __init__(self) -> None:
        super().__init__(Path(f"{settings.state_dir()}-static"))

    def _start(self, mode: str, step: Any, _store: Path | None) -> None:
        for name in ("log", "etc", "roots"):
            (self.state / name).mkdir(parents=True)
        self.state.chmod(0o755)
        network.create_lab(self.name)
        self._daemons.create()
        tls.create(self.state / "tls", [rabbitmq.NAME], [network.LAB_ADDRESS])
        hosts = "".join(f"{address} {name}\n" for name, address in HOSTS.items())
        self.hosts_file.write_text(hosts)
        step.detail = "RabbitMQ"
        self._start_broker()
        dns = self._python("lab.dns")
        self._daemon("dns", [*dns, network.LAB_ADDRESS, str(self.hosts_file)])
        with self.inside():
            rabbitmq.wait_ready()
        self._write_record(mode)
