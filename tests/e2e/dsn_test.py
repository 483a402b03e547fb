"""Reports of what became of a message (RFC 3461, 3464), and to whom none is ever sent."""
import email
import email.policy
import re
import time

import pytest

import samples
from delivery_test import ndrs, no_ndr, relay_to, submit, wait_ndr
from sink import Sink
from smtp import Client


def refuse(reply=b"550 5.1.1 no such user here\r\n"):
    return Sink(hook=lambda verb, line, session: reply if verb == "RCPT" else None)


def parse(file):
    message = email.message_from_bytes(file.content, policy=email.policy.default)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    parts = list(message.iter_parts())
    assert [p.get_content_type() for p in parts[:2]] == ["text/plain", "message/delivery-status"]
    blocks = parts[1].get_payload()
    return message, parts, blocks[0], blocks[1:]


def test_a_report_has_the_three_parts_of_rfc_3464(make):
    with refuse() as sink:
        service = relay_to(make, sink)
        submit(service, name="original", params=" ENVID=QQ+2B314",
               rparams=" ORCPT=rfc822;Old+2BOne@x.example")
        message, parts, per_message, recipients = parse(wait_ndr(service)[0])
    assert message["From"] and message["To"] and message["Date"] and message["Message-ID"]
    assert message["Auto-Submitted"] == "auto-replied"
    assert per_message["Reporting-MTA"] == "dns; relay.example"
    assert per_message["Original-Envelope-Id"] == "QQ+314"
    assert per_message["Arrival-Date"]
    (block,) = recipients
    assert block["Final-Recipient"].lower() == "rfc822; v@foreign.example"
    assert block["Original-Recipient"].replace(" ", "") in ("rfc822;Old+One@x.example",
                                                            "rfc822;Old+2BOne@x.example")
    assert block["Action"] == "failed" and block["Status"] == "5.1.1"
    assert re.match(r"smtp; 550 5\.1\.1 no such user here", block["Diagnostic-Code"])
    assert block["Remote-MTA"].startswith("dns;")
    assert "v@foreign.example" in parts[0].get_content()
    assert parts[2].get_content_type() == "message/rfc822"
    assert b"Subject: original" in parts[2].as_bytes()


@pytest.mark.parametrize("ret, full", [("", True), (" RET=FULL", True), (" RET=HDRS", False)])
def test_ret_decides_what_comes_back(make, ret, full):
    with refuse() as sink:
        service = relay_to(make, sink)
        submit(service, body=b"the secret body\r\n", params=ret)
        file = wait_ndr(service)[0]
        assert (b"the secret body" in file.content) == full
        _, parts, _, _ = parse(file)
        assert parts[2].get_content_type() == ("message/rfc822" if full else "text/rfc822-headers")


def test_a_large_message_comes_back_as_headers(make):
    with refuse() as sink:
        service = relay_to(make, sink)
        submit(service, body=b"x" * 70 + (b"\r\n" + b"y" * 70) * 30000 + b"\r\n")
        file = wait_ndr(service)[0]
        assert len(file.content) < 1 << 20
        parse(file)


def test_an_eight_bit_original_makes_a_valid_report(make):
    with refuse() as sink:
        service = relay_to(make, sink)
        submit(service, body=samples.BODIES["eightbit"])
        file = wait_ndr(service)[0]
        assert samples.BODIES["eightbit"] in file.content
        assert re.search(rb"Content-Transfer-Encoding: 8bit", file.content, re.I)


def test_notify_never_is_honoured(make):
    with refuse() as sink:
        service = relay_to(make, sink)
        submit(service, rparams=" NOTIFY=NEVER")
        service.wait_queue_empty()
        no_ndr(service)


def test_notify_without_failure_is_honoured(make):
    with refuse() as sink:
        service = relay_to(make, sink)
        submit(service, rparams=" NOTIFY=SUCCESS")
        service.wait_queue_empty()
        no_ndr(service)


@pytest.mark.parametrize("extensions, action", [(["PIPELINING"], "relayed"), (["DSN"], None)])
def test_notify_success_is_answered_where_the_next_hop_cannot(make, extensions, action):
    with Sink(extensions=extensions) as sink:
        service = relay_to(make, sink)
        submit(service, rparams=" NOTIFY=SUCCESS")
        sink.wait(1)
        if action is None:
            no_ndr(service)
            return
        _, _, _, (block,) = parse(wait_ndr(service)[0])
        assert block["Action"] == action and block["Status"].startswith("2.")


def test_notify_success_of_a_local_recipient_is_delivered(make, sink):
    service = relay_to(make, sink)
    submit(service, "b@local.example", rparams=" NOTIFY=SUCCESS")
    _, _, _, (block,) = parse(wait_ndr(service)[0])
    assert block["Action"] == "delivered" and block["Status"].startswith("2.")


