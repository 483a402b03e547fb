"""GSSAPI, GSS-SPNEGO and NTLM: scripted clients, .NET's bytes, real programs."""
import os
import re
import subprocess

import pytest

import ad
import kerberos
from smtp import Closed

ALICE = f"{ad.SHORT}\\alice"
CORP = {"name": ad.SHORT, "aliases": [ad.DNS], "backend": "kerberos", "realm": ad.REALM}


@pytest.fixture(scope="module")
def service(relay, domain):
    return relay([{**CORP, "keytab": str(domain.keytab), "kdc": [ad.DC]}],
                 {"enabled": True, "keytab": str(domain.keytab),
                  "ntlm_auth": "/usr/bin/ntlm_auth"},
                 {"access": {"relay": {"authenticated": True}}, "logging": {"protocol": True}})


@pytest.fixture(scope="module")
def cache(domain, tmp_path_factory):
    path = tmp_path_factory.mktemp("tickets") / "alice"
    domain.ticket("alice", path)
    return f"FILE:{path}"


def identity_of_last(service):
    return service.attempts()[-1]


def logged_in(service, client, reply, row=None, way=None):
    said = identity_of_last(service)
    if row:
        row(way, "alice", reply.lines[-1], " ".join(said))
    assert reply.code == 235, (reply, service.attempts()[-3:])
    assert said == ("ok", ALICE)
    # What it was for.
    assert client.cmd("MAIL FROM:<alice@corp.example>").code == 250
    assert client.cmd("RCPT TO:<x@elsewhere.example>").code == 250
    assert client.cmd("RSET").code == 250


def test_what_proved_itself_is_offered(service):
    assert {"GSSAPI", "GSS-SPNEGO", "NTLM"} <= service.offered()
    assert {"GSSAPI", "GSS-SPNEGO", "NTLM"} <= service.offered("plain")
    assert not {"PLAIN", "LOGIN"} & service.offered("plain")


@pytest.mark.parametrize("spn", ["smtp", "SMTPSVC"])
@pytest.mark.parametrize("initial", [True, False], ids=["initial", "bare"])
def test_raw_kerberos_with_the_security_layer_step(service, cache, row, spn, initial):
    with service.client() as client:
        reply = kerberos.sasl(client, kerberos.Context(cache, spn, kerberos.KERBEROS),
                              initial=initial)
        logged_in(service, client, reply, row, f"GSSAPI, Kerberos, {spn}/")


@pytest.mark.parametrize("initial", [True, False], ids=["initial", "bare"])
def test_without_mutual_authentication_the_layer_step_comes_at_once(service, cache, row, initial):
    context = kerberos.Context(cache, mechanism=kerberos.KERBEROS, flags=kerberos.FLAGS.integrity)
    with service.client() as client:
        token = kerberos.b64(context.step())
        assert context.complete
        if initial:
            reply = client.cmd(f"AUTH GSSAPI {token}")
        else:
            assert client.cmd("AUTH GSSAPI").lines == ["334 "]
            reply = client.cmd(token)
        reply = client.cmd(kerberos.b64(context.answer_layer(kerberos.token_of(reply))))
        logged_in(service, client, reply, row, "GSSAPI, Kerberos, not mutual")


@pytest.mark.parametrize("spn", ["smtp", "SMTPSVC"])
def test_dotnet_with_spnego_under_gssapi(service, cache, row, spn):
    context = kerberos.Context(cache, spn)
    with service.client() as client:
        said = kerberos.dotnet(client, context)
        lines = [line for line, _ in said]
        replies = [reply.code for _, reply in said]
        logged_in(service, client, said[-1][1], row, f"GSSAPI, .NET, SPNEGO, {spn}/")
    # The context was complete without a token of ours: the empty answer, as two blank lines.
    assert "\r\n" in lines, lines
    # 235 counts for .NET only after a 334.
    assert replies[0] == 334 and replies[-1] == 235


