"""The controller frozen, unplugged, without power, slow; helpers killed; a keytab replaced. Whoever
asks it is told 454 within ten seconds, and nobody else waits."""
import contextlib
import os
import pathlib
import secrets
import shutil
import signal
import threading
import time

import pytest

import ad
import kerberos
from smtp import Closed

WITHIN = 10.0
LOCAL = ("printer", "the printer's own password")


@pytest.fixture(scope="module")
def keytab(domain, tmp_path_factory):
    """The keytab that the service reads, a file of the test's own."""
    path = tmp_path_factory.mktemp("keytab") / "relay.keytab"
    shutil.copy(domain.keytab, path)
    return path


@pytest.fixture(scope="module")
def service(relay, domain, keytab):
    return relay([
        {"name": ad.SHORT, "backend": "system"},
        {"name": "KRB", "backend": "kerberos", "realm": ad.REALM, "keytab": str(keytab),
         "kdc": [ad.DC]},
        {"name": "DIR", "backend": "ldap", "url": f"ldaps://{ad.DC_NAME}",
         "ca_file": str(domain.ca), "bind": f"{{user}}@{ad.DNS}"},
        {"name": "local", "backend": "userdb"},
    ], {"enabled": True, "keytab": str(keytab), "ntlm_auth": "/usr/bin/ntlm_auth"},
        {"authentication": {"basic": {"default_domain": "local"}},
         "access": {"relay": {"authenticated": True}}}, users=[LOCAL])


@pytest.fixture(scope="module")
def cache(domain, tmp_path_factory):
    path = tmp_path_factory.mktemp("tickets") / "alice"
    domain.ticket("alice", path)
    return f"FILE:{path}"


def basic(name):
    def login(service, domain):
        with service.client(timeout=60) as client:
            return client.plain(f"{name}\\alice", domain.passwords["alice"])
    return login


def ntlm(service, domain):
    with kerberos.NtlmClient("alice", domain.passwords["alice"]) as ours, \
            service.client(timeout=60) as client:
        return kerberos.ntlm(client, ours)


WAYS = {"PAM, winbind": basic(ad.SHORT), "Kerberos": basic("KRB"), "LDAPS": basic("DIR"),
        "NTLM": ntlm}


def timed(login, *arguments):
    start = time.monotonic()
    try:
        code = login(*arguments).code
    except (OSError, Closed) as e:
        code = repr(e)
    return code, time.monotonic() - start


def local_mail(service):
    with service.client(timeout=60) as client:
        reply = client.plain(*LOCAL)
        if reply.code == 235:
            client.mail("printer@corp.example", "postmaster@local.example")
        return reply


