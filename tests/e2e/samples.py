"""Messages that must come out as they went in."""

HEAD = (b"From: a@sender.example\r\nTo: b@local.example\r\nSubject: %s\r\n"
        b"Date: Mon, 02 Jan 2023 10:11:12 +0000\r\nMessage-ID: <%s@sender.example>\r\n")


def message(name, body, extra=b""):
    tag = name.encode()
    return HEAD % (tag, tag) + extra + b"\r\n" + body


BODIES = {
    "simple": b"Hello,\r\nworld.\r\n",
    "dots": b".\r\n..\r\n...\r\n.x\r\n..x\r\nx.\r\n.\r\n\r\n.\r\n",
    "eightbit": bytes(range(0x80, 0x100)) + b"\r\nGr\xfc\xdfe \xe2\x82\xac\r\n",
    "longlines": b"x" * 998 + b"\r\n" + b"y" * 5000 + b"\r\n." + b"z" * 70000 + b"\r\n",
    "blank": b"\r\n\r\n\r\n",
    "controls": b"tab\there\x01\x1b[31m\x7f\r\n",
    "large": b"".join(b"%06d 0123456789abcdefghijklmnopqrstuvwxyz.\r\n" % i for i in range(20000)),
}


def dropped(content, sent, added=("received", "return-path")):
    """Whether content is what was sent behind header fields of ours; says what differs."""
    if not content.endswith(sent):
        at = next((i for i in range(min(len(content), len(sent)))
                   if content[-1 - i] != sent[-1 - i]), min(len(content), len(sent)))
        return f"differs {at} octets before the end: {content[-at - 60:][:120]!r}"
    ours = content[:len(content) - len(sent)]
    if not ours.endswith(b"\r\n"):
        return f"what stands before it is no header: {ours!r}"
    for line in ours.split(b"\r\n")[:-1]:
        name = line.split(b":")[0].lower().decode("latin-1")
        if line[:1] not in b" \t" and name not in added:
            return f"unexpected header field {line!r}"
    return ""
