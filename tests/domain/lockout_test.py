"""Wrong passwords by NTLM reach the domain less often than lock an account there, whoever sends them
by whatever way; what an account that is locked is told."""
import pytest

import ad
import kerberos

CORP = {"name": ad.SHORT, "aliases": [ad.DNS], "backend": "kerberos", "realm": ad.REALM}
WAYS = {"NTLM": ("ntlmssp-client-1", "AUTH NTLM"),
        "GSSAPI, raw NTLM": ("ntlmssp-client-1", "AUTH GSSAPI"),
        "GSS-SPNEGO": ("gss-spnego-client", "AUTH GSS-SPNEGO")}


@pytest.fixture(scope="module")
def build(relay, domain):
    def make(**more):
        return relay([{**CORP, "keytab": str(domain.keytab), "kdc": [ad.DC], **more},
                      {"name": "local", "backend": "userdb"}],
                     {"enabled": True, "keytab": str(domain.keytab),
                      "ntlm_auth": "/usr/bin/ntlm_auth"},
                     users=[("printer", "its own password")])
    return make


@pytest.fixture(scope="module")
def service(build):
    return build()


def log_in(service, way, name, password, source=None, domain=ad.SHORT):
    protocol, command = WAYS[way]
    with kerberos.NtlmClient(name, password, domain=domain, protocol=protocol) as ours, \
            service.client(source=source) as client:
        return kerberos.dotnet(client, ours, command)[-1][1]


@pytest.mark.parametrize("way", WAYS)
def test_an_account_is_not_locked_by_ntlm(build, domain, row, note, way):
    """Three times the threshold, each from an address of its own, under several spellings."""
    service = build()
    domain.unlock("victim")
    codes = []
    for i in range(3 * ad.LOCKOUT_THRESHOLD):
        name, of = [("victim", ad.SHORT), ("VICTIM", "corp"), ("victim", ad.DNS)][i % 3]
        reply = log_in(service, way, name, f"wrong {i}", f"127.0.0.{10 + i}", of)
        codes.append(reply.code)
        if i < 4:
            row(f"{way}, wrong password no. {i + 1}", "victim", reply.lines[-1],
                " ".join(service.attempts()[-1]))
    counted = domain.bad_passwords("victim")
    note(f"{way}: {len(codes)} wrong passwords from {len(codes)} addresses, of which {counted} "
         f"reached the domain (it locks after {ad.LOCKOUT_THRESHOLD})")
    assert not domain.locked("victim")
    assert 1 <= counted < ad.LOCKOUT_THRESHOLD
    assert codes[0] == 535 and codes[-1] == 454
    # The right one is not tried either, and says "later": it is the account that is held back.
    assert log_in(service, way, "victim", domain.passwords["victim"]).code == 454
    assert 'auth.account.held_back' in service.log()
    # Others are not concerned.
    assert log_in(service, way, "bob", domain.passwords["bob"]).code == 235
    domain.unlock("victim")


def test_one_address_cannot_do_it_either_in_the_middle_of_others_logins(build, domain):
    """A device with an old password, and right logins of the same account from elsewhere."""
    service = build()
    domain.unlock("victim")
    for i in range(2 * ad.LOCKOUT_THRESHOLD):
        log_in(service, "NTLM", "victim", "the password of last year", "127.0.0.9")
        if i == 1:
            assert log_in(service, "NTLM", "victim", domain.passwords["victim"],
                          "127.0.0.8").code == 235
    assert not domain.locked("victim")
    # Where it was right within a day the last try is kept for it.
    assert log_in(service, "NTLM", "victim", domain.passwords["victim"], "127.0.0.8").code == 235
    domain.unlock("victim")


def test_wrong_passwords_by_every_way_add_up(build, domain):
    service = build()
    domain.unlock("victim")
    for i in range(ad.LOCKOUT_THRESHOLD):
        way = list(WAYS)[i % 3]
        log_in(service, way, "victim", f"wrong {i}", f"127.0.0.{30 + i}")
        service.try_basic(f"{ad.SHORT}\\victim", f"wrong as well {i}")
    assert domain.bad_passwords("victim") < ad.LOCKOUT_THRESHOLD
    assert not domain.locked("victim")
    domain.unlock("victim")


def test_at_once_they_do_not_lock_it_either(build, domain, note):
    import concurrent.futures
    service = build()
    domain.unlock("victim")
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        replies = list(pool.map(lambda i: log_in(service, "NTLM", "victim", f"wrong {i}",
                                                 f"127.0.1.{1 + i}"), range(24)))
    counted = domain.bad_passwords("victim")
    note(f"NTLM: 24 wrong passwords at once, of which {counted} reached the domain")
    assert {r.code for r in replies} <= {535, 454}
    assert counted < ad.LOCKOUT_THRESHOLD and not domain.locked("victim")
    domain.unlock("victim")


def test_the_log_says_whose_password_was_wrong(service, domain):
    log_in(service, "NTLM", "carol", "wrong")
    line = [s for s in service.log().splitlines() if "smtp.auth.refused" in s][-1]
    assert "carol" in line, line
    assert log_in(service, "NTLM", "carol", domain.passwords["carol"]).code == 235


@pytest.mark.parametrize("way", WAYS)
def test_a_locked_account_is_told_what_everybody_is(service, domain, row, way):
    assert domain.locked("locked")
    reply = log_in(service, way, "locked", domain.passwords["locked"])
    row(way, "locked, right password", reply.lines[-1], " ".join(service.attempts()[-1]))
    assert reply.lines == ["535 5.7.3 Authentication unsuccessful"]
