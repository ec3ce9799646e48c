"""A private certificate authority for the broker's TLS listener."""

from __future__ import annotations

import subprocess
from pathlib import Path

DAYS = "30"


def create(directory: Path, names: list[str], addresses: list[str]) -> None:
    """Make ca.pem, server.pem/.key for `names`, and client.pem/.key."""
    directory.mkdir(parents=True, exist_ok=True)
    _openssl(
        directory,
        ["req", "-x509", *_new_key("ca.key"), "-subj", "/CN=lab private CA"]
        + ["-out", "ca.pem", "-days", DAYS, "-addext", "keyUsage=critical,keyCertSign"],
    )
    subjects = [f"DNS:{name}" for name in names] + [f"IP:{a}" for a in addresses]
    _certificate(directory, "server", names[0], f"subjectAltName={','.join(subjects)}")
    _certificate(directory, "client", "lab-client", "extendedKeyUsage=clientAuth")


def _certificate(directory: Path, name: str, subject: str, extension: str) -> None:
    request = ["req", *_new_key(f"{name}.key"), "-subj", f"/CN={subject}"]
    _openssl(directory, [*request, "-out", f"{name}.csr"])
    (directory / f"{name}.ext").write_text(extension + "\n")
    _openssl(
        directory,
        ["x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", "-days", DAYS]
        + ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
        + ["-extfile", f"{name}.ext"],
    )


def _new_key(file: str) -> list[str]:
    curve = "ec_paramgen_curve:prime256v1"
    return ["-newkey", "ec", "-pkeyopt", curve, "-noenc", "-keyout", file]


def _openssl(directory: Path, arguments: list[str]) -> None:
    argv = ["openssl", *arguments]
    subprocess.run(argv, cwd=directory, check=True, capture_output=True)
