"""SYSTEMD_PACKAGES: a folder with two versions of the package; ./test systemd makes them."""
import os
import pathlib
import sys

import pytest

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent),
                str(pathlib.Path(__file__).resolve().parent.parent / "e2e")]

from machine import Failed, Machine, root_of  # noqa: E402


@pytest.fixture(scope="session")
def packages():
    found = sorted(pathlib.Path(os.environ["SYSTEMD_PACKAGES"]).glob("postern_*.deb"),
                   key=lambda path: "+next_" in path.name)
    assert len(found) == 2, found
    return found  # the older, the newer


@pytest.fixture(scope="session")
def root(packages):
    """Where no machine can be made at all, nothing is said about Postern: that is a skip."""
    try:
        made = root_of(packages[0])
    except AssertionError as e:
        pytest.skip(f"no root file system for a machine: {str(e).splitlines()[0]}")
    try:
        with Machine(made, packages[0].parent):
            return made
    except Failed as e:
        pytest.skip(f"systemd does not start here: {str(e).splitlines()[0]}")


@pytest.fixture
def fresh(root, packages):
    """A machine without Postern."""
    with Machine(root, packages[0].parent) as machine:
        yield machine


@pytest.fixture(scope="module")
def shared(root, packages):
    with Machine(root, packages[0].parent) as machine:
        machine.run("dpkg", "-i", f"/opt/packages/{packages[0].name}")
        machine.default = machine.path("/etc/postern/postern.yaml").read_text()
        yield machine


@pytest.fixture
def installed(shared):
    """One machine with Postern for many tests, each of which finds it as it was installed."""
    yield shared
    shared.run("sh", "-c", "rm -rf /etc/systemd/system/postern.* /etc/postern/credentials/*")
    shared.write("/etc/postern/postern.yaml", shared.default)
    shared.run("systemctl", "daemon-reload")
    shared.run("systemctl", "stop", "postern.socket", "postern.service", check=False)
    shared.run("systemctl", "disable", "postern.socket", check=False)
    shared.run("sh", "-c", "rm -rf /var/lib/postern/*")
    shared.run("systemctl", "log-level", "info")
    shared.run("journalctl", "--rotate", check=False)
    shared.run("journalctl", "--vacuum-time=1us", check=False)
    shared.run("systemctl", "reset-failed", check=False)
    shared.run("systemctl", "start", "postern.service")


@pytest.fixture(scope="session")
def binary():
    return pathlib.Path(os.environ["POSTERN"])
