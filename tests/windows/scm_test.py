"""The installed service under Wine's service control manager. There is one service in a prefix, so
the tests of this file follow each other."""
import json
import re
import shutil
import smtplib
import ssl
import time

import pytest

import wine
from scm import answers, entries, postern, service, state
from wine import DATA, windows_path

USER, PASSWORD = "alice", "correct horse 7"


@pytest.fixture(scope="module")
def installed(certificates):
    """The service as install leaves it, with a configuration in ProgramData."""
    port = wine.postern.free_port()
    shutil.rmtree(DATA, ignore_errors=True)
    postern("service", "uninstall")
    done = service("install")
    config = {
        "service": {"hostname": "relay.example"},
        "listeners": [{"address": f"127.0.0.1:{port}", "tls": "optional"}],
        "tls": {"certificate": windows_path(certificates.certificate),
                "key": windows_path(certificates.key)},
        "domains": [{"name": "local.example", "type": "local"}],
        "logging": {"file": "postern.log"},
        "resolver": {"servers": ["127.0.0.1:9"]},
    }
    (DATA / "postern.yaml").write_text(json.dumps(config))
    added = postern("user", "add", USER, "--password-stdin", input=PASSWORD + "\n")
    assert added.returncode == 0, added
    yield port, config, done.stdout
    postern("service", "uninstall")


def test_install_registers_it_and_makes_its_folder(installed):
    _, _, said = installed
    assert "installed the service Postern" in said and DATA.is_dir()
    status = json.loads(postern("service", "status", "--json").stdout)
    assert status["state"] == "stopped" and status["automatic"] and status["name"] == "Postern"
    assert re.fullmatch(r'"[^"]*postern\.exe" serve', status["defined"]), status
    assert status["account"] == "NT SERVICE\\Postern"
    key = wine.wine("reg", "query", r"HKLM\SYSTEM\CurrentControlSet\Services\EventLog\Application"
                    r"\Postern")
    assert "postern.exe" in key.stdout, key


def test_installed_again_it_is_brought_up_to_date(installed):
    assert "already" in service("install").stdout


def test_what_cannot_be_done_in_this_state_is_a_no(installed):
    assert service("pause", 1).stderr.startswith("postern service pause: ControlService")
    assert "so already" in service("stop").stdout


def test_started_it_takes_mail_and_stopped_it_is_gone(installed, certificates):
    port, _, _ = installed
    service("start")
    assert state() == "running" and answers(port, 20)
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.starttls(context=ssl.create_default_context(cafile=certificates.ca))
        client.login(USER, PASSWORD)
        client.sendmail("a@local.example", ["b@local.example"], b"Subject: by the SCM\r\n\r\nx\r\n")
    end = time.monotonic() + 60
    while not list((DATA / "mail/Drop").glob("*.eml")):
        assert time.monotonic() < end
        time.sleep(0.1)
    service("stop")
    assert state() == "stopped" and not answers(port, 2)
    assert "service.stopped code=0" in (DATA / "postern.log").read_text()


def test_paused_it_greets_nobody_new_and_lets_sessions_go_on(installed):
    port, _, _ = installed
    service("start")
    assert answers(port, 20)
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.ehlo()
        service("pause")
        assert state() == "paused"
        assert not answers(port, 2)
        assert client.noop()[0] == 250
    service("continue")
    assert state() == "running" and answers(port, 20)


def test_paramchange_reloads(installed):
    port, config, _ = installed
    service("start")
    config["limits"] = {"message_size": "7M"}
    (DATA / "postern.yaml").write_text(json.dumps(config))
    log = DATA / "postern.log"
    before = log.read_text().count("service.reloaded")
    done = wine.wine(wine.EXE.parent / "scm_control.exe", "6")  # SERVICE_CONTROL_PARAMCHANGE
    assert done.returncode == 0, done
    end = time.monotonic() + 60
    while log.read_text().count("service.reloaded") == before:
        assert time.monotonic() < end, log.read_text()[-2000:]
        time.sleep(0.2)
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.ehlo()
        assert client.esmtp_features["size"] == str(7 * 1024 * 1024)
    service("stop")


def test_a_configuration_that_is_wrong_is_a_start_that_is_refused(installed):
    _, config, _ = installed
    path = DATA / "postern.yaml"
    path.write_text(json.dumps({**config, "nonsense": 1}))
    try:
        assert "exit code 78" in service("start", 1).stderr
        assert state() == "failed"
    finally:
        path.write_text(json.dumps(config))
    service("start")
    service("stop")


def test_uninstall_stops_it_and_keeps_the_data(installed):
    service("start")
    service("uninstall")
    assert state() == "not installed"
    assert (DATA / "postern.yaml").exists() and (DATA / "queue.db").exists()
    assert postern("service", "start").returncode == 66
