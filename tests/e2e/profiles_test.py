"""access.profiles in the running service: senders, recipients, a fixed sender, bare LF."""
import json
import re
import ssl
import subprocess

import pytest

from smtp import Client

PROFILES = [
    {"name": "scanners", "clients": ["127.0.1.0/24"], "bare_lf": "normalise",
     "sender": "scanner@local.example",
     "recipients": {"allow": ["*@local.example", "/^boss@/"], "refuse": ["all@local.example"]}},
    {"name": "shop", "accounts": ["alice"], "senders": ["*@shop.example", "<>"]},
]


@pytest.fixture
def service(make):
    it = make({"access": {"profiles": PROFILES, "relay": {"list": ["127.0.0.0/8"]}},
               "logging": {"level": "debug"}})
    it.write()
    it.add_user()
    it.start()
    return it


def test_the_sender_of_devices_is_fixed_and_the_null_sender_stays(service):
    with Client(service.port(), source="127.0.1.7") as it:
        it.hello()
        it.mail("fax@localhost.example", "bob@local.example")
        it.mail("", "bob@local.example")
    assert sorted(m.sender for m in service.wait_drop(2)) == ["", "scanner@local.example"]
    service.wait_log(r"smtp\.sender\.fixed .*fax@localhost\.example.*scanner@local\.example")
    assert service.log().count("smtp.sender.fixed") == 1
    with Client(service.port(), source="127.0.2.7") as it:  # others send as they are
        it.hello()
        it.mail("fax@localhost.example", "bob@local.example")
    assert service.log().count("smtp.sender.fixed") == 1


def test_recipients_of_a_profile_and_the_refusal_explained(service):
    with Client(service.port(), source="127.0.1.7") as it:
        it.hello()
        assert it.cmd("MAIL FROM:<a@b.example>").code == 250
        assert it.cmd("RCPT TO:<bob@local.example>").code == 250
        assert it.cmd("RCPT TO:<boss@other.example>").code == 250
        assert it.cmd("RCPT TO:<postmaster>").code == 250
        refused = it.cmd("RCPT TO:<all@local.example>")
        assert refused.code == 550 and "5.7.1" in refused.text
        other = it.cmd("RCPT TO:<x@other.example>")
        assert other.code == 550
    for reply, rule in ((refused, "recipients.refuse"), (other, "recipients.allow")):
        ident = re.search(r"\[([0-9A-Z]{12})\]$", reply.text)[1]
        done = service.cli("explain", ident)
        assert done.returncode == 1 and f"access.profiles[0].{rule}" in done.stdout, done


def test_senders_of_an_account(service):
    with Client(service.port(), source="127.0.2.7") as it:
        it.hello().starttls()
        assert it.plain(service.USER, service.PASSWORD).code == 235
        refused = it.cmd("MAIL FROM:<ceo@local.example>")
        assert refused.code == 550 and "send as ceo@local.example" in refused.text
        for sender in ("order@shop.example", ""):
            assert it.cmd(f"MAIL FROM:<{sender}>").code == 250
            assert it.cmd("RSET").code == 250
    with Client(service.port(), source="127.0.2.7") as it:  # the same client without the account
        it.hello()
        assert it.cmd("MAIL FROM:<ceo@local.example>").code == 250


def test_bare_lf_is_taken_from_the_profiles_clients_alone(service):
    with Client(service.port(), source="127.0.1.7") as it:
        assert it.reply().code == 220
        it.send(b"EHLO old\n")
        assert it.reply().code == 250
        it.send(b"MAIL FROM:<a@b.example>\n")
        assert it.reply().code == 250
    with Client(service.port(), source="127.0.2.7") as it:
        assert it.reply().code == 220
        it.send(b"EHLO old\nEHLO old\r\n")
        assert it.reply().code // 100 == 5


@pytest.mark.parametrize("profile, said", [
    ({"senders": ["nobody"]}, "no address"), ({"clients": ["10.0.0.300"]}, "not an address"),
    ({"recipients": {"refuse": ["/(/"]}}, "PCRE2"), ({"accounts": ["a\\\\b\\c"]}, "no account"),
    ({"sender": "x"}, "sender"), ({"colour": "red"}, "colour")])
def test_what_is_wrong_with_a_profile_is_told_with_its_place(make, profile, said):
    service = make({"access": {"profiles": [{"name": "x", **profile}]}})
    service.write()
    done = service.cli("check")
    assert done.returncode == 78 and said in done.stderr, done
    assert re.search(r"postern\.yaml:\d+:\d+: access", done.stderr), done.stderr


# -- From:

