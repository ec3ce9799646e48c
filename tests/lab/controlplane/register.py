"""Registers the datastores in Trove's database, through Trove's own functions.

Runs in the Python environment of the control plane: `register.py CONFIG FACTS`
with FACTS a JSON object of datastore name and server version. One process does
what would otherwise be a dozen calls of trove-manage.

Each server version is registered under two names, so that an instance has
something to be upgraded to.
"""

import json
import sys
from pathlib import Path

from trove.common import cfg

cfg.parse_args(["register", "--config-file", sys.argv[1]])

import trove  # noqa: E402  (configuration comes before Trove's models)
from trove.configuration import models as configuration  # noqa: E402
from trove.datastore import models as datastore  # noqa: E402
from trove.db import get_db_api  # noqa: E402


def image_id(position: int, suffix: str) -> str:
    """The identifiers that lab/cloud/glance.py serves."""
    number = position * 10 + (1 if suffix else 0)
    return f"20000000-0000-4000-8000-{number:012d}"


def main() -> None:
    get_db_api().configure_db()
    rules = Path(trove.__file__).parent / "templates"
    for position, (name, version) in enumerate(json.loads(sys.argv[2]).items(), 1):
        series = ".".join(version.split(".")[:2])
        datastore.update_datastore(name, "")
        for suffix in ("", "-next"):
            datastore.update_datastore_version(
                name,
                series + suffix,
                manager=name,
                image_id=image_id(position, suffix),
                image_tags="",
                packages="",
                active=1,
                version=version,
            )
            configuration.load_datastore_configuration_parameters(
                name,
                series + suffix,
                str(rules / name / "validation-rules.json"),
                version_number=version,
            )
        datastore.update_datastore(name, series)
        print("registered", name, version, flush=True)


main()
