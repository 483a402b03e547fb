"""Which accounts get in by tickets and by NTLM, and what real clients are told who do not."""
import os
import subprocess

import pytest

import ad
import kerberos

WAYS = ["GSSAPI", "GSS-SPNEGO", "NTLM"]
INTEGRATED = {"enabled": True, "ntlm_auth": "/usr/bin/ntlm_auth"}


@pytest.fixture(scope="module")
def build(relay, domain):
    made = {}

    def get(backend, *allow):
        if (backend, allow) not in made:
            more = {"realm": ad.REALM, "keytab": str(domain.keytab), "kdc": [ad.DC]}
            made[backend, allow] = relay(
                [{"name": ad.SHORT, "aliases": [ad.DNS], "backend": backend, "lockout_below": 1000,
                  **({"allow": list(allow)} if allow else {}),
                  **(more if backend == "kerberos" else {})}],
                {**INTEGRATED, "keytab": str(domain.keytab)},
                {"access": {"relay": {"authenticated": True}}})
        return made[backend, allow]
    return get


@pytest.fixture(scope="module")
def tickets(domain, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tickets")

    def get(account):
        path = folder / account
        if not path.exists():
            domain.ticket(account, path)
        return f"FILE:{path}"
    return get


def log_in(service, way, account, domain, tickets):
    with service.client() as client:
        if way == "NTLM":
            with kerberos.NtlmClient(account, domain.passwords[account]) as ours:
                return kerberos.ntlm(client, ours)
        mechanism = kerberos.KERBEROS if way == "GSSAPI" else kerberos.SPNEGO
        context = kerberos.Context(tickets(account), mechanism=mechanism)
        return kerberos.dotnet(client, context, f"AUTH {way}")[-1][1]


@pytest.mark.parametrize("way", WAYS)
def test_a_group_lets_its_members_in(build, domain, tickets, row, way):
    service = build("system", f"{ad.SHORT}\\relay-users")
    for who, code in (("carol", 235), ("dave", 235), ("alice", 535)):
        reply = log_in(service, way, who, domain, tickets)
        row(f"{way}, allow: a group", who, reply.lines[-1], " ".join(service.attempts()[-1]))
        assert reply.code == code, (who, reply, service.attempts()[-1])
    assert reply.lines == ["535 5.7.3 Authentication unsuccessful"]


@pytest.mark.parametrize("way", WAYS)
def test_accounts_that_are_named(build, domain, tickets, row, way):
    service = build("kerberos", f"{ad.SHORT}\\bob")
    for who, code in (("bob", 235), ("alice", 535)):
        reply = log_in(service, way, who, domain, tickets)
        row(f"{way}, allow: bob", who, reply.lines[-1], " ".join(service.attempts()[-1]))
        assert reply.code == code, (who, reply, service.attempts()[-1])


@pytest.mark.parametrize("way", ["GSSAPI", "GSS-SPNEGO"])
def test_a_guest_with_a_ticket_is_refused(build, domain, tickets, row, way):
    service = build("kerberos")
    reply = log_in(service, way, "Guest", domain, tickets)
    row(way, "Guest", reply.lines[-1], " ".join(service.attempts()[-1]))
    assert reply.lines == ["535 5.7.3 Authentication unsuccessful"]
    assert "guest" in service.attempts()[-1][1]


@pytest.mark.parametrize("who", ["wrong password", "unknown", "disabled", "expired", "stale",
                                 "mustchange", "locked"])
def test_the_controller_gives_no_ticket(domain, row, who):
    """So such a client has nothing to send: it fails by itself, or falls to another mechanism."""
    name = {"wrong password": "carol", "unknown": "nobody-here"}.get(who, who)
    password = "wrong" if who == "wrong password" else domain.passwords.get(name, "x")
    done = ad.run("kinit", "-c", "MEMORY:", name, input=password + "\n" * 3, check=False)
    row("GSSAPI, GSS-SPNEGO", who, "(nothing: the controller gives no ticket)",
        (done.stderr.strip().splitlines() or ["?"])[-1].replace("kinit: ", ""))
    assert done.returncode != 0, done
    domain.unlock("carol")


def test_a_ticket_outlives_its_account_and_ntlm_does_not(build, domain, tickets, row):
    """Accepting a ticket asks nobody: the lifetime of tickets is the domain's to choose."""
    service = build("kerberos")
    tickets("dave")
    dn = domain.attribute("dave", "distinguishedName")

    def control(value):
        done = domain._ldap("ldapmodify", "Administrator", domain.passwords["Administrator"],
                            input=f"dn: {dn}\nchangetype: modify\nreplace: userAccountControl\n"
                                  f"userAccountControl: {value}\n")
        assert done.returncode == 0, done
    assert log_in(service, "GSSAPI", "dave", domain, tickets).code == 235
    try:
        control(514)
        for way, code in (("GSSAPI", 235), ("NTLM", 535)):
            reply = log_in(service, way, "dave", domain, tickets)
            row(f"{way}, disabled after the ticket", "dave", reply.lines[-1],
                " ".join(service.attempts()[-1]))
            assert reply.code == code, service.attempts()[-1]
    finally:
        control(512)


# -- real clients that get nowhere

def run(*command, input=None, env=None):
    return subprocess.run([str(c) for c in command], input=input, text=True, capture_output=True,
                          timeout=60, env={**os.environ, "KRB5CCNAME": "FILE:/nonexistent",
                               **(env or {})})


def seen(service, before):
    return [f"{kind} {word}" for kind, word in service.attempts()[before:]]


@pytest.mark.parametrize("who", ["wrong password", "unknown", "disabled", "expired", "mustchange",
                                 "locked", "Guest"])
def test_curl_by_ntlm(build, domain, row, tmp_path, who):
    service = build("kerberos")
    name = {"wrong password": "carol", "unknown": "nobody-here"}.get(who, who)
    password = "wrong" if who == "wrong password" else domain.passwords.get(name, "x")
    mail = tmp_path / "mail"
    mail.write_text("Subject: x\n\nx\n")
    before = len(service.attempts())
    done = run("curl", "-sSv", "-K", "-", "--mail-from", "a@corp.example", "--mail-rcpt",
               "postmaster@local.example", "--crlf", "-T", mail,
               f"smtp://{ad.RELAY_NAME}:{service.port('plain')}", "--login-options", "AUTH=NTLM",
               "--ssl-reqd", "--cacert", service.certificates.ca,
               input=f'user = "{ad.SHORT}\\\\{name}:{password}"\n')
    wire = [line[2:] for line in done.stderr.splitlines() if line.startswith("< 535")]
    row("NTLM, curl", who, (wire or ["?"])[0], "; ".join(seen(service, before)))
    assert done.returncode == 67, done  # CURLE_LOGIN_DENIED
    assert wire == ["535 5.7.3 Authentication unsuccessful"]
    domain.unlock("carol")


def test_clients_without_a_ticket_give_up_by_themselves(build, row, tmp_path):
    service = build("kerberos")
    before = len(service.attempts())
    rc = tmp_path / "msmtprc"
    rc.write_text(f"account default\nhost {ad.RELAY_NAME}\nport {service.port('plain')}\n"
                  f"from alice@corp.example\ntls on\ntls_starttls on\ntls_trust_file "
                  f"{service.certificates.ca}\nauth gssapi\nuser alice\n")
    rc.chmod(0o600)
    done = run("msmtp", "-C", rc, "postmaster@local.example", input="Subject: x\n\nx\n")
    row("GSSAPI, msmtp", "no ticket", "(gives up)", "; ".join(seen(service, before)) or "nothing")
    assert done.returncode != 0
    done = run("gsasl", "--smtp", "--mechanism=GSSAPI", f"--connect={ad.RELAY_NAME}:"
               f"{service.port('plain')}", "--service=smtp", "--authentication-id=alice",
               "--authorization-id=", "--no-starttls", "--quality=auth", input="")
    row("GSSAPI, gsasl", "no ticket", "(gives up)", "; ".join(seen(service, before)) or "nothing")
    assert done.returncode != 0
    assert not any(line.startswith("ok") for line in seen(service, before))
    with service.client() as client:
        assert client.cmd("NOOP").code == 250


def test_what_gsasl_sends_as_ntlm_is_too_old_for_the_domain(build, domain, row):
    """NTLMv1, which the controller refuses whatever the password."""
    service = build("kerberos")
    before = len(service.attempts())
    done = run("gsasl", "--smtp", "--mechanism=NTLM", f"--connect={ad.RELAY_NAME}:"
               f"{service.port('plain')}", "--authentication-id=alice",
               f"--password={domain.passwords['alice']}", "--no-starttls", "--quality=auth",
               input="")
    row("NTLM (v1), gsasl", "alice", "535" if "535" in done.stdout + done.stderr else "?",
        "; ".join(seen(service, before)))
    assert done.returncode != 0, done
    assert seen(service, before) and not any(s.startswith("ok") for s in seen(service, before))
    domain.unlock("alice")
