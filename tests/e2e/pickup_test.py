"""The Pickup and Drop directories."""
import os
import re
import time

import pytest

import samples
from delivery_test import relay_to
from postern import PATIENCE
from smtp import Client


def hand_in(service, name, content, rename=True):
    folder = service.folder_of("Pickup")
    assert folder.is_dir(), "the service makes its directories"
    target = folder / name
    if rename:
        made = service.folder / f"made-{name}"
        made.write_bytes(content)
        os.rename(made, target)
    else:
        target.write_bytes(content)
    return target


def gone(path, timeout=20):
    end = time.monotonic() + timeout * PATIENCE
    while time.monotonic() < end:
        if not path.exists():
            return True
        time.sleep(0.05)
    return False


GOOD = (b"x-sender: app@local.example\r\nx-receiver: one@foreign.example\r\n"
        b"X-Receiver: two@foreign.example\r\nFrom: app@local.example\r\nTo: nobody@else.example\r\n"
        b"Subject: pickup\r\n\r\nbody\r\n.\r\n..\r\n")


def test_x_lines_are_the_envelope(make, sink):
    service = relay_to(make, sink)
    path = hand_in(service, "a.eml", GOOD)
    got = sink.wait(1)[0]
    assert gone(path)
    assert got.sender == "app@local.example"
    assert sorted(got.recipients) == ["one@foreign.example", "two@foreign.example"]
    assert b"x-sender" not in got.data.lower() and b"x-receiver" not in got.data.lower()
    assert got.data.endswith(b"\r\n\r\nbody\r\n.\r\n..\r\n")
    assert re.search(rb"^Message-ID:", got.data, re.M | re.I)


def test_without_x_lines_the_header_is_the_envelope(make, sink):
    service = relay_to(make, sink)
    hand_in(service, "b.eml", b"From: App <app@local.example>\r\n"
            b'To: "Last, First" <to@foreign.example>, group: g1@foreign.example,\r\n'
            b" g2@foreign.example;\r\nCc: (comment) cc@foreign.example\r\n"
            b"Bcc: hidden@foreign.example\r\nSubject: h\r\n\r\nx\r\n")
    deadline = time.monotonic() + 20
    while sum(len(m.rcpt) for m in sink.taken()) < 5 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert sorted(r for m in sink.taken() for r in m.recipients) == [
        "cc@foreign.example", "g1@foreign.example", "g2@foreign.example", "hidden@foreign.example",
        "to@foreign.example"]
    for message in sink.taken():
        assert message.sender == "app@local.example"
        assert b"hidden" not in message.data and b"bcc" not in message.data.lower()


def test_bcc_is_stripped_even_folded_and_repeated(make, sink):
    service = relay_to(make, sink)
    hand_in(service, "c.eml", b"x-sender: a@local.example\r\nx-receiver: v@foreign.example\r\n"
            b"From: a@local.example\r\nBcc: one@x.example,\r\n\ttwo@x.example,\r\n three@x.example\r\n"
            b"BCC: four@x.example\r\nSubject: s\r\n\r\nBcc: in the body\r\n")
    data = sink.wait(1)[0].data
    assert not re.search(rb"(one|two|three|four)@x", data)
    assert data.endswith(b"\r\n\r\nBcc: in the body\r\n")


def test_lf_only_files_are_taken(make, sink):
    service = relay_to(make, sink)
    hand_in(service, "d.eml", GOOD.replace(b"\r\n", b"\n"))
    data = sink.wait(1)[0].data
    assert data.endswith(b"\r\n\r\nbody\r\n.\r\n..\r\n")
    assert not re.search(rb"(?<!\r)\n", data)


def test_a_file_that_is_written_in_place_is_taken_when_it_is_whole(make, sink):
    service = relay_to(make, sink)
    path = service.folder_of("Pickup") / "slow.eml"
    with open(path, "wb", buffering=0) as file:
        for i in range(0, len(GOOD), 40):
            file.write(GOOD[i:i + 40])
            time.sleep(0.15)
    got = sink.wait(1, 30)[0]
    assert got.data.endswith(b"\r\n\r\nbody\r\n.\r\n..\r\n")
    assert gone(path)
    time.sleep(1)
    assert len(sink.messages) == 1


