"""Passwords of a Kerberos realm and of a directory, through the product, with a real KDC and a real
slapd: outcomes, what is proved before a password goes out, and what a controller that does not
serve costs."""
import concurrent.futures
import math
import re
import shutil
import socket
import statistics
import threading
import time

import pytest

from postern import PATIENCE
from realm import Directory, Kdc, Trap, REALM
from smtp import Client

ACCOUNTS = {
    "alice": ("correct horse 7", ""),
    "disabled": ("right", "-allow_tix"),
    "expired": ("right", '-expire "2020-01-01"'),
    "oldpassword": ("right", '-pwexpire "2020-01-01"'),
    "mustchange": ("right", "+needchange"),
    "locked": ("right", "-policy lockable"),
}
FREE_THROTTLE = {"delay": "1ms", "delay_max": "1ms", "account_delay_max": "1ms",
                 "free_failures": 1000, "refuse_after": 100000}
UNSUCCESSFUL = "5.7.3 Authentication unsuccessful"
TEMPORARY = "4.7.0 Temporary authentication failure"


@pytest.fixture(scope="module")
def kdc(tmp_path_factory):
    it = Kdc(tmp_path_factory.mktemp("kdc"), ACCOUNTS)
    yield it
    it.close()


@pytest.fixture(scope="module")
def directory(tmp_path_factory, certificates):
    it = Directory(tmp_path_factory.mktemp("directory"), certificates,
                   {"alice": "correct horse 7", "bob": "bobs", "nopassword": None, "locked": "right"},
                   {"senders": ["alice"], "others": ["bob"]}, ["locked"])
    yield it
    it.close()


@pytest.fixture
def relay(make):
    """relay(domains): a service with them before the embedded database, TLS from the first byte."""
    def build(*domains, **environment):
        service = make({
            "authentication": {"throttle": FREE_THROTTLE, "domains": [
                *({"lockout_below": 1000, **d} for d in domains),
                {"name": "users", "backend": "userdb"}]},
            "limits": {"connections_per_client": 500},
        }, {"mail": {"tls": "implicit"}})
        service.environment.update(environment)
        return service.add_user().start()
    return build


def connect(service, source=None):
    return Client(service.port("mail"), implicit=True, source=source, timeout=60).hello()


def login(service, user, password, how="plain", source=None):
    """The reply and how long it took, in seconds."""
    with connect(service, source) as client:
        began = time.monotonic()
        reply = getattr(client, how)(user, password)
        return reply, time.monotonic() - began


def at_once(service, user, password, count, sources=("127.0.0.1",), wrong=False):
    """[(reply, seconds)] of logins that all begin at one moment, on connections that stand."""
    clients = [connect(service, sources[i % len(sources)]) for i in range(count)]
    gate = threading.Barrier(count)

    def one(i):
        gate.wait()
        began = time.monotonic()
        reply = clients[i].plain(user, f"{password}{i}" if wrong else password)
        return reply, time.monotonic() - began

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(one, range(count)))
    for client in clients:
        client.close()
    return answers


def reasons(service, name):
    return re.findall(rf'smtp\.auth\.refused .*name="?{re.escape(name)}"? reason="([^"]*)"',
                      service.log().replace("\\\\", "\\"))


# -- outcomes

def test_kerberos_outcomes_are_one_reply_and_many_reasons(relay, kdc):
    service = relay(kdc.domain())
    for how in ("plain", "login"):
        for name in ("KRB\\alice", "alice@krb.example", "ALICE@KRB", "alice"):
            reply, _ = login(service, name, "correct horse 7", how)
            assert reply.code == 235, (name, reply)
    assert set(re.findall(r'smtp\.auth\.ok .*user="?([^"\s]*)', service.log())) == {"KRB\\\\alice"}
    for i in range(3):  # the KDC locks it: right comes after
        login(service, "KRB\\locked", f"wrong {i}")
    expected = {
        ("KRB\\alice", "wrong"): "wrong password",
        ("KRB\\nobody", "wrong"): "the realm has no such account",
        ("KRB\\disabled", "right"): "the account is disabled or locked",
        ("KRB\\expired", "right"): "the account has expired",
        ("KRB\\oldpassword", "right"): "the password has expired or must be changed",
        ("KRB\\mustchange", "right"): "the password has expired or must be changed",
        ("KRB\\locked", "right"): "the account is disabled or locked",
        ("KRB\\krbtgt/KRB.EXAMPLE", "x"): "no account of a realm is named like that",
        ("KRB\\alice/admin", "x"): "no account of a realm is named like that",
    }
    for (name, password), reason in expected.items():
        reply, _ = login(service, name, password)
        assert (reply.code, reply.text) == (535, UNSUCCESSFUL), (name, reply)
        assert reasons(service, name)[-1] == reason, name
    assert "alice/admin" not in kdc.requests() and "auth.backend.silent" not in service.log()


