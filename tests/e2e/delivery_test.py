"""From the queue to the next hop: routes, outcomes, retries, TLS and credentials on the way out."""
import json
import re
import ssl
import time

import pytest

import samples
from postern import PATIENCE, free_port
from sink import Sink
from smtp import Client

FAST = {"retry": ["1s"], "reuse": "2s"}


def relay_to(make, sink, delivery=None, **config):
    """A service that relays from 127.0.0.1; sink None = by MX."""
    options = {**FAST, **(delivery or {})}
    if sink is not None:
        options.setdefault("smart_host", sink.literal)
    return make({"access": {"relay": {"list": ["127.0.0.1"]}}, "delivery": options,
                 **config}).start()


def submit(service, recipients="v@foreign.example", sender="a@local.example", body=b"x\r\n",
           name="m", **more):
    with Client(service.port()) as client:
        client.hello()
        client.mail(sender, recipients, samples.message(name, body), **more)


def ndrs(service):
    return [f for f in service.drop() if f.sender in ("", "<>", None)]


def wait_ndr(service, count=1, timeout=25):
    end = time.monotonic() + timeout * PATIENCE
    while time.monotonic() < end:
        if len(ndrs(service)) >= count:
            return ndrs(service)
        time.sleep(0.05)
    raise AssertionError(f"no report came:\n{service.log()[-4000:]}")


def no_ndr(service, seconds=1.5):
    time.sleep(seconds)
    assert ndrs(service) == []


# -- the smart host

@pytest.mark.threaded
def test_the_smart_host_gets_the_message_byte_for_byte(make, sink):
    service = relay_to(make, sink)
    for name, body in samples.BODIES.items():
        if name == "controls":
            continue
        with Client(service.port()) as client:
            client.hello()
            message = samples.message(name, body)
            client.mail("a@local.example", "v@foreign.example", message, " BODY=8BITMIME")
        got = sink.wait(len([m for m in sink.taken()]) or 1)
    got = {re.search(rb"Subject: (\w+)", m.data).group(1).decode(): m
           for m in sink.wait(len(samples.BODIES) - 1)}
    for name, body in samples.BODIES.items():
        if name != "controls":
            assert samples.dropped(got[name].data, samples.message(name, body)) == ""
    assert got["simple"].helo == b"EHLO relay.example"
    assert got["simple"].sender == "a@local.example"
    service.wait_queue_empty()


def test_one_transaction_takes_all_recipients_of_a_hop(make, sink):
    service = relay_to(make, sink)
    recipients = [f"r{i}@foreign{i % 3}.example" for i in range(12)]
    submit(service, recipients)
    end = time.monotonic() + 15
    while sum(len(m.rcpt) for m in sink.taken()) < 12 and time.monotonic() < end:
        time.sleep(0.05)
    assert sorted(r for m in sink.taken() for r in m.recipients) == sorted(recipients)
    assert len(sink.taken()) <= 3


def test_local_and_foreign_recipients_go_their_own_ways(make, sink):
    service = relay_to(make, sink)
    submit(service, ["l1@local.example", "v@foreign.example", "l2@local.example"])
    assert sink.wait(1)[0].recipients == ["v@foreign.example"]
    file = service.wait_drop(1)[0]
    receivers = sorted(r.strip("<>") for f in service.drop() for r in f.receivers)
    assert receivers == ["l1@local.example", "l2@local.example"], file.raw[:400]


def test_a_domains_own_smart_host_goes_first(make, sink):
    with Sink() as other:
        service = relay_to(make, sink, domains=[
            {"name": "local.example", "type": "local"},
            {"name": "partner.example", "type": "remote", "smart_host": other.literal},
            {"name": "*.wild.example", "type": "remote", "smart_host": other.literal}])
        submit(service, ["p@partner.example", "w@deep.wild.example", "f@foreign.example"])
        assert sorted(r for m in other.wait(2 if len(other.taken()) > 1 else 1)
                      for r in m.recipients)[:1]
        sink.wait(1)
        time.sleep(0.5)
        assert sorted(r for m in other.taken() for r in m.recipients) == [
            "p@partner.example", "w@deep.wild.example"]
        assert [r for m in sink.taken() for r in m.recipients] == ["f@foreign.example"]