def test_a_local_recipient_goes_to_drop(make, sink):
    service = relay_to(make, sink)
    hand_in(service, "e.eml", b"x-sender: a@local.example\r\nx-receiver: b@local.example\r\n"
            b"Subject: local\r\n\r\nx\r\n")
    file = service.wait_drop(1)[0]
    assert file.subject() == "local" and [r.strip("<>") for r in file.receivers] == ["b@local.example"]


BAD = {
    "empty": b"",
    "no recipients": b"x-sender: a@local.example\r\nSubject: s\r\n\r\nx\r\n",
    "bad receiver": b"x-sender: a@local.example\r\nx-receiver: not an address\r\nSubject: s\r\n\r\nx\r\n",
    "bad sender": b"x-sender: a@@b\r\nx-receiver: b@local.example\r\nSubject: s\r\n\r\nx\r\n",
    "binary": bytes(range(256)) * 40,
    "only header rubbish": b"From a@b Mon\r\n\0\0\0\r\n",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_goes_to_badmail_with_its_reason(make, sink, kind):
    service = relay_to(make, sink)
    path = hand_in(service, "bad.eml", BAD[kind])
    assert gone(path)
    end = time.monotonic() + 10
    while not service.badmail() and time.monotonic() < end:
        time.sleep(0.05)
    texts = [p.read_bytes() for p in service.badmail()]
    assert texts, "nothing in Badmail"
    assert not BAD[kind] or any(BAD[kind][:200] in t for t in texts)
    names = [p.name for p in service.badmail()]
    assert len(names) >= 2 or re.search(r"pickup", service.log()), (names, service.log()[-500:])
    assert sink.messages == []


def test_what_is_no_regular_file_is_left_alone(make, sink):
    service = relay_to(make, sink)
    folder = service.folder_of("Pickup")
    (folder / "directory.eml").mkdir()
    outside = service.folder / "outside"
    outside.write_bytes(GOOD)
    (folder / "link.eml").symlink_to(outside)
    os.mkfifo(folder / "pipe.eml")
    hand_in(service, "good.eml", GOOD)
    sink.wait(1)
    time.sleep(1)
    assert len(sink.messages) == 1 and outside.exists()


def test_many_files_are_all_taken_once(make, sink):
    service = relay_to(make, sink)
    for i in range(100):
        hand_in(service, f"many-{i}.eml", GOOD.replace(b"pickup", b"pickup-%d" % i))
    got = sink.wait(100, 60)
    time.sleep(1)
    subjects = sorted(re.search(rb"Subject: (\S+)", m.data).group(1) for m in sink.taken())
    assert len(subjects) == len(set(subjects)) == 100, len(got)
    assert list(service.folder_of("Pickup").iterdir()) == []


def test_files_that_lay_there_before_the_start_are_taken(make, sink):
    service = relay_to(make, sink)
    service.stop()
    hand_in(service, "before.eml", GOOD)
    service.start()
    sink.wait(1)


def test_drop_files_are_made_aside_and_complete(make):
    service = make().start()
    seen, message = set(), samples.message("drop", samples.BODIES["large"])
    with Client(service.port()) as client:
        client.hello()
        for i in range(8):
            client.mail("a@b.example", ["x@local.example", "y@local.example"], message)
            for file in service.drop():
                if file.path not in seen:
                    seen.add(file.path)
                    assert samples.dropped(file.content, message) == "", "a file was seen half made"
    files = service.wait_drop(8)
    for file in files:
        assert file.path.suffix == ".eml"
        lines = file.raw.split(b"\r\n")
        assert lines[0].lower().startswith(b"x-sender: ") and file.sender.strip("<>") == "a@b.example"
        assert lines[1].lower().startswith(b"x-receiver: ")
        assert not re.search(rb"(?<!\r)\n", file.raw)
    assert (service.folder_of("Drop") / ".tmp").is_dir()
    assert not list((service.folder_of("Drop") / ".tmp").iterdir())
    receivers = sorted(r.strip("<>") for f in files for r in f.receivers)
    assert receivers == ["x@local.example"] * 8 + ["y@local.example"] * 8
