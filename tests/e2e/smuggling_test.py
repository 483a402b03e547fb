"""One message in is one message out: end-of-data tricks, BDAT, commands behind STARTTLS."""
import re
import time

import pytest

import samples
from sink import Sink
from smtp import Client, Closed

ENDS = [b"\n.\n", b"\n.\r", b"\r.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n.\r\r\n",
        b"\r\r\n.\r\r\n", b"\r\n.\n", b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\n.\r", b"\r\n.\r\0\n",
        b"\r\n.\x85", b"\r\n.\x0b\r\n", b"\r\n. \r\n", b"\r\n \r.\r\n", b"\n\r.\r\n", b"\r\n.\n\r\n"]
SMUGGLED = (b"MAIL FROM:<evil@sender.example>\r\nRCPT TO:<b@local.example>\r\nDATA\r\n"
            b"Subject: smuggled\r\n\r\nsmuggled\r\n.\r\n")


@pytest.fixture(scope="module")
def next_hop():
    with Sink() as sink:
        yield sink


@pytest.fixture(scope="module")
def relay(tmp_path_factory, certificates, next_hop):
    from postern import Service
    service = Service(tmp_path_factory.mktemp("smuggling"), certificates, {
        "delivery": {"smart_host": next_hop.literal},
        "access": {"relay": {"list": ["127.0.0.1"]}},
        "limits": {"connections_per_client": 500, "message_size": "1M"},
    }, {"plain": {"tls": "optional"}, "implicit": {"tls": "implicit"},
        "legacy": {"tls": "none", "bare_lf": "normalise"}})
    service.add_user().start()
    yield service
    service.finish()


def transaction(client, recipient="b@local.example"):
    assert client.cmd("MAIL FROM:<a@sender.example>").code == 250
    assert client.cmd(f"RCPT TO:<{recipient}>").code == 250


@pytest.mark.parametrize("manner", ["whole", "byte by byte"])
@pytest.mark.parametrize("listener", ["plain", "implicit", "legacy"])
@pytest.mark.parametrize("end", ENDS)
def test_nothing_but_crlf_dot_crlf_ends_a_message(relay, next_hop, end, listener, manner):
    drops, sent = len(relay.drop()), len(next_hop.taken())
    with Client(relay.port(listener), implicit=listener == "implicit") as client:
        client.hello()
        transaction(client, "friend@foreign.example")
        assert client.cmd("DATA").code == 354
        data = b"Subject: outer\r\n\r\nbefore" + end + SMUGGLED
        if manner == "whole":
            client.send(data)
        else:
            client.dribble(data)
        verdict = client.reply()
        assert verdict.code // 100 in (2, 5), verdict
        # Exactly one answer: the next one is that of the next command.
        try:
            reply = client.cmd("NOOP")
            assert reply.code == 250, reply
            reply = client.cmd("RCPT TO:<b@local.example>")
            assert reply.code == 503, f"a transaction is open: {reply}"
        except Closed:
            assert verdict.code // 100 == 5
    if verdict.code == 250:
        message = next_hop.wait(sent + 1)[-1]
        assert re.search(rb"(?<!\r)\n|\r(?!\n)", message.raw) is None, "a bare CR or LF went out"
        assert b"smuggled" in message.data
    else:
        time.sleep(0.05)
        assert len(next_hop.taken()) == sent
    assert len(relay.drop()) == drops


def test_the_real_end_split_anywhere_ends_it_once(relay):
    for split in range(1, 6):
        with Client(relay.port("plain")) as client:
            client.hello()
            transaction(client)
            assert client.cmd("DATA").code == 354
            body = b"Subject: split\r\n\r\nx\r\n.\r\n"
            client.send(body[:-split])
            time.sleep(0.03)
            client.send(body[-split:])
            assert client.reply().code == 250
            assert client.cmd("NOOP").code == 250


def test_pipelined_transactions_keep_their_order(relay, next_hop):
    before = len(next_hop.taken())
    with Client(relay.port("plain")) as client:
        client.hello()
        body, expected = b"", []
        for i in range(5):
            client.send(body + b"MAIL FROM:<a%d@sender.example>\r\nRCPT TO:<c@foreign.example>\r\n"
                        b"DATA\r\n" % i)
            expected = expected + [250, 250, 354]
            assert [client.reply().code for _ in expected] == expected
            body, expected = b"Subject: p%d\r\n\r\n..x\r\n.\r\n" % i, [250]
        client.send(body + b"QUIT\r\n")
        assert [client.reply().code for _ in range(2)] == [250, 221]
    got = next_hop.wait(before + 5)[before:]
    assert sorted(m.sender for m in got) == [f"a{i}@sender.example" for i in range(5)]
    assert all(m.data.endswith(b"\r\n\r\n.x\r\n") for m in got)


# -- STARTTLS

