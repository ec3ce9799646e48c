"""A volume grows while its database is at work.

With xfs: ext4 does not grow while mounted unless the machine gives the lab the
right to (see the lab's limits).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backups.steps import Owner, created
from lab.clients.writer import Login, Writer, missing
from lab.lab import Lab
from lab.waiting import eventually
from scenarios.conftest import DATABASE, PASSWORD, USER

OPTIONS = "[DEFAULT]\nvolume_fstype = xfs\nformat_options = -f\n"


@pytest.fixture(scope="module")
def grown(lab: Lab) -> Iterator[Owner]:
    before = lab.guest_conf.read_text()
    lab.guest_conf.write_text(before.replace("[DEFAULT]\n", OPTIONS, 1))
    try:
        with created(lab, "postgresql", megabytes=8) as owner:
            yield owner
    finally:
        lab.guest_conf.write_text(before)


def test_volume_grows_under_a_writer(grown: Owner) -> None:
    """No restart, no pause that a user would take for one, all rows there."""
    guest, product = grown.guest, grown.product
    find = f"findmnt --noheadings --output FSTYPE {product.mount_point}"
    assert guest.sh(find).strip() == "xfs"
    server = guest.unit(product.unit)["MainPID"]
    sums = grown.checksums("filler")
    login = Login("postgresql", grown.address, USER, PASSWORD, DATABASE)
    with Writer(login) as writer:
        writer.wait_more(50)
        grown.trove.resize_volume(grown.id, 2)
        grown.trove.wait_status(grown.id, "RESIZE")

        def larger() -> bool:
            shown = grown.trove.instance(grown.id)
            return shown["status"] in ("ACTIVE", "HEALTHY") and shown["volume"]["size"] == 2

        eventually(larger, 120)
        writer.wait_more(50)
        count = writer.stop()
    size = guest.sh(f"df --block-size=1M --output=size {product.mount_point} | tail -1")
    assert int(size) > 1900
    assert guest.unit(product.unit)["MainPID"] == server
    assert writer.longest_pause() < 5
    assert missing(count, grown.login(USER, PASSWORD, DATABASE).execute) == []
    assert grown.checksums("filler") == sums
