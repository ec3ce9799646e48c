"""Volumes grow while their databases are at work.

With xfs: ext4 does not grow while mounted unless the machine gives the lab the
right to (see the lab's limits). Unplugged volumes are in test_isolation.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from backups.steps import Owner
from lab.clients.trove import ApiError
from lab.clients.writer import Login, Writer, missing
from lab.lab import Lab
from lab.settings import DATASTORES
from lab.waiting import eventually
from scenarios.conftest import DATABASE, PASSWORD, USER, guests_with
from scenarios.together import all_created, at_once

# What a user takes for a pause.
PAUSE = 5


@pytest.fixture(scope="module")
def owners(lab: Lab) -> Iterator[list[Owner]]:
    lab.use_mode("encrypted")
    with (
        guests_with(lab, group="DEFAULT", volume_fstype="xfs", format_options="-f"),
        all_created(lab, DATASTORES, megabytes=8) as owners,
    ):
        yield owners


def megabytes(owner: Owner) -> int:
    """Size of the file system."""
    place = owner.product.mount_point
    return int(owner.guest.sh(f"df --block-size=1M --output=size {place} | tail -1"))


def fstype(owner: Owner) -> str:
    find = f"findmnt --noheadings --output FSTYPE {owner.product.mount_point}"
    return owner.guest.sh(find).strip()


def wait_larger(owner: Owner, size: int) -> None:
    """Until the API tells of the new size and is content."""

    def larger() -> bool:
        shown = owner.trove.instance(owner.id)
        return shown["status"] in ("ACTIVE", "HEALTHY") and shown["volume"]["size"] == size

    eventually(larger, 180)


def grow(owner: Owner) -> None:
    """No restart, no pause, all rows there."""
    guest, product = owner.guest, owner.product
    assert fstype(owner) == "xfs" and megabytes(owner) < 1100
    server = guest.unit(product.unit)["MainPID"]
    sums = owner.checksums("filler")
    login = Login(owner.datastore, owner.address, USER, PASSWORD, DATABASE)
    with Writer(login) as writer:
        writer.wait_more(50)
        owner.trove.resize_volume(owner.id, 2)
        wait_larger(owner, 2)
        writer.wait_more(50)
        count = writer.stop()
    assert megabytes(owner) > 1900
    assert guest.unit(product.unit)["MainPID"] == server
    assert writer.longest_pause() < PAUSE
    assert missing(count, owner.login(USER, PASSWORD, DATABASE).execute) == []
    assert owner.checksums("filler") == sums


def test_volumes_grow_under_writers(owners: list[Owner]) -> None:
    """All datastores, at the same time."""
    at_once(grow, owners)


def test_volumes_only_grow(owners: list[Owner]) -> None:
    """Neither less nor the same."""
    for owner in owners:
        for size in (1, 2):
            with pytest.raises(ApiError) as error:
                owner.trove.resize_volume(owner.id, size)
            assert error.value.status == 400


def test_volume_in_use_is_not_taken_away(owners: list[Owner]) -> None:
    """A server that runs keeps its volume: who asks is told which process it is."""
    for owner in owners:
        server = owner.guest.unit(owner.product.unit)["MainPID"]
        place = {"device_path": "/dev/vdb", "mount_point": owner.product.mount_point}
        agent = owner.lab.rpc(owner.id)
        # Exceptions of calls to guests have nothing else in common.
        for method, more in (("unmount_volume", {}), ("resize_fs", {"online": False})):
            arguments: dict[str, Any] = {**place, **more}
            with pytest.raises(Exception, match=f"in use.*{server}"):
                agent.call(method, version="1.1", timeout=60, **arguments)
        assert owner.guest.unit(owner.product.unit)["MainPID"] == server
        assert owner.told() == {"created"}