def test_a_smart_host_by_name_is_looked_up(make, sink, dns):
    dns.add("hub.corp.example", "A", "127.0.0.1")
    service = relay_to(make, sink, {"smart_host": f"hub.corp.example:{sink.port}"},
                       resolver={"servers": [dns.endpoint]})
    submit(service)
    sink.wait(1)
    assert ("foreign.example", "MX") not in dns.queries


# -- MX

def by_mx(make, dns, sink, **delivery):
    return relay_to(make, None, {"port": sink.port, **delivery},
                    resolver={"servers": [dns.endpoint], "timeout": "2s"})


def test_mx_is_followed_by_preference(make, dns):
    port = free_port()
    with Sink(address="127.0.20.1", port=port) as best, Sink(address="127.0.20.2", port=port) as next_:
        dns.add("foreign.example", "MX", (20, "two.foreign.example"), (10, "one.foreign.example"))
        dns.add("one.foreign.example", "A", "127.0.20.1")
        dns.add("two.foreign.example", "A", "127.0.20.2")
        service = by_mx(make, dns, best)
        submit(service, name="a")
        best.wait(1)
        best.stop()
        submit(service, name="b")
        next_.wait(1)
        assert len(next_.taken()) == 1


def test_without_mx_the_address_itself_is_used(make, dns, sink):
    dns.add("plain.example", "A", "127.0.0.1")
    service = by_mx(make, dns, sink)
    submit(service, "v@plain.example")
    sink.wait(1)


def test_an_mx_list_is_tried_to_its_end(make, dns, sink):
    dns.add("foreign.example", "MX", (1, "gone.example"), (2, "dead.example"), (3, "mx.example"))
    dns.add("dead.example", "A", "127.0.21.1")
    dns.add("mx.example", "A", "127.0.21.2", "127.0.0.1")
    service = by_mx(make, dns, sink)
    submit(service)
    sink.wait(1, 30)


def test_equal_preferences_share_the_load(make, dns):
    port = free_port()
    with Sink(address="127.0.22.1", port=port) as one, Sink(address="127.0.22.2", port=port) as two:
        dns.add("foreign.example", "MX", (10, "one.example"), (10, "two.example"))
        dns.add("one.example", "A", "127.0.22.1")
        dns.add("two.example", "A", "127.0.22.2")
        service = by_mx(make, dns, one, reuse="0s")
        for i in range(24):
            submit(service, name=f"m{i}")
        end = time.monotonic() + 25
        while len(one.taken()) + len(two.taken()) < 24 and time.monotonic() < end:
            time.sleep(0.05)
        assert one.taken() and two.taken(), (len(one.taken()), len(two.taken()))


def test_null_mx_is_a_permanent_failure(make, dns, sink):
    dns.add("nomail.example", "MX", (0, "."))
    dns.add("nomail.example", "A", "127.0.0.1")
    service = by_mx(make, dns, sink)
    submit(service, "v@nomail.example")
    report = wait_ndr(service)[0].content.decode()
    assert re.search(r"Status: 5\.1\.10", report)
    assert sink.taken() == []


def test_a_domain_that_does_not_exist_is_a_permanent_failure(make, dns, sink):
    service = by_mx(make, dns, sink)
    submit(service, "v@nowhere.example")
    assert re.search(r"Status: 5\.(1\.2|4\.4)", wait_ndr(service)[0].content.decode())


def test_a_dns_failure_waits(make, dns, sink):
    dns.fail("foreign.example", "MX")
    service = by_mx(make, dns, sink)
    submit(service)
    no_ndr(service)
    assert [r["address"].strip("<>") for m in service.queue() for r in m["recipients"]] == [
        "v@foreign.example"]
    dns.add("foreign.example", "MX", (10, "mx.example"))
    dns.add("mx.example", "A", "127.0.0.1")
    sink.wait(1, 30)


def test_an_answer_too_long_for_udp_is_asked_again_over_tcp(make, dns, sink):
    dns.add("foreign.example", "MX", (10, "mx.example"))
    dns.add("mx.example", "A", "127.0.0.1")
    dns.truncate.add(("foreign.example", "MX"))
    service = by_mx(make, dns, sink)
    submit(service)
    sink.wait(1, 30)


def test_an_address_literal_needs_no_dns(make, dns, sink):
    service = by_mx(make, dns, sink)
    submit(service, "v@[127.0.0.1]")
    assert sink.wait(1)[0].recipients == ["v@[127.0.0.1]"]
    assert dns.queries == []


