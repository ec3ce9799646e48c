"""A name server for the guests: answers from one hosts-style file.

`python -m lab.dns ADDRESS FILE` serves UDP port 53. The file is read again for
each question, so a test may add a name or move one to another address. Only
what RFC 1035 needs for A questions; other types of a known name have no data.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from pathlib import Path

A = 1
NO_ERROR, NAME_ERROR = 0, 3
TTL = 1  # seconds; names may move


def lookup(file: Path, name: str) -> str | None:
    """The address of `name`, the way /etc/hosts lists it."""
    for line in file.read_text().splitlines():
        address, *names = line.split("#")[0].split() or [""]
        if name.lower() in (known.lower() for known in names):
            return address
    return None


def question(packet: bytes) -> tuple[str, int, bytes]:
    """Name, type and the raw bytes of the first question."""
    labels = []
    position = 12
    while length := packet[position]:
        labels.append(packet[position + 1 : position + 1 + length].decode("ascii"))
        position += 1 + length
    (kind,) = struct.unpack_from("!H", packet, position + 1)
    return ".".join(labels), kind, packet[12 : position + 5]


def answer(packet: bytes, file: Path) -> bytes:
    """The reply to one query."""
    identifier, flags = struct.unpack_from("!HH", packet)
    name, kind, asked = question(packet)
    address = lookup(file, name)
    records = b""
    if address is not None and kind == A:
        data = ipaddress.IPv4Address(address).packed
        # 0xC00C points to the question's name.
        records = struct.pack("!HHHIH", 0xC00C, A, 1, TTL, len(data)) + data
    code = NAME_ERROR if address is None else NO_ERROR
    # Response, authoritative, recursion as asked, recursion available.
    flags = 0x8480 | (flags & 0x0100) | code
    header = struct.pack("!HHHHHH", identifier, flags, 1, 1 if records else 0, 0, 0)
    return header + asked + records


def main() -> None:
    address, file = sys.argv[1], Path(sys.argv[2])
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    while True:
        packet, client = server.recvfrom(512)
        try:
            reply = answer(packet, file)
        except (IndexError, UnicodeDecodeError, struct.error):
            continue  # not a DNS query
        server.sendto(reply, client)


if __name__ == "__main__":
    main()
