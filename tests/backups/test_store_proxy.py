"""The proxy does what the fault tests ask of it, and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import requests

from backups.store_proxy import Fault, Rule, StoreProxy
from lab.clients.objects import ObjectClient
from lab.cloud.keystone import ACCOUNTS, PROJECTS
from lab.lab import Lab

BODY = bytes(range(256)) * 4096


@pytest.fixture
def proxy(lab: Lab) -> Iterator[StoreProxy]:
    proxy = StoreProxy()
    yield proxy
    proxy.close()


@pytest.fixture
def client(lab: Lab, proxy: StoreProxy, container: str) -> ObjectClient:
    """A client whose requests go through the proxy."""
    client = lab.objects()
    client.create_container(container)
    client.url = proxy.objects + PROJECTS[ACCOUNTS["demo"].project]
    return client


def test_passes_everything_on(client: ObjectClient, container: str) -> None:
    """Whole and chunked bodies, listings, large objects."""
    client.put(container, "whole", BODY)
    client.put(container, "chunked", (BODY[i : i + 999] for i in range(0, 9990, 999)))
    checksum = client.put_segmented(container, "large.gz", [BODY, BODY])
    assert client.get(container, "whole") == BODY
    assert client.get(container, "chunked") == BODY[:9990]
    assert client.get(container, "large.gz") == BODY + BODY
    assert client.head(container, "large.gz")["etag"] == f'"{checksum}"'
    assert len(client.list(container)) == 5
    client.delete(container, "whole")
    assert "whole" not in client.list(container)


def test_refuses_the_requests_it_shall(
    proxy: StoreProxy, client: ObjectClient, container: str
) -> None:
    rule = Rule(Fault.STATUS, "PUT", r"/o\d$", value=503, first=2, count=2)
    with proxy.failing(rule):
        client.put(container, "o1", BODY)
        for name in ("o2", "o3"):
            with pytest.raises(requests.HTTPError, match="503"):
                client.put(container, name, BODY)
        client.put(container, "o4", BODY)
        assert proxy.count("PUT", r"/o\d$") == 4
    assert set(client.list(container)) == {"o1", "o4"}


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.MUTE])
def test_cuts_uploads(
    proxy: StoreProxy, client: ObjectClient, container: str, fault: Fault
) -> None:
    """In the middle the store has nothing; before the answer it has everything."""
    with proxy.failing(Rule(fault, "PUT", "/o$", value=1000)):
        with pytest.raises(requests.ConnectionError):
            client.put(container, "o", BODY)
    assert client.list(container) == ({} if fault is Fault.CUT else {"o": len(BODY)})


def test_lies_about_checksums(
    proxy: StoreProxy, client: ObjectClient, container: str
) -> None:
    with proxy.failing(Rule(Fault.ETAG, "PUT", "/o$")):
        assert client.put(container, "o", BODY) == "0" * 32
    assert client.head(container, "o")["etag"].strip('"') != "0" * 32


def test_spoils_downloads(
    proxy: StoreProxy, client: ObjectClient, container: str
) -> None:
    client.put(container, "o", BODY)
    with proxy.failing(Rule(Fault.TRUNCATE, "GET", "/o$", value=100_000)):
        with pytest.raises(requests.RequestException):
            client.get(container, "o")
    with proxy.failing(Rule(Fault.CORRUPT, "GET", "/o$", value=100_000)):
        got = client.get(container, "o")
    different = [i for i, (a, b) in enumerate(zip(got, BODY)) if a != b]
    assert (different, len(got)) == ([100_000], len(BODY))
    assert client.get(container, "o") == BODY


def test_holds_until_released(
    proxy: StoreProxy, client: ObjectClient, container: str
) -> None:
    rule = Rule(Fault.HOLD, "PUT", "/o$")
    with proxy.failing(rule):
        upload = threading.Thread(target=client.put, args=(container, "o", BODY))
        upload.start()
        assert rule.struck.wait(10)
        assert upload.is_alive()
        rule.released.set()
        upload.join(10)
    assert client.get(container, "o") == BODY
