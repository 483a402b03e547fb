"""The packaged service under a real systemd: its units, its sandbox, what happens to mail when it is
reloaded, hung, killed."""
import pathlib
import re
import smtplib
import socket
import ssl
import subprocess
import time

import pytest

import mail
from sink import Sink


def restart_with(machine, configuration):
    machine.write("/etc/postern/postern.yaml", configuration)
    machine.run("systemctl", "restart", "postern.service")


def test_it_is_enabled_and_serves_as_its_own_user(installed):
    assert installed.show("ActiveState") == "active"
    assert installed.show("UnitFileState") == "enabled"
    assert installed.show("StatusText") == "serving"
    assert installed.show("NRestarts") == "0"
    status = installed.path(f"/proc/{installed.main_pid()}/status").read_text()
    uid = int(installed.out("id", "-u", "postern"))
    assert re.search(r"^Uid:\t(\d+)\t(\d+)\t(\d+)\t(\d+)$", status, re.M).groups() == (
        str(uid),) * 4
    assert uid != 0 and re.search(r"^NoNewPrivs:\t1$", status, re.M)
    assert re.search(r"^Seccomp:\t2$", status, re.M)
    for kind in ("CapEff", "CapPrm", "CapBnd"):  # CAP_NET_BIND_SERVICE and nothing else
        assert re.search(rf"^{kind}:\t0*400$", status, re.M), status


def test_as_installed_it_relays_nothing_for_anybody(installed):
    for recipient in ("buyer@partner.example", "root@localhost"):
        with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
            installed.inside(mail.send, recipient)
        assert refused.value.recipients[recipient][0] == 550
    done = installed.run("postern", "check")
    assert "valid" in done.stdout and "error" not in done.stdout + done.stderr
    listening = installed.sh("cat /proc/net/tcp /proc/net/tcp6 | awk '$4 == \"0A\" {print $2}'")
    assert listening.split() == ["0100007F:0019"]


def test_mail_of_the_machine_reaches_drop_and_a_next_hop(installed):
    sink = installed.inside(Sink)
    with sink:
        restart_with(installed, mail.configuration(
            "[self]", f'delivery: {{ smart_host: "{sink.literal}", tls: none }}'))
        installed.inside(mail.send, mail.LOCAL, "in")
        installed.inside(mail.send, "buyer@partner.example", "out")
        installed.wait(lambda: mail.dropped(installed), lambda keys: keys == ["in"])
        assert sink.wait()[0].recipients == ["buyer@partner.example"]
    assert installed.sh("stat -c %U:%a /var/lib/postern /var/lib/postern/queue.db").split() == [
        "postern:750", "postern:600"]


def test_systemd_has_no_complaint_about_the_units(installed):
    done = installed.run("systemd-analyze", "verify", "postern.service", "postern.socket")
    assert "postern" not in done.stdout + done.stderr, done


# -- the sandbox

def test_the_exposure_is_at_most_two(installed):
    verdict = installed.out("systemd-analyze", "security", "--no-pager", "postern.service",
                            check=False).splitlines()[-1]
    assert float(re.search(r"postern\.service: ([\d.]+)", verdict).group(1)) <= 2.0, verdict


def test_the_sandbox_is_in_force(installed):
    """A probe in the place of ExecStartPre: same user, mounts, filters; the kernel's own answers."""
    probe = (pathlib.Path(__file__).resolve().parent / "probe.pl").read_text()
    installed.write("/usr/local/lib/probe.pl", probe)
    installed.write("/home/somebody/letter", "x")
    installed.write("/root/letter", "x")
    installed.write("/tmp/of-others", "x")
    installed.write("/etc/postern/credentials/key.pem", "the key", 0o600)
    installed.drop_in("[Service]\nExecStartPre=sh -c 'perl /usr/local/lib/probe.pl "
                      ">/var/lib/postern/probe.txt'\n")
    installed.run("systemctl", "restart", "postern.service")
    told = installed.path("/var/lib/postern/probe.txt").read_text()
    may = {line.split()[0]: line.split()[1] == "yes" for line in told.splitlines()
           if not line.startswith("uid")}
    assert not told.startswith("uid 0 "), told
    allowed = {"write_data", "write_log", "write_tmp", "read_credential", "call_mmap_rw",
               "call_socket_inet"}
    assert {name for name, yes in may.items() if yes} == allowed, told
    assert len(may) > 25
    # Refused by the filter and not only for want of rights: root would get the same.
    reasons = dict(line.split(" no ", 1) for line in told.splitlines() if " no " in line)
    for call in ("mount", "unshare", "reboot", "chown", "settimeofday", "init_module", "bpf",
                 "setpriority", "ptrace"):
        assert reasons[f"call_{call}"] == "Operation not permitted", told
    assert reasons["write_etc"] == "Read-only file system"
    # What it wrote to /tmp is not the machine's /tmp.
    assert installed.run("test", "-e", "/tmp/postern-probe", check=False).returncode == 1
    # The service itself, not only its probe: its own mounts.
    mounts = installed.path(f"/proc/{installed.main_pid()}/mountinfo").read_text()
    root = [line for line in mounts.splitlines() if line.split()[4] == "/"]
    assert root and root[-1].split()[5].startswith("ro"), mounts