def test_direct_first_tries_mx_and_then_the_smart_host(make, dns):
    port = free_port()
    with Sink(address="127.0.23.1", port=port) as direct, Sink() as smart:
        dns.add("foreign.example", "MX", (10, "mx.example"))
        dns.add("mx.example", "A", "127.0.23.1")
        service = by_mx(make, dns, direct, direct_first=True, smart_host=smart.literal)
        submit(service, name="first")
        direct.wait(1)
        direct.stop()
        submit(service, name="second")
        smart.wait(1, 30)


# -- outcomes

@pytest.mark.parametrize("where, reply", [
    ("CONNECT", b"421 4.3.2 later\r\n"), ("EHLO", b"421 4.3.2 later\r\n"),
    ("MAIL", b"451 4.3.0 later\r\n"), ("RCPT", b"450 4.2.0 later\r\n"),
    ("DATA", b"451 4.3.0 later\r\n"), (".", b"452 4.3.1 later\r\n"),
    ("CONNECT", "close"), ("EHLO", "close"), ("MAIL", "close"), ("RCPT", "close"),
    ("DATA", "close"), (".", "close"), ("CONNECT", b"554 5.3.2 no service here\r\n")])
def test_a_temporary_failure_is_tried_again(make, where, reply):
    seen = []

    def hook(verb, line, session):
        if verb == where and len(seen) < 2:
            seen.append(verb)
            return reply
        return None

    with Sink(hook=hook) as sink:
        service = relay_to(make, sink)
        submit(service)
        got = sink.wait(1, 40)
        time.sleep(0.3)
        assert len(sink.taken()) == 1 and got[0].recipients == ["v@foreign.example"]
        assert ndrs(service) == []
        service.wait_queue_empty()


@pytest.mark.parametrize("where, reply", [
    ("MAIL", b"550 5.7.1 not you\r\n"), ("RCPT", b"550 5.1.1 no such user\r\n"),
    ("DATA", b"554 5.6.0 no\r\n"), (".", b"554 5.7.1 spam\r\n"),
    ("RCPT", b"550-5.1.1 several\r\n550-5.1.1 lines\r\n550 5.1.1 here\r\n")])
def test_a_permanent_failure_is_reported_to_the_sender(make, where, reply):
    with Sink(hook=lambda verb, line, session: reply if verb == where else None) as sink:
        service = relay_to(make, sink)
        submit(service)
        report = wait_ndr(service)[0]
        text = reply.decode().replace("\r\n", " ").split(" ")
        assert [r.strip("<>") for r in report.receivers] == ["a@local.example"]
        assert f"Status: {text[1] if '-' not in text[0] else '5.1.1'}".encode() in report.content
        service.wait_queue_empty()
        time.sleep(1.2)
        assert len(ndrs(service)) == 1


def test_recipients_have_outcomes_of_their_own(make):
    def hook(verb, line, session):
        if verb == "RCPT" and b"bad" in line:
            return b"550 5.1.1 unknown\r\n"
        if verb == "RCPT" and b"later" in line and session.sink.connections < 3 \
                and not session.sink.extra:
            session.sink.extra.append(1)
            return b"451 4.2.1 later\r\n"
        return None

    with Sink(hook=hook) as sink:
        sink.extra = []
        service = relay_to(make, sink)
        submit(service, ["good@foreign.example", "bad@foreign.example", "later@foreign.example"])
        sink.wait(2, 40)
        service.wait_queue_empty()
        assert sorted(r for m in sink.taken() for r in m.recipients) == [
            "good@foreign.example", "later@foreign.example"]
        report = wait_ndr(service)[0].content.decode()
        assert "bad@foreign.example" in report and "rfc822; good@" not in report


def test_a_reply_lost_after_the_final_dot_may_deliver_twice_but_never_reports(make):
    lost = []

    def hook(verb, line, session):
        if verb == "." and not lost:
            lost.append(1)
            return "close"
        return None

    with Sink(hook=hook) as sink:
        service = relay_to(make, sink)
        submit(service)
        sink.wait(1, 30)
        service.wait_queue_empty()
        assert len(sink.messages) == 2
        no_ndr(service, 1)


def test_a_next_hop_without_ehlo_is_spoken_to_with_helo(make):
    with Sink(hook=lambda verb, line, session: b"502 5.5.1 no\r\n" if verb == "EHLO" else None) \
            as sink:
        service = relay_to(make, sink)
        submit(service)
        assert sink.wait(1)[0].helo == b"HELO relay.example"