def test_dotnet_on_linux_asks_for_confidentiality(service, cache, row):
    context = kerberos.Context(cache, "SMTPSVC",
                               flags=kerberos.FLAGS.mutual_authentication
                               | kerberos.FLAGS.integrity | kerberos.FLAGS.confidentiality)
    with service.client() as client:
        said = kerberos.dotnet(client, context)
        logged_in(service, client, said[-1][1], row, "GSSAPI, .NET on Linux")


def test_dotnet_without_a_ticket_sends_ntlm_under_gssapi(service, domain, row):
    with kerberos.NtlmClient("alice", domain.passwords["alice"]) as ours, \
            service.client() as client:
        said = kerberos.dotnet(client, ours)
        assert [reply.code for _, reply in said] == [334, 334, 235] or \
            [reply.code for _, reply in said] == [334, 235], said
        logged_in(service, client, said[-1][1], row, "GSSAPI, .NET, raw NTLM")


def test_ntlm_in_spnego(service, domain, row):
    with kerberos.NtlmClient("alice", domain.passwords["alice"],
                             protocol="gss-spnego-client") as ours, service.client() as client:
        said = kerberos.dotnet(client, ours, "AUTH GSS-SPNEGO")
        logged_in(service, client, said[-1][1], row, "GSS-SPNEGO, NTLM")


def test_dotnet_login_with_the_name_in_the_command(service, domain, row):
    service.need("kerberos")
    with service.client() as client:
        reply = client.cmd(f"AUTH login {kerberos.b64(ALICE.encode())}")
        assert reply.lines == ["334 UGFzc3dvcmQ6"]
        reply = client.cmd(kerberos.b64(domain.passwords["alice"].encode()))
        logged_in(service, client, reply, row, "LOGIN, .NET")


def test_dotnet_goes_on_after_535_and_is_told_why(service, cache, row):
    """It tries the next mechanism, then mails without: the refusal of RCPT has to say so."""
    service.need("kerberos")
    with service.client() as client:
        reply = client.cmd(f"AUTH login {kerberos.b64(ALICE.encode())}")
        reply = client.cmd(kerberos.b64(b"not the password"))
        assert reply.lines == ["535 5.7.3 Authentication unsuccessful"]
        assert client.cmd("MAIL FROM:<alice@corp.example>").code == 250
        reply = client.cmd("RCPT TO:<x@elsewhere.example>")
        row("LOGIN, .NET, goes on", "alice, wrong password", reply.lines[-1],
            " ".join(identity_of_last(service)))
        assert reply.code == 550 and reply.text.startswith("5.7.1 ")
        assert "authentication" in reply.text.lower(), reply
        assert client.cmd("RSET").code == 250
        # And it may still log in within the same session.
        said = kerberos.dotnet(client, kerberos.Context(cache, "SMTPSVC"))
        assert said[-1][1].code == 235, said


def test_spnego_as_a_mechanism_of_its_own(service, cache, row):
    with service.client() as client:
        said = kerberos.dotnet(client, kerberos.Context(cache), "AUTH GSS-SPNEGO")
        logged_in(service, client, said[-1][1], row, "GSS-SPNEGO, Kerberos")


@pytest.mark.parametrize("initial", [True, False], ids=["initial", "bare"])
def test_ntlm(service, domain, row, initial):
    with kerberos.NtlmClient("alice", domain.passwords["alice"]) as ours, \
            service.client() as client:
        reply = kerberos.ntlm(client, ours, initial=initial)
        logged_in(service, client, reply, row, "NTLM" + ("" if initial else ", no initial response"))


REFUSED = ["wrong password", "unknown", "disabled", "expired", "stale", "mustchange", "locked",
           "Guest", "anonymous"]


@pytest.mark.parametrize("who", REFUSED)
def test_ntlm_is_refused_alike_whatever_the_reason(service, domain, row, who):
    name = {"wrong password": "bob", "unknown": "nobody-here", "anonymous": ""}.get(who, who)
    password = domain.passwords.get(name, "x") if who != "wrong password" else "wrong"
    with kerberos.NtlmClient(name, password, domain="" if who == "anonymous" else ad.SHORT) as ours, \
            service.client() as client:
        reply = kerberos.ntlm(client, ours)
        row("NTLM", who, reply.lines[-1], " ".join(identity_of_last(service)))
        assert reply.lines == ["535 5.7.3 Authentication unsuccessful"]
        assert client.cmd("NOOP").code == 250