@pytest.mark.parametrize("behind", [b"MAIL FROM:<evil@sender.example>\r\n",
                                    b"EHLO evil\r\nMAIL FROM:<evil@sender.example>\r\n",
                                    b"NOOP\r\n", b"QUIT\r\n", b"\r\n", b"X"])
def test_what_was_pipelined_behind_starttls_is_never_executed(relay, behind):
    with Client(relay.port("plain")) as client:
        client.hello()
        client.send(b"STARTTLS\r\n" + behind)
        try:
            reply = client.reply()
            if reply.code != 220:
                assert reply.code // 100 in (4, 5), reply
                return
            client.start_tls()
            reply = client.cmd("EHLO real.example")
            assert reply.code == 250 and len(reply.lines) > 3, reply
            assert client.cmd("RCPT TO:<b@local.example>").code == 503
        except (Closed, OSError):
            pass  # hanging up is an answer, too


def test_tls_resets_the_session(relay):
    with Client(relay.port("plain")) as client:
        client.hello("before.example")
        assert client.cmd("MAIL FROM:<a@sender.example>").code == 250
        reply = client.cmd("STARTTLS")
        if reply.code == 220:
            client.start_tls()
        else:
            assert reply.code == 503
            client.cmd("RSET")
            client.cmd("STARTTLS")
            client.start_tls()
        assert client.cmd("RCPT TO:<b@local.example>").code == 503
        assert client.cmd("MAIL FROM:<a@sender.example>").code in (250, 503)
        client.cmd("RSET")
        client.ehlo = client.cmd("EHLO after.example")
        assert not any(line.endswith("STARTTLS") for line in client.ehlo.lines)
        assert client.cmd("STARTTLS").code // 100 == 5
        assert client.cmd("NOOP").code == 250


def test_tls_required_lets_nothing_else_through(make):
    service = make({}, {"sub": {"tls": "required"}}).add_user().start()
    with Client(service.port()) as client:
        client.hello()
        for line in ("MAIL FROM:<a@sender.example>", "AUTH PLAIN AGEAYg==", "VRFY a",
                     "RCPT TO:<b@local.example>", "DATA"):
            reply = client.cmd(line)
            assert reply.code == 530 and "5.7.0 Must issue a STARTTLS command first" in reply.text
        for line, code in (("NOOP", 250), ("RSET", 250), ("HELO again", 250)):
            assert client.cmd(line).code == code
        client.starttls()
        client.mail("a@sender.example", "b@local.example")
        client.quit()


# -- BDAT

BAD_SIZES = [b"", b" ", b"-1", b"+5", b"0x10", b"1e3", b"ten", b"5x", b"18446744073709551616",
             b"99999999999999999999999999", b"-9223372036854775808", b"LAST", b"5.0", b"\xef\xbc\x95"]
BIG_SIZES = [b"2147483647", b"2147483648", b"4294967295", b"4294967296", b"9223372036854775807",
             b"9223372036854775808", b"18446744073709551615"]


@pytest.mark.parametrize("size", BAD_SIZES)
def test_a_bdat_size_that_cannot_be_read_is_501_and_the_end(relay, size):
    with Client(relay.port("plain")) as client:
        client.hello()
        transaction(client)
        client.send(b"BDAT " + size + b"\r\nMAIL FROM:<evil@sender.example>\r\n")
        assert client.reply().code == 501
        assert client.closed()


@pytest.mark.parametrize("size", BIG_SIZES)
def test_a_bdat_size_over_the_limit_is_552(relay, size):
    with Client(relay.port("plain")) as client:
        client.hello()
        transaction(client)
        client.send(b"BDAT " + size + b" LAST\r\nMAIL FROM:<evil@sender.example>\r\nRSET\r\n")
        reply = client.reply()
        assert reply.code in (552, 501), reply
        # Its octets are consumed or the session is closed; none of them is a command.
        client.sock.settimeout(1)
        try:
            more = client.reply()
            assert more.code == 421, f"octets of a chunk were executed: {more}"
        except (Closed, OSError):
            pass


@pytest.mark.parametrize("word", [b"FIRST", b"LAST LAST", b"LAST,", b"last x", b"0"])
def test_a_bad_word_behind_the_bdat_size_is_501_and_the_end(relay, word):
    with Client(relay.port("plain")) as client:
        client.hello()
        transaction(client)
        client.send(b"BDAT 6 " + word + b"\r\nNOOP\r\n")
        assert client.reply().code == 501
        assert client.closed()


def test_a_refused_bdats_octets_are_consumed(relay):
    chunk = b"RSET\r\nNOOP\r\nMAIL FROM:<evil@sender.example>\r\n"
    with Client(relay.port("plain")) as client:
        client.hello()
        for prepare in ((), ("MAIL FROM:<a@sender.example>",)):
            for line in prepare:
                assert client.cmd(line).code == 250
            client.send(b"BDAT %d LAST\r\n" % len(chunk) + chunk)
            assert client.reply().code == 503
            assert client.cmd("NOOP").code == 250
            client.cmd("RSET")


