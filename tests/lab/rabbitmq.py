"""The broker: RabbitMQ with its own node, directories and accounts."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import amqp

from lab import network
from lab.processes import Identity

PORT = 5672
TLS_PORT = 5671
NAME = "rabbit.lab.test"
USER = "trove"
# Characters that a transport_url must percent-encode. Not a slash: oslo.messaging
# hands it to kombu unquoted, which then takes it for the end of the host.
PASSWORD = "r@bbit:p?a#s%s&[1]+"
VHOST = "/"

PROGRAMS = "/usr/lib/rabbitmq/bin"


def transport_url(host: str = network.LAB_ADDRESS, port: int = PORT) -> str:
    """The URL oslo.messaging clients and agents use."""
    return f"rabbit://{USER}:{quote(PASSWORD, safe='')}@{host}:{port}/"


class RabbitMQ:
    """Configuration and commands of the lab's broker below one directory."""

    def __init__(self, directory: Path, tls: Path) -> None:
        self._directory = directory
        self._tls = tls

    def configure(self) -> None:
        """Write configuration and accounts; the node is fresh."""
        self._directory.mkdir(parents=True, exist_ok=True)
        listen = f"listeners.tcp.lab = {network.LAB_ADDRESS}:{PORT}\n"
        listen += f"listeners.ssl.lab = {network.LAB_ADDRESS}:{TLS_PORT}\n"
        (self._directory / "rabbitmq.conf").write_text(
            listen + f"ssl_options.cacertfile = {self._tls / 'ca.pem'}\n"
            f"ssl_options.certfile = {self._tls / 'server.pem'}\n"
            f"ssl_options.keyfile = {self._tls / 'server.key'}\n"
            "ssl_options.verify = verify_peer\n"
            "ssl_options.fail_if_no_peer_cert = false\n"
            f"load_definitions = {self._directory / 'definitions.json'}\n"
            "vm_memory_high_watermark.absolute = 1GB\n"
            "disk_free_limit.absolute = 100MB\n"
            "log.console = false\n"
        )
        (self._directory / "enabled_plugins").write_text("[].\n")
        every = {"configure": ".*", "write": ".*", "read": ".*"}
        definitions = {
            "vhosts": [{"name": VHOST}],
            "users": [
                {
                    "name": USER,
                    "password_hash": password_hash(PASSWORD),
                    "hashing_algorithm": "rabbit_password_hashing_sha256",
                    "tags": "administrator",
                }
            ],
            "permissions": [{"user": USER, "vhost": VHOST, **every}],
        }
        (self._directory / "definitions.json").write_text(json.dumps(definitions))

    def environment(self) -> dict[str, str]:
        """For the server and for rabbitmqctl."""
        here = str(self._directory)
        local = "-kernel inet_dist_use_interface {127,0,0,1}"
        return {
            "HOME": here,  # the Erlang cookie
            "ERL_CRASH_DUMP": f"{here}/erl_crash.dump",
            "RABBITMQ_NODENAME": "lab@localhost",
            "RABBITMQ_BASE": here,
            "RABBITMQ_HOME_DIR": here,
            "RABBITMQ_MNESIA_BASE": f"{here}/mnesia",
            "RABBITMQ_LOG_BASE": f"{here}/log",
            "RABBITMQ_CONFIG_FILE": f"{here}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{here}/enabled_plugins",
            "RABBITMQ_DIST_PORT": "25672",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": local,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    @staticmethod
    def server_command() -> list[str]:
        return [f"{PROGRAMS}/rabbitmq-server"]

    @staticmethod
    def mapper_command() -> list[str]:
        """Erlang's port mapper; without ours the server would start a daemon."""
        return ["epmd", "-address", "127.0.0.1"]

    def control(self, namespace: str, *arguments: str) -> str:
        """Run rabbitmqctl (two seconds for its own start); its output."""
        argv = ["env", *(f"{k}={v}" for k, v in self.environment().items())]
        argv += [f"{PROGRAMS}/rabbitmqctl", "--quiet", *arguments]
        command = network.entering(namespace, argv)
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"rabbitmqctl {arguments[0]}: {done.stderr.strip()}")
        return done.stdout


def machine(pid: int) -> Identity | None:
    """The process if it is an Erlang machine and not gone meanwhile: the
    machine's helpers end with it."""
    try:
        identity = Identity.of(pid)
        name = Path(f"/proc/{pid}/comm").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return identity if name == "beam.smp\n" else None


def password_hash(password: str, salt: bytes = b"lab!") -> str:
    """RabbitMQ's salted SHA-256, base64 of salt and digest."""
    digest = hashlib.sha256(salt + password.encode()).digest()
    return base64.b64encode(salt + digest).decode()


def connect(timeout: float = 5.0) -> amqp.Connection:
    """An AMQP connection of our own; the caller must be inside the lab's network."""
    connection = amqp.Connection(
        host=f"{network.LAB_ADDRESS}:{PORT}",
        userid=USER,
        password=PASSWORD,
        virtual_host=VHOST,
        connect_timeout=timeout,
        read_timeout=timeout,
    )
    connection.connect()
    return connection


def wait_ready(timeout: float = 60.0) -> None:
    """Wait until the broker lets us log in."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            connect().close()
            return
        except (OSError, amqp.exceptions.AMQPError) as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"RabbitMQ does not answer: {error}") from None
            time.sleep(0.05)


def consumers(queue: str) -> int:
    """How many consumers a queue has; 0 if it does not exist."""
    return _declared(queue)[1]


def waiting(queue: str) -> int:
    """How many messages wait in a queue; 0 if it does not exist."""
    return _declared(queue)[0]


def _declared(queue: str) -> tuple[int, int]:
    connection = connect()
    try:
        declared = connection.channel().queue_declare(queue, passive=True)
        return int(declared.message_count), int(declared.consumer_count)
    except amqp.exceptions.NotFound:
        return 0, 0
    finally:
        connection.close()
