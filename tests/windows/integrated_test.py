"""Logins by SSPI: NTLM, judged by the stand-in tests/windows/bin/ntlm_auth, and Kerberos, by a KDC of
our own; by real clients of this machine, against build/windows/postern_sspi_lab.exe, which is
postern.exe but for the calls that Wine lacks (tests/windows/sspi_lab.c)."""
import base64
import os
import pathlib
import re
import smtplib
import subprocess

import pytest

import wine
from realm import Kdc
from wine import postern, windows_path

BIN = pathlib.Path(__file__).resolve().parent / "bin"
LAB = wine.EXE.parent / "postern_sspi_lab.exe"
PASSWORD = "Right-1!"
ACCOUNTS = ["CORP\\alice", "CORP\\Guest", "CORP\\visitor", "RELAY\\bob"]
MESSAGE = "From: a@corp.example\r\nTo: v@elsewhere.example\r\nSubject: {}\r\n\r\nx\r\n"
# An answer that binds nobody: empty account, empty proofs (MS-NLMP 3.2.5.1.2).
ANONYMOUS = (b"NTLMSSP\0" + b"\3\0\0\0" + b"\1\0\1\0\x58\0\0\0" + b"\0\0\0\0\x59\0\0\0" +
             b"\0\0\0\0\x58\0\0\0" * 3 + b"\0\0\0\0\x59\0\0\0" + b"\x05\x82\x88\xa2" + bytes(24) + b"\0")


class Lab(wine.WineService):
    def start(self, wait=True, timeout=20):
        postern.BINARY = LAB
        return postern.Service.start(self, wait, timeout)


@pytest.fixture(scope="module")
def kdc(tmp_path_factory):
    kdc = Kdc(tmp_path_factory.mktemp("kdc"), {"alice": (PASSWORD, "")}, services=False)
    for service in ("smtp", "imap"):
        kdc.admin(f"addprinc -randkey {service}/localhost",
                  f"ktadd -k {kdc.keytab} {service}/localhost")
    cache = f"FILE:{kdc.folder}/tickets"
    subprocess.run(["kinit", "-c", cache, "alice"], input=PASSWORD + "\n", text=True, check=True,
                   env=dict(os.environ, KRB5_CONFIG=str(kdc.profile)), capture_output=True)
    kdc.client = {"KRB5_CONFIG": str(kdc.profile), "KRB5CCNAME": cache}
    yield kdc
    kdc.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory, certificates, kdc):
    folder = tmp_path_factory.mktemp("sspi")
    (folder / "accounts").write_text("".join(f"{a}:{PASSWORD}\n" for a in ACCOUNTS))
    service = Lab(folder / "relay", certificates, {
        "authentication": {
            "integrated": {"enabled": True, "mechanisms": ["GSSAPI", "GSS-SPNEGO", "NTLM"]},
            "domains": [{"name": "CORP", "aliases": ["KRB.EXAMPLE"], "backend": "system"}],
            "throttle": {"delay": "1ms", "delay_max": "1ms", "free_failures": 1000,
                         "refuse_after": 1000}},
        "delivery": {"smart_host": "[127.0.0.1]:9"}})
    service.environment = {
        "PATH": f"{BIN}:{os.environ['PATH']}", "NTLM_ACCOUNTS": str(folder / "accounts"),
        "NTLM_ACCEPTED": str(folder / "accepted"), "POSTERN_SSPI_LAB": windows_path(folder),
        "KRB5_TRACE": str(folder / "trace"), "KRB5_CONFIG": str(kdc.profile),
        "KRB5_KTNAME": str(kdc.keytab), "KRB5RCACHENAME": f"file2:{folder}/replays",
        "GSS_MECH_CONFIG": "/dev/null"}
    service.start()
    yield service
    assert service.stop() == 0


def curl(service, tmp_path, subject, user, mechanism, env=None):
    """Sends a message to a foreign recipient, which only a client may that has logged in."""
    mail = tmp_path / "mail.eml"
    mail.write_text(MESSAGE.format(subject))
    user = user.replace("\\", "\\\\")
    return subprocess.run(
        ["curl", "-sSv", "-K", "-", "--url", f"smtp://localhost:{service.port()}", "--ssl-reqd",
         "--cacert", service.certificates.ca, "--login-options", f"AUTH={mechanism}",
         "--mail-from", "a@corp.example", "--mail-rcpt", "v@elsewhere.example", "-T", mail],
        input=f'user = "{user}"\n', capture_output=True, text=True, timeout=180,
        env={**os.environ, **(env or {})})


def test_it_offers_them_where_the_system_has_them(service):
    with smtplib.SMTP("127.0.0.1", service.port(), timeout=60) as client:
        client.ehlo()
        assert {"GSSAPI", "NTLM"} <= set(client.esmtp_features["auth"].split())
    assert "auth.integrated.not_ready" not in service.log()


