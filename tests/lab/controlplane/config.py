"""Configuration of Trove, and what an operator gives to the guests."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from lab import mariadb, network, rabbitmq, settings
from lab.cloud.keystone import ACCOUNTS, PROJECTS, REGION
from lab.cloud.neutron import NETWORK_IDS

API_PORT = 8779
CLOUD = f"http://{network.LAB_ADDRESS}"
API = f"http://{network.LAB_ADDRESS}:{API_PORT}"
OBJECTS_PORT = 8080
# A project's account in the object store is this and the project's id.
OBJECTS = f"http://{network.LAB_ADDRESS}:{OBJECTS_PORT}/v1/AUTH_"

# Polling is quicker than in production so that tests do not wait for it; what
# the agent sees (protocol, deadlines of calls) stays at its defaults.
TROVE_CONF = """\
[DEFAULT]
debug = True
log_dir = {log}
transport_url = {transport_url}
control_exchange = trove
host = {address}
bind_host = {address}
bind_port = {api_port}
api_paste_config = {api_paste}
{objects}storage_strategy = {storage}
trove_api_workers = 1
trove_conductor_workers = 1
default_datastore = mysql
guest_config = {etc}/trove-guestagent.conf
cloudinit_location = {etc}/cloudinit
template_path = {etc}/templates
controller_address = {address}
management_networks = {management_network}
nova_keypair =
enable_secure_rpc_messaging = {secure}
max_instances_per_tenant = 100
max_ram_per_tenant = -1
max_volumes_per_tenant = 1000
max_accepted_volume_size = 50
max_backups_per_tenant = 500
http_get_rate = 100000
http_post_rate = 100000
http_put_rate = 100000
http_delete_rate = 100000
http_mgmt_post_rate = 100000
usage_sleep_time = 1
state_change_poll_time = 1
report_interval = 10
online_volume_resize = {online}
usage_timeout = {usage_timeout}
resize_time_out = {resize_timeout}
reboot_time_out = {reboot_timeout}

[database]
connection = {database}

[mysql]
tcp_ports = 3306
[mariadb]
tcp_ports = 3306
[postgresql]
tcp_ports = 5432

[network]
network_isolation = {isolation}
public_network_id = {public_network}

[cache]
enabled = True
backend = dogpile.cache.memory
[instance_ports_cache]
caching = False

[service_credentials]
auth_url = {cloud}/identity/v3
username = trove
password = {service_password}
project_name = service
project_id = {service_project}
user_domain_name = Default
project_domain_name = Default
region_name = {region}

[keystone_authtoken]
www_authenticate_uri = {cloud}/identity
auth_url = {cloud}/identity
auth_type = password
username = trove
password = {service_password}
project_name = service
user_domain_name = Default
project_domain_name = Default
region_name = {region}

[oslo_concurrency]
lock_path = {locks}

[profiler]
enabled = False
"""

# What /etc/trove/trove-guestagent.conf of a controller looks like; Trove copies
# it into every guest. The broker is named, not numbered: guests have DNS.
GUEST_CONF = """\
[DEFAULT]
debug = True
transport_url = {transport_url}
control_exchange = trove
log_dir = /var/log/trove/
log_file = trove-guestagent.log
ignore_users = os_admin
swift_api_insecure = true
state_change_wait_time = 180
command_process_timeout = 60

[guest_agent]
# A store that never answers is given up after seconds instead of minutes.
object_store_tries = 3

[mysql]
docker_image = mysql

[mariadb]
docker_image = mariadb

[postgresql]
docker_image = postgres
"""

CLOUDINIT = '#cloud-config\nmanage_etc_hosts: "localhost"\n'


def write(
    etc: Path,
    *,
    venv: Path,
    log: Path,
    locks: Path,
    secure: bool,
    objects: str | None = None,
    storage: str = "swift",
    isolation: bool = False,
    online_resize: bool = True,
) -> Path:
    """Write everything below `etc`; returns trove.conf.

    `objects` is where Trove looks for the object store instead of in the
    catalogue, `storage` what backups are kept in that do not ask for another.
    With `isolation` databases get the tenant's port for themselves; without
    `online_resize` volumes are unplugged to grow.
    """
    for directory in (etc / "cloudinit", etc / "templates", locks, log):
        directory.mkdir(parents=True, exist_ok=True)
    account = ACCOUNTS["trove"]
    database = (
        f"mysql+pymysql://{mariadb.USER}:{quote(mariadb.PASSWORD, safe='')}"
        f"@{network.LAB_ADDRESS}:{mariadb.PORT}/{mariadb.DATABASE}"
    )
    values = {
        "log": log,
        "etc": etc,
        "locks": locks,
        "transport_url": rabbitmq.transport_url(),
        "address": network.LAB_ADDRESS,
        "api_port": API_PORT,
        # The stock pipeline that the package installs.
        "api_paste": venv / "etc/trove/api-paste.ini",
        "management_network": NETWORK_IDS[network.MANAGEMENT.name],
        "public_network": NETWORK_IDS[network.PUBLIC.name],
        "secure": secure,
        "objects": f"swift_url = {objects}\n" if objects else "",
        "storage": storage,
        "isolation": isolation,
        "online": online_resize,
        "database": database,
        "cloud": CLOUD,
        "service_password": account.password,
        "service_project": PROJECTS["service"],
        "region": REGION,
        "usage_timeout": 300 * settings.patience(),
        "resize_timeout": 180 * settings.patience(),
        "reboot_timeout": 120 * settings.patience(),
    }
    for datastore in settings.DATASTORES:
        (etc / "cloudinit" / f"{datastore}.cloudinit").write_text(CLOUDINIT)
    guest = GUEST_CONF.format(transport_url=rabbitmq.transport_url(rabbitmq.NAME))
    (etc / "trove-guestagent.conf").write_text(guest)
    (etc / "trove.conf").write_text(TROVE_CONF.format(**values))
    return etc / "trove.conf"