@pytest.mark.parametrize("nonsense", [b"2\r\n", b"hello\r\n", b"250-a\r\n" * 2000 + b"250 b\r\n",
                                      b"250 " + b"x" * 100000 + b"\r\n", b"999 odd\r\n",
                                      b"250-a\r\n550 b\r\n", b"\0\0\0\r\n", b"-1 x\r\n"])
def test_nonsense_from_the_next_hop_is_survived(make, nonsense):
    done = []

    def hook(verb, line, session):
        if verb == "EHLO" and not done:
            done.append(1)
            return nonsense
        return None

    with Sink(hook=hook) as sink:
        service = relay_to(make, sink)
        submit(service)
        sink.wait(1, 40)


def test_a_silent_next_hop_is_given_up(make):
    silent = []

    def hook(verb, line, session):
        if verb == "MAIL" and not silent:
            silent.append(1)
            return "silent"
        return None

    with Sink(hook=hook) as sink:
        service = relay_to(make, sink, {"idle": "2s"})
        submit(service)
        sink.wait(1, 40)


# -- extensions

def test_dsn_parameters_are_passed_on(make, sink):
    service = relay_to(make, sink)
    with Client(service.port()) as client:
        client.hello()
        client.mail("a@local.example", "v@foreign.example", params=" RET=HDRS ENVID=QQ+2B1",
                    rparams=" NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Old+2BOne@x.example")
    got = sink.wait(1)[0]
    assert b"RET=HDRS" in got.mail and b"ENVID=QQ+2B1" in got.mail
    assert b"NOTIFY=" in got.rcpt[0] and b"ORCPT=rfc822;Old+2BOne@x.example" in got.rcpt[0]
    assert {b"SUCCESS", b"DELAY"} == set(re.search(rb"NOTIFY=(\S+)", got.rcpt[0]).group(1).split(b","))


def test_nothing_is_passed_on_that_the_next_hop_does_not_know(make):
    with Sink(extensions=[]) as sink:
        service = relay_to(make, sink)
        with Client(service.port()) as client:
            client.hello()
            client.mail("a@local.example", "v@foreign.example",
                        samples.message("x", samples.BODIES["eightbit"]),
                        " RET=HDRS ENVID=Q1 BODY=8BITMIME SIZE=300", " NOTIFY=NEVER ORCPT=rfc822;x@y")
        got = sink.wait(1)[0]
        assert got.mail == b"MAIL FROM:<a@local.example>"
        assert got.rcpt == [b"RCPT TO:<v@foreign.example>"]
        # Without 8BITMIME the octets go as they are.
        assert got.data.endswith(samples.BODIES["eightbit"])


def test_8bitmime_is_said_where_it_was_said(make, sink):
    service = relay_to(make, sink)
    submit(service, body=samples.BODIES["eightbit"], params=" BODY=8BITMIME")
    assert b"BODY=8BITMIME" in sink.wait(1)[0].mail


def test_size_is_announced_and_a_limit_obeyed(make):
    with Sink(extensions=["SIZE 1000"]) as sink:
        service = relay_to(make, sink)
        submit(service, name="small")
        assert re.search(rb"SIZE=\d+", sink.wait(1)[0].mail)
        submit(service, body=b"x" * 70 + (b"\r\n" + b"y" * 70) * 50 + b"\r\n", name="large")
        assert b"Status: 5.3.4" in wait_ndr(service)[0].content
        assert len(sink.messages) == 1


def test_smtputf8_is_passed_on_or_reported_5_6_7(make, sink):
    service = relay_to(make, sink)
    submit(service, "jörg@foreign.example", params=" SMTPUTF8")
    got = sink.wait(1)[0]
    assert b"SMTPUTF8" in got.mail and "jörg".encode() in got.rcpt[0]
    with Sink(extensions=["8BITMIME"]) as old:
        other = relay_to(make, old)
        submit(other, "jörg@foreign.example", params=" SMTPUTF8")
        assert b"Status: 5.6.7" in wait_ndr(other)[0].content
        submit(other, "ascii@foreign.example", params=" SMTPUTF8", name="ascii")
        old.wait(1)


def test_an_international_domain_is_looked_up_in_its_a_form(make, dns, sink):
    dns.add("xn--bcher-kva.example", "MX", (10, "mx.example"))
    dns.add("mx.example", "A", "127.0.0.1")
    service = by_mx(make, dns, sink)
    submit(service, "v@bücher.example", params=" SMTPUTF8")
    sink.wait(1)


