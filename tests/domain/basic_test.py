"""Names and passwords of the domain, PLAIN and LOGIN, by each way to it: PAM and winbind of the
joined machine, Kerberos, LDAP over TLS from the start and by StartTLS."""
import pytest

import ad

WAYS = ["pam", "kerberos", "ldaps", "starttls"]
CORP = {"name": ad.SHORT, "aliases": [ad.DNS]}


def entry(way, domain, **more):
    """The domain's entry of authentication.domains."""
    directory = {"backend": "ldap", "ca_file": str(domain.ca), "bind": f"{{user}}@{ad.DNS}"}
    return {**CORP, **{
        "pam": {"backend": "system"},
        "kerberos": {"backend": "kerberos", "realm": ad.REALM, "keytab": str(domain.keytab),
                     "kdc": [ad.DC]},
        "ldaps": {**directory, "url": f"ldaps://{ad.DC_NAME}"},
        "starttls": {**directory, "url": f"ldap://{ad.DC_NAME}"},
    }[way], **more}


@pytest.fixture(scope="module")
def services(relay, domain):
    made = {}

    def get(way, **more):
        key = (way, repr(sorted(more.items())))
        if key not in made:
            made[key] = relay([entry(way, domain, **more)], config={
                "access": {"relay": {"authenticated": True}},
                "authentication": {"basic": {"default_domain": ad.SHORT}}})
        return made[key]
    return get


@pytest.fixture(params=WAYS)
def way(request):
    return request.param


def outcome(service, row, way, name, password, mechanism="plain", show=None):
    reply, (verdict, word) = service.try_basic(name, password, mechanism)
    row(f"Basic, {way}", show or name, reply.lines[-1], f"{verdict} {word}")
    return reply, verdict, word


@pytest.mark.parametrize("mechanism", ["plain", "login"])
def test_the_right_password(services, domain, row, way, mechanism):
    service = services(way)
    reply, verdict, word = outcome(service, row, way, "alice", domain.passwords["alice"], mechanism)
    assert (reply.code, verdict, word) == (235, "ok", f"{ad.SHORT}\\alice"), service.log()[-2000:]


def test_letters_beyond_ascii(services, domain, row, way):
    reply, *_ = outcome(services(way), row, way, "juergen", domain.passwords["juergen"])
    assert reply.code == 235


@pytest.mark.parametrize("name", [r"CORP\bob", r"corp\bob", "bob@corp.example", "bob@CORP.EXAMPLE",
                                  r"corp.example\bob", "bob"])
def test_each_form_of_a_name_is_one_account(services, domain, way, name):
    reply, said = services(way).try_basic(name, domain.passwords["bob"])
    assert reply.code == 235
    assert said == ("ok", f"{ad.SHORT}\\bob")


@pytest.mark.parametrize("who", ["wrong", "unknown", "disabled", "expired", "stale", "mustchange",
                                 "locked", "empty", "Guest"])
def test_who_does_not_get_in(services, domain, row, way, who):
    service = services(way)
    name = {"wrong": "bob", "empty": "bob", "unknown": "nobody-of-that-name"}.get(who, who)
    password = {"wrong": "not the password", "unknown": "whatever", "empty": ""}.get(
        who, domain.passwords.get(who, ""))
    reply, verdict, word = outcome(service, row, way, name, password, show=who)
    assert reply.code == 535, (reply, service.log()[-2000:])
    assert reply.lines == ["535 5.7.3 Authentication unsuccessful"]
    assert verdict == "refused"
    if who in ("wrong", "empty"):
        # It was the password alone.
        assert service.try_basic(name, domain.passwords[name])[0].code == 235


@pytest.mark.parametrize("name", ["alice/admin", "alice@corp.example@corp.example", "al*ice", "ali)ce",
                                  "alice\x01", "CN=alice,CN=Users,DC=corp,DC=example", "krbtgt", "RELAY$"])
def test_what_is_no_account_of_a_person_gets_in_nowhere(services, domain, way, name):
    reply, (verdict, _) = services(way).try_basic(f"CORP\\{name}", domain.passwords["alice"])
    assert reply.code in (501, 535), reply
    assert verdict != "ok"


@pytest.mark.parametrize("way", ["pam", "ldaps", "starttls"])
def test_a_group_lets_its_members_in_also_by_way_of_another_group(services, domain, row, way):
    service = services(way, allow=[f"{ad.SHORT}\\relay-users"])
    for who, code in (("carol", 235), ("dave", 235), ("alice", 535)):
        reply, verdict, word = outcome(service, row, f"{way}, allow: a group", who,
                                       domain.passwords[who])
        assert reply.code == code, (who, reply, service.log()[-2000:])


def test_accounts_by_name_in_the_allow_list(services, domain, row, way):
    service = services(way, allow=[f"{ad.SHORT}\\bob"])
    for who, code in (("bob", 235), ("alice", 535)):
        reply, *_ = outcome(service, row, f"{way}, allow: bob", who, domain.passwords[who])
        assert reply.code == code, (who, reply, service.log()[-2000:])


def test_an_account_is_never_locked_by_us(services, domain, note, way):
    """Twice as many wrong passwords as lock it, in both mechanisms and with every form of the name."""
    service = services(way)
    domain.unlock("victim")
    for i in range(2 * ad.LOCKOUT_THRESHOLD):
        name = ["victim", r"CORP\VICTIM", "victim@corp.example"][i % 3]
        reply, _ = service.try_basic(name, f"wrong {i}", ["plain", "login"][i % 2])
        assert reply.code in (535, 454), reply
    counted = domain.bad_passwords("victim")
    note(f"{way}: {2 * ad.LOCKOUT_THRESHOLD} wrong passwords, of which {counted} reached the domain"
         f" (it locks after {ad.LOCKOUT_THRESHOLD})")
    assert not domain.locked("victim")
    assert counted < ad.LOCKOUT_THRESHOLD
    domain.unlock("victim")


def test_no_password_is_in_the_log(services, domain, way):
    text = services(way).log()
    for password in domain.passwords.values():
        assert password not in text