# -- sockets

def test_the_first_client_starts_it(installed):
    installed.run("systemctl", "stop", "postern.service")
    installed.run("systemctl", "enable", "--now", "postern.socket")
    assert installed.show("ActiveState") == "inactive"
    connection = installed.inside(lambda: socket.create_connection(("127.0.0.1", 25), 30))
    with connection:
        assert connection.recv(100).startswith(b"220 ")
    installed.wait_active()
    assert installed.show("TriggeredBy") == "postern.socket"
    assert "listener.handed-in.unused" not in installed.log()
    # It is systemd's socket that it serves: taken from the service it is still there.
    installed.run("systemctl", "stop", "postern.service")
    connection = installed.inside(lambda: socket.create_connection(("127.0.0.1", 25), 30))
    with connection:
        assert connection.recv(100).startswith(b"220 ")


def test_a_restart_refuses_no_client_where_systemd_holds_the_port(installed):
    installed.write("/etc/postern/postern.yaml", mail.configuration())
    installed.run("systemctl", "stop", "postern.service")
    installed.run("systemctl", "start", "postern.socket")
    installed.run("systemctl", "start", "postern.service")
    load = mail.Load(installed)
    try:
        for _ in range(3):
            load.wait(installed, 20)
            installed.run("systemctl", "restart", "postern.service")
        load.wait(installed, 20)
    finally:
        promised = load.stop()
    assert load.refused_connections == 0
    installed.wait(lambda: set(promised) - set(mail.dropped(installed)), lambda lost: not lost)


# -- reload

def test_reload_is_told_to_systemd_and_takes_the_file_over(installed):
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        installed.inside(mail.send)
    pid = installed.main_pid()
    installed.write("/etc/postern/postern.yaml", mail.configuration())
    installed.run("systemctl", "log-level", "debug")  # process 1 tells what it is notified of
    installed.run("systemctl", "reload", "postern.service")
    assert installed.main_pid() == pid and installed.show("ActiveState") == "active"
    installed.inside(mail.send, mail.LOCAL, "reloaded")
    notices = r"from PID %d \(RELOADING=1, MONOTONIC_USEC=\d+\)" % pid
    installed.wait(lambda: installed.out("journalctl", "--no-pager", "-o", "cat", "_PID=1"),
                   lambda log: re.search(notices, log))
    # Without ExecReload too: a signal alone brings the unit to "reloading" and back.
    before = installed.out("journalctl", "--no-pager", "-o", "cat", "_PID=1")
    installed.run("systemctl", "kill", "-s", "HUP", "--kill-whom=main", "postern.service")
    installed.wait(lambda: installed.out("journalctl", "--no-pager", "-o", "cat", "_PID=1"),
                   lambda log: "Changed running -> reload" in log[len(before):] and
                   "Changed reload -> running" in log[len(before):])
    installed.run("systemctl", "log-level", "info")


def test_a_reload_of_a_bad_file_fails_says_where_and_changes_nothing(installed):
    restart_with(installed, mail.configuration())
    pid = installed.main_pid()
    installed.write("/etc/postern/postern.yaml", mail.configuration(more="listner: []"))
    done = installed.run("systemctl", "reload", "postern.service", check=False)
    assert done.returncode != 0
    assert re.search(r"postern\.yaml:\d+:\d+: listner: unknown key", installed.log())
    assert installed.main_pid() == pid and installed.show("ActiveState") == "active"
    installed.inside(mail.send)


# -- what ends it

