"""New root disks below the same data."""

from __future__ import annotations

from backups.steps import Owner
from lab.waiting import eventually
from scenarios.certificates import Authority
from scenarios.conftest import DATABASE, PASSWORD, USER
from scenarios.day2 import Group, rebuild, restart, show, stop
from scenarios.together import at_once

VOLUME = "/var/lib/mysql"
INFO = "/etc/trove/conf.d/guest_info.conf"
# On the volume until its accounts are the agent's.
MARK = f"{VOLUME}/.adopting"
# As the agent of containers leaves a volume: open to everybody, of another
# account, with passwords of its own, and a restore that was cut off.
FOREIGN = f"""\
set -e
cd {VOLUME}
for user in os_admin root; do
    printf '[client]\\nuser = %s\\npassword = 0644\\nhost = localhost\\n' $user > conf.d/$user.cnf
done
rm -f conf.d/server_id
chmod 0755 conf.d
echo "alter user root@localhost identified by 'canary-of-the-old'" > data/init.sql
if [ -e data/mysql_upgrade_info ]; then printf 10.6.1-MariaDB > data/mysql_upgrade_info; fi
chown -R 4711:4711 data
chmod -R 0777 data
"""


def identity(owner: Owner) -> list[str]:
    """By what replicas know the server."""
    names = ["server_id", *(["server_uuid"] if owner.datastore == "mysql" else [])]
    return [show(owner, name) for name in names]


def arguments(owner: Owner) -> dict[str, object]:
    """What Trove would send."""
    contents = owner.guest.read_file("/etc/mysql/my.cnf")
    version = owner.trove.instance(owner.id)["datastore"]["version"]
    return {"ds_version": version, "config_contents": contents, "config_overrides": {}}


def wait_failed(owner: Owner, reason: str) -> None:
    """The status tells of a failure, and the log of its reason."""
    owner.guest.wait_message(reason, 60)

    def is_failed() -> bool:
        shown = owner.trove.instance(owner.id)
        return {"ERROR", "FAILED"} & {shown["status"], shown["operating_status"]} != set()

    eventually(is_failed, 60)


def test_rebuild(owners: list[Owner]) -> None:
    """Data, users, identity and group are there; the disk is not."""

    def story(owner: Owner) -> None:
        group = Group(owner, {"wait_timeout": 4321})
        group.attach()
        sums, own = owner.checksums("filler"), identity(owner)
        rebuild(owner)
        assert owner.checksums("filler") == sums
        assert identity(owner) == own
        assert show(owner, "wait_timeout") == "4321"
        assert owner.told() == {"created"}
        root = owner.trove.enable_root(owner.id)
        owner.login("root", root["password"]).execute("create database by_root")
        owner.trove.disable_root(owner.id)
        assert owner.guest.sh("systemctl --failed --plain --no-legend") == ""
        restart(owner)
        group.detach()
        owner.trove.wait_active(owner.id)
        assert show(owner, "wait_timeout") == "120"
        group.remove()

    at_once(story, owners)


def test_empty_volume(owners: list[Owner]) -> None:
    """Nothing is made in the place of data that is not there."""

    def story(owner: Owner) -> None:
        request = arguments(owner)
        stop(owner)
        owner.guest.sh(f"mv {VOLUME}/data {VOLUME}/elsewhere")
        owner.lab.rpc(owner.id).cast("rebuild", version="1.2", **request)
        wait_failed(owner, f"There is no data in {VOLUME}/data")
        assert owner.guest.sh(f"ls {VOLUME}/data", check=False) == ""
        owner.guest.sh(f"mv {VOLUME}/elsewhere {VOLUME}/data")

    at_once(story, owners)


