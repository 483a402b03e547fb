"""Never an open relay by trick: the whole list from a client that has no relay right, in every
situation in which a relay was ever fooled. Every RCPT that is taken is followed to its end, so
that what counts is what left the house."""
import base64
import os
import time

import pytest

import openrelay
from openrelay import L, R, RECIPIENTS, SENDERS, V
from sink import Sink
from smtp import Client, Closed

STRANGER = "127.0.0.2"


@pytest.fixture(scope="module")
def victim():
    with Sink() as sink:
        yield sink


@pytest.fixture(scope="module")
def relay(tmp_path_factory, certificates, victim):
    from postern import Service
    service = Service(tmp_path_factory.mktemp("abuse"), certificates, {
        "delivery": {"smart_host": victim.literal},
        "access": {"relay": {"list": ["10.0.0.0/8", "127.0.0.1"]}},
        "domains": [{"name": L, "type": "local"}],
        "pickup": {"relay": False},
        "limits": {"connections_per_client": 500},
        # Every case fails an AUTH on purpose; the throttle has tests of its own.
        "authentication": {"throttle": {"delay": "1ms", "delay_max": "1ms",
                                        "account_delay_max": "1ms", "refuse_after": 100000}},
    }, {"plain": {"tls": "optional"}, "implicit": {"tls": "implicit"},
        "legacy": {"tls": "none", "bare_lf": "normalise"}})
    service.add_user().start()
    yield service
    service.finish()


class Attempt:
    """A session that is opened again whenever the service has had enough of us."""

    def __init__(self, relay, prepare=None, listener="plain"):
        self.relay, self.prepare, self.listener, self.client = relay, prepare, listener, None

    def session(self):
        if self.client is None:
            self.client = Client(self.relay.port(self.listener), source=STRANGER,
                                 implicit=self.listener == "implicit")
            self.client.hello()
            if self.prepare:
                self.prepare(self.client)
        return self.client

    def drop(self):
        if self.client:
            self.client.close()
        self.client = None

    def command(self, line):
        reply = self.session().cmd(line)
        if reply.code == 421:
            self.drop()
            raise Closed("421")
        return reply


def deliver(attempt, body, chunking=False):
    client = attempt.session()
    if chunking:
        client.send(b"BDAT %d LAST\r\n" % len(body) + body)
        return client.reply()
    return client.data(body)


def run_list(attempt, senders=SENDERS, recipients=RECIPIENTS, first=None, chunking=False,
             rcpt_params=""):
    """Tries everything; returns the recipients that were taken."""
    taken, tries = [], 0
    for sender in senders:
        for recipient in recipients:
            for _ in range(3):
                try:
                    tries += 1
                    attempt.command("RSET")
                    reply = attempt.command(f"MAIL FROM:<{sender}>")
                    assert reply.code // 100 in (2, 5), reply
                    if reply.code != 250:
                        break
                    if first:
                        assert attempt.command(f"RCPT TO:<{first}>").code == 250
                    reply = attempt.command(f"RCPT TO:{recipient}{rcpt_params}")
                    assert reply.code // 100 in (2, 5), (recipient, reply)
                    if reply.code // 100 == 2:
                        taken.append((sender, recipient))
                    deliver(attempt, f"Subject: relayed\r\n\r\n{sender} {recipient!r}\r\n".encode(),
                            chunking)
                    break
                except Closed:
                    attempt.drop()
            else:
                raise AssertionError(f"no session lived long enough for {recipient}")
    attempt.drop()
    return taken


def nothing_left(relay, victim, before):
    """Nothing reached the victim; whatever lies in Drop is for the local domain."""
    time.sleep(0.7)
    assert [m.rcpt for m in victim.taken()[before:]] == []
    for file in relay.drop():
        for receiver in file.receivers:
            assert not openrelay.foreign(receiver.strip("<>")), receiver
            local = receiver.strip("<>").rpartition("@")[0] or receiver
            assert not set(local) & set("@%!:"), receiver


def fail_to_authenticate(client):
    client.starttls()
    token = base64.b64encode(b"\0alice\0wrong").decode()
    # Later sessions may meet the throttle; a success is what must not be.
    assert client.cmd(f"AUTH PLAIN {token}").code in (535, 454, 421)


def pretend(client):
    client.cmd("XCLIENT ADDR=10.0.0.1 LOGIN=alice")
    client.cmd("XFORWARD ADDR=10.0.0.1")
    client.cmd("PROXY TCP4 10.0.0.1 10.0.0.1 1 25")
    client.cmd(f"EHLO {R}")


