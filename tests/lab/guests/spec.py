"""What a guest is made of, as the cloud decides it; one JSON file per guest."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from lab.network import MANAGEMENT, USER, Nic

SEGMENTS = {segment.name: segment for segment in (MANAGEMENT, USER)}


@dataclass(frozen=True)
class Disk:
    """A volume attached to a guest; `path` is the file behind it."""

    volume_id: str
    path: str
    device: str  # inside the guest, such as /dev/vdb


@dataclass
class Spec:
    """One server: its identity, image, network, user data and volumes."""

    id: str
    name: str
    tree: str
    namespace: str
    nics: list[Nic]
    user_data: str
    instance_id: str = ""
    disks: list[Disk] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write the file that `load` reads, maybe at the same time."""
        record = asdict(self)
        for nic, plain in zip(self.nics, record["nics"]):
            plain["segment"] = nic.segment.name
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(record, indent=1))
        os.rename(temporary, path)

    @classmethod
    def load(cls, path: Path) -> Spec:
        """Read what `save` wrote."""
        record = json.loads(path.read_text())
        for plain in record["nics"]:
            plain["segment"] = SEGMENTS[plain["segment"]]
        record["nics"] = [Nic(**plain) for plain in record["nics"]]
        record["disks"] = [Disk(**plain) for plain in record["disks"]]
        return cls(**record)