def test_it_is_started_again_when_it_hangs(installed):
    installed.write("/etc/postern/postern.yaml", mail.configuration())
    installed.drop_in("[Service]\nWatchdogSec=2\nRestartSec=100ms\n")
    installed.run("systemctl", "restart", "postern.service")
    pid = installed.main_pid()
    time.sleep(5)  # longer than the watchdog waits: it is fed
    assert installed.main_pid() == pid
    installed.sh(f"kill -STOP {pid}")
    installed.wait(installed.main_pid, lambda new: new not in (0, pid), 30)
    installed.wait_active()
    assert installed.show("NRestarts") == "1"
    assert "Watchdog timeout" in installed.log()
    installed.inside(mail.send)


def test_killed_under_load_it_comes_back_and_nothing_is_lost(installed):
    times = 3
    sink = installed.inside(Sink)
    with sink:
        installed.drop_in("[Service]\nRestartSec=100ms\n")
        restart_with(installed, mail.configuration(
            "[self]", f'delivery: {{ smart_host: "{sink.literal}", tls: none }}'))
        drop, out = mail.Load(installed), mail.Load(installed, "buyer@partner.example")
        try:
            for i in range(times):
                drop.wait(installed, 15)
                out.wait(installed, 15)
                pid = installed.main_pid()
                installed.sh(f"kill -KILL {pid}")
                installed.wait(installed.main_pid, lambda new: new not in (0, pid))
                installed.wait_active()
            drop.wait(installed, 15)
        finally:
            promised, promised_out = drop.stop(), out.stop()
        assert installed.show("NRestarts") == str(times)
        installed.wait(lambda: set(promised) - set(mail.dropped(installed)), lambda lost: not lost)

        def lost_outside():
            return set(promised_out) - {re.search(rb"X-Key: (\S+)", m.data).group(1).decode()
                                        for m in sink.taken()}
        installed.wait(lost_outside, lambda lost: not lost, 60)


def test_a_bad_configuration_at_the_start_is_said_once_and_not_tried_again_and_again(installed):
    installed.run("systemctl", "stop", "postern.service")
    installed.write("/etc/postern/postern.yaml", "listeners: 25\n")
    assert installed.run("systemctl", "start", "postern.service", check=False).returncode != 0
    time.sleep(3)  # RestartSec is 2
    assert installed.show("ActiveState") == "failed"
    assert installed.show("NRestarts") == "0"
    assert installed.show("ExecMainStatus") == "78"
    assert "postern.yaml:1:12: listeners:" in installed.log()


def test_a_port_that_is_taken_is_tried_again_until_it_is_free(installed):
    installed.run("systemctl", "stop", "postern.service")
    installed.drop_in("[Service]\nRestartSec=200ms\n")

    def take():
        other = socket.socket()
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 25))
        other.listen()
        return other

    with installed.inside(take):
        assert installed.run("systemctl", "start", "postern.service", check=False).returncode != 0
        installed.wait(lambda: int(installed.show("NRestarts")), lambda n: n >= 2)
        assert "status=74" in installed.log() and "127.0.0.1:25" in installed.log()
    installed.wait_active()


# -- credentials

def certificate(folder):
    """A self-signed certificate for relay.example: (certificate, key), as texts."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30",
                    "-subj", "/CN=relay.example", "-addext", "subjectAltName=DNS:relay.example",
                    "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
                   check=True, capture_output=True)
    return (folder / "cert.pem").read_text(), (folder / "key.pem").read_text()


def test_keys_and_passwords_are_root_s_and_reach_the_service_as_credentials(installed, tmp_path):
    cert, key = certificate(tmp_path)
    sink = installed.inside(lambda: Sink(
        users={"relay": "smart 7"}, tls=server_context(tmp_path), extensions=["PIPELINING"]))
    with sink:
        installed.write("/etc/postern/cert.pem", cert)
        installed.write("/etc/postern/credentials/key.pem", key, 0o600)
        installed.write("/etc/postern/credentials/smarthost", "smart 7\n", 0o600)
        installed.write("/root/elsewhere.pem", key, 0o600)
        installed.drop_in("[Service]\nLoadCredential=other.pem:/root/elsewhere.pem\n")
        text = mail.configuration("[self]", f"""
tls:
  certificate: /etc/postern/cert.pem
  key: credential:key.pem
  certificates: [ {{ certificate: /etc/postern/cert.pem, key: "credential:other.pem" }} ]
delivery:
  smart_host: "{sink.literal}"
  tls: required
  authentication: {{ user: relay, password_file: "credential:smarthost" }}
