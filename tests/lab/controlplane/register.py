"""Registers datastores in Trove's database, through Trove's own functions.

Runs in the Python environment of the control plane: `register.py CONFIG FACTS`
with FACTS a JSON list of objects as lab/controlplane/offers.py makes them. One
process does what would otherwise be a dozen calls of trove-manage.

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


def main() -> None:
    get_db_api().configure_db()
    rules = Path(trove.__file__).parent / "templates"
    for offer in json.loads(sys.argv[2]):
        name, series, version = offer["name"], offer["series"], offer["version"]
        if offer["default"]:
            datastore.update_datastore(name, "")
        for suffix, image in zip(("", "-next"), offer["images"]):
            datastore.update_datastore_version(
                name,
                series + suffix,
                manager=name,
                image_id=image,
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
        if offer["default"]:
            datastore.update_datastore(name, series)
        print("registered", name, version, flush=True)


main()
