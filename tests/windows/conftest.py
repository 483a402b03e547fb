import pytest

import wine


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
