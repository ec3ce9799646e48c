"""After everything else: no secret is where it must not be."""

from __future__ import annotations

import os
import re
from pathlib import Path

from wire import canary
from wire.agent import Sandbox
from wire.guest import Guest
from wire.instance import Instance, url
from wire.peer import Peer
from wire.proxy import Proxy


def test_everything_with_the_most_talkative_log(sandbox: Sandbox, sealed: Instance) -> None:
    """Level trace, a log file, and every message that holds a secret."""
    password = canary.make("user password")
    user = {"_name": "eve", "_host": "%", "_password": password, "_databases": []}
    default = {"log_dir": "/var/log/trove", "log_file": "agent.log"}
    with Proxy() as proxy:
        options = {"default": default, "own": {"log_level": "trace"}}
        with sandbox.agent(sealed, transport_url=url(port=proxy.port), **options) as agent:
            with Peer(sealed) as peer:
                peer.failure("create_user", {"users": [user]})
                peer.failure("create_user", {"users": [user | {"_databases": [password]}]})
                peer.failure("enable_root_with_password", {"root_password": password})
                change = {"name": "eve", "host": "%", "password": password}
                peer.failure("change_passwords", {"users": [change]})
                account = {"username": "eve", "hostname": "%"}
                attributes = {"user_attrs": {"password": password}}
                peer.failure("update_attributes", account | attributes)
                mark = agent.mark()
                proxy.cut()
                agent.wait_listening(since=mark)
                peer.ping()
            with Peer(sealed.with_key(canary.make("RPC key"))) as stranger:
                stranger.failure("create_user", {"users": [user]})
            checked = agent.run("check").stdout
            assert "***" in checked and not canary.found_in(checked.encode())
            for verdict in (agent.run("doctor"), agent.run("status")):
                assert not canary.found_in((verdict.stdout + verdict.stderr).encode())
        assert agent.logged("TRACE|DEBUG")
        file = agent.directory / "upper/var/log/trove/agent.log"
        assert "Call failed" in file.read_text() and not canary.found_in(file.read_bytes())


def test_outputs_of_all_agents(sandbox: Sandbox) -> None:
    """Standard error of every agent that ran."""
    assert sandbox.agents and canary.count() > len(sandbox.agents)
    seen = 0
    for agent in sandbox.agents:
        text = (agent.directory / "stderr").read_bytes()
        seen += b"Agent started" in text
        assert not canary.found_in(text), agent.directory
    assert seen


def test_files_of_all_agents(sandbox: Sandbox) -> None:
    """What they wrote: logs without secrets, and nothing secret for everybody.
    The injected configuration was readable by all before they started."""
    # Whoever refused its configuration has touched nothing.
    directories = [agent.directory for agent in sandbox.agents if ran(agent.directory)]
    assert directories
    for directory in directories:
        upper, run = directory / "upper", directory / "run"
        assert not canary.tell_tales(upper, only_readable=True)
        assert not canary.tell_tales(run, only_readable=False)
        if (upper / "var/log").exists():
            assert not canary.tell_tales(upper / "var/log", only_readable=False)
        # The search does find what is there: key or broker password.
        assert canary.tell_tales(upper / "etc/trove/conf.d", only_readable=False)


def ran(directory: Path) -> bool:
    """Whether that agent got beyond its configuration."""
    return "Agent started" in (directory / "stderr").read_text()


def test_arguments_and_environments(watch: canary.Watch, sandbox: Sandbox) -> None:
    """Of every process that was seen in the agents' and guests' groups."""
    words = {Path(os.fsdecode(line.split(b"\0")[0])).name for line in watch.seen}
    assert "trove-guestagent" in words
    for line in watch.seen:
        assert not canary.found_in(line), line


def test_the_guest(guest: Guest, watch: canary.Watch) -> None:
    """Journal of all units, log files, and what everybody may read."""
    journal = "\n".join(guest.machine.messages(unit=None))
    assert "Instance prepared." in journal and "mariadbd" in journal
    assert not canary.found_in(journal.encode())
    root = Path(f"/proc/{guest.machine.leader().pid}/root")
    log = (root / "var/log/trove/trove-guestagent.log").read_bytes()
    assert b"Instance prepared." in log and not canary.found_in(log)
    upper = guest.disk
    assert not canary.tell_tales(upper / "var/log", only_readable=False)
    assert not canary.tell_tales(upper, only_readable=True)
    assert canary.tell_tales(upper / "etc/trove", only_readable=False)
    for mount in ("run", "var/lib/mysql"):
        assert not canary.tell_tales(root / mount, only_readable=True)
    words = {re.split(rb"[\0 ]", line)[0] for line in watch.seen}
    assert b"/usr/sbin/mariadbd" in words
