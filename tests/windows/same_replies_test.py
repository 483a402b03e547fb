"""One configuration file and one test mail for both systems: build/release/postern and postern.exe say
the same, byte for byte, and hand on the same bytes. Only the time and the ids are masked."""
import base64
import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time

import pytest

import wine
from sink import Sink

LINUX = wine.postern.ROOT / "build/release/postern"
USER, PASSWORD = "alice", "correct horse 7"
PLAIN = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())
WRONG = base64.b64encode(f"\0{USER}\0wrong".encode())
MAIL = (b"From: =?utf-8?q?J=C3=B6rg?= <a@local.example>\r\nTo: x@elsewhere.example\r\n"
        b"Subject: both\r\nX-Long: " + b"x" * 900 + b"\r\n\r\n..two dots\r\n\xfc and \xc3\xbc\r\n"
        b"the end\r\n.\r\n")
TLS = object()  # the handshake takes place here

# Each session is what is sent, a piece a line of the list; after each piece the replies are read.
SESSIONS = {
    "greetings": [b"HELO client.example", b"EHLO client.example", b"EHLO [127.0.0.1]", b"EHLO",
                  b"HELO a b", b"NOOP", b"NOOP x", b"RSET", b"HELP", b"VRFY a@local.example",
                  b"EXPN list", b"NONSENSE", b"", b"STARTTLS x", b"QUIT"],
    "addresses": [b"MAIL FROM:<a@b.example>", b"EHLO c.example", b"RCPT TO:<b@local.example>",
                  b"DATA", b"MAIL FROM:a@b.example", b"MAIL FROM:<a@b.example> SIZE=99999999999",
                  b"MAIL FROM:<a@b.example> NONSENSE=1", b"MAIL FROM:<a@b.example> BODY=8BITMIME",
                  b"MAIL FROM:<>", b"RCPT TO:<x@elsewhere.example>", b"RCPT TO:<b@local.example",
                  b"RCPT TO:<@x.example:b@local.example>", b"RCPT TO:<postmaster>", b"RCPT TO:<>",
                  b"RCPT TO:<b@local.example> NOTIFY=NEVER,DELAY", b"RCPT TO:<b%x@local.example>",
                  "RCPT TO:<ü@local.example>".encode(), b"RSET", b"MAIL FROM:<a@" + b"x" * 300 + b">",
                  b"NOOP " + b"x" * 3000, b"QUIT"],
    "in clear": [b"EHLO c.example", b"AUTH PLAIN " + PLAIN, b"AUTH NONSENSE", b"QUIT"],
    "bare line feeds": [b"EHLO c.example", b"MAIL FROM:<a@b.example>\nRCPT TO:<b@local.example>"],
    "password": [b"EHLO c.example", b"STARTTLS", TLS, b"EHLO c.example", b"AUTH PLAIN " + WRONG,
                 b"AUTH PLAIN !", b"AUTH LOGIN", base64.b64encode(USER.encode()), b"*", b"AUTH LOGIN",
                 base64.b64encode(USER.encode()), base64.b64encode(b"wrong too"),
                 b"AUTH SCRAM-SHA-256 biws", b"AUTH PLAIN", PLAIN, b"AUTH PLAIN " + PLAIN,
                 b"STARTTLS", b"QUIT"],
    "mail": [b"EHLO c.example", b"STARTTLS", TLS, b"EHLO c.example", b"AUTH PLAIN " + PLAIN,
             b"MAIL FROM:<a@local.example> SIZE=2000 BODY=8BITMIME\r\n"
             b"RCPT TO:<x@elsewhere.example>\r\nRCPT TO:<b@local.example>\r\nDATA", MAIL[:-2],
             b"MAIL FROM:<a@local.example>\r\nRCPT TO:<b@local.example>\r\nBDAT 20\r\n"
             b"Subject: bdat\r\n\r\nx\r\nBDAT 3 LAST\r\ny", b"RSET",
             b"MAIL FROM:<a@local.example>\r\nRCPT TO:<b@local.example>\r\nDATA",
             b"Subject: no end\r\n\r\nx\n.", b"QUIT"],
}

MASKS = [
    (rb"\b[A-Z0-9]{12}\b", b"(id)"),
    (rb"\bQ\d+\b", b"(queue id)"),
    (rb"<[0-9a-f]{11}\.\(id\)@", b"<(time).(id)@"),
    (rb"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d+ \w+ \d{4} \d\d:\d\d:\d\d [+-]\d{4}( \(\w+\))?", b"(date)"),
    (rb"\d{4}-\d\d-\d\dT[\d:.]+Z", b"(date)"),
]


def masked(data):
    for pattern, name in MASKS:
        data = re.sub(pattern, name, data)
    return data


def read_replies(channel, data=b""):
    """A whole reply and what follows at once, or the end; what comes later stands with the next."""
    channel.settimeout(3)  # some pieces are answered by nothing
    try:
        while piece := channel.recv(65536):
            data += piece
            whole = re.search(rb"^\d{3} [^\n]*\n\Z", data, re.M)
            channel.settimeout(0.05 if whole else 3)
        return data + b"(closed)"
    except (TimeoutError, socket.timeout):
        return data
    except (ConnectionError, ssl.SSLError):
        return data + b"(closed)"


