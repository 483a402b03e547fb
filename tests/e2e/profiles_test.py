"""access.profiles in the running service: senders, recipients, a fixed sender, bare LF."""
import re

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
