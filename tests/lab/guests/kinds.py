"""Which kind of guest a server is: what it boots from tells."""

from __future__ import annotations

from pathlib import Path

from lab.guests.guest import Guest
from lab.guests.machine import Machine
from lab.guests.spec import Spec
from lab.guests.virtual import VirtualMachine
from lab.guests.virtual_guest import VirtualGuest


def machine_in(directory: Path, lab: str, logs: Path, spec: Spec | None = None) -> Machine:
    """The hypervisor's side. `spec` of a guest that has not been built yet."""
    kind = VirtualMachine if _virtual(directory, spec) else Machine
    return kind(directory, lab, logs)


def guest_in(directory: Path, logs: Path) -> Guest:
    """The test's side."""
    return (VirtualGuest if _virtual(directory) else Guest)(directory, logs)


def _virtual(directory: Path, spec: Spec | None = None) -> bool:
    """A disk is booted by a virtual machine, a directory in a container."""
    file = directory / "spec.json"
    if spec is None and file.exists():
        spec = Spec.load(file)
    return spec is not None and Path(spec.tree).suffix == ".qcow2"