def test_full_volume(owners: list[Owner]) -> None:
    """What cannot be written is an error, and the data is what it was."""

    def story(owner: Owner) -> None:
        guest, request = owner.guest, arguments(owner)
        passwords = guest.sh(f"cat {VOLUME}/conf.d/*.cnf")
        guest.sh(f"dd if=/dev/zero of={VOLUME}/full bs=64k 2>/dev/null", check=False)
        guest.sh(f"dd if=/dev/zero of={VOLUME}/fuller bs=1 2>/dev/null", check=False)
        owner.lab.rpc(owner.id).cast("rebuild", version="1.2", **request)
        wait_failed(owner, "No space left on device")
        guest.sh(f"rm {VOLUME}/full {VOLUME}/fuller")
        assert guest.sh(f"cat {VOLUME}/conf.d/*.cnf") == passwords

    at_once(story, owners)


def test_agent_dies_while_it_takes_over(owners: list[Owner]) -> None:
    """The status is a failure, and the next start of the server goes on."""

    def story(owner: Owner) -> None:
        guest, pid = owner.guest, owner.guest.agent_pid()
        owner.lab.rpc(owner.id).cast("rebuild", version="1.2", **arguments(owner))
        eventually(lambda: guest.sh(f"ls {MARK}"))
        guest.kill_agent()
        guest.wait_agent_restarted(pid)
        wait_failed(owner, "was restarted in the middle of rebuild")
        assert guest.sh(f"ls {MARK}")
        owner.lab.rpc(owner.id).call("restart", timeout=120)
        assert guest.sh(f"ls {MARK}", check=False) == ""
        assert owner.told() == {"created"}

    at_once(story, owners)


def test_volume_of_another_agent(owners: list[Owner]) -> None:
    """Nobody comes in whom it has let in, and everybody else does."""

    def story(owner: Owner) -> None:
        owner.admin(
            "create user ''@'%' identified by 'x'; create user os_admin@'%' identified by 'x';"
            "drop user root@'%'; create user root@'%' identified by ''"
        )
        sums = owner.checksums("filler")
        stop(owner)
        owner.guest.sh(FOREIGN)
        rebuild(owner)
        assert owner.checksums("filler") == sums
        assert owner.accounts() >= {("os_admin", "localhost"), ("root", "localhost")}
        known = {account for account in owner.accounts() if account[1] != "localhost"}
        assert known == {(USER, "%")}
        assert owner.login(USER, PASSWORD, DATABASE).execute("select 1") == [["1"]]
        found = owner.guest.sh(
            f"stat --format '%U %a' {VOLUME}/data {VOLUME}/data/ibdata1 {VOLUME}/conf.d"
            f" {VOLUME}/conf.d/root.cnf; ls {VOLUME}/data/init.sql 2>/dev/null || true"
        )
        assert found.splitlines() == ["database 750", "database 640", "root 700", "root 600"]
        assert "0644" not in owner.guest.read_file(f"{VOLUME}/conf.d/os_admin.cnf")
        if owner.datastore == "mariadb":  # MySQL does it by itself.
            assert "10.11" in owner.guest.read_file(f"{VOLUME}/data/mysql_upgrade_info")
        restart(owner)
        assert owner.told() == {"created"}

    at_once(story, owners)


def test_tls_comes_along(owners: list[Owner]) -> None:
    """Its files are on the volume, its mode is what Trove injects."""

    def story(owner: Owner) -> None:
        guest, data = owner.guest, f"{VOLUME}/data"
        made = Authority().certificate("db.example")
        for name, text in (("server-key.pem", made.key), ("server-cert.pem", made.pem)):
            guest.run(["tee", f"{data}/{name}"], input=text)
        injected = guest.read_file(INFO)
        assert "ssl_mode=None\n" in injected
        guest.write_file(INFO, injected.replace("ssl_mode=None\n", "ssl_mode=basic\n"))
        guest.sh("systemctl restart trove-guestagent")
        owner.lab.rpc(owner.id).cast("rebuild", version="1.2", **arguments(owner))
        eventually(lambda: show(owner, "ssl_cert") == f"{data}/server-cert.pem", 60)
        owner.trove.wait_active(owner.id)
        # Nobody else reads the key.
        found = guest.sh(f"stat --format '%U %a' {data}/server-key.pem")
        assert found.split() == ["database", "640"]
        assert owner.told() == {"created"}

    at_once(story, owners)