def talk(port, pieces, context):
    said = []
    with socket.create_connection(("127.0.0.1", port), 60) as channel:
        said.append(read_replies(channel))
        for piece in pieces:
            if piece is TLS:
                channel = context.wrap_socket(channel, server_hostname="localhost")
                said.append(f"{channel.version()} {channel.cipher()[0]}".encode())
                continue
            try:
                channel.sendall(piece + b"\r\n")
            except OSError:
                said.append(b"(closed)")
                break
            said.append(read_replies(channel))
            if said[-1].endswith(b"(closed)"):
                break
        channel.close()
    return said


class System:
    """One of the two, in a folder of its own, with the same bytes as configuration."""

    def __init__(self, name, folder, config, certificates):
        self.command = [str(LINUX)] if name == "linux" else ["wine", str(wine.EXE)]
        self.name, self.folder = name, folder
        folder.mkdir()
        (folder / "postern.yaml").write_text(config)
        shutil.copy(certificates.certificate, folder / "certificate.pem")
        shutil.copy(certificates.key, folder / "key.pem")
        (folder / "key.pem").chmod(0o600)

    def cli(self, *arguments, input=None):
        done = subprocess.run([*self.command, *arguments], input=input, cwd=self.folder,
                              capture_output=True, timeout=120)
        return done.returncode, done.stdout.replace(b"\r\n", b"\n"), done.stderr.replace(
            b"\r\n", b"\n")

    def run(self, port, context, sink):
        code, _, said = self.cli("user", "add", USER, "--password-stdin", "-c", "postern.yaml",
                                 input=PASSWORD.encode() + b"\n")
        assert code == 0, said
        with open(self.folder / "log", "wb") as log:
            process = subprocess.Popen([*self.command, "serve", "-c", "postern.yaml"], stdout=log,
                                       stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder)
        try:
            end = time.monotonic() + 60
            while True:
                try:
                    with socket.create_connection(("127.0.0.1", port), 5) as probe:
                        if probe.recv(1):
                            break
                except OSError:
                    assert time.monotonic() < end and process.poll() is None
                    time.sleep(0.1)
            said = {name: talk(port, pieces, context) for name, pieces in SESSIONS.items()}
            relayed = sink.wait(1, 60)
            end = time.monotonic() + 60
            drop = self.folder / "data/mail/Drop"
            while len(list(drop.glob("*.eml"))) < 2:
                assert time.monotonic() < end
                time.sleep(0.1)
            return said, [masked(m.raw) for m in relayed], sorted(
                masked(path.read_bytes()) for path in drop.glob("*.eml"))
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0, (self.folder / "log").read_text()


QUESTIONS = [
    ("explain", "--client", "127.0.0.1", "--rcpt", "x@elsewhere.example"),
    ("explain", "--client", "10.1.2.3", "--rcpt", "x@elsewhere.example"),
    ("explain", "--client", "10.1.2.3", "--rcpt", "b@local.example", "--json"),
    ("user", "list", "--json"),
    ("queue", "list", "--json"),
    ("nonsense",),
]


@pytest.fixture(scope="module")
def both(tmp_path_factory, certificates):
    port, answers = wine.postern.free_port(), {}
    base = tmp_path_factory.mktemp("both")
    context = ssl.create_default_context(cafile=certificates.ca)
    for name in ("linux", "windows"):
        with Sink(port=answers.get("sink", 0)) as sink:
            answers["sink"] = sink.port
            config = json.dumps({
                "service": {"hostname": "relay.example", "data_directory": "data"},
                "listeners": [{"address": f"127.0.0.1:{port}", "tls": "optional"}],
                "tls": {"certificate": "certificate.pem", "key": "key.pem"},
                "authentication": {"throttle": {"delay": "1ms"}},
                "access": {"relay": {"list": ["10.1.0.0/16"]}},
                "delivery": {"smart_host": sink.literal},
                "domains": [{"name": "local.example", "type": "local"}],
                "resolver": {"servers": ["127.0.0.1:9"]}}, indent=1)
            system = System(name, base / name, config, certificates)
            answers[name] = system.run(port, context, sink)
            answers[name + " cli"] = {q: system.cli(*q, *([] if q == ("nonsense",) else
                                                          ["-c", "postern.yaml"]))
                                      for q in QUESTIONS}
    return answers


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_gets_the_same_replies(both, name):
    one, other = (re.sub(rb"\n334 \S{70,}", b"\n334 (nonce)", masked(b"".join(both[system][0][name])))
                  for system in ("linux", "windows"))
    assert one.splitlines() == other.splitlines() and one == other
    assert one.startswith(b"220 ") and len(one.splitlines()) > 3


def test_the_next_hop_gets_the_same_bytes(both):
    [one], [other] = both["linux"][1], both["windows"][1]
    assert one.splitlines() == other.splitlines() and one == other
    assert b"two dots\r\n" in one


def test_the_drop_folder_gets_the_same_bytes(both):
    assert both["linux"][2] == both["windows"][2] and len(both["linux"][2]) >= 2
    assert all(b"\n" not in mail.replace(b"\r\n", b"") for mail in both["windows"][2])


@pytest.mark.parametrize("question", QUESTIONS, ids=" ".join)
def test_a_command_says_the_same(both, question):
    (one, one_said, one_error), (other, other_said, other_error) = (
        both[f"{name} cli"][question] for name in ("linux", "windows"))
    assert (one, masked(one_said)) == (other, masked(other_said))
    assert masked(one_error) == masked(other_error)
