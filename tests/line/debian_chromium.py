"""Debian's Chromium without being root, for a machine that has none: unpacked in the cache folder, with
the libraries that the machine lacks."""

import platform
import shutil
import stat
import subprocess
from pathlib import Path

from line import cache, long_step

PACKAGES = ["chromium", "fonts-dejavu-core"]
# What apt believes to be installed.
STATUS = Path("/var/lib/dpkg/status")

# Libraries and fonts are where nobody would look for them.
PROGRAM = """#!/bin/sh
unpacked='{unpacked}'
for folder in "$unpacked"/usr/lib/*-linux-gnu "$unpacked"/usr/lib/*-linux-gnu/pulseaudio; do
  LD_LIBRARY_PATH="$folder${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
done
export LD_LIBRARY_PATH XDG_DATA_HOME="$unpacked/usr/share"
[ -e /etc/fonts/fonts.conf ] || export FONTCONFIG_PATH="$unpacked/etc/fonts"
exec "$unpacked/usr/lib/chromium/chromium" "$@"
"""


def program() -> Path:
    """The program. Made if missing; `StepFailed` says why it cannot be had."""
    if not _is_debian():
        raise long_step.StepFailed("this is no Debian, whose package of Chromium could be unpacked")
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    key = cache.key([Path(__file__)], release, platform.machine())
    return cache.made_once(f"chromium-{key}", unpack) / "chromium"


def _is_debian() -> bool:
    try:
        # The package of Ubuntu is an empty one, that wants to be installed from elsewhere.
        return platform.freedesktop_os_release()["ID"] == "debian" and shutil.which("apt-get") is not None
    except (OSError, KeyError):
        return False


def unpack(path: Path, status: Path = STATUS) -> None:
    state, downloads, unpacked = path / "state", path / "downloads", path / "unpacked"
    for folder in (state / "lists" / "partial", downloads / "archives" / "partial", unpacked):
        folder.mkdir(parents=True)
    options = {
        "Dir::State": state,
        "Dir::State::status": status,
        "Dir::Cache": downloads,
        # Nothing of the system is touched, and apt drops no rights that it may not have.
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "",
    }
    apt = ["apt-get", *(f"-o{name}={value}" for name, value in options.items())]
    fetch = ["install", "--yes", "--no-install-recommends", "--download-only", *PACKAGES]
    for what, command in [
        ("read Debian's list of packages", ["update"]),
        (f"fetch {' and '.join(PACKAGES)}", fetch),
    ]:
        long_step.run(
            what,
            [*apt, *command],
            path / f"{command[0]}.log",
            counts=lambda line: line.startswith("Get:"),
            unit="files",
        )
    for package in sorted((downloads / "archives").glob("*.deb")):
        subprocess.run(["dpkg-deb", "--extract", package, unpacked], check=True)
    if not (unpacked / "usr/lib/chromium/chromium").exists():
        raise long_step.StepFailed(f"Debian's packages hold no chromium (logs: {path})")
    shutil.rmtree(state)
    shutil.rmtree(downloads)
    script = path / "chromium"
    script.write_text(PROGRAM.format(unpacked=unpacked))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
