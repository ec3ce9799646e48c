"""Other flavors: one that the server does not start on, and one with more memory."""

from __future__ import annotations

from backups.steps import Owner
from scenarios.day2 import LARGE, LIMIT, SMALL, refusing_once, resize, show, wait_flavor
from scenarios.together import at_once

POOL, ID = "innodb_buffer_pool_size", "server_id"


def test_flavor_that_the_server_does_not_start_on(owners: list[Owner]) -> None:
    """Trove goes back to the old flavor, and the server to its configuration."""

    def story(owner: Owner) -> None:
        small, own = show(owner, POOL), show(owner, ID)
        with refusing_once(owner):
            resize(owner, LARGE)
            owner.guest.wait_message("runs with the one before", LIMIT)
            wait_flavor(owner, SMALL)
        assert (show(owner, POOL), show(owner, ID)) == (small, own)
        assert owner.told() == {"created"}

    at_once(story, owners)


def test_larger_flavor(owners: list[Owner]) -> None:
    """Memory as the flavor has it; rows and identity as they were."""

    def story(owner: Owner) -> None:
        small, own = show(owner, POOL), show(owner, ID)
        resize(owner, LARGE)
        wait_flavor(owner, LARGE)
        assert int(show(owner, POOL)) > int(small)
        assert show(owner, ID) == own
        assert owner.told() == {"created"}

    at_once(story, owners)