@pytest.mark.parametrize("command", ["GSSAPI", "GSS-SPNEGO", "NTLM"])
def test_a_star_cancels(service, command):
    with service.client() as client:
        assert client.cmd(f"AUTH {command}").code == 334
        assert client.cmd("*").code == 501
        assert client.cmd("NOOP").code == 250


@pytest.mark.parametrize("token", [b"", b"\0", b"NTLMSSP\0", b"NTLMSSP\0\1\0\0\0" + b"\xff" * 32,
                                   b"\x60\x82\xff\xff", os.urandom(400)])
@pytest.mark.parametrize("command", ["GSSAPI", "GSS-SPNEGO", "NTLM"])
def test_rubbish_is_refused_and_the_session_goes_on(service, command, token):
    with service.client() as client:
        reply = client.cmd(f"AUTH {command} {kerberos.b64(token) or '='}")
        for _ in range(3):
            if reply.code != 334:
                break
            reply = client.cmd(kerberos.b64(token))
        assert reply.code in (501, 504, 535), reply
        assert client.cmd("NOOP").code == 250


def test_a_replayed_ticket_gets_nobody_in(service, cache):
    """The same AP-REQ twice: the replay cache, or at the latest the layer step, stops it."""
    context = kerberos.Context(cache, mechanism=kerberos.KERBEROS)
    token = context.step()
    with service.client() as one:
        assert one.cmd(f"AUTH GSSAPI {kerberos.b64(token)}").code == 334
        with service.client() as two:
            reply = two.cmd(f"AUTH GSSAPI {kerberos.b64(token)}")
            while reply.code == 334:
                reply = two.cmd(kerberos.b64(b"\1\0\0\0"))
            assert reply.code in (501, 535), reply


def test_a_second_login_is_503_and_the_session_stays_logged_in(service, cache):
    with service.client() as client:
        assert kerberos.dotnet(client, kerberos.Context(cache))[-1][1].code == 235
        assert client.cmd("AUTH NTLM").code == 503
        assert client.cmd("MAIL FROM:<alice@corp.example>").code == 250
        assert client.cmd("RCPT TO:<x@elsewhere.example>").code == 250


# -- real clients

MESSAGE = "From: alice@corp.example\nTo: postmaster@local.example\nSubject: {0}\n\nbody\n"
TO = "postmaster@local.example"


def run(*command, input=None, env=None, folder=None):
    return subprocess.run([str(c) for c in command], input=input, text=True, capture_output=True,
                          timeout=60, env={**os.environ, **(env or {})}, cwd=folder)


def arrived(service, subject, done, row, way):
    said = identity_of_last(service)
    wire = re.findall(r"smtp\.(?:reply|out)\S*.*?(235[^\"]*)", service.log())
    row(way, "alice", (wire or ["235" if said[0] == "ok" else "?"])[-1], " ".join(said))
    assert done.returncode == 0, (done.stdout[-2500:], done.stderr[-2500:], service.attempts()[-3:])
    assert said == ("ok", ALICE)
    if subject:
        service.wait_mail(subject)


@pytest.mark.parametrize("mechanism", ["GSSAPI", "NTLM"])
def test_curl(service, domain, cache, row, tmp_path, mechanism):
    subject = f"curl {mechanism}"
    mail = tmp_path / "mail"
    mail.write_text(MESSAGE.format(subject))
    # curl tries GSSAPI only for a name with a domain in it.
    login = f"alice@{ad.REALM}:" if mechanism == "GSSAPI" else \
        f"{ad.SHORT}\\\\alice:{domain.passwords['alice']}"
    done = run("curl", "-sSv", "-K", "-", "--mail-from", "alice@corp.example", "--mail-rcpt", TO,
               "--crlf", "-T", mail, f"smtp://{ad.RELAY_NAME}:{service.port('plain')}", "--login-options",
               f"AUTH={mechanism}", "--ssl-reqd", "--cacert", service.certificates.ca,
               input=f'user = "{login}"\n', env={"KRB5CCNAME": cache})
    arrived(service, subject, done, row, f"{mechanism}, curl")


