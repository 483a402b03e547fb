"""Logins by SSPI at the installed service, which the service control manager has started: NTLM and
Kerberos by curl, with STARTTLS, and the mail after them. In a Wine prefix of its own, since services have
the environment of whoever started Wine: that of the judges (integrated_test.py)."""
import json
import os
import re
import subprocess
import types

import pytest

import integrated_test
from integrated_test import ACCOUNTS, BIN, LAB, PASSWORD, kdc  # noqa: F401
from wine import postern, windows_path

SILENCE = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@pytest.fixture(scope="module")
def installed(tmp_path_factory, certificates, kdc):  # noqa: F811
    folder = tmp_path_factory.mktemp("installed")
    prefix = folder / "prefix"
    prefix.mkdir()
    (folder / "accounts").write_text("".join(f"{a}:{PASSWORD}\n" for a in ACCOUNTS))
    env = dict(os.environ, WINEPREFIX=str(prefix), PATH=f"{BIN}:{os.environ['PATH']}",
               NTLM_ACCOUNTS=str(folder / "accounts"), NTLM_ACCEPTED=str(folder / "accepted"),
               KRB5_TRACE=str(folder / "trace"), KRB5_CONFIG=str(kdc.profile),
               KRB5_KTNAME=str(kdc.keytab), KRB5RCACHENAME=f"file2:{folder}/replays",
               GSS_MECH_CONFIG="/dev/null")

    def run(*command, check=True):
        done = subprocess.run(list(map(str, command)), env=env, cwd="/tmp", timeout=180, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, errors="replace")
        assert done.returncode == 0 or not check, done
        return done

    def silent(*command):
        subprocess.run(list(command), env=env, cwd="/tmp", timeout=180, stdin=subprocess.DEVNULL,
                       **SILENCE)

    for command in (["wineboot", "-i"], ["wineserver", "-w"], ["wine", "winecfg", "-v", "win10"],
                    ["wineserver", "-w"], ["wineserver", "-p600"]):
        silent(*command)
    held = subprocess.Popen(["wine", "cmd"], env=env, cwd="/tmp", stdin=subprocess.PIPE, **SILENCE)
    try:
        silent("wine", "cmd", "/c", "exit")
        run("wine", "reg", "add", r"HKLM\SYSTEM\CurrentControlSet\Control\Session Manager\Environment",
            "/v", "POSTERN_SSPI_LAB", "/d", windows_path(folder), "/f")
        said = run("wine", LAB, "service", "install").stdout
        assert "wrote C:\\ProgramData\\Postern\\postern.yaml" in said, said
        data = prefix / "drive_c/ProgramData/Postern"
        port = postern.free_port()
        (data / "postern.yaml").write_text(json.dumps({
            "service": {"hostname": "relay.example"},
            "listeners": [{"address": f"127.0.0.1:{port}", "tls": "required"}],
            "tls": {"certificate": windows_path(certificates.certificate),
                    "key": windows_path(certificates.key)},
            "access": {"relay": {"grant": "only", "authenticated": True, "list": []}},
            "authentication": {
                "integrated": {"enabled": True, "mechanisms": ["GSSAPI", "NTLM"]},
                "domains": [{"name": "CORP", "aliases": ["KRB.EXAMPLE"], "backend": "system"}]},
            "delivery": {"smart_host": "[127.0.0.1]:9"},
            "logging": {"file": "postern.log"},
            "resolver": {"servers": ["127.0.0.1:9"]}}))
        run("wine", LAB, "service", "start")
        yield types.SimpleNamespace(
            certificates=certificates, port=lambda: port,
            log=lambda: (data / "postern.log").read_text(),
            queue=lambda: json.loads(run("wine", LAB, "queue", "list", "--json").stdout),
            status=lambda: json.loads(run("wine", LAB, "service", "status", "--json").stdout))
        run("wine", LAB, "service", "stop")
        run("wine", LAB, "service", "uninstall")
    finally:
        silent("wineserver", "-k")
        held.wait(60)


@pytest.mark.parametrize("mechanism, user", [("NTLM", f"CORP\\alice:{PASSWORD}"),
                                             ("GSSAPI", "alice@KRB.EXAMPLE:")])
def test_a_login_at_the_installed_service_and_its_mail(installed, kdc, tmp_path, mechanism,  # noqa: F811
                                                       user):
    assert installed.status()["state"] == "running"
    before = len(installed.queue())
    done = integrated_test.curl(installed, tmp_path, mechanism, user, mechanism, kdc.client)
    assert done.returncode == 0, (done.stderr[-3000:], installed.log()[-3000:])
    assert re.search(r'smtp\.auth\.ok.*user="?CORP\\+alice', installed.log())
    assert len(installed.queue()) == before + 1


def test_a_wrong_password_at_the_installed_service(installed, tmp_path):
    done = integrated_test.curl(installed, tmp_path, "never", "CORP\\alice:wrong", "NTLM")
    assert done.returncode == 67, done
    assert "wrong password" in installed.log().splitlines()[-2] + installed.log().splitlines()[-1]