def test_ntlm_by_curl_and_its_mail_is_relayed(service, tmp_path):
    before = len(service.queue())
    done = curl(service, tmp_path, "by NTLM", f"CORP\\alice:{PASSWORD}", "NTLM")
    assert done.returncode == 0, (done.stderr[-3000:], service.log()[-3000:])
    assert service.attempts()[-1] == ("ok", "CORP\\alice")
    assert len(service.queue()) == before + 1
    assert re.search(r'smtp\.message\.accepted.*user="?CORP\\+alice', service.log()), \
        service.log()[-2000:]


@pytest.mark.parametrize("user, reason", [
    ("CORP\\alice:wrong", "wrong password"),
    ("CORP\\nobody:" + PASSWORD, "wrong password"),
    ("OTHER\\alice:" + PASSWORD, "wrong password"),
    ("CORP\\Guest:" + PASSWORD, "guest account"),
    ("CORP\\visitor:" + PASSWORD, "a member of Guests"),
    ("RELAY\\bob:" + PASSWORD, "no domain of authentication.domains"),
])
def test_ntlm_that_is_refused(service, tmp_path, user, reason):
    queue = len(service.queue())
    done = curl(service, tmp_path, "never", user, "NTLM")
    assert done.returncode == 67, (done, service.log()[-2000:])  # CURLE_LOGIN_DENIED
    kind, said = service.attempts()[-1]
    assert kind == "refused" and reason in said, said
    assert len(service.queue()) == queue


def test_ntlm_without_an_account_is_anonymous_and_refused(service):
    with smtplib.SMTP("127.0.0.1", service.port(), timeout=60) as client:
        client.ehlo()
        greeting = b"NTLMSSP\0" + b"\1\0\0\0" + b"\x07\x82\x08\xa2" + bytes(16)
        assert client.docmd("AUTH NTLM", base64.b64encode(greeting).decode())[0] == 334
        assert client.docmd(base64.b64encode(ANONYMOUS).decode())[0] == 535
        assert client.docmd("MAIL FROM:<a@corp.example>")[0] == 250
        assert client.docmd("RCPT TO:<v@elsewhere.example>")[0] == 550
    kind, said = service.attempts()[-1]
    assert kind == "refused" and "anonymous" in said, said


def test_ntlm_that_is_no_ntlm_is_a_syntax_error_and_no_guess(service):
    with smtplib.SMTP("127.0.0.1", service.port(), timeout=60) as client:
        client.ehlo()
        greeting = b"NTLMSSP\0" + b"\1\0\0\0" + b"\x07\x82\x08\xa2" + bytes(16)
        assert client.docmd("AUTH NTLM", base64.b64encode(b"NTLMSSP\0\7").decode())[0] in (501, 535)
        assert client.docmd("AUTH NTLM", base64.b64encode(greeting).decode())[0] == 334
        assert client.docmd("*")[0] == 501


def test_kerberos_by_curl_and_its_mail_is_relayed(service, tmp_path, kdc):
    before = len(service.queue())
    done = curl(service, tmp_path, "by Kerberos", "alice@KRB.EXAMPLE:", "GSSAPI", kdc.client)
    assert done.returncode == 0, (done.stderr[-3000:], service.log()[-3000:])
    assert service.attempts()[-1] == ("ok", "CORP\\alice")
    assert len(service.queue()) == before + 1


def gsasl(service, kdc, name="smtp"):
    return subprocess.run(
        ["gsasl", "--smtp", "--mechanism=GSSAPI", f"--connect=localhost:{service.port()}",
         "--hostname=localhost", f"--service={name}", "--authentication-id=alice",
         "--authorization-id=", "--no-starttls", "--quality=auth", "--application-data"],
        input="", capture_output=True, text=True, timeout=180, env={**os.environ, **kdc.client})


def test_kerberos_by_gsasl_with_mutual_authentication_and_the_layer_step(service, kdc):
    done = gsasl(service, kdc)
    assert done.returncode == 0, (done, service.log()[-3000:])
    assert service.attempts()[-1] == ("ok", "CORP\\alice")


def test_a_ticket_for_another_service_is_refused(service, kdc):
    done = gsasl(service, kdc, "imap")
    assert done.returncode != 0, done
    kind, said = service.attempts()[-1]
    assert kind == "refused" and "another service" in said, said


def test_postern_exe_itself_believes_nobody_whose_token_it_cannot_see(service, certificates, tmp_path):
    """Wine says that the password is right and then has no token of the client."""
    other = wine.WineService(tmp_path / "real", certificates,
                             {"authentication": service.config["authentication"]})
    other.environment = service.environment
    other.start()
    try:
        done = curl(other, tmp_path, "never", f"CORP\\alice:{PASSWORD}", "NTLM")
        assert done.returncode != 0, done
        assert "QuerySecurityContextToken" in other.log() and "smtp.auth.ok" not in other.log()
    finally:
        assert other.stop() == 0
