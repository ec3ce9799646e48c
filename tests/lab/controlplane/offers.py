"""What is offered to users: datastore versions, as register.py takes them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lab import settings
from lab.cloud.glance import images_of

if TYPE_CHECKING:
    from lab.fetch.trees import Tree


def offers(trees: Iterable[Tree]) -> str:
    """The servers of these trees, as JSON."""
    versions = settings.versions()
    found = []
    for tree in trees:
        datastore = versions.datastore(tree.datastore, tree.series)
        found.append(
            {
                "name": datastore.name,
                "series": datastore.series,
                "version": tree.server_version,
                "images": images_of(datastore),
                "default": datastore == versions.datastores[datastore.name],
            }
        )
    return json.dumps(found)