def test_a_message_that_expires_is_reported(make):
    with Sink() as sink:
        sink.stop()
        service = relay_to(make, sink, {"retry": ["1s"], "expire": "3s"})
        submit(service)
        _, _, _, (block,) = parse(wait_ndr(service, timeout=30)[0])
        assert block["Action"] == "failed" and re.match(r"[45]\.4\.7", block["Status"])
        service.wait_queue_empty()


def test_delay_is_noticed_once_and_only_where_it_is_wanted(make):
    with Sink() as sink:
        sink.stop()
        service = relay_to(make, sink, {"retry": ["1s"], "delay_notice": "2s", "expire": "1h"})
        submit(service, "never@foreign.example", name="never", rparams=" NOTIFY=FAILURE")
        submit(service, "usual@foreign.example", name="usual")
        submit(service, "asked@foreign.example", name="asked", rparams=" NOTIFY=DELAY")
        wait_ndr(service, 2, 30)
        time.sleep(3)
        reports = [parse(f) for f in ndrs(service)]
        assert sorted(r[3][0]["Final-Recipient"].split(";")[1].strip() for r in reports) == [
            "asked@foreign.example", "usual@foreign.example"]
        for report in reports:
            assert report[3][0]["Action"] == "delayed" and report[3][0]["Status"].startswith("4.")
            assert report[3][0]["Will-Retry-Until"]
        assert len(service.queue()) == 3


def test_a_report_is_never_sent_for_a_report(make):
    with refuse() as sink:
        service = relay_to(make, sink)
        submit(service, sender="", name="null")
        service.wait_queue_empty()
        no_ndr(service)
        deadline = time.monotonic() + 10
        while not service.badmail() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert any(b"Subject: null" in path.read_bytes() for path in service.badmail())


def test_a_report_that_cannot_be_delivered_becomes_badmail(make):
    with refuse() as sink:
        service = relay_to(make, sink)
        submit(service, sender="stranger@elsewhere.example", name="lost")
        deadline = time.monotonic() + 20
        while not service.badmail() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert any(b"delivery-status" in path.read_bytes() for path in service.badmail())
        service.wait_queue_empty()
        assert service.drop() == []


def test_a_copy_of_reports_goes_where_the_operator_wants_it(make):
    with refuse() as sink:
        service = relay_to(make, sink, {"ndr_copy_to": "postmaster@local.example"})
        submit(service)
        wait_ndr(service, 2)
        receivers = sorted(r.strip("<>") for f in ndrs(service) for r in f.receivers)
        assert receivers == ["a@local.example", "postmaster@local.example"]


def test_a_report_goes_out_with_the_null_sender(make):
    def hook(verb, line, session):
        return b"550 5.1.1 no\r\n" if verb == "RCPT" and b"v@foreign" in line else None

    with Sink(hook=hook) as sink:
        service = relay_to(make, sink)
        submit(service, sender="remote@elsewhere.example")
        got = sink.wait(1, 30)[0]
        assert got.sender == "" and got.recipients == ["remote@elsewhere.example"]


def test_a_hostile_next_hop_cannot_write_into_the_report(make):
    reply = (b"550-5.1.1 first\r\n550 5.1.1 \x1b[31mred\x00 \rX-Evil: yes " + b"y" * 3000 + b"\r\n")
    with refuse(reply) as sink:
        service = relay_to(make, sink)
        submit(service)
        file = wait_ndr(service)[0]
        assert b"\x1b" not in file.content and b"\0" not in file.content
        assert not re.search(rb"(?<!\r)\n|\r(?!\n)", file.content)
        assert not re.search(rb"^X-Evil", file.content, re.M)
        assert max(len(line) for line in file.content.split(b"\r\n")) <= 998


def test_a_message_with_its_own_boundary_cannot_break_out(make):
    with refuse() as sink:
        service = relay_to(make, sink)
        submit(service, body=b"--\r\n--x--\r\n--=_postern\r\nContent-Type: text/html\r\n\r\n")
        file = wait_ndr(service)[0]
        _, parts, _, _ = parse(file)
        assert len(parts) == 3


def test_recipients_of_one_message_share_a_report_or_have_their_own(make):
    with refuse() as sink:
        service = relay_to(make, sink)
        with Client(service.port()) as client:
            client.hello()
            client.mail("a@local.example", [f"v{i}@foreign.example" for i in range(5)])
        service.wait_queue_empty()
        reported = sorted(block["Final-Recipient"].split(";")[1].strip()
                          for file in wait_ndr(service) for block in parse(file)[3])
        assert reported == [f"v{i}@foreign.example" for i in range(5)]