SITUATIONS = {
    "fresh": {},
    "in TLS": {"listener": "implicit"},
    "after a failed AUTH": {"prepare": fail_to_authenticate},
    "with XCLIENT and our own name": {"prepare": pretend},
    "as second recipient": {"first": f"friend@{L}"},
    "by BDAT": {"chunking": True},
    "with ORCPT of a local recipient": {"rcpt_params": f" ORCPT=rfc822;friend@{L}"},
    "with ORCPT of the victim": {"rcpt_params": f" ORCPT=rfc822;v@{V} NOTIFY=SUCCESS"},
    "as a bare-LF device": {"listener": "legacy"},
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_no_sender_relays_to_any_recipient(relay, victim, situation):
    options = dict(SITUATIONS[situation])
    attempt = Attempt(relay, options.pop("prepare", None), options.pop("listener", "plain"))
    before = len(victim.taken())
    taken = run_list(attempt, **options)
    nothing_left(relay, victim, before)
    assert taken == []


def test_what_only_looks_foreign_is_local_mail(relay, victim):
    with Client(relay.port("plain"), source=STRANGER) as client:
        client.hello()
        for recipient in openrelay.HARMLESS:
            client.cmd("RSET")
            assert client.cmd("MAIL FROM:<a@sender.example>").code == 250
            reply = client.cmd(f"RCPT TO:{recipient}")
            assert reply.code == 250, (recipient, reply)
            assert client.data(b"Subject: harmless\r\n\r\nx\r\n").code == 250
    nothing_left(relay, victim, len(victim.taken()))


def test_the_victims_mail_as_orcpt_of_a_local_recipient_stays_local(relay, victim):
    before = len(victim.taken())
    with Client(relay.port("plain"), source=STRANGER) as client:
        client.hello()
        client.mail(f"a@{V}", f"friend@{L}", rparams=f" ORCPT=rfc822;v@{V} NOTIFY=NEVER")
    nothing_left(relay, victim, before)


def test_the_right_does_not_outlive_what_gave_it(relay, victim):
    before = len(victim.taken())
    with Client(relay.port("plain"), source=STRANGER) as client:
        client.hello().starttls()
        assert client.plain("alice", "correct horse 7").code == 235
        assert client.cmd("MAIL FROM:<a@sender.example>").code == 250
        assert client.cmd(f"RCPT TO:<ok@{V}>").code == 250
        assert client.cmd("RSET").code == 250
        # Still authenticated, so still granted; the next connection is not.
        assert client.cmd("MAIL FROM:<a@sender.example>").code == 250
        assert client.cmd(f"RCPT TO:<ok@{V}>").code == 250
    with Client(relay.port("plain"), source=STRANGER) as client:
        client.hello()
        assert client.cmd("MAIL FROM:<alice@local.example> AUTH=alice").code // 100 in (2, 5)
        reply = client.cmd(f"RCPT TO:<v@{V}>")
        assert reply.code // 100 == 5
    nothing_left(relay, victim, before)


def test_the_refusal_speaks_as_iis_did_and_carries_an_id(relay):
    with Client(relay.port("plain"), source=STRANGER) as client:
        client.hello()
        assert client.cmd("MAIL FROM:<a@sender.example>").code == 250
        reply = client.cmd(f"RCPT TO:<v@{V}>")
        assert reply.text.startswith(f"5.7.1 Unable to relay for v@{V}"), reply
        assert "[" in reply.text and reply.code == 550


def drop_into_pickup(relay, name, lines, body=b"From: a@sender.example\r\nSubject: pickup\r\n\r\nx\r\n"):
    folder = relay.folder_of("Pickup")
    made = relay.folder / name
    made.write_bytes(b"".join(line.encode("latin-1") + b"\r\n" for line in lines) + body)
    os.rename(made, folder / name)


def test_pickup_without_the_relay_right_relays_nothing(relay, victim):
    before = len(victim.taken())
    folder = relay.folder_of("Pickup")
    for i, recipient in enumerate(RECIPIENTS):
        drop_into_pickup(relay, f"list-{i}.eml", ["x-sender: a@local.example",
                                                  f"x-receiver: {recipient.strip('<>')}"])
    end = time.monotonic() + 60
    while any(folder.iterdir()) and time.monotonic() < end:
        time.sleep(0.1)
    assert [p.name for p in folder.iterdir()] == []
    nothing_left(relay, victim, before)
    assert len(relay.badmail()) >= len(RECIPIENTS) // 2


@pytest.mark.parametrize("recipient", [f"v%{V}@{L}", f'"v@{V}"@{L}', f"{V}!v@{L}"])
def test_a_granted_clients_local_part_goes_on_verbatim(relay, victim, recipient):
    before = len(victim.taken())
    count = len(relay.drop())
    with Client(relay.port("plain")) as client:
        client.hello()
        client.mail("a@sender.example", recipient)
    relay.wait_drop(count + 1)
    assert victim.taken()[before:] == []
    assert any(recipient in [r.strip("<>") for r in file.receivers] for file in relay.drop())


def test_a_granted_clients_percent_is_never_routed_by_what_is_inside(relay, victim):
    before = len(victim.taken())
    with Client(relay.port("plain")) as client:
        client.hello()
        client.mail("a@sender.example", "x%local.example@foreign.example")
    done = victim.wait(before + 1)
    assert done[before].recipients == ["x%local.example@foreign.example"]


# -- lines that are no lines

ARGUMENTS = [b"EHLO a%sb", b"HELO a%sb", b"MAIL FROM:<a%sb@sender.example>",
             b"MAIL FROM:<a@sender.example%s>", b"MAIL FROM:<a@sender.example> SIZE=1%s0",
             b"RCPT TO:<b%sb@local.example>", b"RCPT TO:<b@local.example%s>",
             b"RCPT TO:<b@local.example> NOTIFY=%sNEVER", b"VRFY a%sb", b"HELP a%sb",
             b"NOOP a%sb", b"RSET %s", b"DATA%s", b"QUIT %s", b"STARTTLS %s", b"AUTH PLAIN AG%sE=",
             b"AUTH %s", b"BDAT 1%s0", b"BD%sAT 10", b"%s", b"EXPN a%sb", b"ETRN %s", b"XYZ %s"]


@pytest.mark.parametrize("octet", [b"\0", b"\r", b"\rRSET\r", b"\r\0"])
@pytest.mark.parametrize("template", ARGUMENTS)
def test_no_command_line_may_hold_cr_or_nul(relay, template, octet):
    with Client(relay.port("plain"), source=STRANGER) as client:
        client.hello()
        if template.startswith((b"RCPT", b"DATA", b"BDAT")):
            assert client.cmd("MAIL FROM:<a@sender.example>").code == 250
        reply = client.cmd(template.replace(b"%s", octet))
        assert reply.code // 100 == 5, reply
        try:
            reply = client.cmd("NOOP")
            if reply.code == 421:  # it says so before it closes
                raise Closed
            assert reply.code == 250, f"a second answer: {reply}"
        except Closed:
            assert template.startswith((b"BDAT", b"AUTH", b"DATA", b"BD"))


@pytest.mark.parametrize("line", [b"NOOP\nNOOP\r\n", b"MAIL FROM:<a@sender.example>\nRSET\r\n",
                                  b"EHLO x\nRSET\r\n"])
def test_bare_lf_in_a_command_line_is_one_refusal(relay, line):
    with Client(relay.port("plain"), source=STRANGER) as client:
        client.hello()
        client.send(line)
        assert client.reply().code // 100 == 5
        try:
            # What stands behind a bare LF is no command either, and is told so.
            assert client.reply().code // 100 == 5
            assert client.cmd("NOOP").code == 250
            assert client.cmd("RCPT TO:<b@local.example>").code == 503
        except Closed:
            pass


def test_what_a_peer_said_cannot_forge_a_log_line(relay):
    with Client(relay.port("legacy"), source=STRANGER) as client:
        client.hello()
        client.cmd(b"MAIL FROM:<\x1b[31mred\x07@sender.example>")
        client.cmd(b"RCPT TO:<v\x1b]0;title\x07@victim.example>")
    time.sleep(0.3)
    assert "\x1b" not in relay.log() and "\x07" not in relay.log()


# -- floods

def test_twenty_bad_commands_are_enough(relay):
    with Client(relay.port("plain"), source="127.0.0.3") as client:
        client.hello()
        codes = []
        with pytest.raises(Closed):
            for _ in range(60):
                codes.append(client.cmd("XYZZY").code)
        assert codes[-1] == 421 and 10 <= len(codes) <= 25, codes


def test_an_endless_command_line_is_cut_off(relay):
    with Client(relay.port("plain"), source="127.0.0.3") as client:
        client.hello()
        client.send(b"NOOP " + b"x" * 20000 + b"\r\n")
        assert client.reply().code // 100 == 5
        try:
            assert client.cmd("NOOP").code == 250
        except Closed:
            pass


def test_a_line_that_never_ends_does_not_grow_the_service(relay):
    client = Client(relay.port("plain"), source="127.0.0.3")
    client.hello()
    before = resident(relay)
    try:
        for _ in range(640):
            client.send(b"y" * 65536)
    except OSError:
        pass
    grown = resident(relay) - before
    client.close()
    assert grown < 20 << 20, grown


def resident(service):
    with open(f"/proc/{service.process.pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_an_early_talker_is_not_executed_or_is_refused(relay):
    with Client(relay.port("plain"), source="127.0.0.3") as client:
        client.send(b"EHLO early\r\nMAIL FROM:<a@sender.example>\r\nRCPT TO:<b@local.example>\r\n")
        first = client.reply()
        assert first.code in (220, 554, 421), first


def test_a_session_that_hangs_up_in_data_leaves_nothing(relay):
    before = len(relay.drop())
    for end in (b"Subject: half\r\n\r\nhalf", b"Subject: half\r\n\r\nhalf\r\n.", b"", b".\r"):
        client = Client(relay.port("plain"), source="127.0.0.3")
        client.hello()
        client.cmd("MAIL FROM:<a@sender.example>")
        client.cmd("RCPT TO:<b@local.example>")
        assert client.cmd("DATA").code == 354
        client.send(end)
        client.close()
    time.sleep(0.7)
    assert len(relay.drop()) == before
