"""A database server put into operation by hand, in a guest without an agent.

The guest is made and booted as the cloud makes those of Trove: same tree, disk,
units, and configuration of the server. In the place of the agent's unit starts
one with a script, which does what no way to a running server can leave out.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lab import settings
from lab.guests import volumes
from lab.guests.guest import Guest
from lab.guests.machine import Machine
from lab.guests.spec import Disk, Spec
from lab.lab import Lab
from lab.products import PRODUCTS

UNIT = "bare.service"
ANSWERS = "The server answers."
# Like trove-guestagent.service: started as soon as the guest has network.
UNIT_FILE = """\
[Unit]
Wants=network-online.target
After=network-online.target local-fs.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -eu /root/bare.sh
"""
SCRIPT = """\
useradd --uid=1001 --no-create-home --shell=/usr/sbin/nologin database
mkfs.ext4 -q -m 5 /dev/vdb
mkdir -p {volume}
mount -o noatime /dev/vdb {volume}
install -d -o database -g database -m 750 {volume}/data
{initialise}
systemctl enable --now {unit}
until {client}; do
    sleep 0.02
done
echo '{answers}'
"""
MYSQL_CLIENT = "{} --no-defaults -uroot -S /run/mysqld/mysqld.sock -e 'SELECT 1'"
# The flags are the agent's, so that both make the same system tables.
COMMANDS = {
    "mysql": (
        "mysqld --defaults-file=/etc/mysql/my.cnf --initialize-insecure "
        "--skip-log-bin --user=database"
    ),
    "mariadb": (
        "mariadb-install-db --defaults-file=/etc/mysql/my.cnf --user=database "
        "--auth-root-authentication-method=normal --skip-test-db "
        "--skip-name-resolve --skip-log-bin"
    ),
    "postgresql": """\
ln -sfn /usr/lib/postgresql/*/bin /etc/postgresql/server
cd {0}
install -d -o database -g database -m 700 pgdata wal_archive
chown database:database /etc/postgresql/conf.d/*.conf
setpriv --reuid=database --regid=database --clear-groups \\
    /etc/postgresql/server/initdb -D {0}/pgdata --username postgres --encoding UTF8 \\
    --locale en_US.utf8 --auth-local peer --auth-host scram-sha-256 --data-checksums
""".format("/var/lib/postgresql/data"),
}
CLIENTS = {
    "mysql": MYSQL_CLIENT.format("mysql"),
    "mariadb": MYSQL_CLIENT.format("mariadb"),
    "postgresql": (
        "/etc/postgresql/server/psql -h /run/postgresql -U postgres -c 'SELECT 1'"
    ),
}
# The server's configuration, as patterns of paths.
CONFIGURATION = {
    "mysql": "/etc/mysql/my.cnf /etc/mysql/conf.d/*.cnf",
    "mariadb": "/etc/mysql/my.cnf /etc/mysql/conf.d/*.cnf",
    "postgresql": "/etc/postgresql/*.conf /etc/postgresql/conf.d/*.conf",
}


@dataclass(frozen=True)
class Files:
    """The server's configuration as the agent left it: path to content."""

    contents: dict[str, str]

    @classmethod
    def of(cls, guest: Guest, datastore: str) -> Files:
        """Read them in a guest whose agent has prepared its server."""
        paths = guest.sh(f"ls -d {CONFIGURATION[datastore]}").split()
        return cls({path: guest.read_file(path) for path in paths})


def user_data(datastore: str, configuration: Files) -> str:
    """The cloud-config of such a guest."""
    product = PRODUCTS[datastore]
    unit = product.unit
    script = SCRIPT.format(
        volume=product.mount_point,
        initialise=COMMANDS[datastore],
        unit=unit,
        client=CLIENTS[datastore],
        answers=ANSWERS,
    )
    files = {
        **configuration.contents,
        f"/usr/local/lib/systemd/system/{unit}": _repository_unit(unit),
        "/root/bare.sh": script,
        f"/etc/systemd/system/{UNIT}": UNIT_FILE,
        "/etc/systemd/system/multi-user.target.d/bare.conf": f"[Unit]\nWants={UNIT}\n",
    }
    entries = [{"path": path, "content": text} for path, text in files.items()]
    # JSON is YAML.
    text = "#cloud-config\n" + json.dumps({"write_files": entries})
    return base64.b64encode(text.encode()).decode()


def _repository_unit(name: str) -> str:
    return (settings.REPO / "systemd" / name).read_text()


@contextmanager
def booted(lab: Lab, datastore: str, configuration: Files) -> Iterator[Guest]:
    """Boot such a guest; it and its volume are gone afterwards."""
    server_id = str(uuid.uuid4())
    volume = lab.state / "volumes" / f"bare-{server_id}.img"
    volumes.create(volume, 1)
    machine = Machine(lab.state / "guests" / server_id, lab.name, lab.log / "guests")
    spec = Spec(
        id=server_id,
        name=f"bare-{datastore}",
        tree=str(lab.parts.trees[datastore].path),
        namespace=f"{lab.name}-{server_id[:8]}",
        nics=[],
        user_data=user_data(datastore, configuration),
        disks=[Disk(server_id, str(volume), "/dev/vdb")],
    )
    try:
        machine.build(spec, None)
        machine.power_on(lambda _status: None)
        yield Guest(machine.directory, lab.log / "guests")
    finally:
        machine.destroy()
        volumes.detach(volume)
        volume.unlink()
