"""The installer: in, upgraded with a message in the queue, repaired by installing again, out with the
data kept, out with PURGE. There is one service in a prefix, so the tests follow each other."""
import json
import os
import shutil
import smtplib
import socket
import subprocess
import time
import zipfile

import pytest

import wine
from wine import DATA, postern, windows_path

PROGRAMS = DATA.parents[1] / "Program Files/Postern"
EXE = PROGRAMS / "postern.exe"
MAIL = b"From: a@local.example\r\nTo: v@elsewhere.example\r\nSubject: kept\r\n\r\nx\r\n"


def packaged(folder, version):
    done = subprocess.run([postern.ROOT / "packaging/windows/package", wine.EXE, folder],
                          env=dict(os.environ, POSTERN_PACKAGE_VERSION=version),
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done
    msi, archive = done.stdout.split()
    return {"msi": windows_path(msi), "zip": archive}


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")
    if EXE.exists():
        wine.wine(EXE, "service", "uninstall")
    wine.wine(wine.EXE, "service", "uninstall")
    shutil.rmtree(DATA, ignore_errors=True)
    made = {v: packaged(folder, v) for v in ("0.1.0", "0.2.0")}
    yield made
    for version in made:
        msiexec("/x", made[version]["msi"])
    shutil.rmtree(DATA, ignore_errors=True)


def msiexec(*arguments):
    """What the installer starts keeps its standard output, so that it gets none that we wait for."""
    return subprocess.run(["wine", "msiexec", *arguments, "/qn"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/tmp",
                          timeout=300).returncode


def status():
    done = wine.wine(EXE, "service", "status", "--json")
    return json.loads(done.stdout)


def wait_state(wanted, seconds=60):
    end = time.monotonic() + seconds
    while status()["state"] != wanted:
        assert time.monotonic() < end, status()
        time.sleep(0.2)


def greets(port, seconds=20):
    end = time.monotonic() + seconds
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as probe:
                probe.settimeout(5)
                if probe.recv(3) == b"220":
                    return True
        except OSError:
            pass
        if time.monotonic() > end:
            return False
        time.sleep(0.2)


def products():
    """The versions that the system's list of programs shows."""
    found = wine.wine("reg", "query", r"HKLM\Software\Microsoft\Windows\CurrentVersion\Uninstall",
                      "/s", "/v", "DisplayVersion").stdout
    return [line.split()[-1] for line in found.splitlines() if "DisplayVersion" in line and
            line.split()[-1] in ("0.1.0", "0.2.0")]


@pytest.fixture(scope="module")
def port():
    return postern.free_port()


def test_it_goes_in_and_the_service_answers_and_relays_nothing(packages):
    with socket.socket() as probe:  # of another program of this machine
        free = probe.connect_ex(("127.0.0.1", 25)) != 0
    assert msiexec("/i", packages["0.1.0"]["msi"]) == 0
    now = status()
    assert now["automatic"] and now["account"] == "NT SERVICE\\Postern"
    assert now["defined"] == '"C:\\Program Files\\Postern\\postern.exe" serve'
    assert products() == ["0.1.0"]
    for file in ("LICENSE.txt", "third-party-licences.txt", "verify.ps1", "docs/configuration.md",
                 "docs/install-windows.md", "docs/examples/local-applications.yaml"):
        assert (PROGRAMS / file).exists(), file
    text = (DATA / "postern.yaml").read_bytes()
    assert text.count(b"\r\n") == text.count(b"\n") > 30
    assert wine.wine(EXE, "check").returncode == 0
    refused = wine.wine(EXE, "explain", "--client", "127.0.0.1", "--from", "a@b.example", "--to",
                        "v@elsewhere.example")
    assert refused.returncode == 1, refused
    key = wine.wine("reg", "query", r"HKLM\SYSTEM\CurrentControlSet\Services\EventLog\Application"
                    r"\Postern")
    assert "Program Files\\Postern\\postern.exe" in key.stdout, key
    path = wine.wine("reg", "query", r"HKLM\SYSTEM\CurrentControlSet\Control\Session Manager"
                     r"\Environment", "/v", "PATH")
    assert "C:\\Program Files\\Postern" in path.stdout, path
    if free:
        assert now["state"] == "running" and greets(25)


def test_a_message_waits_in_the_queue(packages, port):
    wine.wine(EXE, "service", "stop")
    (DATA / "postern.yaml").write_text(json.dumps({
        "service": {"hostname": "relay.example"},
        "listeners": [{"address": f"127.0.0.1:{port}"}],
        "access": {"relay": {"grant": "only", "list": ["self"]}},
        "delivery": {"smart_host": "[127.0.0.1]:9"},
        "logging": {"file": "postern.log"},
        "resolver": {"servers": ["127.0.0.1:9"]}}))
    assert wine.wine(EXE, "service", "start").returncode == 0
    assert greets(port)
    with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
        client.sendmail("a@local.example", ["v@elsewhere.example"], MAIL)
    assert len(json.loads(wine.wine(EXE, "queue", "list", "--json").stdout)) == 1


def test_an_upgrade_keeps_the_configuration_and_the_queue_and_serves_on(packages, port):
    before = (DATA / "postern.yaml").read_bytes()
    assert msiexec("/i", packages["0.2.0"]["msi"]) == 0
    assert products() == ["0.2.0"]
    assert (DATA / "postern.yaml").read_bytes() == before
    wait_state("running")
    assert greets(port)
    [message] = json.loads(wine.wine(EXE, "queue", "list", "--json").stdout)
    assert message["sender"] == "a@local.example"
    assert message["recipients"][0]["address"] == "v@elsewhere.example"


def test_an_older_version_does_not_go_over_a_newer_one(packages, port):
    assert msiexec("/i", packages["0.1.0"]["msi"]) != 0
    assert products() == ["0.2.0"] and status()["state"] == "running" and greets(port)


def test_a_configuration_with_errors_does_not_take_the_installation_back(packages, port):
    good = (DATA / "postern.yaml").read_bytes()
    assert msiexec("/x", packages["0.2.0"]["msi"]) == 0
    (DATA / "postern.yaml").write_text("nonsense: 1\n")
    assert msiexec("/i", packages["0.2.0"]["msi"]) == 0
    assert status()["state"] in ("failed", "stopped") and EXE.exists()
    (DATA / "postern.yaml").write_bytes(good)
    assert wine.wine(EXE, "service", "start").returncode == 0
    assert greets(port)


def test_it_goes_out_while_it_runs_and_the_data_stay(packages, port):
    assert status()["state"] == "running"
    assert msiexec("/x", packages["0.2.0"]["msi"]) == 0
    assert not PROGRAMS.exists() and products() == [] and not greets(port, 0)
    assert wine.wine("sc", "query", "Postern").returncode != 0
    assert "service.stopped code=0" in (DATA / "postern.log").read_text().splitlines()[-1]
    assert (DATA / "postern.yaml").exists() and (DATA / "queue.db").exists()
    # and are taken up again, the message with them
    assert msiexec("/i", packages["0.2.0"]["msi"], "NOSTART=1") == 0
    assert status()["state"] == "stopped"
    assert len(json.loads(wine.wine(EXE, "queue", "list", "--json").stdout)) == 1


def test_purge_deletes_the_data_too(packages):
    assert wine.wine(EXE, "service", "start").returncode == 0
    assert msiexec("/x", packages["0.2.0"]["msi"], "PURGE=1") == 0
    assert not PROGRAMS.exists() and not DATA.exists()


def test_the_zip_has_the_same_files(packages):
    with zipfile.ZipFile(packages["0.2.0"]["zip"]) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
    assert all(name.startswith("postern-0.2.0/") for name in names)
    assert {"postern-0.2.0/postern.exe", "postern-0.2.0/verify.ps1", "postern-0.2.0/LICENSE.txt",
            "postern-0.2.0/docs/install-windows.md"} <= set(names)
