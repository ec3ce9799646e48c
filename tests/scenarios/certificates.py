"""An authority of a test, and certificates it makes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as PEM."""

    key: str
    pem: str

    def write(self, directory: Path, name: str) -> tuple[str, str]:
        """Files of key and certificate, as clients want them."""
        paths = directory / f"{name}.key", directory / f"{name}.pem"
        for path, text in zip(paths, (self.key, self.pem)):
            path.write_text(text)
            path.chmod(0o600)
        return str(paths[0]), str(paths[1])


class Authority:
    """Makes certificates; its own is `pem`."""

    def __init__(self, name: str = "Test authority") -> None:
        self._name = _name(name)
        self._key = _key()
        self.pem = self._sign(self._name, self._key, 3650 * DAY, authority=True)

    def certificate(self, name: str, lifetime: timedelta = 365 * DAY) -> Certificate:
        """For a server called `name`, or a client of that name."""
        key = _key()
        pem = self._sign(_name(name), key, lifetime, names=[name, f"*.{name}"])
        # As Trove's API passes keys on.
        form = serialization.PrivateFormat.TraditionalOpenSSL
        encoding = serialization.Encoding.PEM
        text = key.private_bytes(encoding, form, serialization.NoEncryption())
        return Certificate(text.decode(), pem)

    def _sign(
        self,
        name: x509.Name,
        key: rsa.RSAPrivateKey,
        lifetime: timedelta,
        *,
        authority: bool = False,
        names: list[str] | None = None,
    ) -> str:
        begin = datetime.now(timezone.utc) - 30 * DAY
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + 30 * DAY + lifetime)
            .add_extension(x509.BasicConstraints(authority, None), critical=True)
        )
        if names:
            san = x509.SubjectAlternativeName([x509.DNSName(n) for n in names])
            made = made.add_extension(san, critical=False)
        signed = made.sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM).decode()


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)
