import os
import subprocess

import pytest

import wine


@pytest.fixture(scope="session", autouse=True)
def wine_stays():
    """When its last program ends, Wine ends its services too, and starts the automatic ones again
    with the next program. They and what they start keep the standard output and the channels of
    traces of whoever started them, so that nobody else may be the first: theirs is wine.TRACE, with
    each call of the event log (fixme:advapi is its head)."""
    subprocess.run(["wineserver", "-k"], check=False)
    subprocess.run(["wineserver", "-w"], check=True, timeout=60)
    wine.TRACE.unlink(missing_ok=True)
    with open(wine.TRACE, "w") as trace:
        how = {"stdout": subprocess.DEVNULL, "stderr": trace, "cwd": "/tmp",
               "env": dict(os.environ, WINEDEBUG="-all,fixme+advapi,+eventlog")}
        held = subprocess.Popen(["wine", "cmd"], stdin=subprocess.PIPE, **how)
        subprocess.run(["wine", "cmd", "/c", "exit"], stdin=subprocess.DEVNULL, check=True, **how)
    yield
    held.stdin.close()
    held.wait(60)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return wine.postern.Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def make_service(tmp_path, certificates):
    made = []

    def make(config=None, listeners=None, name="relay"):
        made.append(wine.WineService(tmp_path / name, certificates, config, listeners))
        return made[-1]

    yield make
    for service in made:
        if service.running():
            service.kill()