def during(service, domain, trouble, seconds=0.0, each=3):
    """{way: [(code, seconds)]} of three logins at once by each way, and of local mail meanwhile."""
    found = {way: [] for way in WAYS}
    found["local"] = []
    over = threading.Event()

    def mails():
        while not over.is_set():
            found["local"].append(timed(local_mail, service))
            time.sleep(0.1)

    def logins(way):
        end = time.monotonic() + seconds
        while True:
            found[way].append(timed(WAYS[way], service, domain))
            if time.monotonic() >= end:
                return

    with trouble:
        mailing = threading.Thread(target=mails)
        mailing.start()
        time.sleep(0.5)
        threads = [threading.Thread(target=logins, args=(way,)) for way in WAYS for _ in range(each)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        over.set()
        mailing.join()
    return found


def tell(note, what, found):
    for way, list_ in found.items():
        times = sorted(t for _, t in list_)
        codes = sorted({str(c) for c, _ in list_})
        note(f"{what}: {way}: {', '.join(codes)}; {len(times)} in {times[0]:.2f} to {times[-1]:.2f} s")


def all_well(service, domain, note, what, timeout=90):
    """Every way works again, each by itself, without anybody's help."""
    start = time.monotonic()
    for way, login in WAYS.items():
        while True:
            code, _ = timed(login, service, domain)
            assert code in (235, 454), (way, code)
            if code == 235:
                break
            assert time.monotonic() - start < timeout, f"{way} does not come back"
            time.sleep(0.5)
    note(f"{what}: all ways work again after {time.monotonic() - start:.1f} s")


def check_outage(found):
    for way in WAYS:
        for code, seconds in found[way]:
            assert code == 454, (way, found[way])
            assert seconds < WITHIN, (way, found[way])
    assert all(code == 235 for code, _ in found["local"]), found["local"]
    # A whole session with a message; the machine is busy, but nobody waits for the controller.
    assert max(t for _, t in found["local"]) < 4.0, found["local"]


def test_at_first_all_is_well(service, domain, note):
    all_well(service, domain, note, "at first")


@pytest.mark.parametrize("what", ["frozen", "unplugged"])
def test_a_controller_that_is_silent(service, domain, note, what):
    found = during(service, domain, getattr(domain, what)())
    tell(note, what, found)
    all_well(service, domain, note, what)
    check_outage(found)


def test_a_slow_controller_is_no_reason_to_refuse(service, domain, note):
    found = during(service, domain, domain.slow(), seconds=5.0)
    tell(note, "slow", found)
    for way in WAYS:
        assert {code for code, _ in found[way]} <= {235, 454}, (way, found[way])
        assert max(t for _, t in found[way]) < WITHIN
    assert any(code == 235 for way in WAYS for code, _ in found[way])
    assert all(code == 235 for code, _ in found["local"]), found["local"]
    all_well(service, domain, note, "slow")


def test_tickets_work_without_the_controller(service, domain, cache, note):
    """The key is here; only NTLM has to ask."""
    def log_in():
        with service.client() as client:
            return kerberos.dotnet(client, kerberos.Context(cache))[-1][1]
    assert log_in().code == 235  # has fetched the ticket
    with domain.frozen():
        code, took = timed(log_in)
    note(f"frozen: GSSAPI with a ticket: {code} in {took:.2f} s")
    assert code == 235
    all_well(service, domain, note, "frozen, tickets")


def test_winbindd_that_has_died_is_no_refusal(service, domain, note):
    domain.relay.kill()
    found = {}
    for way in ("PAM, winbind", "NTLM"):
        found[way] = [timed(WAYS[way], service, domain)]
        assert found[way][0][0] == 454 and found[way][0][1] < WITHIN, found
    for way in ("Kerberos", "LDAPS"):
        found[way] = [timed(WAYS[way], service, domain)]
        assert found[way][0][0] == 235, found
    domain.start_winbindd()
    tell(note, "winbindd killed", found)
    all_well(service, domain, note, "winbindd killed")


def children(pid, name):
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)
                if int(fields[1].split()[1]) == pid and fields[0].split("(", 1)[1].startswith(name):
                    found.append(int(entry.name))
            except (OSError, ValueError):
                pass
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_helpers_of_ntlm_that_end_or_freeze_in_a_login(service, domain, note, number):
    with kerberos.NtlmClient("alice", domain.passwords["alice"]) as ours, \
            service.client(timeout=60) as client:
        challenge = client.cmd("AUTH NTLM " + kerberos.b64(ours.step()))
        assert challenge.code == 334
        helpers = children(service.process.pid, "ntlm_auth")
        assert helpers
        for pid in helpers:
            os.kill(pid, number)
        start = time.monotonic()
        reply = client.cmd(kerberos.b64(ours.step(kerberos.token_of(challenge))))
        took = time.monotonic() - start
    note(f"ntlm_auth {number.name} in a login: {reply.code} in {took:.2f} s")
    assert reply.code == 454 and took < WITHIN, reply
    try:
        all_well(service, domain, note, f"ntlm_auth {number.name}")
    finally:
        for pid in helpers:
            try:
                os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass


def test_a_keytab_replaced_while_running(service, domain, keytab, cache, note):
    def ticket():
        with service.client() as client:
            return kerberos.dotnet(client, kerberos.Context(cache))[-1][1].code
    assert ticket() == 235
    # A key of the right name that is not the domain's: nothing opens with it.
    wrong = keytab.with_suffix(".wrong")
    ad.run("ktutil", input=f"addent -password -p smtp/{ad.RELAY_NAME}@{ad.REALM} -k 2 -e "
           f"aes256-cts-hmac-sha1-96\nnot the key\nwkt {wrong}\nquit\n")
    os.replace(wrong, keytab)
    assert ticket() in (454, 535)
    assert timed(WAYS["Kerberos"], service, domain)[0] == 454
    shutil.copy(domain.keytab, wrong)
    os.replace(wrong, keytab)
    start = time.monotonic()
    while ticket() != 235 or timed(WAYS["Kerberos"], service, domain)[0] != 235:
        assert time.monotonic() - start < 60
        time.sleep(0.5)
    note(f"keytab replaced: works again after {time.monotonic() - start:.1f} s, without a reload")