def test_msmtp(service, cache, row, tmp_path):
    rc = tmp_path / "msmtprc"
    rc.write_text(f"account default\nhost {ad.RELAY_NAME}\nport {service.port('plain')}\n"
                  f"from alice@corp.example\ntls on\ntls_starttls on\ntls_trust_file "
                  f"{service.certificates.ca}\nauth gssapi\nuser alice\n")
    rc.chmod(0o600)
    done = run("msmtp", "-C", rc, TO, input=MESSAGE.format("msmtp"), env={"KRB5CCNAME": cache})
    arrived(service, "msmtp", done, row, "GSSAPI, msmtp")


def test_gsasl(service, cache, row):
    done = run("gsasl", "--smtp", "--mechanism=GSSAPI", f"--connect={ad.RELAY_NAME}:"
               f"{service.port('plain')}", f"--hostname={ad.RELAY_NAME}", "--service=smtp",
               "--authentication-id=alice", "--authorization-id=", "--no-starttls", "--quality=auth",
               "--application-data",
               input="", env={"KRB5CCNAME": cache})
    arrived(service, None, done, row, "GSSAPI, gsasl, no TLS")


def test_mutt(service, cache, row, tmp_path):
    rc = tmp_path / "muttrc"
    rc.write_text(f"set smtp_url=\"smtp://alice@{ad.RELAY_NAME}:{service.port('plain')}/\"\n"
                  "set smtp_authenticators=gssapi\nset ssl_starttls=yes\nset ssl_force_tls=yes\n"
                  f"set ssl_ca_certificates_file={service.certificates.ca}\n"
                  f"set certificate_file={service.certificates.ca}\n"
                  "set ssl_usesystemcerts=no\n"
                  "set from=alice@corp.example\nset realname=Alice\nset use_envelope_from=yes\n"
                  "set envelope_from_address=alice@corp.example\nset copy=no\n"
                  f"set folder={tmp_path}\nset spoolfile={tmp_path}/in\n")
    done = run("mutt", "-F", rc, "-n", "-s", "mutt", "--", TO, input="body\n",
               env={"KRB5CCNAME": cache, "HOME": str(tmp_path), "TERM": "dumb"}, folder=tmp_path)
    arrived(service, "mutt", done, row, "GSSAPI, mutt")


@pytest.mark.parametrize("mechanism", ["GSSAPI", "GSS-SPNEGO"])
def test_a_client_of_cyrus(service, cache, row, mechanism):
    libraries = ad.UNPACKED / "usr/lib/x86_64-linux-gnu"
    done = run(ad.UNPACKED / "usr/lib/cyrus/bin/smtptest", "-m", mechanism, "-u", "", "-a", "alice",
               "-l", "0", "-p", service.port("plain"), ad.RELAY_NAME, input="QUIT\r\n",
               env={"KRB5CCNAME": cache, "SASL_PATH": str(libraries / "sasl2"),
                    "LD_LIBRARY_PATH": str(libraries)})
    assert "Authenticated." in done.stdout, done
    arrived(service, None, done, row, f"{mechanism}, smtptest (Cyrus)")


def test_the_mail_says_who_sent_it_and_how(service, cache):
    with service.client() as client:
        assert kerberos.dotnet(client, kerberos.Context(cache))[-1][1].code == 235
        client.mail("alice@corp.example", TO, b"Subject: received\r\n\r\nx\r\n")
    assert b"ESMTPSA" in service.wait_mail("received").header()


def test_the_service_outlived_all_of_it(service):
    assert service.running()
    with service.client() as client:
        assert client.cmd("NOOP").code == 250
        try:
            client.quit()
        except Closed:
            pass
