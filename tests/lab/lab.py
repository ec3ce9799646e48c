"""The lab as a whole: up, down, and handles on everything in it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lab import mariadb, network, rabbitmq, settings, swift, teardown, tls
from lab.cache import Cache, locked
from lab.clients.objects import ObjectClient
from lab.clients.openstack import OpenStack, troveclient
from lab.clients.sql import SqlClient
from lab.clients.trove import TroveClient
from lab.controlplane import config, services
from lab.controlplane.offers import offers
from lab.fetch import BackupParts, Parts, fetch, fetch_for_backups, fetched
from lab.fetch import servers, trees
from lab.fetch.database import REGISTER
from lab.fetch.image import Image
from lab.fetch.trees import Tree
from lab.guests.guest import Guest
from lab.guests.kinds import guest_in
from lab.processes import Identity, ProcessTable
from lab.progress import Progress
from lab.rabbitmq import RabbitMQ
from lab.room import Tools
from lab.swift import Swift
from lab.upstream_backup import UpstreamBackup

if TYPE_CHECKING:
    from lab.clients.rpc import RpcClient

MODES = ("encrypted", "unencrypted")
# Names that the guests' resolver knows.
HOSTS = {rabbitmq.NAME: network.LAB_ADDRESS, "cloud.lab.test": network.LAB_ADDRESS}


def _label(tree: Tree) -> str:
    """What the cloud knows a tree's image by."""
    return settings.versions().datastore(tree.datastore, tree.series).label


class LabError(RuntimeError):
    """The lab is not in the state that a command needs."""


