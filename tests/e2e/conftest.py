import pathlib

import pytest

from dnsserver import DnsServer
from postern import BINARY, Certificates, Service
from sink import Sink


def pytest_collection_modifyitems(items):
    """Tests of ten seconds each, all of one file, would fall to one worker: they go in among the
    others, evenly."""
    apart = [item for item in items if item.get_closest_marker("apart")]
    others = [item for item in items if not item.get_closest_marker("apart")]
    every = len(others) // (len(apart) + 1)
    mixed = []
    for n, item in enumerate(apart):
        mixed += others[n * every:(n + 1) * every] + [item]
    items[:] = mixed + others[len(apart) * every:]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session", autouse=True)
def binary():
    if not BINARY.exists():
        pytest.skip(f"{BINARY} does not exist", allow_module_level=True)
    return BINARY


@pytest.fixture
def make(tmp_path, certificates):
    """make(config, listeners): a service of this test; stopped and judged when the test ends."""
    made = []

    def build(config=None, listeners=None, name=None):
        service = Service(tmp_path / (name or f"postern{len(made)}"), certificates, config,
                          listeners)
        made.append(service)
        return service

    yield build
    wrong = []
    for service in made:
        try:
            service.finish()
        except AssertionError as e:
            wrong.append(str(e))
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def sink():
    with Sink() as it:
        yield it


@pytest.fixture
def dns():
    server = DnsServer()
    yield server
    server.close()


def pytest_terminal_summary(terminalreporter):
    """What a test measured, one NOTE line each."""
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in getattr(report, "user_properties", []):
                if name == "note":
                    terminalreporter.write_line(f"NOTE {value}")
