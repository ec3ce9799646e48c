"""One booted MariaDB guest, without a cloud around it."""

from __future__ import annotations

import base64
import configparser
import io
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pymysql
import yaml
from trove.common import template
from trove.common.context import TroveContext
from trove.common.notification import DBaaSAPINotification, DBaaSInstanceCreate
from trove.guestagent.api import API
from trove.instance.models import _instance_encryption_key

from lab import network
from lab.guests import guest as machines
from lab.guests import volumes
from lab.guests.machine import Machine
from lab.guests.spec import Disk, Spec
from lab.network import MANAGEMENT, USER, Nic

from wire import canary, oslo, records
from wire.broker import BrokerLab
from wire.instance import url
from wire.oslo import Cast, Conductor
from wire.proxy import Proxy

GUEST_INFO = "/etc/trove/conf.d/guest_info.conf"
AGENT_CONF = "/etc/trove/conf.d/trove-guestagent.conf"
# Trove's control plane and its guests share this one.
EXCHANGE = "trove"
VERSION = "10.11"
FLAVOR = {"ram": 512, "vcpus": 1, "name": "wire"}
PREPARE_SECONDS = 90.0
HEALTHY = {"service_status": "healthy"}


class Guest:
    """The guest, the agent in it, and the API by which Trove speaks to it."""

    def __init__(self, lab: BrokerLab, proxy: Proxy) -> None:
        self.lab = lab
        # The agent's way to the broker, for breaking it.
        self.proxy = proxy
        self.instance = records.instance(EXCHANGE)
        self.key = self.instance.key
        self.user_password = canary.make("user password")
        self.root_password = canary.make("root password")
        self.conductor: Conductor
        self.prepare_casts: list[Cast] = []
        self._spec = self._make_spec()
        directory = lab.state / "guests" / self._spec.id
        self._hypervisor = Machine(directory, lab.name, lab.log / "guests")
        self.machine: machines.Guest

    @classmethod
    @contextmanager
    def booted(cls, lab: BrokerLab) -> Iterator[Guest]:
        """Boot it; powered off and gone at the end."""
        with Proxy() as proxy, ExitStack() as stack:
            guest = cls(lab, proxy)
            guest.conductor = stack.enter_context(
                oslo.conductor(guest.instance, lab.state / "etc")
            )
            hypervisor = guest._hypervisor
            hypervisor.build(guest._spec, lab.binary)
            try:
                hypervisor.power_on(lambda _status: None)
                guest.machine = machines.Guest(hypervisor.directory, lab.log / "guests")
                guest.machine.wait_booted()
                guest.machine.wait_message("Listening.", 30)
                yield guest
            finally:
                hypervisor.destroy()

    @property
    def disk(self) -> Path:
        """What was written to the root disk, seen from outside."""
        return self._hypervisor.directory / "upper"

    def _make_spec(self) -> Spec:
        server = str(uuid.uuid4())
        volume = self.lab.state / "volumes" / "wire"
        volumes.create(volume, 1)
        nics = [
            Nic("eth0", "02:00:00:00:02:32", str(MANAGEMENT.network[50]), MANAGEMENT),
            Nic("eth1", "02:00:00:00:03:32", str(USER.network[50]), USER),
        ]
        return Spec(
            id=server,
            name="wire",
            tree=str(self.lab.parts.trees["mariadb"].path),
            namespace=f"{self.lab.name}-{server[:8]}",
            nics=nics,
            user_data=self._user_data(),
            instance_id=self.instance.id,
            disks=[Disk("wire", str(volume), "/dev/vdb")],
        )

    def _user_data(self) -> str:
        """What Trove injects, as cloud-config."""
        broker = url(host=network.LAB_ADDRESS, port=self.proxy.port)
        agent = {
            "DEFAULT": {
                "debug": "True",
                "transport_url": broker,
                "control_exchange": EXCHANGE,
                "conductor_queue": self.instance.conductor,
                "log_dir": "/var/log/trove/",
                "log_file": "trove-guestagent.log",
            }
        }
        files = {GUEST_INFO: self._guest_info(self.key), AGENT_CONF: _ini(agent)}
        entries = [
            {
                "encoding": "b64",
                "owner": "root:root",
                "path": path,
                "content": base64.b64encode(text.encode()).decode(),
            }
            for path, text in files.items()
        ]
        config = "#cloud-config\n" + yaml.safe_dump({"write_files": entries})
        return base64.b64encode(config.encode()).decode()

    def _guest_info(self, key: str | None, guest_id: str | None = None) -> str:
        values = {
            "guest_id": guest_id or self.instance.id,
            "datastore_manager": "mariadb",
            "datastore_version": VERSION,
        }
        if key:
            values["instance_rpc_encr_key"] = key
        return _ini({"DEFAULT": values})

    def reconfigure(self, key: str | None, guest_id: str | None = None) -> None:
        """Inject another identity or key and restart the agent."""
        self.machine.write_file(GUEST_INFO, self._guest_info(key, guest_id))
        old = self.machine.agent_pid()
        before = len(self.machine.messages())
        self.machine.run(["systemctl", "restart", machines.AGENT_UNIT])
        self.machine.wait_agent_restarted(old)
        self._wait_listening_after(before)

    def _wait_listening_after(self, count: int) -> None:
        # The journal has a "Listening." of every agent there was.
        wanted = sum("Listening." in line for line in self.machine.messages()[:count]) + 1
        cursor = ["journalctl", "--follow", "--lines=all", "--output=cat", "--quiet"]
        script = f"{' '.join(cursor)} --unit={machines.AGENT_UNIT} | grep -m {wanted} -c Listening"
        self.machine.sh(f"timeout 30 sh -c '{script}'")

    def api(self, *, sealed: bool = True, context: TroveContext | None = None) -> API:
        """Trove's own client class. The key comes from Trove's database; in
        clear it is as if Trove had none for this instance."""
        # What the taskmanager caches per instance, and for how long it likes.
        _instance_encryption_key._table[self.instance.id] = self.key if sealed else None
        if self.instance.id not in _instance_encryption_key._lru:
            _instance_encryption_key._lru.insert(0, self.instance.id)
        return API(context or self.context(), self.instance.id)

    def context(self, kind: type[DBaaSAPINotification] | None = None) -> TroveContext:
        """A user's context, with a token, and a notification to be ended."""
        context = TroveContext(user_id="wire", project_id="wire", auth_token=canary.make("token"))
        if kind is not None:
            context.notification = kind(
                context,
                request_id=context.request_id,
                server_type="api",
                client_ip="127.0.0.1",
                server_ip="127.0.0.1:8779",
                tenant_id="wire",
            )
        return context

    def config_contents(self) -> str:
        """The base configuration, from Trove's own template."""
        version = SimpleNamespace(
            datastore_name="mariadb", manager="mariadb", name=VERSION, version=VERSION
        )
        rendered = template.SingleInstanceConfigTemplate(version, FLAVOR, self.instance.id)
        return rendered.render()

    def prepare(self) -> None:
        """`prepare` as the taskmanager casts it; returns when it is done."""
        user = {
            "_name": "wire",
            "_host": "%",
            "_password": self.user_password,
            "_databases": [{"_name": "wire", "_character_set": None, "_collate": None}],
            "_is_root": False,
        }
        self.api(context=self.context(DBaaSInstanceCreate)).prepare(
            FLAVOR["ram"],
            "",
            [{"_name": "wire", "_character_set": None, "_collate": None}],
            [user],
            device_path="/dev/vdb",
            mount_point="/var/lib/mysql",
            config_contents=self.config_contents(),
            root_password=self.root_password,
            overrides={"max_connections": 77},
            modules=[],
            ds_version=VERSION,
        )
        end = self.conductor.wait("notify_end", PREPARE_SECONDS)
        # The final heartbeat has its own pace.
        healthy = self.conductor.all[: self.conductor.all.index(end)]
        if not any(c.args.get("payload") == HEALTHY for c in healthy):
            self.conductor.wait_status("healthy")
        self.prepare_casts = list(self.conductor.all)

    def login(self, user: str, password: str, **options: Any) -> pymysql.Connection:
        """Log in to the database over TCP."""
        return pymysql.connect(
            host=self.machine.address(), user=user, password=password, connect_timeout=10, **options
        )

    def query(self, user: str, password: str, sql: str) -> list[tuple]:
        """Log in, run one statement; its rows."""
        with self.login(user, password) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())


def _ini(sections: dict[str, dict[str, str]]) -> str:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_dict(sections)
    text = io.StringIO()
    parser.write(text)
    # oslo.config would interpolate a dollar sign.
    return text.getvalue().replace("$", "$$")
