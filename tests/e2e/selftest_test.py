"""postern selftest: that it passes a sound service, delivers nothing, and finds what is wrong."""
import json
import re
import socket
import ssl
import threading

import pytest

from postern import BINARY, TROUBLE, free_port
import subprocess

pytestmark = pytest.mark.apart


def selftest(*arguments, timeout=240):
    done = subprocess.run([str(BINARY), "selftest", *map(str, arguments)], capture_output=True,
                          text=True, timeout=timeout)
    assert not TROUBLE.search(done.stderr), done.stderr
    return done


def report(done):
    answer = json.loads(done.stdout)
    return answer, {(t["test"], t["outcome"]): t["text"] for t in answer["tests"]}


def test_a_sound_service_passes_on_each_listener_and_gets_no_mail(make):
    service = make(listeners={"plain": {"tls": "optional"}, "required": {"tls": "required"},
                              "implicit": {"tls": "implicit"},
                              "lf": {"tls": "none", "bare_lf": "normalise"}}).start()
    done = service.cli("selftest", "--json", timeout=240)
    answer, _ = report(done)
    assert done.returncode == 0 and answer["passed"], done.stdout
    assert answer["failed"] == answer["skipped"] == 0
    for listener in service.listeners.values():
        tests = {t["test"] for t in answer["tests"] if t["listener"] == listener["address"]}
        assert {"open relay", "smuggling", "postmaster"} <= tests
    ways = [int(re.match(r"\d+", t["text"]).group()) for t in answer["tests"]
            if t["test"] == "open relay" and t["outcome"] == "ok"]
    assert len(ways) == 4 and min(ways) > 290
    assert service.drop() == [] and service.queue() == []
    # it came from an address that is granted nothing
    assert not re.search(r"smtp\.rcpt\.refused.*client=127\.0\.0\.1\b", service.log())
    assert "smtp.rcpt.refused" in service.log()


def test_where_anonymous_mail_is_off_all_is_refused_at_mail(make):
    service = make({"authentication": {"anonymous": False}}).start()
    done = service.cli("selftest", "--json", timeout=240)
    answer, texts = report(done)
    assert "refused at MAIL already" in texts["open relay", "ok"]
    assert "smuggling" == [t["test"] for t in answer["tests"] if t["outcome"] == "skipped"][0]
    assert done.returncode == 1  # not all could be run


def test_where_every_address_is_granted_it_says_so(make):
    service = make({"access": {"relay": {"grant": "only", "list": ["127.0.0.0/8"]}}}).start()
    done = service.cli("selftest", timeout=240)
    assert done.returncode == 1
    assert re.search(r"skipped +open relay.*every address.*--server", done.stdout)
    assert re.search(r"ok +smuggling", done.stdout)


def test_it_takes_an_address_beside_the_granted_ones(make):
    service = make({"access": {"relay": {"grant": "only", "list": ["self", "127.0.0.0/16"]}}}).start()
    done = service.cli("selftest", timeout=240)
    assert done.returncode == 0, done.stdout
    assert not re.search(r" from 127\.0\.", done.stdout) and re.search(r" from 127\.\d+\.", done.stdout)


def test_a_connection_control_that_shuts_it_out_is_a_pass(make):
    service = make({"access": {"connection": {"grant": "only", "list": ["self"]}}}).start()
    done = service.cli("selftest", timeout=240)
    assert re.search(r"ok +open relay +the connection is refused at once \(554\)", done.stdout)


def test_old_tls_is_found(make):
    service = make({"tls": {"minimum_version": "1.0"}}).start()
    done = service.cli("selftest", timeout=240)
    assert re.search(r"note +TLS +TLS 1\.0 is spoken, as tls\.minimum_version", done.stdout)
    done = selftest("--server", service.address())
    assert done.returncode == 1 and re.search(r"FAILED +TLS +TLS 1\.0 is spoken", done.stdout)


def test_passwords_in_clear_are_found(make):
    service = make({"authentication": {"basic": {"require_tls": False}}}).start()
    done = selftest("--server", service.address().replace("127.0.0.1", "localhost"))
    assert done.returncode == 1
    assert re.search(r"FAILED +passwords +PLAIN or LOGIN are offered in clear", done.stdout)


def test_nobody_there_and_usage(make):
    service = make()
    done = service.cli("selftest")
    assert done.returncode == 74 and service.address() in done.stderr
    assert selftest("--server", f"127.0.0.1:{free_port()}").returncode == 74
    for arguments in (["--server", "nonsense"], ["--server", "127.0.0.1:0"], ["--domain", "x.example"],
                      ["x"], ["--server", "127.0.0.1:25", "-c", service.path]):
        assert selftest(*arguments).returncode == 64, arguments


