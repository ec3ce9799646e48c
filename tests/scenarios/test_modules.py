"""Modules, from the real client's side and from the guest's.

One instance; every test goes on where the one before has ended.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from troveclient import exceptions

from backups.steps import Owner, created
from lab.lab import Lab
from lab.waiting import eventually
from scenarios.day2 import rebuild

KEPT = "/var/lib/postgresql/modules"
# What New Relic's package would bring; it is not in Debian.
UNIT = "/etc/systemd/system/newrelic-infra.service"
CONFIG = "/etc/newrelic-infra.yml"
PACKAGE = f"""\
printf '[Service]\\nExecStart=/bin/sleep infinity\\n[Install]\\nWantedBy=multi-user.target\\n' > {UNIT}
printf '# settings\\nverbose: 0\\n' > {CONFIG}
chmod 644 {CONFIG}
systemctl daemon-reload
"""


class Story:
    """The instance, its users, and the modules there are."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.user = lab.troveclient()
        self.admin = lab.troveclient("admin")
        self.licence = f"canary{secrets.token_hex(17)}"
        self.modules: dict[str, Any] = {}
        self.owner: Owner

    def make(self, name: str, contents: str | bytes, kind: str = "ping", **more: Any) -> Any:
        """A module in the control plane, made by a user or by an administrator."""
        by = self.admin if more.pop("admin", False) else self.user
        full = f"{name}-{uuid.uuid4().hex[:6]}"
        self.modules[name] = by.modules.create(full, kind, contents, **more)
        return self.modules[name]

    def apply(self, *names: str) -> dict[str, Any]:
        """Apply modules; their results by names."""
        ids = [self.modules[name].id for name in names]
        return self._by_name(self.admin.instances.module_apply(self.owner.id, ids))

    def applied(self) -> dict[str, Any]:
        """What the guest says is applied, to an administrator."""
        return self._by_name(self.admin.instances.module_query(self.owner.id))

    def _by_name(self, results: list[Any]) -> dict[str, Any]:
        names = {module.id: name for name, module in self.modules.items()}
        return {names[result.id]: result for result in results}

    def remove(self, name: str) -> None:
        self.admin.instances.module_remove(self.owner.id, self.modules[name].id)


@pytest.fixture(scope="module")
def story(lab: Lab) -> Iterator[Story]:
    lab.use_mode("encrypted")
    story = Story(lab)
    story.make("hello", "message=hello\n", live_update=True)
    story.make("everywhere", "message=for all\n", admin=True, all_tenants=True, auto_apply=True)
    wanted = [{"id": story.modules["hello"].id}]
    try:
        with created(lab, "postgresql", modules=wanted) as owner:
            story.owner = owner
            yield story
    finally:
        for module in story.modules.values():
            story.admin.modules.delete(module.id)


def test_create_with_modules(story: Story) -> None:
    """The one that was asked for, and the one that every instance gets."""
    found = story.applied()
    assert {name: (one.status, one.message) for name, one in found.items()} == {
        "hello": ("OK", "hello"),
        "everywhere": ("OK", "for all"),
    }
    assert found["hello"].md5 == story.modules["hello"].md5
    recorded = story.user.instances.modules(story.owner.id)
    assert {module.id for module in recorded} >= {story.modules["hello"].id}


def test_apply_and_retrieve(story: Story, tmp_path: Path) -> None:
    """Contents come back byte by byte, but an administrator's only to him."""
    contents = "message = späte Grüße = \\0 # a comment\r\n".encode()
    story.make("late", contents)
    story.make("empty", "nothing=here\n")
    results = story.apply("late", "empty")
    assert results["late"].message == "späte Grüße = \\0"
    assert results["empty"].status == "ERROR"
    assert "Message not found" in results["empty"].message
    saved = story.user.instances.module_retrieve(story.owner.id, str(tmp_path))
    texts = {name: Path(path).read_bytes() for name, path in saved.items()}
    assert texts[story.modules["late"].name] == contents
    assert b"Must be admin" in texts[story.modules["everywhere"].name]
    saved = story.admin.instances.module_retrieve(story.owner.id, str(tmp_path))
    texts = {name: Path(path).read_bytes() for name, path in saved.items()}
    assert texts[story.modules["everywhere"].name] == b"message=for all\n"


