"""The object store: a Swift of one node that trusts the lab's Keystone.

Four servers without replicas; nothing waits for the disk longer than Swift
itself wants to. memcached keeps facts about accounts and containers, as it does
wherever Swift's guide is followed. Whether tokens are remembered, too, is the
lab's choice: where every request asks Keystone about its own, one that has ended
is refused at once. The same port speaks S3, with the accounts' keys of
cloud/keystone.py.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import requests

from lab import network
from lab.clients.objects import ObjectClient
from lab.cloud.keystone import ACCOUNTS, REGION
from lab.controlplane.config import CLOUD, OBJECTS_PORT

# Where S3 requests go; buckets are containers of the key's project.
S3_URL = f"http://{network.LAB_ADDRESS}:{OBJECTS_PORT}"
S3_REGION = REGION
# Storage servers and the ports of the loopback interface they listen on.
STORAGE = {"account": 6202, "container": 6201, "object": 6200}
CACHE_PORT = 11211
NAMES = ("memcached", *(f"swift-{name}" for name in (*STORAGE, "proxy")))

SWIFT_CONF = """\
[swift-hash]
swift_hash_path_prefix = lab
swift_hash_path_suffix = lab
[storage-policy:0]
name = Policy-0
default = yes
"""

STORAGE_CONF = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
swift_dir = {etc}
devices = {devices}
mount_check = false
user = root
workers = 0
log_level = WARNING
fallocate_reserve = 0
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
recon_cache_path = {recon}
"""

# Two workers: uploads of several segments at once shall not wait for one of
# Swift's processes while a processor idles.
PROXY_CONF = """\
[DEFAULT]
bind_ip = {address}
bind_port = {port}
swift_dir = {etc}
user = root
workers = 2
log_level = INFO
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck proxy-logging cache listing_formats bulk \
tempurl authtoken s3api s3token keystoneauth copy slo dlo versioned_writes symlink \
proxy-logging proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:proxy-logging]
use = egg:swift#proxy_logging
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{cache_port}
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:tempurl]
use = egg:swift#tempurl
[filter:s3api]
use = egg:swift#s3api
location = {region}
# Trove's own container, database_backups, has a name that DNS does not allow.
dns_compliant_bucket_names = false
[filter:s3token]
use = egg:swift#s3token
auth_uri = {keystone}/v3
auth_url = {keystone}
username = {user}
password = {password}
project_name = {project}
user_domain_name = Default
project_domain_name = Default
secret_cache_duration = 0
delay_auth_decision = true
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
www_authenticate_uri = {keystone}
auth_url = {keystone}
auth_type = password
username = {user}
password = {password}
project_name = {project}
user_domain_name = Default
project_domain_name = Default
region_name = {region}
delay_auth_decision = true
token_cache_time = {token_cache}
[filter:keystoneauth]
use = egg:swift#keystoneauth
operator_roles = admin, member
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
# Segments below this size are served at one a second; tests make small ones.
rate_limit_under_size = 1
[filter:dlo]
use = egg:swift#dlo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_versioned_writes = true
allow_object_versioning = true
[filter:symlink]
use = egg:swift#symlink
"""


class Swift:
    """Configuration and commands of the lab's object store below one directory."""

    def __init__(self, directory: Path, venv: Path) -> None:
        self._directory = directory
        self._etc = directory / "etc"
        self._bin = venv / "bin"

    def configure(self, token_cache: int) -> None:
        """Write configuration and rings; the store is empty.

        Tokens are remembered for so many seconds; -1 is not at all.
        """
        devices, recon = self._directory / "devices", self._directory / "recon"
        for directory in (self._etc, devices / "d1", recon):
            directory.mkdir(parents=True)
        (self._etc / "swift.conf").write_text(SWIFT_CONF)
        service = ACCOUNTS["trove"]
        values = {
            "etc": self._etc,
            "devices": devices,
            "recon": recon,
            "cache_port": CACHE_PORT,
            "token_cache": token_cache,
            "address": network.LAB_ADDRESS,
            "keystone": f"{CLOUD}/identity",
            "region": S3_REGION,
            "user": service.name,
            "password": service.password,
            "project": service.project,
        }
        for name, port in STORAGE.items():
            text = STORAGE_CONF.format(name=name, port=port, **values)
            self._config(name).write_text(text)
        self._config("proxy").write_text(PROXY_CONF.format(port=OBJECTS_PORT, **values))
        self._build_rings()

    def _config(self, name: str) -> Path:
        return self._etc / f"{name}-server.conf"

    def _build_rings(self) -> None:
        """Where objects are: all on one device, once."""
        script = "import sys; from swift.common.ring import RingBuilder\n" + "\n".join(
            f"b = RingBuilder(4, 1, 0); b.add_dev({{'id': 0, 'region': 1, 'zone': 1, "
            f"'ip': '127.0.0.1', 'port': {port}, 'device': 'd1', 'weight': 1}}); "
            f"b.rebalance(); b.get_ring().save(sys.argv[1] + '/{name}.ring.gz')"
            for name, port in STORAGE.items()
        )
        argv = [str(self._bin / "python"), "-W", "ignore", "-c", script, str(self._etc)]
        done = subprocess.run(argv, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"Swift's rings: {done.stderr.strip()}")

    def command(self, name: str) -> list[str]:
        """The command line of one of NAMES."""
        if name == "memcached":
            return [name, "--user=root", "--listen=127.0.0.1", f"--port={CACHE_PORT}"]
        server = name.removeprefix("swift-")
        argv = [str(self._bin / f"{name}-server"), str(self._config(server))]
        # The access log goes to standard output: there is no syslog here.
        return [*argv, "--verbose"] if server == "proxy" else argv


def wait_ready(alive: Callable[[str], bool], timeout: float = 60.0) -> None:
    """Wait until an object lands; the calling thread must be inside the network.

    The proxy answers before the servers behind it do, so only a write tells.
    `alive` says whether one of NAMES still runs.
    """
    deadline = time.monotonic() + timeout
    probe = ObjectClient("trove")
    while True:
        try:
            probe.create_container("ready")
            probe.put("ready", "probe", b"")
            break
        except requests.RequestException as error:
            failure = error
        for name in NAMES:
            if not alive(name):
                raise RuntimeError(f"{name} ended; see log/{name}.out")
        if time.monotonic() > deadline:
            raise TimeoutError(f"Swift does not store anything: {failure}")
        time.sleep(0.1)
    probe.delete("ready", "probe")
    probe.delete_container("ready")