def test_bdat_states(relay):
    with Client(relay.port("plain")) as client:
        client.hello()

        def chunk(data, last=False):
            client.send(b"BDAT %d%s\r\n" % (len(data), b" LAST" if last else b"") + data)
            return client.reply().code

        # DATA, MAIL and RCPT have no place between chunks.
        transaction(client)
        assert chunk(b"Subject: bdat-a\r\n") == 250
        assert client.cmd("DATA").code == 503
        assert client.cmd("RCPT TO:<c@local.example>").code == 503
        assert client.cmd("MAIL FROM:<c@local.example>").code == 503
        assert client.cmd("NOOP").code == 250
        assert chunk(b"\r\nx\r\n", True) == 250
        # Behind LAST there is no transaction.
        assert chunk(b"more", True) == 503
        assert chunk(b"", True) == 503
        # An empty last chunk ends it.
        transaction(client)
        assert chunk(b"Subject: bdat-b\r\n\r\nx\r\n") == 250
        assert chunk(b"", True) == 250
        # RSET between chunks forgets them.
        transaction(client)
        assert chunk(b"Subject: forgotten\r\n\r\n") == 250
        assert client.cmd("RSET").code == 250
        assert chunk(b"x", True) == 503
        transaction(client)
        assert chunk(b"Subject: bdat-c\r\n\r\nx\r\n", True) == 250
        client.quit()
    end = time.monotonic() + 10
    while time.monotonic() < end:
        subjects = {file.subject() for file in relay.drop()}
        if {"bdat-a", "bdat-b", "bdat-c"} <= subjects:
            break
        time.sleep(0.05)
    assert {"bdat-a", "bdat-b", "bdat-c"} <= subjects and "forgotten" not in subjects


def test_an_end_of_data_inside_a_chunk_is_just_octets(relay):
    body = samples.message("bdat-dots", b"x\r\n.\r\nMAIL FROM:<evil@sender.example>\r\n..\r\n")
    with Client(relay.port("plain")) as client:
        client.hello()
        transaction(client)
        client.send(b"BDAT %d LAST\r\n" % len(body) + body)
        assert client.reply().code == 250
        assert client.cmd("RCPT TO:<b@local.example>").code == 503
    end = time.monotonic() + 10
    while time.monotonic() < end:
        found = [f for f in relay.drop() if f.subject() == "bdat-dots"]
        if found:
            break
        time.sleep(0.05)
    assert samples.dropped(found[0].content, body) == ""


def test_bare_lf_in_a_chunk_is_refused_as_in_data(relay):
    for body in (b"Subject: x\r\n\r\na\nb\r\n", b"Subject: x\r\n\r\na\rb\r\n"):
        with Client(relay.port("plain")) as client:
            client.hello()
            transaction(client)
            client.send(b"BDAT %d LAST\r\n" % len(body) + body)
            assert client.reply().code // 100 == 5
            try:
                assert client.cmd("NOOP").code == 250
            except Closed:
                pass


def test_a_session_that_dies_in_a_chunk_leaves_nothing(relay):
    before = len(relay.drop())
    client = Client(relay.port("plain"))
    client.hello()
    transaction(client)
    client.send(b"BDAT 1000 LAST\r\nSubject: half\r\n\r\n")
    client.close()
    time.sleep(0.5)
    assert len(relay.drop()) == before


def test_many_small_chunks_make_one_message(relay):
    body = samples.message("bdat-small", b"0123456789\r\n" * 20)
    with Client(relay.port("plain")) as client:
        client.hello()
        transaction(client)
        for i in range(0, len(body), 7):
            piece = body[i:i + 7]
            last = b" LAST" if i + 7 >= len(body) else b""
            client.send(b"BDAT %d%s\r\n" % (len(piece), last) + piece)
        for i in range(0, len(body), 7):
            assert client.reply().code == 250
    end = time.monotonic() + 10
    while time.monotonic() < end:
        found = [f for f in relay.drop() if f.subject() == "bdat-small"]
        if found:
            break
        time.sleep(0.05)
    assert samples.dropped(found[0].content, body) == ""


def test_size_is_refused_as_soon_as_it_is_known(relay):
    with Client(relay.port("plain")) as client:
        client.hello()
        assert client.cmd("MAIL FROM:<a@sender.example> SIZE=1048577").code == 552
        transaction(client)
        assert client.cmd("DATA").code == 354
        client.send(b"Subject: big\r\n\r\n" + b"x" * 70 * 20000 + b"\r\n.\r\n")
        assert client.reply().code == 552
        try:
            assert client.cmd("NOOP").code == 250
        except Closed:
            pass
