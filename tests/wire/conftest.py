"""One broker for the whole run; agents as the tests need them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wire import canary, oslo
from wire.agent import Agent, Sandbox
from wire.broker import BrokerLab, standing
from wire.guest import Guest
from wire.instance import Instance
from wire.peer import Peer

_measured: list[str] = []


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes longer than ten seconds")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The canary looks at what all others left behind."""
    items.sort(key=lambda item: "test_canary" in item.nodeid)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _measured:
        terminalreporter.section("measured")
        for line in _measured:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def measured() -> Callable[[str], None]:
    """Notes a number for the end of the report."""
    return _measured.append


@pytest.fixture(scope="session")
def lab() -> Iterator[BrokerLab]:
    """The broker, and this process inside its network."""
    lab = BrokerLab()
    with standing(lab):
        yield lab


@pytest.fixture(scope="session")
def watch(lab: BrokerLab) -> Iterator[canary.Watch]:
    """Looks at the arguments of processes while everything runs."""
    watch = canary.Watch(lab.name)
    watch.start()
    yield watch
    watch.stop()


@pytest.fixture(scope="session")
def sandbox(lab: BrokerLab, watch: canary.Watch) -> Sandbox:
    """Where agents without a guest are made."""
    return Sandbox(lab)


@pytest.fixture(params=["sealed", "clear"])
def instance(request: pytest.FixtureRequest) -> Instance:
    """A new instance, once with and once without a key."""
    return Instance.new(sealed=request.param == "sealed")


@pytest.fixture
def sealed() -> Instance:
    """A new instance with a key."""
    return Instance.new()


@pytest.fixture(scope="session", params=["sealed", "clear"])
def shared(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[Agent]:
    """An agent for tests that change nothing about it."""
    with sandbox.agent(Instance.new(sealed=request.param == "sealed")) as agent:
        yield agent


@pytest.fixture
def peer(shared: Agent) -> Iterator[Peer]:
    """A bare AMQP peer of the shared agent."""
    with Peer(shared.instance) as peer:
        yield peer


@pytest.fixture
def client(shared: Agent, tmp_path: Path) -> Iterator[oslo.Client]:
    """oslo.messaging's client of the shared agent."""
    with oslo.client(shared.instance, tmp_path) as client:
        yield client


@pytest.fixture(scope="session")
def guest(lab: BrokerLab, watch: canary.Watch) -> Iterator[Guest]:
    """A booted MariaDB guest that RPC has prepared."""
    with Guest.booted(lab) as guest:
        begun = time.monotonic()
        guest.prepare()
        _measured.append(f"prepare of the guest: {time.monotonic() - begun:.1f} s")
        yield guest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failed test shows what the agents said last."""
    report = (yield).get_result()
    if not report.failed or report.when == "teardown":
        return
    used = getattr(item, "funcargs", {})
    if (sandbox := used.get("sandbox")) and sandbox.agents:
        text = "\n".join(sandbox.agents[-1].log()[-12:])
        report.sections.append(("latest agent", text))
    if guest := used.get("guest"):
        report.sections.append(("guest", "\n".join(guest.machine.messages()[-20:])))
