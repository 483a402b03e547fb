"""Mail through the installed service, by real clients of this machine: taken with STARTTLS and a
password, relayed and dropped, through TerminateProcess; what the event log is told; log files that
give way. There is one service in a prefix, so the tests of this file follow each other."""
import glob
import json
import pathlib
import re
import shutil
import smtplib
import ssl
import subprocess
import threading
import time

import pytest

import scm
import wine
from scm import answers, postern, service, trace_now, wait_entry
from sink import Sink
from wine import DATA, windows_path

USER, PASSWORD = "alice", "correct horse 7"
MESSAGE = "From: a@local.example\r\nTo: x@elsewhere.example\r\nSubject: {}\r\n\r\nüber Wine\r\n"


class Installed:
    def __init__(self, certificates):
        self.port = wine.postern.free_port()
        self.certificates = certificates
        self.config = {}

    def write(self, **over):
        """The configuration; what is given takes the place of a whole section."""
        self.config = {
            "service": {"hostname": "relay.example"},
            "listeners": [{"address": f"127.0.0.1:{self.port}", "tls": "optional"}],
            "tls": {"certificate": windows_path(self.certificates.certificate),
                    "key": windows_path(self.certificates.key)},
            "authentication": {"throttle": {"delay": "0s", "refuse_after": 4}},
            "domains": [{"name": "local.example", "type": "local"}],
            "logging": {"file": "postern.log"},
            "resolver": {"servers": ["127.0.0.1:9"]},
            **over}
        (DATA / "postern.yaml").write_text(json.dumps(self.config))

    def start(self, **over):
        self.write(**over)
        service("start")
        assert answers(self.port, 20)

    def send(self, subject, to="x@elsewhere.example"):
        context = ssl.create_default_context(cafile=self.certificates.ca)
        with smtplib.SMTP("127.0.0.1", self.port, timeout=60) as client:
            client.starttls(context=context)
            client.login(USER, PASSWORD)
            client.sendmail("a@local.example", [to], MESSAGE.format(subject).encode())

    def dropped(self):
        """The subjects in the drop folder, of whole files only."""
        return [wine.postern.DropFile(pathlib.Path(path)).subject()
                for path in glob.glob(str(DATA / "mail/Drop/*.eml"))]


@pytest.fixture(scope="module")
def installed(certificates):
    postern("service", "uninstall")
    shutil.rmtree(DATA, ignore_errors=True)
    service("install")
    made = Installed(certificates)
    made.write()
    done = postern("user", "add", USER, "--password-stdin", input=PASSWORD + "\n")
    assert done.returncode == 0, done
    yield made
    postern("service", "uninstall")


@pytest.fixture(autouse=True)
def stopped_afterwards(installed):
    yield
    if scm.state() != "stopped":
        service("stop")


