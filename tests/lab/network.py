"""The lab's network: one namespace with two bridges, one namespace per guest.

Nothing of the machine's own network is touched or reachable. Addresses come
from the ranges that RFC 5737 sets aside for documentation.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NAMESPACES = Path("/run/netns")
CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Segment:
    """One Ethernet segment of the lab; the lab itself has the first address."""

    name: str
    bridge: str
    cidr: str

    @property
    def network(self) -> ipaddress.IPv4Network:
        return ipaddress.IPv4Network(self.cidr)

    @property
    def gateway(self) -> str:
        """The lab's own address on this segment."""
        return str(self.network[1])

    @property
    def prefix_length(self) -> int:
        return self.network.prefixlen


# Control plane and agents.
MANAGEMENT = Segment("trove-mgmt", "mgmt0", "192.0.2.0/24")
# Databases and those who use them.
USER = Segment("private", "user0", "198.51.100.0/24")
# Floating addresses; nothing is attached to it.
PUBLIC = Segment("public", "", "203.0.113.0/24")
# The lab's services listen here.
LAB_ADDRESS = MANAGEMENT.gateway


@dataclass(frozen=True)
class Nic:
    """One network interface of a guest."""

    name: str
    mac: str
    address: str
    segment: Segment


def ip(*args: str, check: bool = True) -> None:
    """Run ip(8); its error text is in the exception."""
    done = subprocess.run(["ip", *args], capture_output=True, text=True)
    if check and done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(args)}: {done.stderr.strip()}")


def create_lab(namespace: str) -> None:
    """Make the lab's namespace with its bridges."""
    ip("netns", "add", namespace)
    ip("-n", namespace, "link", "set", "lo", "up")
    for segment in (MANAGEMENT, USER):
        ip("-n", namespace, "link", "add", segment.bridge, "type", "bridge")
        address = f"{segment.gateway}/{segment.prefix_length}"
        ip("-n", namespace, "addr", "add", address, "dev", segment.bridge)
        ip("-n", namespace, "link", "set", segment.bridge, "up")


def port(nic: Nic) -> str:
    """The lab's end of an interface; unique by the address's last two bytes."""
    number = "".join(f"{int(byte):02x}" for byte in nic.address.split(".")[2:])
    return f"vm{number}{nic.segment.bridge[0]}"


def create_taps(lab: str, nics: list[Nic]) -> None:
    """Make the lab's ends of a virtual machine's interfaces."""
    for nic in nics:
        ip("-n", lab, "tuntap", "add", "dev", port(nic), "mode", "tap")
        ip("-n", lab, "link", "set", port(nic), "master", nic.segment.bridge, "up")


def delete_taps(lab: str, nics: list[Nic]) -> None:
    """Remove them; they may be gone with the lab's namespace."""
    for nic in nics:
        ip("-n", lab, "link", "delete", port(nic), check=False)


def create_guest(guest: str) -> None:
    """Make a guest's namespace; nothing is plugged in yet."""
    ip("netns", "add", guest)
    ip("-n", guest, "link", "set", "lo", "up")


def plug(lab: str, guest: str, nics: list[Nic], own: str | None = None) -> None:
    """Plug interfaces into the bridges, as at every boot; nothing is left of the last.

    The guest does not configure its network; it finds addresses and routes in
    place, as a cloud image does after DHCP. The interface with the MAC address
    `own` is left alone: what becomes of it is up to the agent.
    """
    unplug(guest, nics)
    for family in ("-4", "-6"):
        for rule in _rules(guest, family):
            ip("-n", guest, family, "rule", "delete", "priority", rule)
        ip("-n", guest, family, "route", "flush", "table", "all", "type", "unreachable")
    configured = [nic for nic in nics if nic.mac != own]
    for nic in nics:
        peer = ["peer", "name", nic.name, "address", nic.mac, "netns", guest]
        ip("-n", lab, "link", "add", port(nic), "type", "veth", *peer)
        ip("-n", lab, "link", "set", port(nic), "master", nic.segment.bridge, "up")
        if nic in configured:
            address = f"{nic.address}/{nic.segment.prefix_length}"
            ip("-n", guest, "addr", "add", address, "dev", nic.name)
            ip("-n", guest, "link", "set", nic.name, "up")
    if configured:
        gateway = configured[0].segment.gateway
        ip("-n", guest, "route", "add", "default", "via", gateway)


def unplug(guest: str, nics: list[Nic]) -> None:
    """Take a guest's interfaces away, as far as there are any.

    The kernel takes its time to remove those of a namespace that has gone.
    """
    for nic in nics:
        ip("-n", guest, "link", "delete", nic.name, check=False)


def _rules(guest: str, family: str) -> list[str]:
    """Priorities of the routing rules that are not the kernel's own."""
    argv = ["ip", "-n", guest, family, "rule", "show"]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    found = [line.split(":")[0] for line in done.stdout.splitlines()]
    return [priority for priority in found if priority not in ("0", "32766", "32767")]


def connect(lab: str, nic: Nic, connected: bool) -> None:
    """Pull the cable of a guest's interface, or put it back."""
    ip("-n", lab, "link", "set", port(nic), "up" if connected else "down")


def delete(namespace: str) -> None:
    """Remove a namespace; its interfaces and their peers go with it."""
    if (NAMESPACES / namespace).exists():
        ip("netns", "delete", namespace)


def existing(prefix: str) -> list[str]:
    """Names of the namespaces that start with `prefix`."""
    if not NAMESPACES.exists():
        return []
    return sorted(p.name for p in NAMESPACES.iterdir() if p.name.startswith(prefix))


def entering(namespace: str, argv: list[str]) -> list[str]:
    """The command that runs `argv` with this network but our own mounts.

    `ip netns exec` would mount a private /sys and hide later mounts.
    """
    return ["nsenter", f"--net={NAMESPACES / namespace}", "--", *argv]


def switch(fd: int) -> None:
    """Move the calling thread into a network namespace (setns(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(fd, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


# The networks that `inside` has left, as file descriptors.
_outer: list[int] = []


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Give the calling thread, and threads it starts, the namespace's network."""
    with open("/proc/thread-self/ns/net") as outer:
        with open(NAMESPACES / namespace) as inner:
            switch(inner.fileno())
        _outer.append(outer.fileno())
        try:
            yield
        finally:
            _outer.pop()
            switch(outer.fileno())


@contextmanager
def outside() -> Iterator[None]:
    """Give the calling thread the machine's own network again, for a while."""
    if not _outer:
        yield
        return
    with open("/proc/thread-self/ns/net") as inner:
        switch(_outer[0])
        try:
            yield
        finally:
            switch(inner.fileno())
