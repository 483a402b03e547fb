"""What wrong passwords cost: counters that can be seen, refusals of an address, and a domain that is
never asked so often that it locks an account (with a real KDC that would)."""
import json
import re

import pytest

from realm import Kdc
from smtp import Client

ALICE = "correct horse 7"
NO_DELAY = {"delay": "1ms", "delay_max": "1ms", "account_delay_max": "1ms", "free_failures": 1000}


def guesses(service):
    done = service.cli("sessions", "list", "--guesses", "--json")
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def login(service, user, password, source=None, how="plain"):
    with Client(service.port(), implicit=True, source=source, timeout=60) as client:
        return getattr(client.hello(), how)(user, password).code


def test_counters_are_seen_in_text_and_json(make):
    service = make({"authentication": {"throttle": {**NO_DELAY, "refuse_after": 5,
                                                    "refuse": "60s"}}}, {"i": {"tls": "implicit"}})
    service.add_user().start()
    assert guesses(service) == {"clients": [], "users": [], "domain_users": [], "more": False}
    for k in range(5):
        assert login(service, "alice", f"wrong {k}", source="127.0.0.8") == 535
    assert login(service, "alice", "again", source="127.0.0.9") == 535
    assert login(service, "alice", "again", source="127.0.0.9") == 535
    assert login(service, "alice", "wrong 9", source="127.0.0.8") == 454
    found = guesses(service)
    clients = {c["client"]: c for c in found["clients"]}
    assert clients["127.0.0.8"]["failures"] == 5 and clients["127.0.0.8"]["guesses"] == 5
    assert 50000 < clients["127.0.0.8"]["refused_ms"] <= 60000
    assert clients["127.0.0.9"] == {"client": "127.0.0.9", "failures": 2, "guesses": 1,
                                    "refused_ms": 0}
    assert found["users"] == [{"user": "users\\alice", "failures": 7, "guesses": 6,
                               "refused_ms": 0}]
    assert found["domain_users"] == [] and found["more"] is False
    done = service.cli("sessions", "list", "--guesses")
    assert re.search(r"^127\.0\.0\.8 +5 +5 +(5\d|60) s$", done.stdout, re.M), done.stdout
    assert re.search(r"^users\\alice +7 +6 ", done.stdout, re.M), done.stdout
    lines = [x for x in service.log().splitlines() if "auth.peer.refused" in x]
    assert len(lines) == 1 and "client=127.0.0.8 guesses=5 for_ms=60000" in lines[0], lines
    # a right password from another address is untouched, and forgives its own faults alone
    assert login(service, "alice", service.PASSWORD, source="127.0.0.9") == 235
    found = guesses(service)
    assert [c["client"] for c in found["clients"]] == ["127.0.0.8"]
    assert found["users"][0]["failures"] == 5
    assert service.cli("sessions", "close", "x", "--guesses").returncode == 64
    assert service.cli("sessions", "list", "--json").stdout.strip().startswith("[")


@pytest.fixture(scope="module")
def kdc(tmp_path_factory):
    """Locks for ever at the sixth wrong password."""
    it = Kdc(tmp_path_factory.mktemp("kdc"), {"alice": (ALICE, ""), "bob": ("bobs", "")})
    it.admin("addpol -maxfailure 6 -failurecountinterval 0 -lockoutduration 0 six",
             "modprinc -policy six alice", "modprinc -policy six bob")
    yield it
    it.close()


def relay_for(make, kdc, **more):
    service = make({"authentication": {
        "domains": [kdc.domain(lockout_below=4, **more)],
        "throttle": {**NO_DELAY, "refuse_after": 100000}}}, {"i": {"tls": "implicit"}})
    service.environment["KRB5_CONFIG"] = str(kdc.profile)
    return service.start()


def test_a_domain_that_locks_is_not_made_to(make, kdc):
    service = relay_for(make, kdc)
    assert login(service, "alice", ALICE, source="127.0.0.2") == 235
    before = kdc.requests().count("PREAUTH_FAILED")
    codes = [login(service, "alice", f"guess {k}", source=f"127.0.1.{k}",
                   how="plain" if k % 2 else "login") for k in range(1, 21)]
    assert codes[:3] == [535] * 3 and set(codes[3:]) == {454}, codes
    assert kdc.requests().count("PREAUTH_FAILED") - before == 3, "so many reached the KDC"
    # what it has refused is refused from memory, not asked about
    assert login(service, "alice", "guess 2", source="127.0.1.2") == 535
    assert kdc.requests().count("PREAUTH_FAILED") - before == 3
    # the owner's device still gets in: its password was right today
    assert login(service, "alice", ALICE, source="127.0.0.2") == 235
    found = guesses(service)
    assert [g["user"] for g in found["domain_users"]] == [], "a right one sets the counter back"
    log = service.log()
    held = [x for x in log.splitlines() if "auth.account.held_back" in x]
    assert len(held) == 1 and re.search(r'user="?KRB\\+alice"? for_ms=1800000', held[0]), held
    assert "too many wrong passwords for this account" in log
    assert "was not asked again" in log
    # and the KDC has not locked her: it still gives her a ticket after all that
    assert "LOCKED_OUT" not in kdc.requests()


def test_who_is_held_back_is_seen(make, kdc):
    service = relay_for(make, kdc, lockout_window="10m")
    codes = [login(service, r"KRB\BOB", f"guess {k}") for k in range(4)]
    assert codes == [535, 535, 535, 454], codes
    assert login(service, "bob", "bobs") == 454, "unknown to us, so it might be the next guess"
    found = guesses(service)["domain_users"]
    assert len(found) == 1 and found[0]["user"] == r"KRB\bob" and found[0]["failures"] == 3, found
    assert 500000 < found[0]["refused_ms"] <= 600000
    done = service.cli("sessions", "list", "--guesses")
    assert re.search(r"^KRB\\bob +3 +- +\d+ s$", done.stdout, re.M), done.stdout
    with Client(service.port(), implicit=True) as client:
        reply = client.hello().plain("bob", "another")
        assert "4.7.0 Too many failed authentications" in str(reply.lines), reply