def test_connections_are_reused(make, sink):
    service = relay_to(make, sink, {"reuse": "5s", "connections_per_destination": 1})
    for i in range(10):
        submit(service, name=f"m{i}")
    sink.wait(10)
    assert sink.connections <= 3, sink.connections


def test_a_reused_connection_that_is_dead_is_no_attempt(make, sink):
    service = relay_to(make, sink, {"retry": ["1h"], "reuse": "60s"})
    submit(service, name="one")
    sink.wait(1)
    service.wait_queue_empty()
    time.sleep(0.3)
    sink.stop()
    sink.start()
    submit(service, name="two")
    sink.wait(2)


def test_messages_per_connection_are_bounded(make, sink):
    service = relay_to(make, sink, {"reuse": "5s", "connections_per_destination": 1,
                                    "messages_per_connection": 3})
    for i in range(9):
        submit(service, name=f"m{i}")
    got = sink.wait(9)
    counts = {}
    for message in got:
        counts[message.connection] = counts.get(message.connection, 0) + 1
    assert max(counts.values()) <= 3, counts


def test_connections_per_destination_are_bounded(make):
    import threading
    now, most, lock = [0], [0], threading.Lock()

    def hook(verb, line, session):
        if verb == ".":
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.2)
            with lock:
                now[0] -= 1
        return None

    with Sink(hook=hook) as sink:
        service = relay_to(make, sink, {"connections_per_destination": 2})
        for i in range(12):
            submit(service, name=f"m{i}")
        sink.wait(12, 30)
        assert most[0] <= 2, most


def test_a_slow_destination_does_not_hold_up_another(make):
    with Sink(hook=lambda verb, line, s: "silent" if verb == "CONNECT" else None) as slow, \
            Sink() as quick:
        service = relay_to(make, None, {"smart_host": quick.literal, "connections": 20},
                           domains=[{"name": "local.example", "type": "local"},
                                    {"name": "slow.example", "type": "remote",
                                     "smart_host": slow.literal}])
        for i in range(30):
            submit(service, f"v{i}@slow.example", name=f"s{i}")
        submit(service, "v@quick.example")
        quick.wait(1, 10)


# -- TLS on the way out

@pytest.fixture
def tls(certificates):
    return certificates.server_context()


@pytest.mark.parametrize("mode, offered, expected", [
    ("none", True, "clear"), ("optional", True, "tls"), ("optional", False, "clear"),
    ("required", True, "tls"), ("required", False, "wait"), ("verify", False, "wait"),
    ("verify", True, "wait")])
def test_the_demand_for_tls_is_met(make, tls, mode, offered, expected):
    # verify with the system's roots, which know nothing of our CA, must wait.
    with Sink(tls=tls if offered else None) as sink:
        service = relay_to(make, sink, {"tls": mode})
        submit(service)
        if expected == "wait":
            time.sleep(2)
            assert sink.messages == [] and len(service.queue()) == 1
            assert not any(verb == "MAIL" for _, verb, _ in sink.log)
            no_ndr(service, 0)
        else:
            assert bool(sink.wait(1)[0].tls) == (expected == "tls")


def test_verify_takes_the_right_name_from_the_right_ca(make, tls, dns, certificates):
    dns.add("sink.example", "A", "127.0.0.1")
    dns.add("evil.example", "A", "127.0.0.1")
    with Sink(tls=tls) as sink:
        base = {"tls": "verify", "ca_file": str(certificates.ca)}
        service = relay_to(make, sink, {**base, "smart_host": f"sink.example:{sink.port}"},
                           resolver={"servers": [dns.endpoint]})
        submit(service)
        assert sink.wait(1)[0].tls
        other = relay_to(make, sink, {**base, "smart_host": f"evil.example:{sink.port}"},
                         resolver={"servers": [dns.endpoint]})
        submit(other)
        time.sleep(2)
        assert len(sink.messages) == 1 and len(other.queue()) == 1


def test_a_domains_tls_overrides_the_global_one(make, tls):
    with Sink() as clear:
        service = relay_to(make, clear, {"tls": "optional"}, domains=[
            {"name": "local.example", "type": "local"},
            {"name": "strict.example", "type": "remote", "tls": "required"}])
        submit(service, "v@strict.example", name="strict")
        submit(service, "v@easy.example", name="easy")
        clear.wait(1)
        time.sleep(1.5)
        assert [r for m in clear.taken() for r in m.recipients] == ["v@easy.example"]


