"""Instances in Trove's own database, with the keys Trove makes for them."""

from __future__ import annotations

from functools import cache

from trove.common import cfg
from trove.db import get_db_api
from trove.instance.models import DBInstance
from trove.instance.tasks import InstanceTasks

from wire import canary
from wire.instance import Instance


@cache
def _connect() -> None:
    get_db_api().configure_db(cfg.CONF)


def instance(exchange: str | None = None) -> Instance:
    """A new instance that Trove knows. Its exchange is its own, or the given."""
    _connect()
    row = DBInstance.create(name="wire", task_status=InstanceTasks.NONE)
    key = canary.keep("RPC key", row.key)
    if exchange:
        return Instance(key, row.id, exchange)
    return Instance(key, row.id)
