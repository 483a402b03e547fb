"""Every sentence of the policy, in the running service and in `postern explain` alike."""
import json
import re
import time

import pytest

from dnsserver import SERVFAIL
from smtp import Client, Closed

ALLOWED, REFUSED, UNKNOWN = 0, 1, 2


def live(service, client, recipient, sender="a@b.example", listener=None, user=None, tls=False):
    """What the service itself says to this client: the exit code that explain would give."""
    try:
        with Client(service.port(listener), source=client) as it:
            greeting = it.reply()
            if greeting.code != 220:
                return UNKNOWN if greeting.code // 100 == 4 and "4.7.1" in greeting.text else REFUSED
            it.ehlo = it.cmd("EHLO client.example")
            if tls or user:
                it.starttls()
            if user:
                assert it.plain(*user).code == 235
            reply = it.cmd(f"MAIL FROM:<{sender}>")
            if reply.code // 100 == 2:
                reply = it.cmd(f"RCPT TO:<{recipient}>")
            return {2: ALLOWED, 5: REFUSED, 4: UNKNOWN}[reply.code // 100]
    except Closed:
        return REFUSED


# -- connection control and relay restrictions, every form of entry

FORMS = [
    # list, an address in it, an address that is not
    (["127.0.0.2"], "127.0.0.2", "127.0.0.3"),
    (["127.0.1.0/24"], "127.0.1.77", "127.0.2.1"),
    (["127.0.3.0/255.255.255.0"], "127.0.3.255", "127.0.4.0"),
    (["127.0.0.5-127.0.0.9"], "127.0.0.9", "127.0.0.10"),
    (["127.0.0.5-127.0.0.9"], "127.0.0.5", "127.0.0.4"),
    (["self"], "127.0.0.1", "127.0.0.2"),
    (["file:clients.txt"], "127.0.5.5", "127.0.5.6"),
    (["10.0.0.0/8", "127.0.0.2", "fd00::/8"], "127.0.0.2", "127.0.0.3"),
    (["127.0.0.0/8"], "127.255.255.254", None),
    (["printer.corp.example"], "127.0.6.1", "127.0.6.2"),
    (["*.print.corp.example"], "127.0.6.3", "127.0.6.1"),
    (["/^mfp\\d+\\.corp\\.example$/"], "127.0.6.5", "127.0.6.1"),
    (["*.print.corp.example"], None, "127.0.6.6"),
]


@pytest.fixture
def names(dns):
    for address, name in (("127.0.6.1", "printer.corp.example"), ("127.0.6.2", "other.corp.example"),
                          ("127.0.6.3", "a.print.corp.example"), ("127.0.6.5", "mfp12.corp.example"),
                          ("127.0.6.6", "print.corp.example")):
        dns.ptr(address, name)
        dns.add(name, "A", address)
    # A name that another claims, and one whose look-up fails.
    dns.ptr("127.0.6.7", "printer.corp.example")
    dns.ptr("127.0.6.8", "broken.corp.example")
    dns.fail("broken.corp.example", "A")
    dns.fail("broken.corp.example", "AAAA")
    dns.fail("9.6.0.127.in-addr.arpa", "PTR", SERVFAIL)
    return dns


def with_lists(make, dns, access, **more):
    service = make({"access": access, "resolver": {"servers": [dns.endpoint], "timeout": "2s"},
                    **more})
    (service.folder / "clients.txt").write_text("# ours\n127.0.5.5\n\n127.0.7.0/24\n")
    return service.start()


@pytest.mark.parametrize("entries, inside, outside", FORMS)
def test_relay_only_the_list(make, names, entries, inside, outside):
    service = with_lists(make, names, {"relay": {"grant": "only", "list": entries}})
    if inside:
        assert live(service, inside, "v@foreign.example") == ALLOWED
    if outside:
        assert live(service, outside, "v@foreign.example") == REFUSED
        assert live(service, outside, "v@local.example") == ALLOWED


@pytest.mark.parametrize("entries, inside, outside", FORMS)
def test_relay_all_except_the_list(make, names, entries, inside, outside):
    service = with_lists(make, names, {"relay": {"grant": "all-except", "list": entries},
                                       "i_know_this_is_an_open_relay": True})
    if inside:
        assert live(service, inside, "v@foreign.example") == REFUSED
    if outside:
        assert live(service, outside, "v@foreign.example") == ALLOWED


@pytest.mark.parametrize("entries, inside, outside", FORMS)
@pytest.mark.parametrize("grant", ["only", "all-except"])
def test_connection_control(make, names, grant, entries, inside, outside):
    # The harness itself looks from 127.0.0.1; it must see the banner.
    if grant == "only":
        entries = entries + ["127.0.0.1"]
    elif inside == "127.0.0.1" or "127.0.0.0/8" in entries:
        pytest.skip("a service that refuses the harness cannot be waited for")
    service = with_lists(make, names, {"connection": {"grant": grant, "list": entries}})
    if inside:
        assert live(service, inside, "v@local.example") == (ALLOWED if grant == "only" else REFUSED)
    if outside:
        assert live(service, outside, "v@local.example") == (REFUSED if grant == "only" else ALLOWED)


def test_a_refused_connection_gets_a_reason_that_arrives(make):
    service = make({"access": {"connection": {"grant": "all-except", "list": ["127.0.0.2"]}}}).start()
    with Client(service.port(), source="127.0.0.2") as client:
        reply = client.reply()
        assert reply.code // 100 == 5 and "5.7.1" in reply.text, reply
        with pytest.raises(Closed):
            client.reply()


# -- names: what does not confirm is not listed, a failure never allows

@pytest.mark.parametrize("address, only, except_", [
    ("127.0.6.7", REFUSED, ALLOWED),   # the name's own look-up does not lead back
    ("127.0.6.99", REFUSED, ALLOWED),  # no name at all
    ("127.0.6.8", UNKNOWN, UNKNOWN),   # the confirmation failed
    ("127.0.6.9", UNKNOWN, UNKNOWN),   # the look-up failed
])
def test_names_that_do_not_confirm(make, names, address, only, except_):
    entries = ["printer.corp.example", "broken.corp.example"]
    service = with_lists(make, names, {"relay": {"grant": "only", "list": entries}})
    assert live(service, address, "v@foreign.example") == only
    other = with_lists(make, names, {"relay": {"grant": "all-except", "list": entries},
                                     "i_know_this_is_an_open_relay": True})
    assert live(other, address, "v@foreign.example") == except_


def test_a_dns_failure_does_not_matter_where_another_entry_settles_it(make, names):
    service = with_lists(make, names, {"relay": {"list": ["broken.corp.example", "127.0.6.9"]}})
    assert live(service, "127.0.6.9", "v@foreign.example") == ALLOWED
    assert live(service, "127.0.6.9", "v@local.example") == ALLOWED


def test_a_deferral_is_450_at_rcpt_and_421_at_connect(make, names):
    service = with_lists(make, names, {"relay": {"list": ["broken.corp.example"]}})
    with Client(service.port(), source="127.0.6.9") as client:
        client.hello()
        assert client.cmd("MAIL FROM:<a@b.example>").code == 250
        reply = client.cmd("RCPT TO:<v@foreign.example>")
        assert reply.code == 450 and reply.enhanced == "4.7.1", reply
    other = with_lists(make, names, {"connection": {"grant": "all-except",
                                                    "list": ["broken.corp.example"]}})
    with Client(other.port(), source="127.0.6.9") as client:
        reply = client.reply()
        assert reply.code == 421, reply


def test_reverse_dns_is_asked_only_when_it_can_change_the_answer(make, names):
    service = with_lists(make, names, {"relay": {"list": ["printer.corp.example", "127.0.6.2"]}})
    assert live(service, "127.0.6.2", "v@foreign.example") == ALLOWED
    assert live(service, "127.0.6.99", "v@local.example") == ALLOWED
    assert [q for q in names.queries if q[1] == "PTR"] == []
    assert live(service, "127.0.6.1", "v@foreign.example") == ALLOWED
    assert [q for q in names.queries if q[1] == "PTR"] != []


# -- who may do what

@pytest.fixture(scope="module")
def relay(tmp_path_factory, certificates):
    from postern import Service
    service = Service(tmp_path_factory.mktemp("policy"), certificates, {
        "access": {"relay": {"list": ["127.0.0.5"]}},
        "domains": [{"name": "local.example", "type": "local"},
                    {"name": "second.example", "type": "local"},
                    {"name": "partner.example", "type": "remote", "relay": True},
                    {"name": "*.wild.example", "type": "remote", "relay": True},
                    {"name": "known.example", "type": "remote"}],
        "limits": {"connections_per_client": 500, "recipients": 5},
        "delivery": {"smart_host": "[127.0.0.1]:9", "retry": ["1h"]},
    }, {"open": {"tls": "optional"}, "closed": {"tls": "optional", "anonymous": False},
        "tls": {"tls": "required"}})
    service.add_user().start()
    yield service
    service.finish()


ALICE = ("alice", "correct horse 7")
CASES = [
    # client, recipient, options, the answer
    ("127.0.0.2", "v@local.example", {}, ALLOWED),
    ("127.0.0.2", "v@LOCAL.Example", {}, ALLOWED),
    ("127.0.0.2", "v@second.example", {}, ALLOWED),
    ("127.0.0.2", "v@partner.example", {}, ALLOWED),
    ("127.0.0.2", "v@a.wild.example", {}, ALLOWED),
    ("127.0.0.2", "v@wild.example", {}, REFUSED),
    ("127.0.0.2", "v@known.example", {}, REFUSED),
    ("127.0.0.2", "v@sub.local.example", {}, REFUSED),
    ("127.0.0.2", "v@xlocal.example", {}, REFUSED),
    ("127.0.0.2", "v@foreign.example", {}, REFUSED),
    ("127.0.0.2", "v@foreign.example", {"tls": True}, REFUSED),
    ("127.0.0.2", "v@foreign.example", {"user": ALICE, "tls": True}, ALLOWED),
    ("127.0.0.5", "v@foreign.example", {}, ALLOWED),
    ("127.0.0.5", "v@known.example", {}, ALLOWED),
    ("127.0.0.2", "v%foreign.example@local.example", {}, REFUSED),
    ("127.0.0.2", "v!x@local.example", {}, REFUSED),
    ("127.0.0.2", '"v@foreign.example"@local.example', {}, REFUSED),
    ("127.0.0.2", '"v:x"@local.example', {}, REFUSED),
    ("127.0.0.2", "v%foreign.example@partner.example", {}, REFUSED),
    ("127.0.0.5", "v%foreign.example@local.example", {}, ALLOWED),
    ("127.0.0.5", '"v@foreign.example"@local.example', {}, ALLOWED),
    ("127.0.0.2", "@x.example:v@local.example", {}, ALLOWED),
    ("127.0.0.2", "@local.example:v@foreign.example", {}, REFUSED),
    ("127.0.0.2", "@a.example,@b.example:v@local.example", {}, ALLOWED),
    ("127.0.0.2", "postmaster", {}, ALLOWED),
    ("127.0.0.2", "PostMaster", {}, ALLOWED),
    ("127.0.0.2", "postmaster@relay.example", {}, ALLOWED),
    ("127.0.0.2", "other@relay.example", {}, REFUSED),
    ("127.0.0.2", "bare", {}, REFUSED),
    ("127.0.0.5", "bare", {}, REFUSED),
    ("127.0.0.2", "x" * 65 + "@local.example", {}, ALLOWED),
    ("127.0.0.2", "x" * 200 + "@local.example", {}, ALLOWED),
    ("127.0.0.2", "x" * 250 + "@local.example", {}, REFUSED),
    ("127.0.0.5", "v@" + "a." * 130 + "example", {}, REFUSED),
    ("127.0.0.5", "v@a..example", {}, REFUSED),
    ("127.0.0.5", "v@-a.example", {}, REFUSED),
    ("127.0.0.5", "v@a-.example", {}, REFUSED),
    ("127.0.0.5", "v@a_b.example", {}, ALLOWED),
    ("127.0.0.5", "v@[192.0.2.1]", {}, ALLOWED),
    ("127.0.0.5", '"a b"@foreign.example', {}, ALLOWED),
    ("127.0.0.2", "v@local.example", {"listener": "closed"}, REFUSED),
    ("127.0.0.2", "postmaster", {"listener": "closed"}, REFUSED),
    ("127.0.0.5", "v@foreign.example", {"listener": "closed"}, REFUSED),
    ("127.0.0.2", "v@foreign.example", {"listener": "closed", "user": ALICE, "tls": True}, ALLOWED),
    ("127.0.0.2", "v@local.example", {"listener": "tls"}, REFUSED),
    ("127.0.0.2", "v@local.example", {"listener": "tls", "tls": True}, ALLOWED),
]


@pytest.mark.parametrize("client, recipient, options, answer", CASES,
                         ids=[f"{i}-{c[1][:30]}" for i, c in enumerate(CASES)])
def test_the_service_and_explain_agree(relay, client, recipient, options, answer):
    assert live(relay, client, recipient, **options) == answer
    words = {"tls": options.get("tls")}
    if "user" in options:
        words["user"] = options["user"][0]
    if "listener" in options:
        words["listener"] = relay.address(options["listener"])
    code, said = relay.explain(client, recipient, **words)
    assert code == answer, said
    assert set(said) >= {"verdict", "stage", "rule", "line", "entry", "reply", "change"}
    if answer == REFUSED:
        assert str(said["reply"])[:1] == "5" and said["change"], said


def test_anonymous_off_answers_530_5_7_1(relay):
    with Client(relay.port("closed"), source="127.0.0.5") as client:
        client.hello()
        reply = client.cmd("MAIL FROM:<a@b.example>")
        assert reply.code == 530, reply
        assert reply.text.startswith("5.7.1 Client was not authenticated")


def test_a_listeners_anonymous_stands_whatever_the_global_one_says(make):
    service = make({"authentication": {"anonymous": False}},
                   {"open": {"tls": "optional", "anonymous": True}, "closed": {"tls": "optional"}})
    service.start()
    assert live(service, "127.0.0.2", "v@local.example", listener="open") == ALLOWED
    assert live(service, "127.0.0.2", "v@local.example", listener="closed") == REFUSED


def test_authenticated_false_takes_the_right_from_accounts(make):
    service = make({"access": {"relay": {"authenticated": False, "list": []}}})
    service.add_user().start()
    assert live(service, "127.0.0.2", "v@foreign.example", user=ALICE) == REFUSED
    assert live(service, "127.0.0.2", "v@local.example", user=ALICE) == ALLOWED
    assert service.explain("127.0.0.2", "v@foreign.example", user="alice", tls=True)[0] == REFUSED


# -- grammar

GOOD_LINES = ["MAIL FROM: <a@b.example>", "MAIL FROM:  <a@b.example>", "mail from:<a@b.example>",
              "MAIL FROM:<a@b.example> SIZE=10", "MAIL FROM:<a@b.example> BODY=8BITMIME",
              "MAIL FROM:<a@b.example> BODY=7BIT SIZE=1 RET=HDRS ENVID=x+2By",
              "MAIL FROM:<>", "MAIL FROM:<@x.example,@y.example:a@b.example>",
              'MAIL FROM:<"a b"@b.example>', "MAIL FROM:<a@[127.0.0.1]>",
              "MAIL FROM:<a@b_c.example>", "MAIL FROM:<" + "v" * 200 + "@b.example>",
              "MAIL FROM:<a@b.example> SMTPUTF8"]
BAD_LINES = ["MAIL", "MAIL FROM", "MAIL FROM:", "MAIL FROM:a@b.example", "MAIL FROM:<a@b.example",
             "MAIL FROM:a@b.example>", "MAIL FROM:<<a@b.example>>", "MAIL FROM:<a@b.example>>",
             "MAIL FROM:<a@b.example>x", "MAIL TO:<a@b.example>", "MAIL FROM:<a@>",
             "MAIL FROM:<@b.example>", "MAIL FROM:<a@b..example>", "MAIL FROM:<a@-b.example>",
             "MAIL FROM:<a@b-.example>", "MAIL FROM:<a@.example>", "MAIL FROM:<a b@b.example>",
             "MAIL FROM:<a@" + "b" * 64 + ".example>", "MAIL FROM:<" + "a" * 250 + "@b.example>",
             "MAIL FROM:<a@" + "b." * 128 + "example>",
             "MAIL FROM:<a@b.example> SIZE", "MAIL FROM:<a@b.example> SIZE=", "MAIL FROM:<a@b.example> SIZE=x",
             "MAIL FROM:<a@b.example> SIZE=-1", "MAIL FROM:<a@b.example> SIZE=99999999999999999999999",
             "MAIL FROM:<a@b.example> SIZE=1 SIZE=1", "MAIL FROM:<a@b.example> BODY=BINARYMIME",
             "MAIL FROM:<a@b.example> BODY=8BITMIME BODY=7BIT", "MAIL FROM:<a@b.example> RET=ALL RET=ALL",
             "MAIL FROM:<a@b.example> RET=SOME", "MAIL FROM:<a@b.example> ENVID=a+zz",
             "MAIL FROM:<a@b.example> XYZ=1", "MAIL FROM:<a@b.example> =1",
             "MAIL FROM:<a@b.example> SMTPUTF8=1", "MAIL FROM:<a@[300.1.1.1]>"]
BAD_RCPT = ["RCPT TO:", "RCPT TO:<>", "RCPT TO:b@local.example", "RCPT TO:<b@local.example",
            "RCPT TO:<b@local.example> NOTIFY=", "RCPT TO:<b@local.example> NOTIFY=NEVER,FAILURE",
            "RCPT TO:<b@local.example> NOTIFY=SOMETIMES", "RCPT TO:<b@local.example> NOTIFY=DELAY NOTIFY=DELAY",
            "RCPT TO:<b@local.example> ORCPT=x", "RCPT TO:<b@local.example> ORCPT=rfc822;a+q@b",
            "RCPT TO:<b@local.example> XYZ", "RCPT FROM:<b@local.example>"]


@pytest.mark.parametrize("line", GOOD_LINES)
def test_a_good_line_is_taken(relay, line):
    with Client(relay.port("open")) as client:
        client.hello()
        reply = client.cmd(line)
        assert reply.code == 250, reply
        assert client.cmd("RCPT TO: <b@local.example> NOTIFY=FAILURE,DELAY ORCPT=rfc822;b@x").code == 250


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_mail_line_is_501_or_555(relay, line):
    with Client(relay.port("open")) as client:
        client.hello()
        reply = client.cmd(line)
        assert reply.code in (501, 555, 552) and (reply.code != 552 or "SIZE=9" in line), reply
        assert client.cmd("RCPT TO:<b@local.example>").code == 503
        assert client.cmd("MAIL FROM:<a@b.example>").code == 250


@pytest.mark.parametrize("line", BAD_RCPT)
def test_a_bad_rcpt_line_is_501_or_555(relay, line):
    with Client(relay.port("open")) as client:
        client.hello()
        assert client.cmd("MAIL FROM:<a@b.example>").code == 250
        reply = client.cmd(line)
        assert reply.code in (501, 555, 550), reply
        assert client.cmd("DATA").code == 503


def test_an_eight_bit_address_needs_smtputf8(relay):
    with Client(relay.port("open")) as client:
        client.hello()
        assert client.cmd("MAIL FROM:<ä@b.example>").code // 100 == 5
        assert client.cmd("MAIL FROM:<ä@b.example> SMTPUTF8").code == 250
        assert client.cmd("RCPT TO:<ö@local.example>").code == 250


def test_bare_recipients_but_postmaster_are_550_5_1_3(relay):
    with Client(relay.port("open")) as client:
        client.hello()
        assert client.cmd("MAIL FROM:<a@b.example>").code == 250
        reply = client.cmd("RCPT TO:<somebody>")
        assert (reply.code, reply.enhanced) == (550, "5.1.3")


def test_too_many_recipients_are_452_and_the_others_stay(relay):
    with Client(relay.port("open")) as client:
        client.hello()
        assert client.cmd("MAIL FROM:<many@b.example>").code == 250
        codes = [client.cmd(f"RCPT TO:<r{i}@local.example>").code for i in range(7)]
        assert codes == [250] * 5 + [452] * 2
        assert client.data(b"Subject: many\r\n\r\nx\r\n").code == 250
    end = time.monotonic() + 15
    while time.monotonic() < end:
        receivers = [r for f in relay.drop() if f.subject() == "many" for r in f.receivers]
        if len(receivers) >= 5:
            break
        time.sleep(0.05)
    assert sorted(r.strip("<>") for r in receivers) == [f"r{i}@local.example" for i in range(5)]


def test_commands_out_of_order_are_503(relay):
    with Client(relay.port("open")) as client:
        assert client.reply().code == 220
        for line in ("RCPT TO:<b@local.example>", "DATA"):
            assert client.cmd(line).code == 503
        client.cmd("EHLO x.example")
        assert client.cmd("RCPT TO:<b@local.example>").code == 503
        assert client.cmd("MAIL FROM:<a@b.example>").code == 250
        assert client.cmd("MAIL FROM:<a@b.example>").code == 503
        assert client.cmd("DATA").code == 503
        assert client.cmd("RCPT TO:<b@local.example>").code == 250
        assert client.cmd("EHLO again.example").code == 250
        assert client.cmd("DATA").code == 503


def test_small_verbs_answer_as_they_should(relay):
    with Client(relay.port("open")) as client:
        client.hello()
        assert client.cmd("VRFY a@local.example").code == 252
        assert client.cmd("HELP").code in (211, 214)
        assert client.cmd("NOOP anything").code == 250
        assert client.cmd("EXPN list").code in (500, 502)
        assert client.cmd("XYZZY").code == 500
        assert client.cmd("RSET").code == 250
        reply = client.cmd("QUIT")
        assert reply.code == 221 and reply.enhanced == "2.0.0"
        assert client.closed()


def test_iis_texts_for_a_good_transaction(relay):
    with Client(relay.port("open")) as client:
        client.hello()
        assert client.cmd("MAIL FROM:<a@b.example>").text.startswith("2.1.0 ")
        assert client.cmd("RCPT TO:<b@local.example>").text.startswith("2.1.5 ")
        go = client.cmd("DATA")
        assert go.code == 354
        client.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
        assert client.reply().text.startswith("2.6.0 ")


# -- limits

def test_connections_per_client_are_bounded(make):
    service = make({"limits": {"connections_per_client": 3}}).start()
    time.sleep(0.3)
    kept = [Client(service.port(), source="127.0.0.8") for _ in range(3)]
    for client in kept:
        client.hello()
    with Client(service.port(), source="127.0.0.8") as client:
        reply = client.reply()
        assert reply.code == 421, reply
    with Client(service.port(), source="127.0.0.9") as client:
        client.hello()
    kept.pop().quit()
    time.sleep(0.3)
    with Client(service.port(), source="127.0.0.8") as client:
        client.hello()
    for client in kept:
        client.close()


def test_connections_in_all_are_bounded(make):
    service = make({"limits": {"connections": 4}}).start()
    time.sleep(0.3)
    kept = [Client(service.port(), source=f"127.0.0.{20 + i}") for i in range(4)]
    for client in kept:
        client.hello()
    with Client(service.port(), source="127.0.0.30") as client:
        assert client.reply().code == 421
    for client in kept:
        client.close()
    time.sleep(0.3)
    with Client(service.port(), source="127.0.0.30") as client:
        client.hello()


def test_message_and_session_size_are_bounded(make):
    service = make({"limits": {"message_size": "8K", "session_size": "20K"}}).start()
    with Client(service.port()) as client:
        client.hello()
        assert any("SIZE 8192" in line for line in client.ehlo.lines)
        body = b"Subject: size\r\n\r\n" + b"x" * 70 + b"\r\n"
        body = body + (b"y" * 70 + b"\r\n") * 90
        codes = []
        try:
            for _ in range(5):
                reply = client.cmd("MAIL FROM:<a@b.example>")
                codes.append(reply.code)
                if reply.code != 250:
                    break
                client.cmd("RCPT TO:<b@local.example>")
                codes.append(client.data(body).code)
        except Closed:
            codes.append(421)
        assert codes.count(250) <= 8 and codes[-1] in (421, 452, 552), codes


def test_an_idle_client_is_told_421_and_closed(make):
    service = make({"limits": {"idle": "1s"}}).start()
    with Client(service.port(), timeout=15) as client:
        client.hello()
        start = time.monotonic()
        assert client.reply().code == 421
        assert 0.7 < time.monotonic() - start < 6
        with pytest.raises(Closed):
            client.reply()


def test_a_command_that_trickles_in_meets_its_deadline(make):
    service = make({"limits": {"idle": "60s", "command_timeout": "2s"}}).start()
    with Client(service.port(), timeout=15) as client:
        client.hello()
        start = time.monotonic()
        try:
            for octet in b"NOOP " + b"x" * 100:
                client.send(bytes([octet]))
                time.sleep(0.2)
                if time.monotonic() - start > 12:
                    break
        except OSError:
            pass
        assert client.closed(8)
        assert time.monotonic() - start < 12


def test_data_that_trickles_in_is_given_up(make):
    service = make({"limits": {"idle": "3s", "data_rate": 5000}}).start()
    with Client(service.port(), timeout=30) as client:
        client.hello()
        client.cmd("MAIL FROM:<a@b.example>")
        client.cmd("RCPT TO:<b@local.example>")
        assert client.cmd("DATA").code == 354
        start = time.monotonic()
        try:
            while time.monotonic() - start < 25:
                client.send(b"x\r\n")
                time.sleep(0.3)
        except OSError:
            pass
        assert time.monotonic() - start < 24
    time.sleep(0.3)
    assert service.drop() == []


# -- never an open relay by mistake

OPEN = [
    {"grant": "all-except", "list": []},
    {"grant": "all-except", "list": ["10.0.0.0/8"]},
    {"grant": "only", "list": ["0.0.0.0/0"]},
    {"grant": "only", "list": ["::/0"]},
    {"grant": "only", "list": ["0.0.0.0-127.255.255.255", "128.0.0.0/1"]},
    {"grant": "only", "list": ["8.8.8.8"]},
    {"grant": "only", "list": ["*.example"]},
    {"grant": "only", "list": ["/.*/"]},
]
CLOSED = [
    {"grant": "only", "list": []},
    {"grant": "only", "list": ["127.0.0.0/8", "10.0.0.0/8", "192.168.0.0/16", "fd00::/8", "self"]},
    {"grant": "all-except", "list": ["0.0.0.0/0", "::/0"]},
]


@pytest.mark.parametrize("relay_rule", OPEN)
def test_an_open_relay_does_not_start_without_saying_so(make, relay_rule):
    service = make({"access": {"relay": relay_rule}})
    service.write()
    done = service.cli("check")
    assert done.returncode == 78 and "open relay" in (done.stdout + done.stderr), done
    done = service.cli("serve", timeout=15)
    assert done.returncode == 78, done
    service.write({"access": {"i_know_this_is_an_open_relay": True}})
    done = service.cli("check")
    assert done.returncode == 0 and "open relay" in (done.stdout + done.stderr), done


@pytest.mark.parametrize("relay_rule", CLOSED)
def test_what_is_closed_is_not_called_open(make, relay_rule):
    service = make({"access": {"relay": relay_rule}})
    done = service.cli("check")
    assert done.returncode == 0 and "open relay" not in (done.stdout + done.stderr), done


def test_connection_control_can_close_what_relay_leaves_open(make):
    service = make({"access": {"relay": {"grant": "all-except", "list": []},
                               "connection": {"grant": "only", "list": ["10.0.0.0/8"]}}})
    assert service.cli("check").returncode == 0


# -- explain

def test_explain_names_rule_line_entry_and_change(relay):
    code, said = relay.explain("127.0.0.5", "v@foreign.example")
    assert code == ALLOWED and said["entry"] == "127.0.0.5"
    lines = relay.path.read_text().splitlines()
    assert "127.0.0.5" in lines[said["line"] - 1], (said, lines[said["line"] - 1])
    code, said = relay.explain("127.0.0.77", "v@foreign.example")
    assert code == REFUSED and "127.0.0.77" in said["change"], said
    assert said["reply"].startswith("550 5.7.1 Unable to relay for v@foreign.example")


def test_explain_says_it_in_text_too(relay):
    done = relay.cli("explain", "--client", "192.0.2.1", "--from", "a@b.example", "--to",
                     "v@foreign.example")
    assert done.returncode == REFUSED
    assert "access.relay" in done.stdout and "550" in done.stdout, done.stdout


def test_explain_tells_what_the_live_refusal_was(relay):
    with Client(relay.port("open"), source="127.0.0.44") as client:
        client.hello()
        client.cmd("MAIL FROM:<a@b.example>")
        reply = client.cmd("RCPT TO:<secret@foreign.example>")
    ident = re.findall(r"\[([A-Za-z0-9-]+)\]", reply.text)[-1]
    done = relay.cli("explain", ident, "--json")
    assert done.returncode == REFUSED, done
    said = json.loads(done.stdout)
    assert said["verdict"] == "refused" and "foreign.example" in done.stdout
    assert "127.0.0.44" in done.stdout
    done = relay.cli("explain", "ZZZZZZZ")
    assert done.returncode in (64, 66, 74), done
    relay.wait_log(rf"{ident}")


@pytest.mark.parametrize("arguments, code", [
    ([], 64), (["--client", "nonsense", "--from", "a@b.example", "--to", "v@c.example"], 64),
    (["--client", "127.0.0.1", "--to", "v@c.example", "--frm", "x"], 64),
    (["--client", "192.0.2.1", "--from", "a@b.example", "--to", "no brackets <"], 1),
    (["--client", "192.0.2.1", "--from", "a@b.example", "--to", ""], 1),
    (["--client", "192.0.2.1", "--from", "a@b.example", "--to", "v@c.example", "--listener",
      "1.2.3.4:9"], 64),
])
def test_explain_exit_codes(relay, arguments, code):
    assert relay.cli("explain", *arguments).returncode == code


def test_explain_makes_no_look_up(make, dns):
    service = make({"access": {"relay": {"list": ["app.corp.example"]}},
                    "resolver": {"servers": [dns.endpoint]}})
    assert service.explain("192.0.2.1", "v@foreign.example")[0] == UNKNOWN
    assert service.explain("192.0.2.1", "v@foreign.example", host="app.corp.example")[0] == ALLOWED
    assert service.explain("192.0.2.1", "v@foreign.example", host="x.corp.example")[0] == REFUSED
    assert service.explain("192.0.2.1", "v@local.example")[0] == ALLOWED
    assert dns.queries == [] and not service.data.exists()


def test_explain_resolves_when_told_to(make, names):
    service = make({"access": {"relay": {"list": ["printer.corp.example"]}},
                    "resolver": {"servers": [names.endpoint]}})
    assert service.explain("127.0.6.1", "v@foreign.example", resolve=True)[0] == ALLOWED
    assert service.explain("127.0.6.7", "v@foreign.example", resolve=True)[0] == REFUSED


# -- the other words of the command line

@pytest.mark.parametrize("arguments, code", [
    (["version"], 0), (["--help"], 0), (["serve", "--help"], 0), (["explain", "--help"], 0),
    (["user", "--help"], 0), (["queue", "--help"], 0), (["send", "--help"], 0),
    (["check", "--help"], 0), (["sessions", "--help"], 0), (["reload", "--help"], 0),
    ([], 64), (["frobnicate"], 64), (["check", "--frob"], 64), (["check", "-c"], 64),
    (["check", "-c", "/does/not/exist.yaml"], 66), (["serve", "-c", "/does/not/exist.yaml"], 66),
    (["check", "-c", "/tmp"], 74), (["send"], 64),
    (["send", "--to", "a@local.example", "--server", "127.0.0.1:9"], 74),
])
def test_exit_codes(make, arguments, code):
    service = make()
    done = service.cli(*arguments, config=False)
    assert done.returncode == code, done
    if code:
        assert done.stderr.strip(), "a failure without a word"


BAD_CONFIGS = [
    ("listenrs: []\n", "listeners"),
    ("service: {hostnam: x}\n", "hostname"),
    ("listeners:\n  - {address: '0.0.0.0:99999'}\n", "address"),
    ("listeners:\n  - {address: '127.0.0.1:2525', tls: maybe}\n", "implicit"),
    ("limits: {message_size: 25X}\n", "message_size"),
    ("access: {relay: {list: ['10.0.0.0/33']}}\n", "10.0.0.0/33"),
    ("access: {relay: {list: ['/(/']}}\n", "list"),
    ("access: {relay: {list: ['file:none.txt']}}\n", "none.txt"),
    ("delivery: {retry: []}\n", "retry"),
    ("delivery: {expire: soon}\n", "expire"),
    ("service: [\n", ""),
    ("a: 1\na: 2\n", ""),
]


@pytest.mark.parametrize("text, word", BAD_CONFIGS)
def test_a_bad_configuration_is_78_with_its_place(make, text, word):
    service = make()
    service.path.write_text(text)
    done = service.cli("check")
    assert done.returncode == 78, done
    assert re.search(r"postern\.yaml:\d+:\d+: ", done.stderr + done.stdout), done
    assert word in done.stderr + done.stdout, done


def test_every_error_is_told_in_one_run(make):
    service = make()
    service.path.write_text("service: {hostnam: x}\nlimits: {recipients: many}\n"
                            "delivery: {tls: sometimes}\n")
    done = service.cli("check")
    said = done.stderr + done.stdout
    assert done.returncode == 78
    assert all(f"postern.yaml:{line}:" in said for line in (1, 2, 3)), said