""")
        restart_with(installed, text)
        # Its user cannot read the originals.
        refused = installed.run("runuser", "-u", "postern", "--", "cat",
                                "/etc/postern/credentials/key.pem", check=False)
        assert refused.returncode != 0 and "Permission denied" in refused.stderr

        def verified():
            context = ssl.create_default_context(cadata=cert)
            with smtplib.SMTP("127.0.0.1", 25, timeout=20) as client:
                client._host = "relay.example"
                client.starttls(context=context)
                client.sendmail("app@client.example", ["buyer@partner.example"], "X-Key: t\r\n\r\n")

        installed.inside(verified)
        message = sink.wait()[0]
        assert message.user == "relay" and message.tls
        # The administrator's own look finds the same files, and so does a reload.
        done = installed.run("postern", "check")
        assert "credential" not in done.stdout + done.stderr, done
        installed.run("systemctl", "reload", "postern.service")
        installed.inside(verified)


def test_a_credential_that_is_missing_is_named(installed):
    installed.write("/etc/postern/cert.pem", "x")
    installed.write("/etc/postern/postern.yaml", mail.configuration(
        more="tls: { certificate: /etc/postern/cert.pem, key: credential:absent.pem }"))
    done = installed.run("systemctl", "restart", "postern.service", check=False)
    assert done.returncode != 0
    assert "/etc/postern/cert.pem" in installed.log() or "absent.pem" in installed.log()
    installed.write("/etc/postern/cert.pem", "")


def server_context(folder):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def test_logs_go_to_the_journal_with_their_levels(installed):
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        installed.inside(mail.send, "buyer@partner.example")
    warnings = installed.out("journalctl", "--no-pager", "-o", "cat", "-p", "warning", "-u",
                             "postern.service")
    assert "smtp.rcpt.refused" in warnings and "service.ready" not in warnings


def test_a_log_file_in_its_folder_is_written_and_opened_anew_after_a_rotation(installed):
    restart_with(installed, mail.configuration(
        more="logging: { file: /var/log/postern/postern.log }"))
    installed.inside(mail.send)
    installed.sh("grep -q smtp.message.accepted /var/log/postern/postern.log")
    installed.run("mv", "/var/log/postern/postern.log", "/var/log/postern/old.log")
    installed.run("systemctl", "kill", "-s", "USR1", "--kill-whom=main", "postern.service")
    installed.wait(lambda: installed.run("test", "-e", "/var/log/postern/postern.log",
                                         check=False).returncode, lambda code: code == 0)
    installed.inside(mail.send, mail.LOCAL, "two")
    installed.sh("grep -q smtp.message.accepted /var/log/postern/postern.log")


def test_a_stop_ends_in_good_order(installed):
    pid = installed.main_pid()
    started = time.monotonic()
    installed.run("systemctl", "stop", "postern.service")
    assert time.monotonic() - started < 15
    assert installed.show("Result") == "success" and installed.show("ExecMainStatus") == "0"
    assert "service.stopped code=0" in installed.log()
    assert not installed.path(f"/proc/{pid}").exists()


def test_a_stop_waits_for_the_message_under_way_even_beyond_systemd_s_own_patience(installed):
    installed.drop_in("[Service]\nTimeoutStopSec=2\n")
    installed.write("/etc/postern/postern.yaml", mail.configuration().replace(
        "hostname: relay.example,", "hostname: relay.example, stop_timeout: 20s,"))
    installed.run("systemctl", "restart", "postern.service")

    def begin():
        client = smtplib.SMTP("127.0.0.1", 25, timeout=30)
        client.ehlo("client.example")
        client.mail("app@client.example")
        client.rcpt(mail.LOCAL)
        assert client.docmd("DATA")[0] == 354
        client.send(b"X-Key: slow\r\n\r\n")
        return client

    client = installed.inside(begin)
    installed.run("systemctl", "--no-block", "stop", "postern.service")
    installed.wait(lambda: installed.show("ActiveState"), lambda state: state == "deactivating")
    time.sleep(5)
    client.send(b"text\r\n.\r\n")
    assert client.getreply()[0] == 250
    client.close()
    installed.wait(lambda: installed.show("ActiveState"), lambda state: state == "inactive")
    assert installed.show("Result") == "success"
    assert mail.dropped(installed) == ["slow"] or installed.run(
        "postern", "queue", "list", "--json").stdout.count('"sender"') == 1
