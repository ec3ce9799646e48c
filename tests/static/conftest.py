"""The binary under test, a broker to reach, and roots to run in."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import network, rabbitmq, settings
from lab.progress import Progress

from static import trees
from static.hub import Hub
from static.roots import CONFIG_DIR, PROGRAM, Root

EMPTY = "empty"
KEY = "canary-of-the-instance-key"
DEBIAN = [release.suite for release in trees.RELEASES]

# A device, but not one with blocks.
NO_VOLUME = "/dev/null"

# Loads whatever /etc/nsswitch.conf names: what the agent must not do.
UNPREPARED = "/usr/local/bin/unprepared"
UNPREPARED_SOURCE = """\
#include <netdb.h>
#include <pwd.h>
int main(void) {
    struct addrinfo *found;
    getpwnam("no-such-user");
    getaddrinfo("no-such-name.lab.test", 0, 0, &found);
    return 0;
}
"""


@pytest.fixture(scope="session")
def binary() -> Path:
    """TROVE_GUESTAGENT_RELEASE, or what `make dist` has made."""
    chosen = os.environ.get("TROVE_GUESTAGENT_RELEASE")
    path = Path(chosen) if chosen else settings.REPO / "dist/trove-guestagent"
    assert path.is_file(), f"{path} is missing: run `make dist`"
    return path


@pytest.fixture(scope="session")
def debian_trees(request: pytest.FixtureRequest) -> dict[str, Path]:
    """Root directories by suite; the first fetch shows its progress."""
    if trees.cached():
        return trees.ensure(Progress())
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        return trees.ensure(Progress())


@pytest.fixture(scope="session")
def hub(binary: Path, debian_trees: dict[str, Path]) -> Iterator[Hub]:
    """Broker and name server, also after a session that was killed.

    After the trees: within the hub's network there is no archive to fetch from.
    """
    hub = Hub()
    hub.clean()
    hub.up()
    try:
        shutil.copy(binary, hub.state / "agent")
        with hub.inside():
            yield hub
    finally:
        hub.clean()


@pytest.fixture(scope="session")
def unprepared(hub: Hub) -> Path:
    """A static program that leaves its name services as they are."""
    source, program = hub.state / "unprepared.c", hub.state / "unprepared"
    source.write_text(UNPREPARED_SOURCE)
    compiler = ["cc", "-static", "-o", str(program), str(source)]
    subprocess.run(compiler, check=True, capture_output=True)
    return program


@pytest.fixture
def guest_id() -> str:
    return str(uuid.uuid4())


class Configuration:
    """The two files that Trove injects; written again when changed."""

    def __init__(self, root: Root, guest_id: str) -> None:
        self._root = root
        self.guest_id = guest_id
        self.transport_url = rabbitmq.transport_url(rabbitmq.NAME)

    def write(self, more: str = "") -> None:
        """`more` are lines behind those of [DEFAULT]. There is no data volume,
        and its place is taken so that the agent need not wait for one."""
        self._root.write(
            f"{CONFIG_DIR}/guest_info.conf",
            f"[DEFAULT]\nguest_id = {self.guest_id}\ndatastore_manager = mariadb\n"
            f"datastore_version = 10.11\ninstance_rpc_encr_key = {KEY}\n",
        )
        url = self.transport_url.replace("$", "$$")
        self._root.write(
            f"{CONFIG_DIR}/trove-guestagent.conf",
            f"[DEFAULT]\ntransport_url = {url}\ncontrol_exchange = trove\n{more}"
            f"[mariadb]\ndevice_path = {NO_VOLUME}\n",
        )


def make_root(hub: Hub, name: str, tree: Path | None) -> Root:
    """A root with the binary and a resolver's address, and no more."""
    root = Root(hub.state / "roots" / f"{name}-{uuid.uuid4().hex[:8]}", tree, hub.name)
    root.install(hub.state / "agent", PROGRAM)
    root.write("/etc/resolv.conf", f"nameserver {network.LAB_ADDRESS}\n")
    return root


@pytest.fixture(params=[EMPTY, *DEBIAN])
def root(hub: Hub, debian_trees: dict[str, Path], request: pytest.FixtureRequest) -> Root:
    """The empty root and every Debian one."""
    return make_root(hub, request.param, debian_trees.get(request.param))


@pytest.fixture(params=DEBIAN)
def debian(hub: Hub, debian_trees: dict[str, Path], request: pytest.FixtureRequest) -> Root:
    """Every Debian root, with names of its own in /etc/hosts."""
    root = make_root(hub, request.param, debian_trees[request.param])
    root.write(
        "/etc/hosts",
        f"127.0.0.1 localhost\n{network.LAB_ADDRESS} pinned.example pinned\n",
    )
    return root


@pytest.fixture
def config(request: pytest.FixtureRequest, guest_id: str) -> Configuration:
    """A good configuration in the test's root."""
    names = {"root", "debian"} & set(request.fixturenames)
    configuration = Configuration(request.getfixturevalue(names.pop()), guest_id)
    configuration.write()
    return configuration