def test_licence_key(story: Story) -> None:
    """The key is in the one file that needs it, and nobody else learns it."""
    guest = story.owner.guest
    contents = f"license_key={story.licence}\n"
    story.make("licence", contents, "new_relic_license", admin=True, visible=False)
    refused = story.apply("licence")["licence"]
    assert refused.status == "ERROR" and "no newrelic-infra" in refused.message
    guest.sh(PACKAGE)
    result = story.apply("licence")["licence"]
    assert (result.status, result.message) == ("OK", "New Relic license key installed")
    text = guest.read_file(CONFIG)
    assert text == f"# settings\nverbose: 0\nlicense_key: {story.licence}\n"
    assert guest.sh(f"stat --format %a {CONFIG}").strip() == "640"
    unit = guest.unit("newrelic-infra.service")
    assert (unit["ActiveState"], unit["UnitFileState"]) == ("active", "enabled")
    # Not visible to its instance's user.
    shown = {one.id for one in story.user.instances.module_query(story.owner.id)}
    assert story.modules["licence"].id not in shown
    found = guest.sh(f"grep --recursive --files-with-matches {story.licence} /etc /root /home")
    assert found.split() == [CONFIG]
    modes = guest.sh(f"find {KEPT} -type f -printf '%m %u\\n' | sort --unique")
    assert modes.split("\n")[:-1] == ["600 root"]
    assert not any(story.licence in line for line in guest.messages(unit=None))


def test_another_agent_knows_the_same(story: Story) -> None:
    """Killed, and upgraded from upstream's: what it had left is taken over."""
    guest, before = story.owner.guest, story.applied()
    pid = guest.agent_pid()
    guest.kill_agent()
    guest.wait_agent_restarted(pid)
    seen = story.applied()
    assert {n: one._info for n, one in seen.items()} == {n: one._info for n, one in before.items()}
    # As upstream's agent has it, which runs as the owner of guest_info.conf.
    late = story.modules["late"]
    home = "/home/ubuntu/modules"
    guest.sh(f"install -d -o ubuntu {home}/ping && mv {KEPT}/ping/{late.id} {home}/ping/")
    guest.sh(f"chown --recursive ubuntu {home} && chmod --recursive a+rX {home}")
    assert story.applied()["late"].message == before["late"].message
    assert guest.sh(f"ls {home}", check=False) == ""


def test_change_and_reapply(story: Story) -> None:
    """New contents reach instances that have the old ones, by the taskmanager."""
    hello, before = story.modules["hello"], story.applied()["hello"]
    story.user.modules.update(hello.id, contents="message=good morning\n")
    story.admin.modules.reapply(hello.id)
    eventually(lambda: story.applied()["hello"].message == "good morning", 60)
    after = story.applied()["hello"]
    assert after.created == before.created and after.updated > before.updated


def test_rebuild_keeps_modules(story: Story) -> None:
    """A new root disk: what is on the volume is applied to it again."""
    before = story.applied()
    rebuild(story.owner)
    # The new disk is without the monitoring agent, and the list says so.
    eventually(lambda: story.applied()["licence"].status == "ERROR")
    after = story.applied()
    assert set(after) == set(before)
    assert after["hello"].message == "good morning"
    assert after["hello"].updated > before["hello"].updated
    assert "no newrelic-infra" in after["licence"].message


def test_remove(story: Story) -> None:
    """Gone from the guest with its contents; a second time is an error."""
    guest = story.owner.guest
    guest.sh(PACKAGE)
    story.apply("licence")
    for name in ("hello", "licence"):
        story.remove(name)
        assert name not in story.applied()
    assert guest.read_file(CONFIG) == "# settings\nverbose: 0\n"
    unit = guest.unit("newrelic-infra.service")
    assert (unit["ActiveState"], unit["UnitFileState"]) == ("inactive", "disabled")
    search = ["grep", "--recursive", "--count", story.licence, KEPT]
    assert guest.run(search, check=False).returncode == 1
    with pytest.raises(exceptions.ClientException, match="has not been applied"):
        story.remove("hello")


def test_refused(story: Story) -> None:
    """What the control plane refuses never gets to the guest."""
    with pytest.raises(exceptions.ClientException, match="was not found"):
        story.make("unknown", "x", "no_such_type")
    foreign = story.make("foreign", "message=x", datastore="mysql")
    with pytest.raises(exceptions.ClientException, match="Wrong datastore"):
        story.user.instances.module_apply(story.owner.id, [foreign.id])
    assert "foreign" not in story.applied()
