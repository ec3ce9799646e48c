#!/usr/bin/env python3
"""Dependency policy: sources, licences, and crates that must not come in.

One TLS stack (rustls with ring), no unmaintained runtimes, nothing from
outside Cargo's registry. Reads `cargo metadata`; prints every violation and
exits with 1 when there is one.
"""

import json
import subprocess
import sys

ALLOWED_LICENCES = {
    "MIT",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "CC0-1.0",
    "0BSD",
    "Unlicense",
    "MIT-0",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "bzip2-1.0.6",
    "MPL-2.0",
}

BANNED = {
    "openssl": "one TLS stack: rustls",
    "openssl-sys": "one TLS stack: rustls",
    "native-tls": "one TLS stack: rustls",
    "aws-lc-rs": "one cryptography provider: ring",
    "aws-lc-sys": "one cryptography provider: ring",
    "async-std": "one runtime: tokio",
    "smol": "one runtime: tokio",
    "backoff": "unmaintained",
    "tokio-tar": "unmaintained",
    "serde_yaml": "unmaintained",
    "lazy_static": "std::sync::LazyLock (only through others)",
}

# Banned as our own dependency, unavoidable through others.
ONLY_INDIRECT = {"lazy_static"}


def licence_allowed(expression: str) -> bool:
    """Whether an SPDX expression can be met with allowed licences only."""
    alternatives = expression.replace("/", " OR ").replace("(", " ").replace(")", " ")
    for alternative in alternatives.split(" OR "):
        parts = [part.strip() for part in alternative.split(" AND ")]
        names = [part.split(" WITH ")[0].strip() for part in parts]
        if all(name in ALLOWED_LICENCES for name in names):
            return True
    return False


def violations(metadata: dict) -> list[str]:
    """Every way in which the dependency graph breaks the policy."""
    found = []
    members = set(metadata["workspace_members"])
    # Only what is really built for the host counts.
    used = {node["id"] for node in metadata["resolve"]["nodes"]}
    for package in metadata["packages"]:
        name = f"{package['name']} {package['version']}"
        if package["id"] in members:
            for dependency in package["dependencies"]:
                if dependency["req"] == "*" and not dependency.get("path"):
                    found.append(f"{name}: wildcard version of {dependency['name']}")
                if dependency["name"] in ONLY_INDIRECT:
                    found.append(f"{name}: {dependency['name']}: {BANNED[dependency['name']]}")
            continue
        if package["id"] not in used:
            continue
        if package["name"] in BANNED and package["name"] not in ONLY_INDIRECT:
            found.append(f"{name}: banned: {BANNED[package['name']]}")
        if not (package["source"] or "").startswith("registry+"):
            found.append(f"{name}: not from a registry: {package['source']}")
        licence = package["license"]
        if not licence or not licence_allowed(licence):
            found.append(f"{name}: licence {licence!r} is not on the list")
    return found


def main() -> int:
    host = next(
        line.split()[1]
        for line in subprocess.check_output(["rustc", "-vV"], text=True).splitlines()
        if line.startswith("host:")
    )
    output = subprocess.check_output(
        ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", host]
    )
    metadata = json.loads(output)
    found = violations(metadata)
    for violation in found:
        print(violation)
    print(f"{len(metadata['resolve']['nodes'])} packages, {len(found)} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