def test_optional_tls_that_breaks_goes_on_in_clear_later(make, certificates):
    broken = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    broken.load_cert_chain(certificates.sink, certificates.sink_key)
    broken.minimum_version = broken.maximum_version = ssl.TLSVersion.TLSv1_3

    class Refusing:
        def wrap_socket(self, sock, server_side):
            sock.sendall(b"this is no TLS\r\n")
            sock.close()
            raise ssl.SSLError("no")

    with Sink(tls=Refusing()) as sink:
        service = relay_to(make, sink, {"tls": "optional"})
        submit(service)
        assert sink.wait(1, 30)[0].tls is None


@pytest.mark.parametrize("injected", [b"250-injected\r\n250 SIZE 10\r\n", b"554 5.0.0 injected\r\n",
                                      b"250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n"])
@pytest.mark.parametrize("mode", ["optional", "required"])
def test_replies_injected_behind_starttls_are_never_believed(make, tls, injected, mode):
    with Sink(tls=tls, hook=lambda verb, line, session:
              b"220 go\r\n" + injected if verb == "STARTTLS" and session.number < 3 else None) as sink:
        service = relay_to(make, sink, {"tls": mode})
        submit(service)
        got = sink.wait(1, 40)[0]
        assert got.recipients == ["v@foreign.example"]
        if mode == "required":
            assert got.tls
        service.wait_queue_empty()
        no_ndr(service, 0.5)


# -- credentials on the way out

def with_password(make, sink, folder, password="sesame", user="relay", **delivery):
    path = folder / "smart.password"
    path.write_text(password + "\n")
    return relay_to(make, sink, {"authentication": {"user": user, "password_file": str(path)},
                                 "tls": "required", **delivery})


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "SCRAM-SHA-256"])
def test_it_authenticates_to_the_smart_host(make, tls, tmp_path, mechanism):
    with Sink(tls=tls, users={"relay": "sesame"}, mechanisms=[mechanism]) as sink:
        service = with_password(make, sink, tmp_path)
        submit(service)
        got = sink.wait(1)[0]
        assert got.user == "relay" and got.tls
        assert any(verb == "AUTH" and line.upper().startswith(b"AUTH " + mechanism.encode())
                   for _, verb, line in sink.log)
        assert "sesame" not in service.log()


def test_the_strongest_mechanism_is_taken(make, tls, tmp_path):
    with Sink(tls=tls, users={"relay": "sesame"}) as sink:
        service = with_password(make, sink, tmp_path)
        submit(service)
        sink.wait(1)
        assert any(line.upper().startswith(b"AUTH SCRAM-SHA-256") for _, verb, line in sink.log)


def test_a_smart_host_that_forges_its_scram_signature_gets_no_mail(make, tls, tmp_path):
    def hook(verb, line, session):
        if verb == "EHLO":
            session.extra["forge"] = True
        return None

    with Sink(tls=tls, users={"relay": "sesame"}, mechanisms=["SCRAM-SHA-256"], hook=hook) as sink:
        service = with_password(make, sink, tmp_path)
        submit(service)
        time.sleep(2)
        assert sink.messages == []


# `tls: none` with a password is refused by the configuration itself: tests/config.
@pytest.mark.parametrize("mode", ["optional"])
def test_credentials_never_go_in_clear(make, tmp_path, mode):
    with Sink(users={"relay": "sesame"}) as sink:
        service = with_password(make, sink, tmp_path, tls=mode)
        submit(service)
        time.sleep(2)
        assert not any(verb == "AUTH" for _, verb, _ in sink.log)
        assert sink.messages == [] and len(service.queue()) == 1


def test_a_535_from_the_smart_host_defers_and_never_reports(make, tls, tmp_path):
    with Sink(tls=tls, users={"relay": "other"}) as sink:
        service = with_password(make, sink, tmp_path)
        for i in range(5):
            submit(service, name=f"m{i}")
        time.sleep(3)
        assert sink.messages == [] and len(service.queue()) == 5
        assert ndrs(service) == []
        assert re.search(r"535", service.log()), "the operator is told"
        tries = sum(verb == "AUTH" for _, verb, _ in sink.log)
        assert tries == 1, f"{tries} log-ins in three seconds are an attack on the account"
        waiting = service.queue()[0]["recipients"][0]
        assert "refused: 535" in waiting["last_reply"], waiting
        sink.users["relay"] = "sesame"
        assert service.cli("queue", "retry", "--all").returncode == 0
        sink.wait(5, 40)


