"""Instances in Trove's own database, with the keys Trove makes for them."""

from __future__ import annotations

from functools import cache

from trove.db import get_db_api
from trove.instance.models import DBInstance, get_instance_encryption_key
from trove.instance.tasks import InstanceTasks

from wire import canary
from wire.instance import Instance


@cache
def _connect() -> None:
    get_db_api().configure_db()


def instance(exchange: str | None = None) -> Instance:
    """A new instance that Trove knows. Its exchange is its own, or the given."""
    _connect()
    row = DBInstance.create(name="wire", task_status=InstanceTasks.NONE)
    key = canary.keep("RPC key", get_instance_encryption_key(row.id))
    if exchange:
        return Instance(key, row.id, exchange)
    return Instance(key, row.id)