@pytest.mark.parametrize("starttls", [False, True], ids=["ldaps", "starttls"])
def test_directory_outcomes_are_one_reply_and_many_reasons(relay, directory, starttls):
    service = relay(directory.domain(starttls=starttls))
    for how in ("plain", "login"):
        assert login(service, "DIR\\alice", "correct horse 7", how)[0].code == 235
    for name, password in (("alice", "wrong"), ("nobody", "wrong"), ("nopassword", "x"),
                           ("locked", "right"), ("alice,ou=people", "correct horse 7"),
                           ("*", "correct horse 7"), ("alice)(uid=*", "correct horse 7")):
        reply, _ = login(service, f"DIR\\{name}", password)
        assert (reply.code, reply.text) == (535, UNSUCCESSFUL), (name, reply)
        assert reasons(service, f"DIR\\{name}")[-1] == "the directory refuses name or password"
    text = directory.log.read_text(errors="replace")
    assert "STARTTLS" in text or not starttls
    assert re.search(r'BIND dn="uid=alice\\2Cou\\3Dpeople,ou=people|BIND dn="uid=alice\\2Cou=people,ou=people',
                     text), "the comma of a name is no comma of the DN"


def test_an_allow_list_holds_for_groups_of_the_directory_and_for_accounts_of_the_realm(
        relay, directory, kdc):
    service = relay(directory.domain(allow=["DIR\\senders"]), kdc.domain(allow=["KRB\\alice"]))
    assert login(service, "DIR\\alice", "correct horse 7")[0].code == 235
    assert login(service, "KRB\\alice", "correct horse 7")[0].code == 235
    reply, _ = login(service, "DIR\\bob", "bobs")
    assert (reply.code, reply.text) == (535, UNSUCCESSFUL)
    assert "in none of the groups" in reasons(service, "DIR\\bob")[-1] or \
        "allow list" in reasons(service, "DIR\\bob")[-1]


def test_an_empty_password_is_refused_before_anybody_is_asked(relay):
    traps = [Trap("silent"), Trap("silent")]
    service = relay(
        {"name": "DIR", "backend": "ldap", "url": f"ldaps://127.0.0.1:{traps[0].port}",
         "bind": "uid={user},dc=x", "ca_file": ""},
        {"name": "DIR2", "backend": "ldap", "url": f"ldap://127.0.0.1:{traps[1].port}",
         "bind": "{user}@x.example", "ca_file": ""})
    for name in ("DIR\\alice", "DIR2\\alice"):
        for how in ("plain", "login"):
            reply, took = login(service, name, "", how)
            assert 500 <= reply.code < 600 and took < 2 * PATIENCE, (name, reply, took)
    assert [t.connections for t in traps] == [0, 0]
    for trap in traps:
        trap.close()


# -- what is proved first

