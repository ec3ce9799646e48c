"""An HTTP proxy in front of the object store that fails on demand.

It passes everything on until a test says which request goes wrong, and how.
Requests are streamed, so that a fault can strike in the middle of a body.
"""

from __future__ import annotations

import http.client
import re
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lab import network
from lab.controlplane.config import OBJECTS_PORT

BLOCK = 1 << 16
# Close with a reset, as a firewall or a dying host would.
RESET = struct.pack("ii", 1, 0)
# Between this proxy and its neighbours only.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "expect", "host"}


class Fault(Enum):
    """What goes wrong with a request."""

    STATUS = auto()  # answer this status (`value`); the store does not see it
    CUT = auto()  # reset the connection after `value` bytes of the request's body
    ETAG = auto()  # store it, answer another checksum
    MUTE = auto()  # store it, reset the connection instead of answering
    HOLD = auto()  # wait before passing it on, until the rule is released
    SLOW = auto()  # pass the answer's body on at `value` bytes a second
    TRUNCATE = auto()  # reset the connection after `value` bytes of the answer's body
    CORRUPT = auto()  # change the byte at `value` of the answer's body


@dataclass
class Rule:
    """The `first` to `first + count - 1`-th request of its kind fail."""

    fault: Fault
    method: str
    path: str  # a regular expression, searched in path and query
    value: int = 0
    first: int = 1
    count: int | None = 1  # None is from `first` on for ever
    lost: bool = False  # what was held is dropped, as that of a client that is gone
    seen: int = field(default=0, init=False)
    struck: threading.Event = field(default_factory=threading.Event, init=False)
    released: threading.Event = field(default_factory=threading.Event, init=False)

    def strikes(self, method: str, path: str) -> bool:
        """Count the request; whether it is one of those that fail."""
        if not re.fullmatch(self.method, method) or not re.search(self.path, path):
            return False
        self.seen += 1
        last = None if self.count is None else self.first + self.count - 1
        return self.first <= self.seen and (last is None or self.seen <= last)


class StoreProxy:
    """Listens in the lab's network; must be made by a thread inside it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._requests: list[tuple[str, str, int]] = []
        self._server = _Server((network.LAB_ADDRESS, 0), _Handler)
        self._server.proxy = self
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def objects(self) -> str:
        """Where a project's account begins, as Trove's `swift_url` has it."""
        return f"http://{network.LAB_ADDRESS}:{self._server.server_port}/v1/AUTH_"

    def close(self) -> None:
        self.clear()
        self._server.shutdown()
        self._server.server_close()

    def clear(self) -> None:
        """Forget all rules, and let go what they hold."""
        with self._lock:
            rules, self._rules = self._rules, []
        for rule in rules:
            rule.released.set()

    @contextmanager
    def failing(self, *rules: Rule) -> Iterator[None]:
        """These requests fail inside of the block."""
        with self._lock:
            self._requests.clear()
            self._rules = list(rules)
        try:
            yield
        finally:
            self.clear()

    def strike(self, method: str, path: str) -> Rule | None:
        """The rule that a request falls under."""
        with self._lock:
            # Every rule counts, also behind one that strikes.
            struck = [rule for rule in self._rules if rule.strikes(method, path)]
        return struck[0] if struck else None

    def note(self, method: str, path: str, status: int) -> None:
        with self._lock:
            self._requests.append((method, path, status))

    def count(self, method: str, path: str) -> int:
        """How many requests of that kind have been answered since `failing`."""
        with self._lock:
            return sum(
                one == method and bool(re.search(path, where))
                for one, where, _status in self._requests
            )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    proxy: StoreProxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections break here all the time, by intent; other errors are shown."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Reset(Exception):
    """The connection to the client is to be reset."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _serve(self) -> None:
        rule = self.server.proxy.strike(self.command, self.path)
        if rule is not None:
            rule.struck.set()
            if rule.fault is Fault.HOLD:
                rule.released.wait()
        try:
            if rule is not None and rule.lost:
                raise _Reset
            self._answer(rule)
        except (_Reset, OSError, http.client.HTTPException):
            self.close_connection = True
            self.server.proxy.note(self.command, self.path, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            with suppress(OSError):  # the client may have been quicker
                self.connection.shutdown(socket.SHUT_RD)

    def _answer(self, rule: Rule | None) -> None:
        fault = rule.fault if rule else None
        value = rule.value if rule else 0
        if fault is Fault.STATUS:
            for _ in self._body():
                pass
            self._refuse(value)
            return
        if fault is Fault.CUT:
            read = 0
            for block in self._body():
                read += len(block)
                if read >= value:
                    break
            raise _Reset
        store = http.client.HTTPConnection(network.LAB_ADDRESS, OBJECTS_PORT)
        try:
            response = self._pass_on(store)
            if fault is Fault.MUTE:
                response.read()
                raise _Reset
            self._pass_back(response, fault, value)
        finally:
            store.close()

    def _refuse(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        # Before the client can know: it may look at once.
        self.server.proxy.note(self.command, self.path, status)
        self.end_headers()

    def _body(self) -> Iterator[bytes]:
        """The request's body, as it comes."""
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass  # trailers
            return
        left = int(self.headers.get("Content-Length") or 0)
        while left and (block := self.rfile.read1(min(left, BLOCK))):
            left -= len(block)
            yield block
        if left:
            raise _Reset

    def _pass_on(self, store: http.client.HTTPConnection) -> http.client.HTTPResponse:
        store.putrequest(self.command, self.path, skip_accept_encoding=True)
        for name, header in self.headers.items():
            if name.lower() not in HOP_BY_HOP:
                store.putheader(name, header)
        chunked = "Transfer-Encoding" in self.headers
        if chunked:
            store.putheader("Transfer-Encoding", "chunked")
        store.endheaders()
        for block in self._body():
            store.send(b"%x\r\n%s\r\n" % (len(block), block) if chunked else block)
        if chunked:
            store.send(b"0\r\n\r\n")
        return store.getresponse()

    def _pass_back(
        self, response: http.client.HTTPResponse, fault: Fault | None, value: int
    ) -> None:
        self.send_response_only(response.status, response.reason)
        for name, header in response.getheaders():
            if name.lower() == "etag" and fault is Fault.ETAG:
                header = "0" * 32
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, header)
        empty = self.command == "HEAD" or response.status in (204, 304)
        chunked = not empty and response.getheader("Content-Length") is None
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.server.proxy.note(self.command, self.path, response.status)
        self.end_headers()
        sent = 0
        while not empty and (block := response.read1(BLOCK)):
            if fault is Fault.TRUNCATE and sent + len(block) >= value:
                self.wfile.write(block[: value - sent])
                raise _Reset
            if fault is Fault.CORRUPT and sent <= value < sent + len(block):
                at = value - sent
                block = block[:at] + bytes([block[at] ^ 0xFF]) + block[at + 1 :]
            if fault is Fault.SLOW:
                time.sleep(len(block) / value)
            sent += len(block)
            self.wfile.write(
                b"%x\r\n%s\r\n" % (len(block), block) if chunked else block
            )
        if chunked:
            self.wfile.write(b"0\r\n\r\n")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_OPTIONS = do_COPY = _serve

    def log_message(self, format: str, *args: Any) -> None:
        """Swift has an access log of its own."""
