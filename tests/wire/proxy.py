"""A TCP proxy in front of the broker that can be cut, frozen and closed."""

from __future__ import annotations

import socket
import struct
import threading
import time

from lab import network, rabbitmq

BROKER = (network.LAB_ADDRESS, rabbitmq.PORT)
# Close with a reset, as a firewall or a dying host would.
RESET = struct.pack("ii", 1, 0)


class Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._sockets = (client, server)
        self._changed = threading.Condition()
        self._frozen = False
        self.open = True
        for source, sink in ((client, server), (server, client)):
            threading.Thread(
                target=self._pump, args=(source, sink, source is client), daemon=True
            ).start()

    def _pump(self, source: socket.socket, sink: socket.socket, upwards: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                self._proxy.note(data, upwards)
                with self._changed:
                    self._changed.wait_for(lambda: not self._frozen or not self.open)
                sink.sendall(data)
        except OSError:
            pass
        self.cut(reset=False)

    def freeze(self) -> None:
        """Forward nothing any more, in either direction, and say nothing."""
        with self._changed:
            self._frozen = True

    def cut(self, reset: bool = True) -> None:
        """Close both sides."""
        with self._changed:
            if not self.open:
                return
            self.open = False
            self._changed.notify_all()
        for side in self._sockets:
            try:
                if reset:
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                side.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # the other side was quicker
            side.close()
        self._proxy.changed()


class Proxy:
    """Listens in the lab's network; must be made by a thread inside it."""

    def __init__(self, host: str = network.LAB_ADDRESS) -> None:
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._changed = threading.Condition()
        self._links: list[Link] = []
        # What went to the agent, and what went to the broker.
        self._passed = (bytearray(), bytearray())
        self._listener: socket.socket | None = None
        self.recording = False
        # Connections accepted so far.
        self.accepted = 0
        self.host, self.port = host, 0
        self.open()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Accept connections (again), on the same port."""
        listener = socket.socket(self._family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.host, self.port))
        listener.listen(16)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def close(self) -> None:
        """Refuse new connections and cut those there are."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.cut()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(BROKER, timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            for side in (client, server):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(self, client, server)
            with self._changed:
                self.accepted += 1
                self._links.append(link)
                self._changed.notify_all()

    def changed(self) -> None:
        """A link has closed."""
        with self._changed:
            self._links = [link for link in self._links if link.open]
            self._changed.notify_all()

    def note(self, data: bytes, upwards: bool) -> None:
        """Bytes on their way to the broker, or from it."""
        if self.recording:
            with self._changed:
                self._passed[upwards].extend(data)
                self._changed.notify_all()

    @property
    def links(self) -> list[Link]:
        """Open connections."""
        with self._changed:
            return list(self._links)

    def cut(self, reset: bool = True) -> int:
        """Break every connection; how many there were."""
        links = self.links
        for link in links:
            link.cut(reset)
        return len(links)

    def freeze(self) -> float:
        """Make every connection half-open; new ones work. The time of it."""
        for link in self.links:
            link.freeze()
        return time.monotonic()

    def wait_links(self, count: int, timeout: float = 10.0) -> None:
        """Wait until exactly `count` connections are open."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._links) == count, timeout):
                raise TimeoutError(f"{len(self._links)} connections, not {count}")

    def wait_accepted(self, count: int, timeout: float = 15.0) -> None:
        """Wait until `count` connections have been accepted in all."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.accepted >= count, timeout):
                raise TimeoutError(f"{self.accepted} connections, not {count}")

    def wait_sent(self, text: bytes, count: int, timeout: float = 10.0) -> None:
        """Wait until `text` has gone to the broker `count` times."""
        self._wait_passed(self._passed[True], text, count, timeout)

    def wait_received(self, text: bytes, count: int, timeout: float = 10.0) -> None:
        """Wait until `text` has come from the broker `count` times."""
        self._wait_passed(self._passed[False], text, count, timeout)

    def _wait_passed(self, data: bytearray, text: bytes, count: int, timeout: float) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: data.count(text) >= count, timeout):
                raise TimeoutError(f"{text!r} passed {data.count(text)} times, not {count}")