def test_an_authority_that_is_not_trusted_is_454_with_the_cure_and_no_password_goes_out(
        relay, directory, tmp_path, certificates):
    other = tmp_path / "other-ca"
    other.mkdir()
    stranger = type(certificates)(other)
    wrong_name = Directory(tmp_path / "named", certificates, {"alice": "correct horse 7"},
                           certificate=certificates.other, key=certificates.other_key)
    plain = Directory(tmp_path / "plain", certificates, {"alice": "correct horse 7"}, tls=False)
    before = directory.binds()
    service = relay(
        directory.domain("TLS", ca_file=str(stranger.ca)),
        directory.domain("START", starttls=True, ca_file=str(stranger.ca)),
        wrong_name.domain("NAMED"), plain.domain("CLEAR", starttls=True),
        directory.domain("NOFILE", ca_file=str(tmp_path / "absent.pem")))
    for domain in ("TLS", "START", "NAMED"):
        reply, took = login(service, f"{domain}\\alice", "correct horse 7")
        assert (reply.code, reply.text) == (454, TEMPORARY) and took < 5 * PATIENCE, (domain, reply)
        reason = reasons(service, f"{domain}\\alice")[-1]
        assert "not signed by an authority that is trusted (ca_file)" in reason, reason
    reply, _ = login(service, "CLEAR\\alice", "correct horse 7")
    assert reply.code == 454, "a server without StartTLS never gets the password"
    reply, _ = login(service, "NOFILE\\alice", "correct horse 7")
    assert reply.code == 454
    assert re.search(r'auth\.backend\.not_ready domain="NOFILE \(ldap\)" reason="ca_file: [^"]*absent\.pem: '
                     r'[^"]*" cure="ca_file: a PEM file', service.log())
    assert directory.binds() == before and wrong_name.binds() == 0 and plain.binds() == 0
    wrong_name.close()
    plain.close()


def test_check_asks_the_controllers_when_told_to(make, kdc, directory, tmp_path, certificates):
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    other = type(certificates)(stranger).ca
    gone = Trap("close")
    service = make({"authentication": {"domains": [
        kdc.domain("FINE"), directory.domain("GOOD"), directory.domain("ALSO", starttls=True),
        kdc.domain("NOBODY", kdc=[f"127.0.0.1:{gone.port}"]),
        directory.domain("STRANGE", ca_file=str(other)),
        directory.domain("START", starttls=True, ca_file=str(other)),
        directory.domain("HALF", url=f"{directory.domain()['url']} ldaps://127.0.0.1:{gone.port}")]}})
    before, binds = kdc.requests().count("AS_REQ"), directory.binds()
    quiet = service.cli("check")
    assert quiet.returncode == 0 and "does not answer" not in quiet.stdout
    assert gone.connections == 0 and kdc.requests().count("AS_REQ") == before
    done = service.cli("check", "--connect")
    assert done.returncode == 0, done
    warned = re.findall(r"domains\[\d\]: (\w+) \(\w+\) does not answer, its accounts get 454: (.*)",
                        done.stdout)
    assert [name for name, _ in warned] == ["NOBODY", "STRANGE", "START", "HALF"], done.stdout
    assert "not signed by an authority that is trusted (ca_file)" in warned[1][1]
    assert "to mend it: see url and ca_file" in warned[2][1]
    assert f"127.0.0.1:{gone.port}" in warned[0][1] and f"127.0.0.1:{gone.port}" in warned[3][1]
    assert re.search(r"FINE \(kerberos\) +ready\n", done.stdout)
    assert directory.binds() == binds, "no name and no password went out"
    gone.close()


@pytest.mark.parametrize("knows_service", [False, True], ids=["no-principal", "another-key"])
def test_a_false_kdc_gains_nothing(relay, kdc, tmp_path, knows_service):
    """It knows the realm and gives out tickets for a password of its own, but has not our key."""
    false = Kdc(tmp_path / "false", {"alice": ("the thief's", "")}, services=knows_service)
    service = relay(kdc.domain(kdc=[f"127.0.0.1:{false.port}"]))
    reply, _ = login(service, "KRB\\alice", "the thief's")
    assert (reply.code, reply.text) == (454, TEMPORARY)
    reason = reasons(service, "KRB\\alice")[-1]
    assert ("false KDC" in reason) if knows_service else ("setspn -S" in reason), reason
    assert "ISSUE" in false.requests(), "it did give a ticket for its password"
    false.close()


