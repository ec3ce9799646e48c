"""Guest images, made by diskimage-builder of image-elements/ and an agent."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lab import settings
from lab.cache import Cache, remove_tree
from lab.fetch import host, trees, venv
from lab.fetch.run import BuildError, run
from lab.guests import agent
from lab.progress import Progress, Step

ELEMENTS = settings.REPO / "image-elements"
SHIMS = settings.REPO / "tests/image/shims"
# Which distribution's element list `build` takes when it is not told.
DISTRIBUTIONS = {"mysql": "ubuntu", "mariadb": "debian", "postgresql": "debian"}
RECIPE = 2
# diskimage-builder's own, and patience where a second of a cloud takes a minute.
EMULATED = "nofb nomodeset gfxpayload=text systemd.default_timeout_start_sec=900"


@dataclass(frozen=True)
class Image:
    """A finished image, as a disk and as the directory that is on it."""

    datastore: str
    disk: Path
    root: Path
    server_version: str

    @property
    def tree(self) -> trees.Tree:
        """The same as a tree that guests boot."""
        return trees.Tree(self.datastore, self.root, self.server_version)


def ensure(cache: Cache, datastore: str, binary: Path, progress: Progress) -> Image:
    """An image of this repository with this agent; older ones are removed."""
    name = f"image-{datastore}"

    def build(temporary: Path, final: Path) -> None:
        for old in cache.root.glob(f"{name}-*"):
            if old != final and not old.name.endswith(".lock"):
                remove_tree(old)
        with progress.step(f"Guest image {datastore}") as step:
            options = {"DIB_BOOTLOADER_DEFAULT_CMDLINE": EMULATED}
            output, kinds = temporary / "image", "qcow2,tar"
            make(cache, datastore, binary, output, kinds, step, **options)
            root = temporary / "root"
            root.mkdir()
            archive = temporary / "image.tar"
            unpack = ["tar", f"--directory={root}", "--extract", f"--file={archive}"]
            run([*unpack, "--xattrs", "--numeric-owner"], step)
            archive.unlink()
            container(root)
            version = trees.ask_version(root, datastore)
            (temporary / "image.json").write_text(json.dumps(version))

    made = cache.ensure(name, _key(datastore, binary), build)
    version = json.loads((made / "image.json").read_text())
    return Image(datastore, made / "image.qcow2", made / "root", version)


def _key(datastore: str, binary: Path) -> str:
    parts: list[object] = [RECIPE, DISTRIBUTIONS[datastore], datastore]
    for path in [*_files(ELEMENTS), *_files(settings.REPO / "systemd"), binary]:
        with open(path, "rb") as file:
            parts += [path.name, hashlib.file_digest(file, "sha256").hexdigest()]
    return settings.digest(*parts, settings.IMAGE_REQUIREMENTS.read_text())


def _files(directory: Path) -> Iterator[Path]:
    return (path for path in sorted(directory.rglob("*")) if path.is_file())


def make(
    cache: Cache,
    datastore: str,
    binary: Path,
    output: Path,
    kinds: str,
    step: Step,
    **more: str,
) -> None:
    """Build `output`.qcow2, or other kinds of diskimage-builder's.

    `more` are variables of diskimage-builder's.
    """
    host.ensure_packages(step.progress, settings.versions().image_packages)
    python = venv.ensure(cache, step.progress, venv.IMAGE)
    files = Path(f"{output}.agent")
    agent.install_files(files, binary)
    work = Path(f"{output}.work")
    work.mkdir()
    path = f"{python / 'bin'}:{os.environ['PATH']}"
    if not _has_device_mapper():
        step.progress.say(f"No device-mapper here: {SHIMS} stands in for it")
        path = f"{SHIMS}:{path}"
    environment = {
        "PATH": path,
        "TMP_DIR": str(work),
        "DIB_TROVE_GUEST_AGENT_ROOT": str(files),
        "IMAGE_CACHE": str(cache.root / "image-cache"),
        # A bootstrapped root is as good a day later: what is installed on top of
        # it is upgraded first.
        "DIB_DEBOOTSTRAP_CACHE": "1",
        "DIB_DEBIAN_USE_DEBOOTSTRAP_CACHE": "1",
        **more,
        **_mirrors(
            cache, python, os.environ.get("DISTRIBUTION") or DISTRIBUTIONS[datastore]
        ),
    }
    try:
        run([str(ELEMENTS / "build"), datastore, str(output), kinds], step, env=environment)
    finally:
        remove_tree(files)
        remove_tree(work)


def _has_device_mapper() -> bool:
    """The node may be there without a driver behind it."""
    try:
        os.close(os.open("/dev/mapper/control", os.O_RDWR))
    except OSError:
        return False
    return True


def _mirrors(cache: Cache, python: Path, distribution: str) -> dict[str, str]:
    """Where packages come from; what the caller has set wins."""
    found: dict[str, str | None] = {}
    if distribution == "debian":
        general, security = trees.mirrors()
        found["DIB_DISTRIBUTION_MIRROR"] = general
        found["DIB_DEBIAN_SECURITY_MIRROR"] = security
    else:
        mirror = os.environ.get("DIB_DISTRIBUTION_MIRROR") or _ubuntu_mirror(python)
        # Only for the bootstrap: the image has its own copy.
        keyring = f"--keyring={_ubuntu_keyring(cache, mirror)}"
        found["DIB_MMDEBSTRAP_EXTRA_ARGS"] = keyring
    return {name: value for name, value in found.items() if value and name not in os.environ}


def _ubuntu_mirror(python: Path) -> str:
    """The mirror that diskimage-builder takes for Ubuntu."""
    pattern = "lib/python3*/site-packages/diskimage_builder/elements/ubuntu-common"
    (element,) = python.glob(pattern)
    script = element / "environment.d/10-ubuntu-distro-name.bash"
    argv = ["bash", "-c", '. "$0" >&2; echo "$DIB_DISTRIBUTION_MIRROR"', str(script)]
    done = subprocess.run(
        argv, check=True, capture_output=True, text=True, env={**os.environ, "ARCH": "amd64"}
    )
    return done.stdout.strip()


def _ubuntu_keyring(cache: Cache, mirror: str) -> Path:
    """Ubuntu's archive key, out of its package."""
    path, checksum = settings.versions().ubuntu_keyring
    url = f"{mirror}/{path}"

    def build(temporary: Path, _final: Path) -> None:
        package = temporary / "keyring.deb"
        # apt's own way of fetching one file; it knows the machine's proxies.
        fetch = ["/usr/lib/apt/apt-helper", "download-file", url, str(package)]
        for argv in ([*fetch, f"SHA256:{checksum}"], ["dpkg", "-x", str(package), str(temporary)]):
            done = subprocess.run(argv, capture_output=True, text=True)
            if done.returncode != 0:
                raise BuildError(f"{' '.join(argv)}: {done.stderr.strip()}")

    made = cache.ensure("ubuntu-keyring", settings.digest(path, checksum), build)
    return made / "usr/share/keyrings/ubuntu-archive-keyring.gpg"


# Under systemd-nspawn the lab does what these do in a cloud.
CLOUD = (
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-networkd-wait-online.service",
    "systemd-resolved.service",
    "ssh.service",
    "ssh.socket",
)


def container(root: Path) -> None:
    """Let the image's root boot under systemd-nspawn with the lab as its cloud."""
    (root / "etc/cloud/cloud-init.disabled").touch()
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/fstab").write_text("")
    for name in CLOUD:
        unit = root / "etc/systemd/system" / name
        unit.unlink(missing_ok=True)
        unit.symlink_to("/dev/null")
    trees.for_container(root)