def wait_for(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


def subjects(sink):
    return {re.search(rb"^Subject: (.*?)\r?$", m.data, re.M)[1].decode() for m in sink.taken()}


def test_swaks_and_curl_send_through_it_to_the_next_hop_and_to_drop(installed, tmp_path):
    mail = tmp_path / "mail.eml"
    mail.write_bytes(MESSAGE.format("curl").encode())
    with Sink() as sink:
        installed.start(delivery={"smart_host": sink.literal},
                        logging={"file": "postern.log", "protocol": True})
        for name in ("PLAIN", "LOGIN"):
            done = subprocess.run(
                ["swaks", "--server", f"127.0.0.1:{installed.port}", "--tls", "--tls-verify",
                 "--tls-ca-path", installed.certificates.ca, "--auth", name, "--auth-user", USER,
                 "--auth-password", PASSWORD, "--from", "a@local.example", "--to",
                 "x@elsewhere.example,b@local.example", "--header", f"Subject: swaks {name}"],
                capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done
            done = subprocess.run(
                ["curl", "-sS", "--url", f"smtp://localhost:{installed.port}", "--ssl-reqd",
                 "--cacert", installed.certificates.ca, "--user", f"{USER}:{PASSWORD}",
                 "--login-options", f"AUTH={name}", "--mail-from", "a@local.example", "--mail-rcpt",
                 "x@elsewhere.example", "--mail-rcpt", "b@local.example", "--upload-file", mail],
                capture_output=True, text=True, timeout=120)
            assert done.returncode == 0, done
        wanted = {"swaks PLAIN", "swaks LOGIN", "curl"}
        assert {m.recipients[0] for m in sink.wait(4, 60)} == {"x@elsewhere.example"}
        assert subjects(sink) == wanted
        wait_for(lambda: len(installed.dropped()) == 4)
        assert set(installed.dropped()) == wanted
        log = (DATA / "postern.log").read_text()
        assert log.count("smtp.auth.ok") == 4 and log.count("AUTH LOGIN") == 2, log[-2000:]
        assert json.loads(postern("queue", "list", "--json").stdout) == []


def test_nobody_relays_without_a_password_and_none_is_asked_for_in_clear(installed):
    installed.start()
    with smtplib.SMTP("127.0.0.1", installed.port, timeout=60) as client:
        client.ehlo()
        assert "auth" not in client.esmtp_features
        client.mail("a@b.example")
        assert client.rcpt("x@elsewhere.example")[0] == 550


def flood(installed, number, promised, over):
    """Sends until it is told to end; what got its 250 is promised."""
    count = 0
    while not over.is_set():
        subject = f"kept {number} {count}"
        try:
            with smtplib.SMTP("127.0.0.1", installed.port, timeout=30) as client:
                while not over.is_set():
                    subject = f"kept {number} {count}"
                    count += 1
                    client.sendmail("a@local.example", ["b@local.example"],
                                    MESSAGE.format(subject).encode())
                    promised.append(subject)
        except (OSError, smtplib.SMTPException):
            time.sleep(0.05)  # it has just been killed, or is not there yet


def test_terminated_while_it_takes_mail_it_loses_nothing(installed):
    shutil.rmtree(DATA / "mail/Drop")
    installed.start()
    promised, over = [], threading.Event()
    clients = [threading.Thread(target=flood, args=(installed, n, promised, over)) for n in range(4)]
    for client in clients:
        client.start()
    try:
        for _ in range(3):
            before = len(promised)
            wait_for(lambda: len(promised) >= before + 30)
            assert wine.wine("taskkill", "/F", "/IM", "postern.exe").returncode == 0
            # Wine's manager does not see that a process has ended until it is asked to start it;
            # that of Windows does, and starts it again by the failure actions.
            wait_for(lambda: not answers(installed.port, 1))
            service("start")
            wait_for(lambda: answers(installed.port, 10))
        wait_for(lambda: len(promised) >= before + 60)
    finally:
        over.set()
        for client in clients:
            client.join(60)
    assert len(promised) >= 120 and len(set(promised)) == len(promised)
    wait_for(lambda: set(promised) <= set(installed.dropped()), 120)


def test_the_event_log_is_told_of_start_and_stop_and_of_a_start_that_is_refused(installed):
    since = trace_now()
    installed.start()
    kind, strings = wait_entry(1, since)
    assert kind == "information" and strings[0] == "serving" and strings[1].endswith("postern.exe")
    service("stop")
    assert wait_entry(2, since)[1][1] == "0"
    assert [e for e in scm.entries(since) if e[1] == "error"] == []
    installed.write(limits={"message_sise": "1M"})
    assert "exit code 78" in service("start", 1).stderr
    kind, strings = wait_entry(3, since)
    assert kind == "error" and strings[1] == "78"
    assert "postern.yaml:1:" in strings[0] and "message_sise: unknown key" in strings[0]


def test_the_event_log_is_told_of_reloads(installed):
    installed.start()
    since = trace_now()
    assert postern("reload").returncode == 0
    assert wait_entry(4, since)[0] == "information"
    installed.write(limits={"message_sise": "1M"})
    done = wine.wine(wine.EXE.parent / "scm_control.exe", "6")  # SERVICE_CONTROL_PARAMCHANGE
    assert done.returncode == 0, done
    kind, strings = wait_entry(5, since)
    assert kind == "error" and "limits.message_sise: unknown key" in strings[1]
    assert "service.reload.refused" in strings[0]
    assert answers(installed.port, 20)


def test_the_event_log_is_told_of_lock_outs(installed):
    since = trace_now()
    installed.start()
    context = ssl.create_default_context(cafile=installed.certificates.ca)
    codes = []
    for number in range(6):  # the same one again would be no guess
        with smtplib.SMTP("127.0.0.1", installed.port, timeout=60) as client:
            client.starttls(context=context)
            try:
                client.login(USER, f"wrong {number}")
            except smtplib.SMTPAuthenticationError as refused:
                codes.append(refused.smtp_code)
    assert codes[0] == 535 and codes[-1] == 454, codes
    kind, strings = wait_entry(6, since)
    assert kind == "warning" and strings[1] == "127.0.0.1" and "auth.peer.refused" in strings[0]


def test_the_event_log_is_told_of_mail_that_cannot_be_delivered(installed):
    def refuse(verb, line, session):
        return b"550 5.1.1 nobody %1 here\r\n" if verb == "RCPT" and b"<x@" in line else None

    since = trace_now()
    with Sink(hook=refuse) as sink:
        installed.start(delivery={"smart_host": sink.literal})
        installed.send("for nobody")
        kind, strings = wait_entry(7, since)
    assert kind == "warning" and strings[2] == "x@elsewhere.example"
    # the viewer would insert again where % and a number stand
    assert "nobody % 1 here" in strings[3] and "delivery.failed" in strings[0]
    assert f"id={strings[1]}" in strings[0]


@pytest.mark.parametrize("form", ["json", "w3c"])
def test_log_files_give_way(installed, form):
    name = f"smtp-{form}.log"
    installed.start(logging={"file": name, "format": form, "rotate": {"size": "2K", "keep": 2}})

    def old():
        return sorted(glob.glob(str(DATA / f"{name}.2*")))

    seen, end = set(), time.monotonic() + 90
    while len(seen) < 4 and time.monotonic() < end:
        with smtplib.SMTP("127.0.0.1", installed.port, timeout=60) as client:
            client.ehlo()
            for _ in range(10):
                client.noop()
                client.mail("a@b.example")
                client.rset()
        seen.update(old())
    assert len(seen) >= 4
    service("stop")
    assert len(old()) == 2
    for path in [*old(), str(DATA / name)]:
        lines = open(path, newline="").read().split("\r\n")
        assert lines.pop() == "" and lines
        if form == "json":
            assert all(json.loads(line)["event"] for line in lines)
        else:
            assert lines[0].startswith("#Software: Postern") and lines[2].startswith("#")
            width = len([li for li in lines if li.startswith("#Fields:")][0].split()) - 1
            assert all(len(row.split()) == width for row in lines if not row.startswith("#"))


def test_a_file_that_was_renamed_is_made_anew_when_told(installed):
    installed.start()
    log, moved = DATA / "postern.log", DATA / "postern.log.moved"
    log.rename(moved)
    done = wine.wine(wine.EXE.parent / "scm_control.exe", "128")
    assert done.returncode == 0, done
    wait_for(log.exists, 20)
    assert answers(installed.port, 20)
    wait_for(lambda: "smtp.session.opened" in log.read_text(), 20)