class Broken:
    """A server with every fault that there is a test for; each can be mended."""

    def __init__(self, certificates, faults):
        self.faults, self.certificates = faults, certificates
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def close(self):
        self.listener.close()

    def serve(self, sock):
        rest, tls, mail = b"", False, False

        def say(text):
            sock.sendall(text.encode() + b"\r\n")

        try:
            sock.settimeout(20)
            say("220 broken.example ESMTP")
            while True:
                while b"\n" not in rest:
                    more = sock.recv(4096)
                    if not more:
                        return
                    rest += more
                line, _, rest = rest.partition(b"\n")
                words = line.strip().upper()
                if words.startswith(b"EHLO"):
                    say("250-broken.example")
                    if "auth" in self.faults and not tls:
                        say("250-AUTH LOGIN PLAIN")
                    if not tls or "again" in self.faults:
                        say("250-STARTTLS")
                    say("250 SIZE")
                elif words.startswith(b"MAIL"):
                    mail = True
                    say("250 ok")
                elif words.startswith(b"RCPT"):
                    foreign = any(part in line.lower() for part in
                                  (b"selftest.invalid", b"@[192.0.2", b"@[ipv6"))
                    percent = b"%" in line
                    if not mail:
                        say("503 no MAIL")
                    elif not foreign or "relay" in self.faults or ("percent" in self.faults and percent):
                        say("250 ok")
                    else:
                        say("550 no")
                elif words.startswith(b"DATA"):
                    say("354 go on")
                    text = rest
                    ends = [b"\r\n.\r\n"] + ([b"\n.\n", b"\r.\r"] if "smuggling" in self.faults else [])
                    while not any(end in text for end in ends):
                        more = sock.recv(4096)
                        if not more:
                            return
                        text += more
                    end = min((text.index(e) + len(e)) for e in ends if e in text)
                    rest = text[end:]
                    say("250 queued")
                elif words.startswith(b"STARTTLS"):
                    if tls:
                        say("503 again")
                        continue
                    say("220 go on")
                    context = self.certificates.server_context()
                    sock = context.wrap_socket(sock, server_side=True)
                    tls = True
                    if "inject" not in self.faults:
                        rest = b""
                    if "state" not in self.faults:
                        mail = False
                elif words.startswith((b"RSET", b"NOOP")):
                    if words.startswith(b"RSET"):
                        mail = False
                    say("250 ok")
                else:
                    say("500 what?")
        except (OSError, ssl.SSLError):
            pass
        finally:
            sock.close()


FAULTS = {
    "relay": r"FAILED +open relay +RCPT TO:<v@victim\.selftest\.invalid> from MAIL FROM:<>: 250",
    "percent": r"FAILED +open relay +RCPT TO:<v%victim\.selftest\.invalid@broken\.example>",
    "smuggling": r"FAILED +smuggling +LF\.LF ends a message",
    "auth": r"FAILED +passwords",
    "inject": r"FAILED +STARTTLS +commands in clear behind it are executed",
    "state": r"FAILED +TLS +what was said before it is forgotten: RCPT is answered 250",
    "again": r"FAILED +TLS +STARTTLS inside it is offered",
}


@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_each_fault_of_a_broken_server_is_found_and_no_other(certificates, fault):
    server = Broken(certificates, {fault})
    done = selftest("--server", server.address, "--domain", "local.example")
    server.close()
    failed = re.findall(r"^FAILED .*$", done.stdout, re.M)
    if fault is None:
        assert done.returncode == 0 and failed == [], done.stdout
        return
    assert done.returncode == 1
    assert re.search(FAULTS[fault], done.stdout), done.stdout
    names = {re.match(r"FAILED +([a-zA-Z ]+?)  ", line).group(1) for line in failed if "  " in line[8:]}
    assert len(failed) >= 1 and len({line.split()[1] for line in failed}) == 1, (names, failed)


def test_a_limit_by_the_minute_is_told_as_what_stopped_it(make):
    service = make({"limits": {"rate": {"client": {"connections": 5}}}}).start()
    done = service.cli("selftest", timeout=120)
    assert done.returncode == 1
    assert re.search(r"FAILED +open relay .*\(421\): too much within the minute for limits\.rate",
                     done.stdout), done.stdout
    service.write({"access": {"profiles": [{"name": "selftest", "clients": ["127.0.0.0/8"],
                                            "rate": {"client": {"connections": 0}}}]}})
    assert service.cli("reload").returncode == 0
    again = service.cli("selftest", timeout=120)
    assert "(421)" not in again.stdout, again.stdout
