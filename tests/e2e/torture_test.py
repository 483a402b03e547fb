"""Chance against the running service: sessions cut, mixed, split and spoilt at random. It must
live, promise nothing twice and let nothing out."""
import random
import re
import threading
import time

import pytest

import samples
from openrelay import RECIPIENTS
from sink import Sink
from smtp import Client, Closed

SECONDS = 20
PIECES = [b"EHLO x\r\n", b"HELO x\r\n", b"MAIL FROM:<a@b.example>\r\n", b"RCPT TO:<b@local.example>\r\n",
          b"DATA\r\n", b"Subject: x\r\n\r\nbody\r\n.\r\n", b".\r\n", b"RSET\r\n", b"NOOP\r\n", b"QUIT\r\n",
          b"BDAT 5\r\nhello", b"BDAT 5 LAST\r\nhello", b"BDAT 0 LAST\r\n", b"BDAT 99999 LAST\r\n",
          b"AUTH PLAIN\r\n", b"AUTH LOGIN\r\n", b"*\r\n", b"AGEAYg==\r\n", b"AUTH SCRAM-SHA-256 biwsbj1hLHI9Yg==\r\n",
          b"STARTTLS\r\n", b"\x16\x03\x01\x00\xff", b"VRFY a\r\n", b"HELP\r\n", b"\r\n", b"\n", b"\0", b"\r",
          b"MAIL FROM:<> SIZE=999999999\r\n", b"x" * 3000, b"MAIL FROM:<a@b.example> BODY=8BITMIME\r\n"]


@pytest.mark.long
@pytest.mark.parametrize("listener", ["plain", "implicit", "legacy"])
def test_random_sessions_are_survived(make, listener):
    with Sink() as sink:
        service = make({"delivery": {"smart_host": sink.literal},
                        "limits": {"connections_per_client": 1000, "message_size": "64K"}},
                       {"plain": {"tls": "optional"}, "implicit": {"tls": "implicit"},
                        "legacy": {"tls": "optional", "bare_lf": "normalise"}}).add_user().start()
        end = time.monotonic() + SECONDS
        errors = []

        def work(seed):
            chance = random.Random(seed)
            while time.monotonic() < end and not errors:
                try:
                    with Client(service.port(listener), timeout=3, source="127.0.0.2",
                                implicit=listener == "implicit") as client:
                        for _ in range(chance.randrange(1, 30)):
                            piece = bytearray(chance.choice(PIECES))
                            if chance.random() < 0.15:
                                for _ in range(chance.randrange(1, 4)):
                                    piece[chance.randrange(len(piece))] = chance.randrange(256)
                            if chance.random() < 0.05:
                                piece = bytearray(
                                    f"RCPT TO:{chance.choice(RECIPIENTS)}\r\n".encode("latin-1"))
                            if chance.random() < 0.3:
                                client.dribble(bytes(piece[:200]))
                            else:
                                client.send(bytes(piece))
                        if chance.random() < 0.5:
                            client.sock.settimeout(0.1)
                            client.sock.recv(65536)
                except (OSError, Closed):
                    pass
                if not service.running():
                    errors.append("it died")

        threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        with Client(service.port("plain")) as client:
            client.hello()
            client.mail("a@b.example", "last@local.example", samples.message("last", b"x\r\n"))
        deadline = time.monotonic() + 20
        while "last" not in {f.subject() for f in service.drop()}:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert sink.messages == []
        for file in service.drop():
            for receiver in file.receivers:
                assert re.search(r"@local\.example>?$|postmaster", receiver), receiver


@pytest.mark.long
def test_any_split_of_the_input_gives_the_same_answers(make):
    service = make({"limits": {"connections_per_client": 1000}}, {"plain": {"tls": "none"}}).start()
    session = (b"EHLO x\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<b@local.example>\r\n"
               b"RCPT TO:<v@foreign.example>\r\nBDAT 20\r\nSubject: x\r\n\r\nbody\r\n"
               b"BDAT 4 LAST\r\nx\r\n.XYZ\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<b@local.example>\r\n"
               b"DATA\r\nSubject: y\r\n\r\n..a\r\n.\r\nRSET\r\nNOOP\r\nBDAT 3 LAST\r\nabcQUIT\r\n")

    def answers(split):
        with Client(service.port()) as client:
            for at, to in zip([0] + split, split + [len(session)]):
                client.send(session[at:to])
                if len(split) < 8:
                    time.sleep(0.01)
            lines = []
            try:
                while True:
                    lines.append(client.line())
            except Closed:
                pass
        # Ids and times differ.
        return [re.sub(r"<[^>]*>|\[[^\]]*\]|\d\d:\d\d:\d\d.*", "", line) for line in lines]

    expected = answers([])
    assert expected[-1].startswith("221"), expected
    chance = random.Random(1)
    for at in range(1, len(session), 3):
        assert answers([at]) == expected, at
    for _ in range(20):
        split = sorted(chance.sample(range(1, len(session)), chance.randrange(2, 30)))
        assert answers(split) == expected, split
    assert answers(list(range(1, len(session)))) == expected