def test_krb5_config_is_honoured(relay, kdc):
    domain = kdc.domain()
    del domain["kdc"]
    service = relay(domain, KRB5_CONFIG=str(kdc.profile))
    assert login(service, "KRB\\alice", "correct horse 7")[0].code == 235
    assert login(service, "KRB\\alice", "wrong")[0].code == 535


def test_a_keytab_may_be_replaced_while_the_service_runs(relay, kdc, tmp_path):
    keytab = tmp_path / "relay.keytab"
    shutil.copy(kdc.keytab, keytab)
    service = relay(kdc.domain(keytab=str(keytab)))
    assert login(service, "KRB\\alice", "correct horse 7")[0].code == 235
    newer = kdc.export()  # the KDC now uses keys that this keytab does not hold
    reply, _ = login(service, "KRB\\alice", "correct horse 7")
    assert reply.code == 454
    assert "keytab" in reasons(service, "KRB\\alice")[-1]
    shutil.copy(newer, tmp_path / "next")
    (tmp_path / "next").rename(keytab)
    assert login(service, "KRB\\alice", "correct horse 7")[0].code == 235
    keytab.unlink()
    reply, _ = login(service, "KRB\\alice", "correct horse 7")
    assert reply.code == 454 and "keytab" in reasons(service, "KRB\\alice")[-1]


# -- a controller that does not serve

class Outage:
    """One broken domain beside good ones."""

    def __init__(self, backend, how, kdc, directory, tmp_path, certificates):
        self.backend, self.how, self.trap, self.own = backend, how, None, None
        if how in ("frozen", "gone"):
            if backend == "kerberos":
                self.own = Kdc(tmp_path / "own", {"alice": ("correct horse 7", "")})
                self.broken = self.own.domain("BAD")
            else:
                self.own = Directory(tmp_path / "own", certificates, {"alice": "correct horse 7"})
                self.broken = self.own.domain("BAD", starttls=how == "gone")
        else:
            first = b"\x00\x00\x04\x00\x7e" if backend == "kerberos" else b"\x16\x03\x03\x04\x00\x02"
            self.trap = Trap(how, first)
            at = f"127.0.0.1:{self.trap.port}"
            self.broken = kdc.domain("BAD", kdc=[at]) if backend == "kerberos" else \
                directory.domain("BAD", url=f"ldaps://{at}")
        self.good = directory.domain("GOOD") if backend == "kerberos" else kdc.domain("GOOD")
        self.same = kdc.domain("SAME") if backend == "kerberos" else directory.domain("SAME")

    def begin(self):
        if self.how == "frozen":
            self.own.freeze()
        elif self.how == "gone":
            self.own.kill()

    def close(self):
        for it in (self.trap, self.own):
            if it is not None:
                it.close()


@pytest.mark.parametrize("how", ["frozen", "gone", "full", *(
    pytest.param(how, marks=pytest.mark.long) for how in ("silent", "dribble", "close", "garbage"))])
@pytest.mark.parametrize("backend", ["kerberos", "ldap"])
def test_a_controller_that_does_not_serve_is_454_and_holds_up_nobody(
        relay, kdc, directory, tmp_path, certificates, record_property, backend, how):
    outage = Outage(backend, how, kdc, directory, tmp_path, certificates)
    service = relay(outage.broken, outage.good, outage.same)
    if outage.own is not None:
        assert login(service, "BAD\\alice", "correct horse 7")[0].code == 235
    outage.begin()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(at_once, service, "BAD\\alice", "correct horse 7", 20)
        others, end = [], time.monotonic() + 2
        while time.monotonic() < end or len(others) < 6:
            for name in ("GOOD\\alice", "SAME\\alice", "users\\alice"):
                reply, took = login(service, name, "correct horse 7")
                assert reply.code == 235, (name, reply)
                others.append(took)
        answers = under_way.result()
    assert {(r.code, r.text) for r, _ in answers} == {(454, TEMPORARY)}
    slowest = max(took for _, took in answers)
    assert slowest < 10, slowest
    assert max(others) < 3 * PATIENCE, others
    reply, at_once_s = login(service, "BAD\\alice", "correct horse 7")
    assert reply.code == 454 and at_once_s < 2 * PATIENCE
    assert f'auth.backend.silent domain="BAD ({backend})"' in service.log()
    note = (f"{backend} {how}: 20 logins all 454, the slowest after {slowest:.2f} s; meanwhile "
            f"{len(others)} logins elsewhere, median {1000 * statistics.median(others):.0f} ms, "
            f"slowest {1000 * max(others):.0f} ms; then 454 after {1000 * at_once_s:.0f} ms")
    if how == "frozen":
        outage.own.thaw()
        began = time.monotonic()
        while login(service, "BAD\\alice", "correct horse 7")[0].code != 235:
            assert time.monotonic() - began < 40, "it answers again and is not asked"
            time.sleep(0.2)
        assert "auth.backend.answers" in service.log()
        note += f"; serves {time.monotonic() - began:.1f} s after it was thawed"
    record_property("note", note)
    outage.close()


