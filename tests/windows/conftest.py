import subprocess

import pytest

import wine


@pytest.fixture(scope="session", autouse=True)
def wine_stays():
    """When its last program ends, Wine ends its services too, and starts the automatic ones again
    with the next program. They keep the standard output of whoever started them, so that nobody
    else may be the first."""
    silence = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": "/tmp"}
    held = subprocess.Popen(["wine", "cmd"], stdin=subprocess.PIPE, **silence)
    subprocess.run(["wine", "cmd", "/c", "exit"], stdin=subprocess.DEVNULL, check=True, **silence)
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