class Lab:
    """One lab per state directory. `up` starts from nothing, `down` ends all."""

    def __init__(self, state: Path | None = None) -> None:
        self.state = state or settings.state_dir()
        self.name = settings.lab_name(self.state)
        self.log = self.state / "log"
        self.processes = ProcessTable(self.state / "run", self.log)
        self.broker = RabbitMQ(self.state / "rabbitmq", self.state / "tls")
        self._daemons = teardown.daemons(self.name)
        self._parts: Parts | None = None
        # Seconds that the object store remembers tokens for; -1: ended ones are
        # refused at once.
        self.token_cache = -1

    # Life

    def up(
        self,
        mode: str = "encrypted",
        progress: Progress | None = None,
        *,
        objects: bool = False,
    ) -> None:
        """Start everything; RPC between Trove and agents is sealed or clear.

        The object store is for those who ask for it, here or later.
        """
        if mode not in MODES:
            raise ValueError(f"mode is one of {MODES}")
        progress = progress or Progress()
        self._parts = fetch(progress)
        store = self.fetch_for_backups(progress).swift if objects else None
        with self._locked():
            if self.running():
                raise LabError(f"the lab in {self.state} is up already")
            self._clean(keep_logs=False)
            try:
                with progress.step("Lab") as step:
                    self._start(mode, step, store)
            except BaseException:
                self._clean(keep_logs=True)
                raise

    def up_store(self) -> None:
        """Start Keystone and the object store alone, for tests of stores."""
        self._parts = fetch(Progress())
        store = self.fetch_for_backups().swift
        with self._locked():
            self._clean(keep_logs=False)
            try:
                self._create()
                cloud = str(self._cloud_config(None))
                self._daemon("cloud", [*self._python("lab.cloud"), cloud])
                self._start_swift(store)
                with self.inside():
                    self._wait_swift()
            except BaseException:
                self._clean(keep_logs=True)
                raise

    def _create(self) -> None:
        """Directories, network and a place for daemons."""
        self.state.mkdir(parents=True, exist_ok=True)
        self.state.chmod(0o700)  # passwords and keys
        for name in ("guests", "volumes", "log", "etc"):
            (self.state / name).mkdir()
        network.create_lab(self.name)
        self._daemons.create()

    def _start(self, mode: str, step: Any, store: Path | None) -> None:
        step.detail = "network and configuration"
        self._create()
        tls.create(self.state / "tls", [rabbitmq.NAME], [network.LAB_ADDRESS])
        hosts = "".join(f"{address} {name}\n" for name, address in HOSTS.items())
        self.hosts_file.write_text(hosts)
        self._configure(mode)
        step.detail = "RabbitMQ, MariaDB, cloud"
        self._start_broker()
        self._start_database()
        self._daemon(
            "dns", [*self._python("lab.dns"), network.LAB_ADDRESS, str(self.hosts_file)]
        )
        cloud = str(self._cloud_config(self._agent()))
        self._daemon("cloud", [*self._python("lab.cloud"), cloud])
        if store is not None:
            self._start_swift(store)
        with self.inside():
            mariadb.wait_ready(self._database_socket)
            rabbitmq.wait_ready()
            step.detail = "trove-api, trove-taskmanager, trove-conductor"
            self._start_trove()
            services.wait_ready(self.processes)
            if store is not None:
                step.detail = "Swift"
                self._wait_swift()
        self._write_record(mode)

    def down(self) -> None:
        """Stop everything and forget all data; logs stay until the next `up`."""
        with self._locked():
            self._clean(keep_logs=True)

    def clean(self) -> None:
        """Like `down`, and remove the state directory; also after a crash."""
        with self._locked():
            self._clean(keep_logs=False)

    def _clean(self, keep_logs: bool) -> None:
        teardown.destroy(self.state, self.name, keep_logs=keep_logs)

    def exists(self) -> bool:
        """Whether `up` has succeeded and `down` has not been called since."""
        return teardown.is_up(self.state)

    def running(self) -> bool:
        """Whether `up` has succeeded and all daemons still run."""
        if not self.exists():
            return False
        names = self.processes.names()
        return bool(names) and all(self.processes.get(name) for name in names)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        if os.geteuid() != 0:
            raise LabError("network namespaces and guests need root")
        with locked(settings.lock_file(self.name)):
            yield

    # Parts

    @property
    def parts(self) -> Parts:
        """What was fetched."""
        if self._parts is None:
            self._parts = fetched()
        if self._parts is None:
            raise LabError("not everything is fetched; run `cli fetch`")
        return self._parts

    def fetch_for_backups(self, progress: Progress | None = None) -> BackupParts:
        """What the object store and upstream's backup program consist of."""
        return fetch_for_backups(self.parts, progress or Progress())

    @property
    def mode(self) -> str:
        """`encrypted` or `unencrypted`."""
        return teardown.mode(self.state)

    @property
    def hosts_file(self) -> Path:
        """Names that guests can resolve; may be edited at any time."""
        return self.state / "etc/hosts"

    @property
    def trove_conf(self) -> Path:
        return self.state / "etc/trove.conf"

    @property
    def guest_conf(self) -> Path:
        """What Trove injects as trove-guestagent.conf into the next guests."""
        return self.state / "etc/trove-guestagent.conf"

    def _write_record(self, mode: str) -> None:
        teardown.record(self.state).write_text(json.dumps({"mode": mode}))

    @property
    def _database_socket(self) -> Path:
        return self.state / "mariadb.sock"

    def _configure(self, mode: str, **options: Any) -> None:
        config.write(
            self.state / "etc",
            venv=self.parts.venv,
            log=self.log,
            locks=self.state / "locks",
            secure=mode == "encrypted",
            **options,
        )

    @staticmethod
    def _agent() -> Path | None:
        """The program that guests get, if any."""
        binary = settings.agent_binary()
        if str(binary) == "none":
            return None
        if not binary.is_file():
            raise LabError(f"there is no agent at {binary}: run `make build`")
        return binary

    def _cloud_config(self, binary: Path | None) -> Path:
        path = self.state / "etc/cloud.json"
        self._write_trees({_label(tree): tree.path for tree in self.parts.trees.values()})
        values = {
            "state": str(self.state),
            "lab": self.name,
            "address": network.LAB_ADDRESS,
            "database_url": config.API,
            "objects_url": config.OBJECTS,
            "trees": str(self._trees_file),
            "binary": str(binary) if binary else None,
        }
        path.write_text(json.dumps(values, indent=1))
        return path

    @property
    def _trees_file(self) -> Path:
        """Where the cloud finds the guest tree of an image."""
        return self.state / "etc/trees.json"

    def _write_trees(self, more: dict[str, Path]) -> None:
        paths = {label: str(path) for label, path in more.items()}
        if self._trees_file.exists():
            paths = json.loads(self._trees_file.read_text()) | paths
        temporary = self._trees_file.with_suffix(".new")
        temporary.write_text(json.dumps(paths, indent=1))
        os.rename(temporary, self._trees_file)

    def offer(self, datastore: str, series: str) -> None:
        """Make instances of a further series possible; it is fetched if needed."""
        wanted = settings.versions().datastore(datastore, series)
        with network.outside():
            tree = trees.ensure(Cache(settings.cache_dir()), wanted, Progress())
        with self._locked():
            if _label(tree) not in json.loads(self._trees_file.read_text()):
                self._register(tree, tree.path)

    def offer_image(self, image: Image, *, virtual: bool) -> str:
        """Boot guests from an image from now on, as virtual machines or as containers.

        Returns the series of its server, for `create_instance`.
        """
        with self._locked():
            self._register(image.tree, image.disk if virtual else image.root)
        return image.tree.series

    def _register(self, tree: Tree, root: Path) -> None:
        python = str(self.parts.venv / "bin/python")
        argv = [python, "-W", "ignore", str(REGISTER), str(self.trove_conf)]
        self.run([*argv, offers([tree])], check=True, capture_output=True)
        self._write_trees({_label(tree): root})

    # Daemons

    def _python(self, module: str) -> list[str]:
        tests = settings.LAB_DIR.parent
        python = self.parts.venv / "bin/python"
        return ["env", f"PYTHONPATH={tests}", str(python), "-m", module]

    def _daemon(
        self, name: str, argv: list[str], env: dict[str, str] | None = None
    ) -> None:
        inside = network.entering(self.name, argv)
        self.processes.start(name, self._daemons.wrap(inside), env=env)

    def start_process(self, name: str, argv: list[str]) -> None:
        """Start a program that ends with the lab, unless it is stopped before."""
        self._daemon(name, argv)

    def _start_broker(self) -> None:
        self.broker.configure()
        self._daemon("epmd", self.broker.mapper_command())
        self.start_broker()

    def start_broker(self) -> None:
        """Start RabbitMQ again after `stop_broker`; does not wait for it."""
        self._daemon(
            "rabbitmq", self.broker.server_command(), self.broker.environment()
        )

    def stop_broker(self) -> None:
        """Stop RabbitMQ; durable queues and accounts stay."""
        self.rabbitmqctl("stop")
        self.processes.stop("rabbitmq", grace=30.0)

    def kill_broker(self) -> None:
        """End RabbitMQ as a crash would. The process that was started is a
        script that waits for the Erlang machine, so that one is looked for."""
        for machine in self.broker_machines():
            machine.kill(signal.SIGKILL)
            machine.wait(10)
        self.processes.stop("rabbitmq")

    def broker_machines(self) -> list[Identity]:
        """The broker's Erlang machine, if it runs."""
        return [i for i in map(rabbitmq.machine, self._daemons.processes()) if i]

    def restart_broker(self) -> None:
        """Restart RabbitMQ and wait until it lets clients in."""
        self.stop_broker()
        self.start_broker()
        with self.inside():
            rabbitmq.wait_ready()

    def rabbitmqctl(self, *arguments: str) -> str:
        """Run rabbitmqctl against the lab's broker; its output."""
        return self.broker.control(self.name, *arguments)

    def _start_database(self) -> None:
        datadir = self.state / "mariadb"
        source = self.parts.database / "data"
        argv = ["cp", "-a", "--reflink=auto", str(source), str(datadir)]
        subprocess.run(argv, check=True)
        self._daemon(
            "mariadb",
            mariadb.command(
                datadir, self._database_socket, address=network.LAB_ADDRESS
            ),
        )

    def start_swift(self) -> None:
        """Start the object store of a lab that is up; nothing if it runs.

        What is missing is fetched: call it outside of the lab's network.
        """
        store = self.fetch_for_backups().swift
        with self._locked():
            if self.processes.get("swift-proxy") is None:
                self._start_swift(store)
            with self.inside():
                self._wait_swift()

    def _start_swift(self, environment: Path) -> None:
        store = Swift(self.state / "swift", environment)
        store.configure(self.token_cache)
        for name in swift.NAMES:
            self._daemon(name, store.command(name))

    def _wait_swift(self) -> None:
        swift.wait_ready(lambda n: self.processes.get(n) is not None)

    def _start_trove(self) -> None:
        venv = self.parts.venv
        services.start(self.processes, self.name, self._daemons, venv, self.trove_conf)

    def restart_trove(self, mode: str | None = None, **options: Any) -> None:
        """Restart Trove's services, optionally with the other kind of RPC.

        Instances keep what they were created with. Until the next restart, these
        options hold: `objects` (a URL that ends in `AUTH_`) is where Trove looks
        for the object store instead of in the catalogue, `storage` what backups
        are kept in (`swift` or `cinder`), `isolation` gives databases the tenant's
        port for themselves, `online_resize=False` unplugs volumes to grow them.
        """
        mode = mode or self.mode
        services.stop(self.processes)
        self._configure(mode, **options)
        self._start_trove()
        with self.inside():
            services.wait_ready(self.processes)
        self._write_record(mode)

    def use_mode(self, mode: str) -> None:
        """Make sure that new instances get this kind of RPC."""
        if self.mode != mode:
            self.restart_trove(mode)

    # Handles

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Give this thread, and those it starts, the lab's network."""
        with network.inside(self.name):
            yield

    def run(self, argv: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program of this machine inside the lab's network."""
        options.setdefault("text", True)
        return subprocess.run(network.entering(self.name, argv), **options)

    def trove(self, account: str = "demo") -> TroveClient:
        """The REST API; use it inside the lab's network."""
        return TroveClient(account)

    def objects(self, account: str = "demo") -> ObjectClient:
        """The object store's API; use it inside the lab's network."""
        return ObjectClient(account)

    def backup_tools(
        self, datastore: str = "mariadb", series: str | None = None
    ) -> Tools:
        """The programs of a server and its backups, for this machine."""
        cache, progress = Cache(settings.cache_dir()), Progress()
        wanted = settings.versions().datastore(datastore, series)
        with network.outside():
            tree = trees.ensure(cache, wanted, progress)
        server = servers.ensure(cache, tree, progress)
        above = 4 if datastore == "postgresql" else 1
        return Tools(server.parents[above], tree.path, datastore, wanted.series)

    def upstream_backup(
        self,
        account: str = "demo",
        container: str = "database_backups",
        tools: Tools | None = None,
    ) -> UpstreamBackup:
        """Upstream's backup program with the account's token and objects.

        Use it inside the lab's network, after `start_swift`.
        """
        objects = self.objects(account)
        return UpstreamBackup(
            namespace=self.name,
            python=self.parts.venv / "bin/python",
            program=self.fetch_for_backups().upstream,
            tools=tools or self.backup_tools(),
            scratch=self.state / "upstream",
            url=objects.url,
            token=objects.token,
            container=container,
        )

    def openstack(self, account: str = "demo") -> OpenStack:
        """The real command line client."""
        return OpenStack(self.parts.venv, self.name, account)

    def troveclient(self, account: str = "demo") -> Any:
        """The real Python client; use it inside the lab's network."""
        return troveclient(account)

    def sql(
        self, datastore: str, host: str, user: str, password: str, database: str = ""
    ) -> SqlClient:
        """The datastore's own client, logging in over TCP."""
        tree = self.parts.trees[datastore].path
        return SqlClient(datastore, tree, self.name, host, user, password, database)

    def trove_sql(self, statement: str) -> list[list[str]]:
        """Look into Trove's own database."""
        text = f"use {mariadb.DATABASE}; {statement}"
        rows = mariadb.sql(self._database_socket, text).splitlines()
        return [row.split("\t") for row in rows]

    def rpc(
        self, instance_id: str, *, clear_text: bool = False, token: str | None = None
    ) -> RpcClient:
        """Speak to an instance's agent as the control plane would."""
        # Loads all of Trove: two seconds that only those who call need to pay.
        from lab.clients.rpc import RpcClient, injected_key

        spec = self.guest(instance_id).spec
        key = None if clear_text else injected_key(spec)
        return RpcClient(self.trove_conf, instance_id, key, token=token)

    def _guest_directories(self) -> list[Path]:
        guests = self.state / "guests"
        return sorted(guests.iterdir()) if guests.is_dir() else []

    def guests(self) -> list[Guest]:
        """Every server that exists now."""
        found = [d for d in self._guest_directories() if (d / "spec.json").exists()]
        return [guest_in(directory, self.log / "guests") for directory in found]

    def guest(self, name: str) -> Guest:
        """A server by its id, its instance's id (or the start of one), or name."""
        for guest in self.guests():
            ids = (guest.id, guest.instance_id)
            if guest.spec.name == name or any(i.startswith(name) for i in ids):
                return guest
        raise LookupError(f"no server for {name!r}")

    @contextmanager
    def cut_off(self, guest: Guest) -> Iterator[None]:
        """Nobody reaches the guest where databases are used; its agent goes on."""
        nics = [nic for nic in guest.spec.nics if nic.segment == network.USER]
        for nic in nics:
            network.connect(self.name, nic, connected=False)
        try:
            yield
        finally:
            for nic in nics:
                network.connect(self.name, nic, connected=True)

    def diagnostics(self) -> str:
        """The ends of all logs, for a failed test's report."""
        parts = []
        for path in sorted(self.log.glob("*.*")):
            lines = path.read_text(errors="replace").splitlines()[-15:]
            parts.append(f"--- {path.name}\n" + "\n".join(lines))
        return "\n".join(parts)