def test_a_new_key_of_the_service_and_tickets_of_the_old_one(service, domain, keytab, note,
                                                              tmp_path):
    """The service account's password is changed: tickets of both keys, before and after the new
    keytab is there, and nobody reloads."""
    def log_in(account):
        with service.client() as client:
            said = kerberos.dotnet(client, kerberos.Context(f"FILE:{tmp_path}/{account}"))
            return said[-1][1].code

    domain.ticket("alice", tmp_path / "alice")
    assert log_in("alice") == 235
    domain.change_password("svc-smtp", secrets.token_urlsafe(12) + "aA1")
    domain.ticket("bob", tmp_path / "bob")
    codes = [log_in("alice"), log_in("bob")]
    note(f"new key at the controller, not in the keytab: old ticket {codes[0]}, new one {codes[1]}")
    assert codes == [235, 454]  # the keytab is behind: nothing that the client did wrong
    # What the wire did not say the log does.
    assert "kvno" in service.attempts()[-1][1]
    assert timed(WAYS["Kerberos"], service, domain)[0] == 454
    fresh, both = tmp_path / "fresh.keytab", keytab.with_suffix(".both")
    domain.export_keytab(fresh)
    ad.run("ktutil", input=f"rkt {keytab}\nrkt {fresh}\nwkt {both}\nquit\n")
    shutil.copy(both, domain.keytab)
    os.replace(both, keytab)
    codes = [log_in("alice"), log_in("bob")]
    note(f"both keys in the keytab, no reload: old ticket {codes[0]}, new one {codes[1]}")
    assert codes == [235, 235]
    all_well(service, domain, note, "new key")


def test_a_keytab_that_is_gone_at_a_reload_takes_its_mechanisms_away(service, domain, keytab, cache,
                                                                     note):
    def context():
        return kerberos.Context(cache)
    begun = service.client()
    ours = context()
    reply = begun.cmd("AUTH GSSAPI " + kerberos.b64(ours.step()))
    away = keytab.with_suffix(".away")
    keytab.rename(away)
    try:
        assert service.cli("reload").returncode == 0
        offered = service.offered()
        note(f"keytab gone, reloaded: offered are {', '.join(sorted(offered))}")
        assert "NTLM" in offered and not {"GSSAPI", "GSS-SPNEGO"} & offered
        with service.client() as client:
            assert client.cmd("AUTH GSSAPI").code == 504
        # The login that was under way comes to its end.
        while reply.code == 334:
            token = kerberos.token_of(reply)
            if not ours.complete:
                answer = ours.step(token)
                reply = begun.cmd(kerberos.b64(answer) if answer else "")
            else:
                reply = begun.cmd(kerberos.b64(ours.answer_layer(token)) if token else "")
        assert reply.code in (235, 454), reply
        begun.close()
        said = service.cli("check")
        assert str(keytab) in said.stdout + said.stderr
        assert timed(WAYS["NTLM"], service, domain)[0] == 235
        assert timed(local_mail, service)[0] == 235
    finally:
        away.rename(keytab)
    assert service.cli("reload").returncode == 0
    assert {"GSSAPI", "GSS-SPNEGO"} <= service.offered()
    all_well(service, domain, note, "keytab back")


def test_winbindd_that_is_frozen_is_later_and_holds_up_nobody(service, domain, note):
    found = {way: [] for way in WAYS}
    domain.relay.freeze()
    try:
        threads = [threading.Thread(target=lambda w=way: found[w].append(
            timed(WAYS[w], service, domain))) for way in WAYS for _ in range(3)]
        for thread in threads:
            thread.start()
        found["local"] = [timed(local_mail, service) for _ in range(5)]
        for thread in threads:
            thread.join()
    finally:
        domain.relay.thaw()
    tell(note, "winbindd frozen", found)
    for way in ("PAM, winbind", "NTLM"):
        assert all(code == 454 and t < WITHIN for code, t in found[way]), found[way]
    for way in ("Kerberos", "LDAPS", "local"):
        assert all(code == 235 for code, _ in found[way]), (way, found[way])
    all_well(service, domain, note, "winbindd frozen")


def test_a_controller_without_power_and_back(service, domain, note):
    domain.kill_dc()
    found = during(service, domain, contextlib.nullcontext())
    tell(note, "no power", found)
    domain.start_dc()
    all_well(service, domain, note, "no power")
    check_outage(found)


def test_the_service_outlived_all_of_it(service):
    assert service.running()
    assert timed(local_mail, service)[0] == 235
