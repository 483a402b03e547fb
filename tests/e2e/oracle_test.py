"""Nothing tells who has an account: for the embedded database, over the wire, in words and in time.
What is asserted is the words and the work: the processor time that the service spends on a refusal,
which another load on the machine does not change. Wall-clock times are compared by Mann-Whitney's
test and printed."""
import hashlib
import math
import pathlib
import re
import statistics
import time

import pytest

import scram
from postern import SANITIZED, Service
from smtp import Client

ROUNDS = 25
ITERATIONS = 100000
# Names of one length, since SCRAM's messages are as long as the name.
CASES = {"wrong": ("alice", "wrong password"), "unknown": ("nobdy", "wrong password"),
         "disabled": ("goner", "its password"), "not listed": ("carol", "carols password")}


@pytest.fixture(scope="module")
def relay(tmp_path_factory, certificates):
    service = Service(tmp_path_factory.mktemp("oracle"), certificates, {
        "authentication": {
            "domains": [{"name": "users", "backend": "userdb", "allow": ["alice", "goner"]}],
            "throttle": {"delay": "1ms", "delay_max": "1ms", "account_delay_max": "1ms",
                         "free_failures": 1000, "refuse_after": 100000}},
        "limits": {"connections_per_client": 500},
    }, {"i": {"tls": "implicit"}})
    service.add_user().add_user("goner", "its password").add_user("carol", "carols password")
    assert service.cli("user", "disable", "goner").returncode == 0
    service.start()
    yield service
    service.finish()


def cpu_ms(service):
    """Of all its threads, to the nanosecond that the scheduler counts."""
    total = 0
    for file in pathlib.Path(f"/proc/{service.process.pid}/task").glob("*/schedstat"):
        total += int(file.read_text().split()[0])
    return total / 1e6


def mann_whitney(a, b):
    """(how probable it is that one of a is above one of b, two-sided p by the normal approximation)"""
    u = sum((x > y) + 0.5 * (x == y) for x in a for y in b)
    n, m = len(a), len(b)
    z = (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)
    return u / (n * m), math.erfc(abs(z) / math.sqrt(2))


def derivation_ms():
    took = []
    for _ in range(9):
        start = time.thread_time_ns()
        hashlib.pbkdf2_hmac("sha256", b"wrong password", b"0123456789abcdef", ITERATIONS)
        took.append((time.thread_time_ns() - start) / 1e6)
    return statistics.median(took)


def refuse(relay, how, user, password):
    """The words of the whole conversation, wall and processor milliseconds from AUTH to 535."""
    with Client(relay.port(), implicit=True) as client:
        client.hello()
        before, start = cpu_ms(relay), time.monotonic()
        if how == "scram":
            reply = scram.authenticate(client, user, password)
        else:
            reply = getattr(client, how)(user, password)
        wall, cpu = (time.monotonic() - start) * 1000, cpu_ms(relay) - before
        words = [re.sub(r"\[[A-Z0-9]+\]", "[]", line) for line in reply.lines]
        words += client.cmd("MAIL FROM:<a@b.example>").lines
        words += [re.sub(r"\[[A-Z0-9]+\]", "[]", x)
                  for x in client.cmd("RCPT TO:<v@foreign.example>").lines]
        return words, wall, cpu


@pytest.mark.parametrize("how", ["plain", "login", "scram"])
def test_nobody_learns_who_has_an_account(relay, how, record_property):
    words, wall, cpu = {}, {c: [] for c in CASES}, {c: [] for c in CASES}
    for _ in range(ROUNDS):
        for case, (user, password) in CASES.items(): # in turn: other load meets all alike
            said, took, worked = refuse(relay, how, user, password)
            words.setdefault(case, set()).add(tuple(said))
            wall[case].append(took)
            cpu[case].append(worked)
    assert len(set().union(*words.values())) == 1, words
    assert next(iter(words["wrong"]))[0] == "535 5.7.3 Authentication unsuccessful"
    derivation = derivation_ms()
    work = {case: statistics.median(values) for case, values in cpu.items()}
    for case in CASES:
        if how == "scram": # the client derives; nobody's name makes the service do it
            assert work[case] < derivation, (case, work, derivation)
        else: # no name is a way round the derivation, and none costs two of them
            assert 0.5 * derivation < work[case], (case, work, derivation)
            # A sanitizer's own work is no derivation; the cases among themselves are compared below.
            assert SANITIZED or work[case] < 2.5 * derivation, (case, work, derivation)
        assert work["wrong"] / 2 < work[case] < work["wrong"] * 2, work
    for case in ("unknown", "disabled", "not listed"):
        above, p = mann_whitney(wall[case], wall["wrong"])
        a, b = statistics.median(wall[case]), statistics.median(wall["wrong"])
        record_property("note", f"{how}, {ROUNDS} of each in turn: {case} {a:.2f} ms, wrong {b:.2f} ms "
                        f"(medians, {100 * (a - b) / b:+.1f} %); Mann-Whitney: {case} above wrong "
                        f"{above:.2f}, p = {p:.3f}; work {work[case] / derivation:.2f} and "
                        f"{work['wrong'] / derivation:.2f} derivations")


def test_a_right_password_costs_no_more_than_a_wrong_one(relay, record_property):
    """The first time; afterwards it is known for a while."""
    relay.add_user("fresh", "a right one")
    relay.cli("user", "passwd", "alice", "--password-stdin", input="another right one\n")
    with Client(relay.port(), implicit=True) as client:
        client.hello()
        before = cpu_ms(relay)
        assert client.plain("alice", "another right one").code == 235
        first = cpu_ms(relay) - before
    with Client(relay.port(), implicit=True) as client:
        client.hello()
        before = cpu_ms(relay)
        assert client.plain("alice", "another right one").code == 235
        again = cpu_ms(relay) - before
    derivation = derivation_ms()
    record_property("note", f"a right password: {first / derivation:.2f} derivations at first, "
                    f"{again / derivation:.2f} again")
    assert first > derivation / 2 and again < first / 2
