"""The service as a process: start, reload, stop, its host's signals, its logs, its tools."""
import base64
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

import pytest

import samples
from delivery_test import relay_to, submit
from postern import BINARY, PATIENCE, SANITIZED, Service, free_port
from smtp import Client, Closed, client_context

SECRET = "correct horse 7"


# -- reload

@pytest.mark.parametrize("how", ["command", "signal"])
def test_reload_swaps_the_policy_from_the_next_mail_on(make, how):
    service = make().start()
    with Client(service.port(), source="127.0.0.2") as client:
        client.hello()
        client.cmd("MAIL FROM:<a@b.example>")
        assert client.cmd("RCPT TO:<v@new.example>").code == 550
        service.write({"domains": [{"name": "local.example", "type": "local"},
                                   {"name": "new.example", "type": "local"}]})
        reload(service, how)
        # Pinned for this transaction; the next one sees the new policy.
        assert client.cmd("RCPT TO:<v@new.example>").code == 550
        client.cmd("RSET")
        client.cmd("MAIL FROM:<a@b.example>")
        assert client.cmd("RCPT TO:<v@new.example>").code == 250


def reload(service, how="command"):
    if how == "command":
        done = service.cli("reload")
        assert done.returncode == 0, done
    else:
        mark = len(service.log())
        service.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 10
        while "reload" not in service.log()[mark:].lower() and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.2)


@pytest.mark.parametrize("how", ["command", "signal"])
def test_a_bad_new_file_is_refused_and_the_old_one_stays(make, how):
    service = make().start()
    good = service.path.read_text()
    service.path.write_text(good.replace('"local"', '"locall"'))
    if how == "command":
        done = service.cli("reload")
        assert done.returncode in (1, 78), done
        assert "postern.yaml:" in done.stderr + done.stdout + service.log()
    else:
        service.process.send_signal(signal.SIGHUP)
        service.wait_log(r"postern\.yaml:\d+")
    with Client(service.port()) as client:
        client.hello()
        client.mail("a@b.example", "v@local.example")
    service.path.write_text(good)
    reload(service)


def test_listeners_come_and_go_with_a_reload(make):
    service = make({}, {"one": {"tls": "none"}, "two": {"tls": "none"}}).start()
    kept = Client(service.port("two"))
    kept.hello()
    third = f"127.0.0.1:{free_port()}"
    service.write({"listeners": [service.listeners["one"], {"address": third, "tls": "none"}]})
    reload(service)
    with Client(int(third.rsplit(":", 1)[1])) as client:
        client.hello()
    # A session outlives its listener.
    assert kept.cmd("NOOP").code == 250
    kept.close()
    end = time.monotonic() + 5
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", service.port("two")), 1).close()
            time.sleep(0.1)
        except OSError:
            break
    else:
        raise AssertionError("the old listener still listens")


def test_a_new_certificate_is_taken_without_dropping_sessions(make, certificates, tmp_path):
    pair = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(certificates.certificate, pair[0])
    shutil.copy(certificates.key, pair[1])
    service = make({"tls": {"certificate": str(pair[0]), "key": str(pair[1])}},
                   {"i": {"tls": "implicit"}}).start()
    old = Client(service.port(), implicit=True)
    old.hello()
    before = old.sock.getpeercert(True)
    shutil.copy(certificates.other, pair[0])
    shutil.copy(certificates.other_key, pair[1])
    reload(service)
    assert old.cmd("NOOP").code == 250
    with Client(service.port(), implicit=True) as client:
        client.hello()
        assert client.sock.getpeercert(True) != before
    old.close()
    # A key that does not fit is refused, the old pair stays.
    shutil.copy(certificates.key, pair[1])
    assert service.cli("reload").returncode in (1, 78, 74)
    with Client(service.port(), implicit=True) as client:
        client.hello()


def test_sni_chooses_the_certificate(make, certificates):
    service = make({"tls": {"certificates": [{"certificate": str(certificates.other),
                                              "key": str(certificates.other_key)}]}},
                   {"i": {"tls": "implicit"}}).start()
    for name in ("relay.example", "other.example"):
        context = client_context(ca=certificates.ca)
        with Client(service.port(), implicit=True, context=context, server_name=name) as client:
            client.hello()
    with Client(service.port(), implicit=True, server_name="unknown.example") as client:
        client.hello()