class Slow:
    """Stands before a server and passes on what each side says after a while."""

    def __init__(self, port, delay_s):
        self.target, self.delay_s = port, delay_s
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.target))
            threading.Thread(target=self._pass, args=(near, far, 0), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near, self.delay_s), daemon=True).start()

    def _pass(self, source, sink, delay_s):
        try:
            while data := source.recv(65536):
                time.sleep(delay_s)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.listener.close()


@pytest.mark.long
@pytest.mark.parametrize("backend", ["kerberos", "ldap"])
def test_a_slow_controller_answers_some_and_all_have_their_reply_within_ten_seconds(
        relay, kdc, directory, record_property, backend):
    slow = Slow(kdc.port if backend == "kerberos" else directory.port, 0.9)
    domain = kdc.domain("SLOW", kdc=[f"127.0.0.1:{slow.port}"]) if backend == "kerberos" else \
        directory.domain("SLOW", url=f"ldaps://127.0.0.1:{slow.port}")
    service = relay(domain)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(at_once, service, "SLOW\\alice", "correct horse 7", 60)
        others = []
        while not under_way.done():
            reply, took = login(service, "users\\alice", "correct horse 7")
            assert reply.code == 235
            others.append(took)
        answers = under_way.result()
    codes = [r.code for r, _ in answers]
    slowest = max(took for _, took in answers)
    assert set(codes) <= {235, 454} and codes.count(235) >= 8, codes
    assert slowest < 10.5, slowest
    assert max(others) < 3 * PATIENCE, others
    record_property("note", (
        f"{backend} slow (each of its answers 0.9 s late): of 60 logins at once {codes.count(235)} "
        f"235 and {codes.count(454)} 454, the slowest after {slowest:.2f} s; meanwhile "
        f"{len(others)} logins of the embedded database, slowest {1000 * max(others):.0f} ms"))
    slow.close()


# -- what time tells

def mann_whitney(a, b):
    """Two-sided p of the rank sum test, by its normal approximation with ties."""
    both = sorted([(x, 0) for x in a] + [(x, 1) for x in b])
    ranks, ties, i = [0.0, 0.0], 0.0, 0
    while i < len(both):
        k = i
        while k < len(both) and both[k][0] == both[i][0]:
            k += 1
        for j in range(i, k):
            ranks[both[j][1]] += (i + k + 1) / 2
        ties += (k - i) ** 3 - (k - i)
        i = k
    n, m = len(a), len(b)
    u = ranks[0] - n * (n + 1) / 2
    variance = n * m / 12 * (n + m + 1 - ties / ((n + m) * (n + m - 1)))
    return math.erfc(abs(u - n * m / 2) / math.sqrt(2 * variance)) if variance > 0 else 1.0


def bare_bind(context, port, name):
    """How long the directory itself takes to refuse: a simple bind in BER, nothing of ours."""
    dn = f"uid={name},ou=people,dc=dir,dc=example".encode()
    body = b"\x02\x01\x03\x04" + bytes([len(dn)]) + dn + b"\x80\x05wrong"
    bind = b"\x02\x01\x01\x60" + bytes([len(body)]) + body
    with socket.create_connection(("127.0.0.1", port), 20) as s, context.wrap_socket(s) as tls:
        began = time.monotonic()
        tls.sendall(b"\x30" + bytes([len(bind)]) + bind)
        assert tls.recv(4096)
        return time.monotonic() - began


