"""The domain of a whole run, services against it, and the table of outcomes printed at the end."""
import os
import pathlib
import re
import sys
import time

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "e2e"))
sys.path.insert(0, str(HERE))

import ad  # noqa: E402
from postern import BINARY, Certificates, Service, free_port, merged  # noqa: E402
from smtp import Client  # noqa: E402

ROWS = []
NOTES = []
REASON = ad.why_not() if BINARY.exists() else f"{BINARY} does not exist"
if REASON is None and not os.environ.get("PYTEST_XDIST_WORKER"):
    # Before any thread, and before a test makes a folder below /run.
    ad.enter()


def pytest_collection_modifyitems(items):
    if REASON:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=f"no domain: {REASON}"))


@pytest.fixture(scope="session")
def domain():
    it = ad.Domain()
    try:
        it.up()
        NOTES.append("the lab: " + ", ".join(f"{what} after {s:.1f} s"
                                             for what, s in it.times.items()))
        yield it
    finally:
        it.down()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    made = Certificates(tmp_path_factory.mktemp("certificates"))
    made.certificate, made.key = made.issue("corp", ad.RELAY_NAME,
                                            f"DNS:{ad.RELAY_NAME},IP:127.0.0.1")
    return made


class Relay(Service):
    """A service of relay.corp.example whose throttle does not stand in a test's way."""

    def __init__(self, folder, certificates, domains, integrated=None, config=None):
        base = {
            "service": {"hostname": ad.RELAY_NAME},
            "limits": {"connections_per_client": 1000, "connections": 1000},
            "authentication": {
                "domains": domains,
                "integrated": integrated or {},
                "throttle": {"delay": "0s", "delay_max": "0s", "account_delay_max": "0s",
                             "free_failures": 1000, "refuse_after": 1000000},
            },
        }
        # "plain" by the name that tickets are for, "implicit" for clients of many addresses.
        super().__init__(folder, certificates, merged(base, config or {}),
                         {"implicit": {"tls": "implicit"},
                          "plain": {"tls": "optional", "address": f"{ad.RELAY}:{free_port()}"}})

    def client(self, listener="implicit", source=None, timeout=30):
        host = self.address(listener).rsplit(":", 1)[0]
        client = Client(self.port(listener), host, implicit=listener == "implicit", source=source,
                        timeout=timeout, server_name=ad.RELAY_NAME)
        return client.hello()

    def offered(self, listener="implicit"):
        with self.client(listener) as client:
            found = re.search(r"^AUTH (.*)$", client.ehlo.text, re.M)
            return set(found.group(1).split()) if found else set()

    def need(self, kind):
        """A build may have been made without a backend's library."""
        if f"({kind})" in self.log() and "no such backend" in self.log():
            pytest.skip(f"this build has no backend {kind}")
        return self

    def wait_mail(self, subject, timeout=20):
        """The delivered message with this subject."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            for mail in self.drop():
                if mail.subject() == subject:
                    return mail
            time.sleep(0.05)
        raise AssertionError(f"{subject!r} was not delivered:\n{self.log()[-3000:]}")

    def try_basic(self, name, password, mechanism="plain", source=None):
        """(reply, what the log says of it)"""
        before = len(self.attempts())
        with self.client(source=source) as client:
            reply = getattr(client, mechanism)(name, password)
        now = self.attempts()
        return reply, now[before] if len(now) > before else ("", "nothing")


@pytest.fixture(scope="module")
def relay(tmp_path_factory, certificates, domain):
    """relay(domains, ...): a service of this module, started, and judged when the module ends."""
    made = []

    def build(domains, integrated=None, config=None, users=(), start=True):
        service = Relay(tmp_path_factory.mktemp("relay"), certificates, domains, integrated, config)
        made.append(service)
        for name, password in users:
            service.add_user(name, password)
        if start:
            service.start()
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
def row():
    """row(way, who, wire, log): a line of the table of outcomes."""
    return lambda *columns: ROWS.append([str(c) for c in columns])


@pytest.fixture
def note():
    return NOTES.append


def pytest_terminal_summary(terminalreporter):
    heads = ["way", "who", "on the wire", "in the log"]
    lines = list(NOTES)
    if ROWS:
        widths = [max(len(r[i]) for r in [heads, *ROWS]) for i in range(3)]
        lines.append("")
        for r in [heads, *ROWS]:
            lines.append("  ".join([*(c.ljust(w) for c, w in zip(r, widths)), *r[3:]]).rstrip())
    for line in lines:
        terminalreporter.write_line(line)
    report = os.environ.get("DOMAIN_REPORT")
    if report:
        pathlib.Path(report).write_text("\n".join(lines) + "\n")