def test_sessions_are_resumed(make, certificates):
    service = make({}, {"i": {"tls": "implicit"}}).start()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = client_context(version, version)
        with Client(service.port(), implicit=True, context=context) as client:
            client.hello()
            kept = client.sock.session
        with socket.create_connection(("127.0.0.1", service.port())) as raw:
            with context.wrap_socket(raw, server_hostname="relay.example", session=kept) as again:
                again.recv(100)
                assert again.session_reused, version


def test_a_failed_handshake_is_explained(make):
    service = make({"tls": {"minimum_version": "1.3"}}, {"i": {"tls": "implicit"}}).start()
    context = client_context(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
    with pytest.raises((ssl.SSLError, OSError, Closed)):
        Client(service.port(), implicit=True, context=context)
    line = service.wait_log(r".*smtp\.tls\.failed.*minimum_version.*").group(0)
    assert "1.2" in line and "1.3" in line, line
    assert "minimum_version" in line, f"the smallest change is not named: {line}"


def test_plain_talk_on_an_implicit_listener_is_survived(make):
    service = make({}, {"i": {"tls": "implicit"}}).start()
    for junk in (b"EHLO x\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 70000, b"\0" * 1000, b"GET / HTTP/1.0\r\n\r\n"):
        with Client(service.port()) as client:
            try:
                client.send(junk)
            except OSError:
                pass
            assert client.closed()
    with Client(service.port(), implicit=True) as client:
        client.hello()


# -- stop

def test_sigterm_drains_and_ends_with_0(make, sink):
    service = relay_to(make, sink)
    client = Client(service.port())
    client.hello()
    client.cmd("MAIL FROM:<a@b.example>")
    client.cmd("RCPT TO:<v@local.example>")
    assert client.cmd("DATA").code == 354
    client.send(b"Subject: last\r\n\r\nx\r\n")
    idle = Client(service.port())
    idle.hello()
    service.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    # What is half through may end; who is idle is told.
    assert idle.reply().code == 421
    client.send(b".\r\n")
    assert client.reply().code in (250, 421, 451)
    start = time.monotonic()
    assert service.process.wait(15 * PATIENCE) == 0
    assert time.monotonic() - start < 12 * PATIENCE
    service.process = None


def test_stop_timeout_bounds_the_drain(make):
    service = make({"service": {"stop_timeout": "1s"}}).start()
    client = Client(service.port())
    client.hello()
    client.cmd("MAIL FROM:<a@b.example>")
    client.cmd("RCPT TO:<v@local.example>")
    client.cmd("DATA")
    client.send(b"half a message")
    start = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - start < 5 * PATIENCE
    client.close()


def test_sigint_stops_too(make):
    service = make().start()
    service.process.send_signal(signal.SIGINT)
    assert service.process.wait(20 * PATIENCE) == 0
    service.process = None


def test_a_second_service_on_the_same_store_does_not_start(make):
    service = make().start()
    other = Service(service.folder / "other", service.certificates,
                    {"service": {"data_directory": str(service.data)}})
    other.write()
    done = other.cli("serve", timeout=15)
    assert done.returncode == 74 and done.stderr.strip(), done


def test_a_taken_port_is_an_error_with_its_name(make):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        service = make({}, {"l": {"address": address}})
        done = service.cli("serve", timeout=15)
        assert done.returncode == 74 and address in done.stderr + done.stdout, done


def test_a_missing_certificate_is_an_error_with_its_name(make):
    service = make({"tls": {"certificate": "/does/not/exist.pem"}})
    done = service.cli("serve", timeout=15)
    assert done.returncode in (66, 74, 78) and "/does/not/exist.pem" in done.stderr, done


def test_it_starts_quickly(make):
    service = make()
    service.start()
    service.stop()
    start = time.monotonic()
    service.start()
    took = time.monotonic() - start
    assert took < (5.0 if SANITIZED else 0.5), took


# -- the host: systemd

def notify_socket(service):
    path = service.folder / "notify"
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(str(path))
    receiver.settimeout(20)
    service.environment["NOTIFY_SOCKET"] = str(path)
    return receiver


def wait_notify(receiver, word):
    seen = []
    while True:
        try:
            seen.append(receiver.recv(4096).decode())
        except socket.timeout:
            raise AssertionError(f"{word} was not said; seen {seen}") from None
        if word in seen[-1].split("\n"):
            return seen[-1]


def test_readiness_reload_and_stop_are_notified(make):
    service = make()
    receiver = notify_socket(service)
    service.start()
    wait_notify(receiver, "READY=1")
    service.process.send_signal(signal.SIGHUP)
    said = wait_notify(receiver, "RELOADING=1")
    assert re.search(r"^MONOTONIC_USEC=\d+$", said, re.M)
    wait_notify(receiver, "READY=1")
    service.stop()
    wait_notify(receiver, "STOPPING=1")


def test_the_watchdog_is_fed(make):
    service = make()
    receiver = notify_socket(service)
    service.environment["WATCHDOG_USEC"] = "600000"
    service.start()
    wait_notify(receiver, "READY=1")
    stamps = []
    while len(stamps) < 4:
        wait_notify(receiver, "WATCHDOG=1")
        stamps.append(time.monotonic())
    assert max(b - a for a, b in zip(stamps, stamps[1:])) < 0.55


def test_sockets_of_systemd_are_taken(make):
    tool = shutil.which("systemd-socket-activate")
    if not tool:
        pytest.skip("systemd-socket-activate is not installed")
    service = make()
    service.wrapper = [tool, "-l", service.address()]
    for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS", "PATH", "HOME"):
        if name in os.environ:
            service.wrapper += ["-E", name]
    service.start()
    with Client(service.port()) as client:
        client.hello()
        client.mail("a@b.example", "v@local.example")
    service.wait_drop(1)


def test_root_is_dropped_after_binding(certificates):
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    nobody = pwd.getpwnam("nobody")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-user-"))
    folder.chmod(0o755)
    service = Service(folder, certificates, {"service": {"user": "nobody"}})
    for name, source in (("certificate", certificates.certificate), ("key", certificates.key)):
        shutil.copy(source, folder / f"{name}.pem")
        os.chown(folder / f"{name}.pem", nobody.pw_uid, nobody.pw_gid)
        service.config["tls"][name] = str(folder / f"{name}.pem")
    try:
        service.add_user()
        service.start()
        status = pathlib.Path(f"/proc/{service.process.pid}/status").read_text()
        assert re.search(rf"^Uid:(\t{nobody.pw_uid}){{4}}$", status, re.M), status
        assert re.search(rf"^Gid:(\t{nobody.pw_gid}){{4}}$", status, re.M), status
        groups = re.search(r"^Groups:(.*)$", status, re.M).group(1).split()
        assert "0" not in groups
        assert re.search(r"^CapEff:\t0+$", status, re.M)
        for path in [service.data, *service.data.rglob("*")]:
            assert path.stat().st_uid == nobody.pw_uid, path
        with Client(service.port()) as client:
            client.hello().starttls()
            assert client.plain(Service.USER, SECRET).code == 235
            client.mail("a@b.example", "v@local.example")
        service.wait_drop(1)
        # Files that the command line makes meanwhile belong to the service, too.
        service.add_user("late", "late password")
        assert service.cli("queue", "list").returncode == 0
        reload(service)
        assert service.cli("queue", "check").returncode == 0
        for path in service.data.rglob("*"):
            assert path.stat().st_uid == nobody.pw_uid, path
        service.stop()
        assert service.cli("queue", "check").returncode == 0
        for path in service.data.rglob("*"):
            assert path.stat().st_uid == nobody.pw_uid, path
        service.start()
        # The log is made by root and belongs to the service; a key that root alone reads is told of.
        service.stop()
        log = folder / "log" / "postern.log"
        log.parent.mkdir()
        os.chown(folder / "key.pem", 0, 0)
        (folder / "key.pem").chmod(0o600)
        service.write({"logging": {"file": str(log)}})
        service.start()
        assert log.stat().st_uid == nobody.pw_uid
        assert "tls.unreadable" in log.read_text()
        assert service.cli("reload").returncode == 78
        os.chown(folder / "key.pem", nobody.pw_uid, nobody.pw_gid)
        reload(service)
    finally:
        service.finish()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_reload_that_is_refused_late_leaves_everything_as_it_was(make, tmp_path):
    service = make().start()
    service.add_user()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = "127.0.0.1:%d" % taken.getsockname()[1]
        good = service.path.read_text()
        service.write({"listeners": [*service.listeners.values(), {"address": address}],
                       "logging": {"file": str(tmp_path / "other.log"), "level": "debug"},
                       "authentication": {"basic": {"enabled": False}}})
        done = service.cli("reload")
        assert done.returncode == 78 and done.stderr.count(f"listener {address}") == 1, done
    service.path.write_text(good)
    assert "service.reload.refused" in service.log()
    with Client(service.port()) as client:
        client.hello().starttls()
        assert client.plain(Service.USER, SECRET).code == 235
    reload(service)
    assert "service.reloaded" in service.log()


def test_a_data_directory_too_deep_for_its_socket_is_said(make, tmp_path):
    deep = tmp_path / ("d" * 120)
    service = make({"service": {"data_directory": str(deep)}})
    service.start(wait=False)
    assert service.process.wait(30) == 78
    service.process = None
    assert "too long for the control socket" in service.log()
    assert "already in use" not in service.log()
    done = service.cli("queue", "list")
    assert done.returncode != 0 and "the path is too long" in done.stderr


def test_the_data_directory_is_private(make):
    service = make().start()
    assert service.data.stat().st_mode & 0o007 == 0
    for name in ("queue.db", "users.db"):
        path = service.data / name
        if path.exists():
            assert path.stat().st_mode & 0o077 in (0, 0o040), oct(path.stat().st_mode)
    for name in ("Pickup", "Drop", "Badmail"):
        assert service.folder_of(name).is_dir()


# -- logs

def test_json_logs_parse_and_carry_the_ids(make, sink):
    service = relay_to(make, sink, logging={"format": "json"})
    submit(service)
    sink.wait(1)
    service.wait_queue_empty()
    time.sleep(0.3)
    events = []
    for line in service.log().splitlines():
        events.append(json.loads(line))
    names = {e.get("event") or e.get("name") for e in events}
    assert all(re.fullmatch(r"[a-z0-9_]+(\.[a-z0-9_]+)+", n) for n in names if n), names
    assert any("sid" in e for e in events) and any("mid" in e for e in events), names


def test_text_logs_follow_a_message_by_its_ids(make, sink):
    service = relay_to(make, sink)
    submit(service)
    sink.wait(1)
    service.wait_queue_empty()
    time.sleep(0.2)
    log = service.log()
    mids = set(re.findall(r"\bmid=(\S+)", log))
    assert len(mids) == 1, mids
    assert re.search(r"v@foreign\.example", log)


def test_the_protocol_log_shows_all_but_credentials(make, sink):
    service = make({"logging": {"protocol": True, "level": "debug"}},
                   {"i": {"tls": "implicit"}}).add_user().start()
    with Client(service.port(), implicit=True) as client:
        client.hello("protocol.example")
        assert client.login(Service.USER, SECRET).code == 235
        client.mail("a@b.example", "v@local.example")
        client.quit()
    with Client(service.port(), implicit=True) as client:
        client.hello()
        assert client.plain(Service.USER, SECRET).code == 235
    with Client(service.port(), implicit=True) as client:
        client.hello()
        client.cmd("auth plain " + "AGFsaWNlAGNvcnJlY3QgaG9yc2UgNw==")
    time.sleep(0.4)
    log = service.log()
    assert "EHLO protocol.example" in log and "RCPT TO:<v@local.example>" in log
    import base64
    for hidden in (SECRET, base64.b64encode(SECRET.encode()).decode(),
                   "AGFsaWNlAGNvcnJlY3QgaG9yc2UgNw"):
        assert hidden not in log


def test_a_refusals_log_line_names_rule_and_place(make):
    service = make().start()
    with Client(service.port(), source="127.0.0.2") as client:
        client.hello()
        client.cmd("MAIL FROM:<a@b.example>")
        client.cmd("RCPT TO:<v@foreign.example>")
    line = service.wait_log(r".*smtp\.rcpt\.refused.*").group(0)
    assert "127.0.0.2" in line and "rule=" in line and "v@foreign.example" in line, line


# -- the control socket

def test_sessions_are_listed_and_closed(make):
    service = make().start()
    client = Client(service.port(), source="127.0.0.42")
    client.hello("watched.example")
    done = service.cli("sessions", "list", "--json")
    assert done.returncode == 0, done
    sessions = json.loads(done.stdout)
    mine = [s for s in sessions if "127.0.0.42" in json.dumps(s)]
    assert len(mine) == 1, sessions
    ident = str(mine[0].get("id") or mine[0].get("sid"))
    assert service.cli("sessions", "close", ident).returncode == 0
    try:
        assert client.reply().code == 421
        assert client.closed()
    except Closed:
        pass
    assert service.cli("sessions", "close", "no-such-session").returncode == 1
    client.close()


def test_the_tools_say_when_no_service_runs(make):
    service = make()
    for arguments in (["sessions", "list"], ["reload"]):
        done = service.cli(*arguments)
        assert done.returncode in (66, 74) and done.stderr.strip(), done


def test_the_control_socket_is_for_its_owner(make):
    service = make().start()
    service.cli("sessions", "list")
    for path in service.data.rglob("*"):
        if path.is_socket():
            assert path.stat().st_mode & 0o007 == 0, oct(path.stat().st_mode)


def test_many_tools_at_once_are_all_answered(make, sink):
    service = relay_to(make, sink)
    codes = []

    def ask():
        codes.append(service.cli("queue", "list", "--json").returncode)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for i in range(10):
        submit(service, name=f"t{i}")
    for thread in threads:
        thread.join()
    assert codes == [0] * 8
    sink.wait(10)


# -- send, the functional test client

@pytest.mark.parametrize("route", ["clear", "starttls", "implicit"])
def test_send_delivers(make, route):
    service = make({}, {"p": {"tls": "optional"}, "i": {"tls": "implicit"}}).add_user().start()
    listener = "i" if route == "implicit" else "p"
    arguments = ["send", "--to", "v@local.example", "--from", "a@b.example", "--server",
                 service.address(listener)]
    if route != "clear":
        arguments += ["--tls", "required" if route == "starttls" else "implicit", "--user",
                      Service.USER, "--password-stdin"]
    done = service.cli(*arguments, input=SECRET + "\n" if route != "clear" else None, config=False)
    assert done.returncode == 0, done
    assert service.wait_drop(1)[0].sender.strip("<>") == "a@b.example"
    assert SECRET not in done.stdout + done.stderr


def test_send_tells_a_refusal_by_1_and_a_failure_by_74(make):
    service = make().start()
    service.config["access"]["relay"]["list"] = []
    done = service.cli("send", "--to", "v@foreign.example", "--server", service.address(),
                       config=False)
    assert done.returncode == 1 and "550" in done.stdout + done.stderr, done
    done = service.cli("send", "--to", "v@local.example", "--server", service.address(), "--user",
                       "alice", "--tls", "required", "--password-stdin", input="wrong\n", config=False)
    assert done.returncode == 1, done


# -- many workers, one truth

@pytest.mark.threaded
def test_load_from_many_sides_loses_and_doubles_nothing(make, sink):
    service = relay_to(make, sink, service={"workers": 4}, limits={"connections_per_client": 100})
    service.add_user()
    count, threads, errors = 12, [], []

    def work(k):
        try:
            with Client(service.port()) as client:
                client.hello()
                if k % 3 == 0:
                    client.starttls()
                if k % 6 == 0:
                    assert client.plain(Service.USER, SECRET).code == 235
                for i in range(count):
                    recipient = ["v@foreign.example", "l@local.example"][i % 2]
                    client.mail("a@local.example", recipient, samples.message(f"w{k}-{i}", b"x\r\n"))
                client.quit()
        except Exception as e:  # pylint: disable=broad-except
            errors.append(repr(e))

    for k in range(12):
        threads.append(threading.Thread(target=work, args=(k,)))
        threads[-1].start()
    for i in range(3):
        time.sleep(0.2)
        reload(service)
        service.cli("queue", "list", "--json")
        service.cli("sessions", "list")
    for thread in threads:
        thread.join()
    assert errors == []
    sink.wait(12 * count // 2, 60)
    service.wait_drop(12 * count // 2, 60)
    service.wait_queue_empty()
    subjects = [re.search(rb"Subject: (\S+)", m.data).group(1) for m in sink.taken()]
    assert len(subjects) == len(set(subjects)) == 12 * count // 2
    assert len({f.subject() for f in service.drop()}) == len(service.drop()) == 12 * count // 2


# -- rotation

def rotated(folder):
    return sorted(folder.glob("relay.log.*"))


def test_a_log_file_that_is_large_enough_gives_way_and_the_newest_old_ones_stay(make, tmp_path):
    log = tmp_path / "logs" / "relay.log"
    log.parent.mkdir()
    kept = log.parent / "relay.log.notes"
    kept.write_text("not ours")
    service = make({"logging": {"file": str(log), "rotate": {"size": "4K", "keep": 2}}}).start()
    seen, said = set(), 0
    end = time.monotonic() + 60
    while len(seen) < 4 and time.monotonic() < end:
        with Client(service.port()) as client:
            client.hello()
            client.mail("a@b.example", "v@local.example")
            said += 1
        seen.update(path.name for path in rotated(log.parent) if path != kept)
        assert len(rotated(log.parent)) <= 4  # two, our notes, and one just before it goes
    assert len(seen) >= 4
    service.stop()
    assert kept.read_text() == "not ours"
    old = [path for path in rotated(log.parent) if path != kept]
    assert len(old) == 2
    for path in old:
        lines = path.read_text().splitlines()
        assert all(re.match(r"20\d\d-\d\d-\d\dT", line) for line in lines), "whole lines"
    whole = sum(path.read_text().count("smtp.message.accepted") for path in [*old, log])
    assert 0 < whole <= said


def test_a_log_file_of_yesterday_gives_way_at_the_start(make, tmp_path):
    log = tmp_path / "logs" / "relay.log"
    log.parent.mkdir()
    log.write_text("yesterday\n")
    os.utime(log, (time.time() - 86400,) * 2)
    service = make({"logging": {"file": str(log)}}).start()
    end = time.monotonic() + 10
    while not rotated(log.parent) and time.monotonic() < end:
        time.sleep(0.05)
    assert rotated(log.parent)[0].read_text().startswith("yesterday\n")
    with Client(service.port()) as client:
        client.hello()
    end = time.monotonic() + 10
    while "smtp.session.opened" not in log.read_text() and time.monotonic() < end:
        time.sleep(0.05)
    assert "yesterday" not in log.read_text()


def test_a_rotation_that_fails_is_said_once_and_the_log_goes_on(certificates):
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-rotate-"))
    folder.chmod(0o755)
    log = folder / "relay.log"  # given to nobody, in a folder of root's
    service = Service(folder, certificates, {
        "service": {"user": "nobody"}, "logging": {"file": str(log), "rotate": {"size": "1K"}}})
    del service.config["tls"]
    try:
        service.start()
        end = time.monotonic() + 20
        while "log.rotate.failed" not in log.read_text() and time.monotonic() < end:
            with Client(service.port()) as client:
                client.hello()
        time.sleep(2.5)  # it is tried every second
        with Client(service.port()) as client:
            client.hello()
        service.stop()
        text = log.read_text()
        assert text.count("log.rotate.failed") == 1 and rotated(folder) == []
        assert "smtp.session.opened" in text.partition("log.rotate.failed")[2]
    finally:
        service.finish()
        shutil.rmtree(folder, ignore_errors=True)


# -- the W3C format

def rows(log):
    """The rows, each a dictionary by the #Fields in force."""
    found, names = [], []
    for line in log.read_text().splitlines():
        if line.startswith("#Fields: "):
            names = line.split()[1:]
        elif not line.startswith("#"):
            values = line.split(" ")
            assert len(values) == len(names), line
            found.append(dict(zip(names, values)))
    return found


def test_w3c_rows_tell_each_command_with_its_reply_as_iis_did(make, tmp_path, sink):
    log = tmp_path / "smtp.log"
    service = make({"logging": {"format": "w3c", "file": str(log), "protocol": False},
                    "access": {"relay": {"list": ["127.0.0.1"]}},
                    "delivery": {"smart_host": sink.literal, "tls": "none"}},
                   {"one": {"tls": "optional"}})
    service.add_user()
    service.start()
    port = service.port("one")
    with Client(port) as client:
        client.hello()
        client.starttls()
        assert client.plain(Service.USER, "wrong password").code == 535
        assert client.plain(Service.USER, SECRET).code == 235
        # One segment for the end of one message and the begin of the next.
        client.cmd("MAIL FROM:<a@b.example>")
        client.cmd("RCPT TO:<v@local.example>")
        client.cmd("DATA")
        client.send("text\r\n.\r\nMAIL FROM:<odd name@b.example>\r\nWRONG c2VjcmV0\r\nRSET\r\n")
        codes = [client.reply().code for _ in range(4)]
        assert codes[0] == 250 and codes[2:] == [500, 250]
        client.cmd("QUIT")
    with Client(port) as client:
        client.hello()
        client.mail("a@b.example", "buyer@partner.example")
    sink.wait()
    service.stop()
    text = log.read_text()
    assert text.startswith("#Software: Postern ") and "\n#Version: 1.0\n#Date: " in text
    everything = rows(log)
    inbound = [r for r in everything if not r["cs-username"].startswith("OutboundConnection")]
    # The looks for a banner by which the service was found to be ready come before.
    inbound = inbound[[r["cs-method"] for r in inbound].index("EHLO") - 1:]
    told = [(r["cs-method"], r["sc-status"]) for r in inbound]
    first = told[:told.index(("QUIT", "221")) + 1]
    assert first == [("-", "220"), ("EHLO", "250"), ("STARTTLS", "220"), ("EHLO", "250"),
                     ("AUTH", "535"), ("AUTH", "235"), ("MAIL", "250"), ("RCPT", "250"),
                     ("DATA", "250"), ("MAIL", str(codes[1])), ("-", "500"), ("RSET", "250"),
                     ("QUIT", "221")]
    data = inbound[first.index(("DATA", "250"))]
    assert data["cs-username"] == Service.USER or data["cs-username"].endswith(Service.USER)
    assert data["cs-uri-stem"] != "-" and int(data["cs-bytes"]) >= len("DATA\r\ntext\r\n.\r\n")
    assert all(r["c-ip"] == "127.0.0.1" and r["s-ip"] == "127.0.0.1" and r["s-port"] == str(port)
               and r["s-sitename"] == "SMTPSVC1" and r["s-computername"] == "relay.example"
               and r["cs-version"] == "SMTP" for r in inbound)
    assert inbound[7]["cs-uri-query"] == "+TO:<v@local.example>"
    assert inbound[4]["cs-uri-query"] == "+PLAIN"
    # No password in it, in whatever form, nor what might have been one.
    for secret in (SECRET, "wrong", "c2VjcmV0",
                   base64.b64encode(f"\0{Service.USER}\0{SECRET}".encode()).decode()):
        assert secret not in text
    out = [(r["cs-username"], r["cs-method"], r["cs-uri-query"]) for r in everything
           if r["cs-username"].startswith("OutboundConnection")]
    assert ("OutboundConnectionCommand", "RCPT", "+TO:<buyer@partner.example>") in out
    assert any(who == "OutboundConnectionResponse" and query.startswith("+250")
               for who, _, query in out)
    # Events go on as text to standard error.
    assert "service.ready" in service.log() and "smtp.message.accepted" in service.log()


def test_each_w3c_file_begins_with_its_fields_and_a_reload_changes_the_format(make, tmp_path):
    log = tmp_path / "logs" / "smtp.log"
    log.parent.mkdir()
    service = make({"logging": {"format": "w3c", "file": str(log), "rotate": {"size": "2K"}}})
    service.start()
    end = time.monotonic() + 30
    while not list(log.parent.glob("smtp.log.*")) and time.monotonic() < end:
        with Client(service.port()) as client:
            client.hello()
            client.cmd("NOOP")
    assert list(log.parent.glob("smtp.log.*"))
    for path in log.parent.iterdir():
        assert path.read_text().startswith("#Software: Postern "), path
        rows(path)
    service.write({"logging": {"format": "json", "file": str(log)}})
    reload(service)
    with Client(service.port()) as client:
        client.hello()
    end = time.monotonic() + 10
    while '"event":"smtp.session.opened"' not in log.read_text() and time.monotonic() < end:
        time.sleep(0.05)
    last = log.read_text().splitlines()[-1]
    assert json.loads(last)["event"].startswith("smtp.session.")


# -- the service manager; what it does with systemd is in tests/systemd

@pytest.mark.parametrize("words", [(), ("restart",), ("start", "--json"), ("stop", "-c", "x"),
                                   ("install", "again")])
def test_service_words_that_make_no_sense_are_usage_errors(words):
    done = subprocess.run([str(BINARY), "service", *words], capture_output=True, text=True)
    assert done.returncode == 64 and "usage: postern service install" in done.stderr


@pytest.mark.skipif(pathlib.Path("/run/systemd/system").exists(), reason="systemd runs here")
@pytest.mark.parametrize("verb", ["install", "status", "start", "stop", "uninstall"])
def test_service_without_systemd_says_so(verb):
    done = subprocess.run([str(BINARY), "service", verb], capture_output=True, text=True)
    assert done.returncode == 74 and done.stdout == ""
    assert done.stderr.startswith(f"postern service {verb}: systemd does not run on this machine")