@pytest.mark.long
@pytest.mark.solo
@pytest.mark.parametrize("backend", ["kerberos", "ldap"])
def test_unknown_and_wrong_take_the_same_time(relay, kdc, directory, record_property, backend):
    import ssl
    service = relay(kdc.domain("D") if backend == "kerberos" else directory.domain("D"))
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    times = {"unknown": [], "wrong": []}
    bare = {"unknown": [], "wrong": []}
    rounds = 60
    for i in range(rounds + 10):
        for what in ("unknown", "wrong") if i % 2 else ("wrong", "unknown"):
            name = f"nobody{i}" if what == "unknown" else "alice"
            reply, took = login(service, f"D\\{name}", f"no {what} {i}")
            assert (reply.code, reply.text) == (535, UNSUCCESSFUL)
            if backend == "ldap":
                bare[what].append(bare_bind(context, directory.port, name))
            if i >= 10:  # the first ones find the step
                times[what].append(took)
    p = mann_whitney(times["unknown"], times["wrong"])
    medians = {what: 1000 * statistics.median(t) for what, t in times.items()}
    note = (f"{backend}, {rounds} interleaved of each: unknown {medians['unknown']:.2f} ms, wrong "
            f"{medians['wrong']:.2f} ms (medians), Mann-Whitney p = {p:.3f}")
    if backend == "ldap":
        q = mann_whitney(bare["unknown"], bare["wrong"])
        note += (f"; the directory by itself: {1000 * statistics.median(bare['unknown']):.2f} ms, "
                 f"{1000 * statistics.median(bare['wrong']):.2f} ms, p = {q:.2g}")
        assert q < 1e-6, "this test could not have seen a difference"
    record_property("note", note)
    assert abs(medians["unknown"] - medians["wrong"]) < 1.5 * PATIENCE, note
    assert p > 0.001, note


# -- many at once

@pytest.mark.long
@pytest.mark.parametrize("backend", ["kerberos", "ldap"])
def test_200_logins_at_once_are_all_answered(relay, kdc, directory, record_property, backend):
    service = relay(kdc.domain("D") if backend == "kerberos" else directory.domain("D"))
    login(service, "D\\alice", "correct horse 7")
    sources = [f"127.0.0.{i}" for i in range(2, 6)]
    began = time.monotonic()
    answers = at_once(service, "D\\alice", "correct horse 7", 200, sources)
    lasted = max(took for _, took in answers)
    codes = [r.code for r, _ in answers]
    assert codes.count(235) + codes.count(454) == 200, codes
    assert codes.count(235) >= 30 // PATIENCE, codes  # what a busy machine does within the bound
    assert lasted < 10.5, lasted
    one = [r.code for r, _ in at_once(service, "D\\alice", "correct horse 7", 200)]
    assert one.count(235) + one.count(454) == 200 and one.count(235) >= 64, one
    assert login(service, "D\\alice", "correct horse 7")[0].code == 235
    assert "auth.backend.silent" not in service.log()
    record_property("note", (
        f"{backend}: 200 logins at once from four addresses: {codes.count(235)} 235, "
        f"{codes.count(454)} 454, the last after {lasted:.2f} s ({200 / lasted:.0f}/s); from one "
        f"address: {one.count(235)} 235, {one.count(454)} 454 (its share of the lane)"))


@pytest.mark.threaded
def test_right_and_wrong_passwords_of_both_backends_at_once(relay, kdc, directory):
    service = relay(kdc.domain(), directory.domain())
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        right = [pool.submit(at_once, service, f"{d}\\alice", "correct horse 7", 12)
                 for d in ("KRB", "DIR")]
        wrong = pool.submit(at_once, service, "KRB\\nobody", "wrong", 12, wrong=True)
        assert {r.code for f in right for r, _ in f.result()} == {235}
        assert {r.code for r, _ in wrong.result()} == {535}