FROM = [{"name": "mfp", "clients": ["127.0.1.0/24"], "from": "mfp@local.example"}]
BODY = b"From: not@a.header\r\nthe end\r\n"
HEADERS = [
    (b"From: Scanner 3 <scan@localhost>\r\nSubject: s\r\n", b"Scanner 3 <mfp@local.example>"),
    (b"Subject: s\r\nfrom :\r\n \"Hall, 2nd\"\r\n\t<scan@localhost>\r\nX-Last: y\r\n",
     b'"Hall, 2nd" <mfp@local.example>'),
    (b"From: A <a@x>\r\nSubject: s\r\nFROM: B <b@x>\r\n", b"A <mfp@local.example>"),
    (b"Subject: s\r\n", b"<mfp@local.example>"),
    (b"From: " + b"x" * 5000 + b" <a@x>\r\nSubject: s\r\n", b"<mfp@local.example>"),
]


@pytest.mark.parametrize("size", [0, 700_000])
def test_from_of_devices_gets_the_profiles_address_and_keeps_its_name(make, size):
    service = make({"access": {"profiles": FROM}}).start()
    body = BODY + b"0123456789abcdef\r\n" * (size // 18)
    for header, want in HEADERS:
        with Client(service.port(), source="127.0.1.7") as it:
            it.hello().mail("scan@localhost.example", "bob@local.example", header + b"\r\n" + body)
    found = service.wait_drop(len(HEADERS))
    froms = []
    for message in found:
        lines = re.sub(rb"\r\n[ \t]+", b" ", message.header()).split(b"\r\n")
        mine = [line for line in lines if line.lower().startswith(b"from")]
        assert len(mine) == 1, message.header()
        froms.append(mine[0].removeprefix(b"From: "))
        assert b"Subject: s" in lines and message.body() == body
        assert message.sender == "scan@localhost.example"  # the envelope has a key of its own
    assert sorted(froms) == sorted(want for _, want in HEADERS)
    service.wait_log(r"smtp\.from\.fixed .*from=mfp@local\.example")
    with Client(service.port(), source="127.0.2.7") as it:  # others' stays
        it.hello().mail("a@b.example", "bob@local.example", HEADERS[0][0] + b"\r\n" + BODY)
    assert sum(b"From: Scanner 3 <scan@localhost>" in m.header()
               for m in service.wait_drop(len(HEADERS) + 1)) == 1


@pytest.mark.parametrize("message", [b"From: A <a@x>", b"From: A <a@x>\r\n", b"Subject: s", b"From",
                                     b"\r\nFrom: A <a@x>\r\n", b""])
def test_a_message_that_ends_in_its_header_gets_one_from(make, message):
    service = make({"access": {"profiles": FROM}}).start()
    with Client(service.port(), source="127.0.1.7") as it:
        it.hello().mail("a@b.example", "bob@local.example", message)
    raw, = service.wait_drop(1)
    assert raw.content.count(b"<mfp@local.example>") == 1
    assert raw.header().count(b"From:") == 1


# -- TLS of old devices

def tls_version(service, source, version, seclevel=0, listener=None):
    """What a client that knows this version alone gets: its name, or None."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers(f"DEFAULT:@SECLEVEL={seclevel}")
    context.minimum_version = context.maximum_version = version
    try:
        with Client(service.port(listener) if listener else service.port(), source=source,
                    context=context) as it:
            if listener == "implicit":
                it.start_tls()
                it.hello()
            else:
                it.hello().starttls()
            it.mail("a@b.example", "bob@local.example")
            return it.sock.version()
    except (ssl.SSLError, ConnectionError, OSError):
        return None


def s_client(service, source, *options):
    return subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{service.port('plain')}", "-bind",
                           source, "-starttls", "smtp", *options], input="QUIT\r\n", text=True,
                          capture_output=True, timeout=60)


def test_old_tls_is_spoken_with_the_profiles_clients_alone(make):
    profiles = [{"name": "old", "clients": ["127.0.1.0/24"], "tls_minimum": "1.0"},
                {"name": "new", "clients": ["127.0.3.0/24"], "tls_minimum": "1.3"}]
    service = make({"access": {"profiles": profiles}},
                   {"plain": {"tls": "optional"}, "implicit": {"tls": "implicit"}}).start()
    old = ("-tls1", "-cipher", "DEFAULT:@SECLEVEL=0")
    got = s_client(service, "127.0.1.7:0", *old)
    assert "Protocol  : TLSv1\n" in got.stdout and got.returncode == 0, got
    refused = s_client(service, "127.0.2.7:0", *old)
    assert refused.returncode != 0 and "alert protocol version" in refused.stderr, refused
    told = service.wait_log(r"smtp\.tls\.failed.*tls_minimum")
    assert "no common version" in told.group(0)
    v = ssl.TLSVersion
    for listener in ("plain", "implicit"):
        assert tls_version(service, "127.0.1.7", v.TLSv1, listener=listener) == "TLSv1"
        assert tls_version(service, "127.0.1.7", v.TLSv1_1, listener=listener) == "TLSv1.1"
        assert tls_version(service, "127.0.2.7", v.TLSv1, listener=listener) is None
        assert tls_version(service, "127.0.2.7", v.TLSv1_1, listener=listener) is None
        assert tls_version(service, "127.0.3.7", v.TLSv1_2, listener=listener) is None
        for source in ("127.0.1.7", "127.0.2.7"):  # and the others have what they had
            assert tls_version(service, source, v.TLSv1_2, 2, listener) == "TLSv1.2"
        for source in ("127.0.1.7", "127.0.2.7", "127.0.3.7"):
            assert tls_version(service, source, v.TLSv1_3, 2, listener) == "TLSv1.3"
    # The ciphers of old devices are theirs alone, too.
    weak = ("-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
    assert s_client(service, "127.0.1.7:0", *weak).returncode == 0
    assert s_client(service, "127.0.2.7:0", *weak).returncode != 0


def test_a_reload_changes_the_versions_of_the_next_handshake(make):
    service = make({"access": {"profiles": [{"name": "old", "clients": ["127.0.1.0/24"]}]}}).start()
    assert tls_version(service, "127.0.1.7", ssl.TLSVersion.TLSv1) is None
    service.write({"access": {"profiles": [{"name": "old", "clients": ["127.0.1.0/24"],
                                            "tls_minimum": "1.0"}]}})
    assert service.cli("reload").returncode == 0
    assert tls_version(service, "127.0.1.7", ssl.TLSVersion.TLSv1) == "TLSv1"


@pytest.mark.parametrize("hello", ["EHLO", "HELO", "EHLO \xfcmlaut", "HELO my printer, floor 3", "EHLO [x",
                                   "EHLO -_-", "HELO " + "x" * 300, "EHLO localhost\t"])
def test_whatever_a_client_calls_itself_is_taken_from_everybody(make, hello):
    """So there is no key for it."""
    service = make().start()
    with Client(service.port(), source="127.0.2.7") as it:
        assert it.reply().code == 220
        assert it.cmd(hello.encode("latin-1")).code == 250
        assert it.cmd("MAIL FROM:<a@b.example>").code == 250
        assert it.cmd("RCPT TO:<bob@local.example>").code == 250


# -- and explain says so

def test_explain_shows_what_a_profile_changes_with_its_place(make):
    service = make({"access": {"profiles": [
        {"name": "old", "clients": ["127.0.1.0/24"], "bare_lf": "normalise", "tls_minimum": "1.0",
         "sender": "scanner@local.example", "from": "mfp@local.example",
         "rate": {"client": {"messages": 7}}}]}})
    service.write()
    places = {key: n for n, line in enumerate(service.path.read_text().splitlines(), 1)
              for key in ("bare_lf", "tls_minimum", '"sender"', '"from"', '"messages"') if key in line}

    def steps(client, sender="fax@localhost.example"):
        done = service.cli("explain", "--client", client, "--from", sender, "--to", "bob@local.example", "--json")
        assert done.returncode == 0, done
        return {s["step"]: s for s in json.loads(done.stdout)["steps"]}, service.cli(
            "explain", "--client", client, "--from", sender, "--to", "bob@local.example").stdout

    got, text = steps("127.0.1.7")
    for step, key, place, words in (
            ("line-ends", "bare_lf", "bare_lf", "are taken, and written as CRLF"),
            ("tls-version", "tls_minimum", "tls_minimum", "from 1.0 on, with others from 1.2"),
            ("fixed-sender", "sender", '"sender"', "scanner@local.example, not fax@localhost.example"),
            ("from-header", "from", '"from"', "becomes mfp@local.example"),
            ("rate", "rate.client.messages", '"messages"', "7 messages a minute")):
        one = got[step]
        assert one["rule"] == f"access.profiles[0].{key}" and one["line"] == places[place], one
        assert words in one["why"] and one["change"]
        assert one["verdict"] == ("allowed" if step == "rate" else "applied")
        assert re.search(rf"^{step} .*{re.escape(one['rule'])}: .*:{one['line']}\)$", text, re.M), text
    got, _ = steps("127.0.1.7", "<>")
    assert "fixed-sender" not in got and "from-header" in got
    got, _ = steps("127.0.2.7")
    assert not {"line-ends", "tls-version", "fixed-sender", "from-header", "rate"} & set(got)


def test_check_warns_of_what_a_profile_with_accounts_cannot_do(make):
    service = make({"access": {"profiles": [
        {"name": "a", "accounts": ["alice"], "bare_lf": "normalise", "tls_minimum": "1.1",
         "rate": {"client": {"connections": 3}}}, {"name": "b", "tls_minimum": "1.0"}]}})
    service.write()
    done = service.cli("check")
    assert done.returncode == 0, done
    said = done.stdout + done.stderr
    for key in ("[0].tls_minimum", "[0].bare_lf", "[0].rate.client.connections", "[1].tls_minimum"):
        assert f"access.profiles{key}: " in said, (key, said)