def test_a_domain_has_its_own_credentials(make, tls, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("domain secret\n")
    with Sink(tls=tls, users={"partner": "domain secret"}) as other, Sink() as sink:
        service = relay_to(make, sink, domains=[
            {"name": "local.example", "type": "local"},
            {"name": "partner.example", "type": "remote", "smart_host": other.literal,
             "tls": "required",
             "authentication": {"user": "partner", "password_file": str(secret)}}])
        submit(service, ["v@partner.example", "v@foreign.example"])
        assert other.wait(1)[0].user == "partner"
        assert sink.wait(1)[0].user is None


# -- the message on its way

def test_a_looping_message_is_stopped(make, sink):
    service = relay_to(make, sink, {"hop_limit": 15})
    hops = b"".join(b"Received: from x by y; Mon, 02 Jan 2023 10:11:12 +0000\r\n" for _ in range(20))
    with Client(service.port()) as client:
        client.hello()
        client.cmd("MAIL FROM:<a@local.example>")
        client.cmd("RCPT TO:<v@foreign.example>")
        reply = client.data(hops + b"Subject: loop\r\n\r\nx\r\n")
    if reply.code == 250:
        assert b"Status: 5.4.6" in wait_ndr(service)[0].content
    else:
        assert (reply.code, reply.enhanced) == (554, "5.4.6"), reply
    assert sink.messages == []
    few = b"".join(b"Received: from x by y; z\r\n" for _ in range(10))
    with Client(service.port()) as client:
        client.hello()
        client.mail("a@local.example", "v@foreign.example", few + b"Subject: ok\r\n\r\nx\r\n")
    sink.wait(1)


def test_the_sender_is_masqueraded(make, sink):
    service = relay_to(make, sink, {"masquerade": "corp.example"})
    submit(service, sender="a@local.example")
    got = sink.wait(1)[0]
    assert got.sender == "a@corp.example"
    submit(service, sender="", name="null")
    assert sink.wait(2)[1].sender == ""


def test_date_and_message_id_are_added_for_clients_that_may_relay(make, sink):
    service = relay_to(make, sink)
    for source, recipient in (("127.0.0.1", "v@foreign.example"), ("127.0.0.2", "v@local.example")):
        with Client(service.port(), source=source) as client:
            client.hello()
            client.mail("a@local.example", recipient, b"Subject: bare\r\n\r\nx\r\n")
    relayed = sink.wait(1)[0].data.decode()
    assert re.search(r"^Date: \w{3}, \d+ \w{3} \d{4} ", relayed, re.M)
    assert re.search(r"^Message-ID: <[^@]+@relay\.example>\r$", relayed, re.M | re.I)
    stranger = service.wait_drop(1)[0].content.decode()
    assert not re.search(r"^(Date|Message-ID):", stranger, re.M | re.I)


def test_received_says_what_it_must(make, sink):
    service = relay_to(make, sink)
    with Client(service.port()) as client:
        client.hello("my.client.example")
        client.starttls("my.client.example")
        client.mail("a@local.example", "v@foreign.example")
    header = sink.wait(1)[0].data.decode().replace("\r\n\t", " ").replace("\r\n ", " ")
    line = header.split("\r\n")[0]
    assert re.match(r"Received: from my\.client\.example \(.*127\.0\.0\.1.*\) by relay\.example .*"
                    r"with ESMTPS .*; \w{3}, \d+ \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}", line), line


def test_a_forged_hello_cannot_break_received(make, sink):
    service = relay_to(make, sink)
    with Client(service.port()) as client:
        assert client.reply().code == 220
        client.cmd(b"EHLO x) by evil.example (y; \x1b[1m\xff")
        client.mail("a@local.example", "v@foreign.example")
    header = sink.wait(1)[0].data.partition(b"\r\n\r\n")[0]
    assert b"\x1b" not in header
    assert header.count(b"\r\nReceived:") + header.startswith(b"Received:") == 1


# -- the queue's words

def test_the_queue_can_be_watched_and_worked(make):
    with Sink() as sink:
        sink.stop()
        service = relay_to(make, sink, {"retry": ["1h"]})
        for i in range(3):
            submit(service, f"v{i}@foreign{i}.example", name=f"q{i}")
        service.wait_log(r"v2@foreign2\.example|foreign2")
        time.sleep(1)
        listed = service.queue()
        assert len(listed) == 3
        for entry in listed:
            assert set(entry) >= {"id", "sender", "size", "created", "state", "recipients"}
            assert set(entry["recipients"][0]) >= {"address", "state", "attempts", "next",
                                                   "last_reply"}
            assert entry["sender"].strip("<>") == "a@local.example"
        by_rcpt = {e["recipients"][0]["address"].strip("<>")[1]: e["id"] for e in listed}
        assert service.cli("queue", "hold", by_rcpt["0"]).returncode == 0
        assert service.cli("queue", "remove", by_rcpt["1"]).returncode == 0
        assert service.cli("queue", "show", by_rcpt["2"]).returncode == 0
        assert service.cli("queue", "show", "no-such-id").returncode == 1
        assert len(service.queue()) == 2
        sink.start()
        assert service.cli("queue", "retry", by_rcpt["2"]).returncode == 0
        assert sink.wait(1)[0].recipients == ["v2@foreign2.example"]
        time.sleep(0.5)
        assert len(sink.taken()) == 1 and len(service.queue()) == 1
        assert service.cli("queue", "release", by_rcpt["0"]).returncode == 0
        service.cli("queue", "retry", by_rcpt["0"])
        sink.wait(2)
        service.wait_queue_empty()


def test_a_long_queue_is_listed_page_by_page(make):
    with Sink() as sink:
        sink.stop()
        service = relay_to(make, sink, {"retry": ["1h"]})
        with Client(service.port()) as client:
            client.hello()
            for i in range(450):
                client.mail("a@local.example", f"v{i}@foreign.example", samples.message("m", b"x\r\n"))
        listed = service.queue()
        assert len(listed) == 450 and len({entry["id"] for entry in listed}) == 450
        assert "v449@" in service.cli("queue", "list").stdout
        found = service.cli("queue", "list", "--match", "V449@foreign", "--json")
        assert [m["recipients"][0]["address"] for m in json.loads(found.stdout)] == [
            "v449@foreign.example"]
        nothing = service.cli("queue", "list", "--match", "nobody")
        assert (nothing.returncode, nothing.stdout) == (0, "the queue is empty\n")
        held = service.cli("queue", "hold", "--all", "--json")
        assert held.returncode == 0 and len(json.loads(held.stdout)) == 450
        assert {entry["state"] for entry in service.queue()} == {"held"}
        assert service.stop() == 0
        assert len(service.queue()) == 450  # and without the service
        assert service.cli("queue", "remove", "--all").returncode == 0
        assert service.queue() == []


def test_the_queue_is_checked_with_and_without_the_service(make):
    with Sink() as sink:
        sink.stop()
        service = relay_to(make, sink, {"retry": ["1h"]})
        submit(service)
        assert len(service.queue()) == 1
        running = service.cli("queue", "check", "--json")
        assert running.returncode == 0 and json.loads(running.stdout)["sound"] is True
        assert service.stop() == 0
        stopped = service.cli("queue", "check")
        assert stopped.returncode == 0 and stopped.stdout.endswith("queue.db: sound\n")
        store = service.data / "queue.db"
        whole = store.read_bytes()
        store.write_bytes(whole[:16384] + b"\xff" * 400 + whole[16784:])
        damaged = service.cli("queue", "check")
        assert damaged.returncode == 1 and "damaged: see docs/queue.md" in damaged.stdout
        findings = json.loads(service.cli("queue", "check", "--json").stdout)
        assert findings["sound"] is False and findings["findings"]
        store.write_bytes(b"no database at all")
        assert service.cli("queue", "check").returncode == 1
        store.unlink()
        assert service.cli("queue", "check").returncode == 66
        assert service.cli("queue", "check", "Q1").returncode == 64


def test_the_queue_outlives_a_restart(make):
    with Sink() as sink:
        sink.stop()
        service = relay_to(make, sink, {"retry": ["1s"]})
        for i in range(5):
            submit(service, name=f"r{i}")
        assert service.stop() == 0
        listed = service.cli("queue", "list", "--json")
        sink.start()
        service.start()
        sink.wait(5, 30)
        assert listed.returncode in (0, 74), listed


def test_the_memory_queue_relays_too(make, sink):
    service = relay_to(make, sink, queue={"store": "memory"})
    for i in range(20):
        submit(service, name=f"m{i}")
    sink.wait(20)
