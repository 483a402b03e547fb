"""One canonical identity for every spelling of a name, in explain, in the log, in access rules and in
Received; and who may authenticate by the domain's allow list."""
import json
import re
import time

import pytest

import scram
from postern import Service
from smtp import Client

ALLOWED, REFUSED, UNKNOWN = 0, 1, 2

CONFIG = """service: {{ hostname: relay.example.net, data_directory: {data} }}
listeners:
  - {{ address: "127.0.0.1:2525", tls: optional }}
authentication:
  basic: {{ default_domain: "{default}" }}
  domains:
    - name: users
      backend: userdb
    - name: CORP
      aliases: [corp.example, CORP2]
      backend: ldap
      url: "ldaps://127.0.0.1:1"
      bind: "{{user}}@ad.corp.example"
      allow:
        - CORP\\alice
        - relay-users
    - {{ name: KRB, backend: kerberos, realm: KRB.EXAMPLE, allow: [bob, KRB\\Carol] }}
    - {{ name: second, backend: userdb, allow: [anna] }}
    - {{ name: ".", backend: system }}
"""


@pytest.fixture(params=["", "corp2"])
def written(make, tmp_path, request):
    service = make()
    service.path.write_text(CONFIG.format(data=tmp_path / "data", default=request.param))
    service.default = request.param
    return service


def who(service, name, *more):
    done = service.cli("explain", "--user", name, "--json", *more)
    said = json.loads(done.stdout)
    assert said["verdict"] == ("allowed", "refused", "unknown")[done.returncode], done
    return done.returncode, said


# name -> canonical, domain, by, word of the why, exit code, text of the line that settled it
NAMES = [
    (r"users\anna", r"users\anna", "users", "name", "its name", ALLOWED, "name: users"),
    (r"USERS\ANNA", r"users\anna", "users", "name", "its name", ALLOWED, "name: users"),
    ("anna@users", r"users\anna", "users", "name", "its name", ALLOWED, "name: users"),
    ("app@example.net", r"users\app@example.net", "users", "whole", "no domain of ours", ALLOWED,
     "name: users"),
    (r"corp\Alice", r"CORP\alice", "CORP", "name", "its name", ALLOWED, r"- CORP\alice"),
    ("alice@corp.example", r"CORP\alice", "CORP", "name", "one of its aliases", ALLOWED,
     r"- CORP\alice"),
    ("alice@Corp.Example", r"CORP\alice", "CORP", "name", "one of its aliases", ALLOWED,
     r"- CORP\alice"),
    (r"CORP2\alice", r"CORP\alice", "CORP", "name", "one of its aliases", ALLOWED,
     r"- CORP\alice"),
    (r"CORP\alice@corp.example", r"CORP\alice", "CORP", "name", "its name", ALLOWED,
     r"- CORP\alice"),
    ("alice@ad.corp.example", r"CORP\alice", "CORP", "implied", "bind pattern", ALLOWED,
     r"- CORP\alice"),
    ("bob@corp.example", r"CORP\bob", "CORP", "name", "aliases", UNKNOWN, "allow:"),
    ("x@krb.example", r"KRB\x", "KRB", "implied", "realm", REFUSED, "allow: [bob"),
    ("BOB@KRB.EXAMPLE", r"KRB\bob", "KRB", "implied", "realm", ALLOWED, "allow: [bob"),
    (r"krb\carol", r"KRB\carol", "KRB", "name", "its name", ALLOWED, r"KRB\Carol"),
    (r"second\anna", r"second\anna", "second", "name", "its name", ALLOWED, "second"),
    (r"second\app@example.net", r"second\app@example.net", "second", "name", "its name", REFUSED,
     "second"),
    (r".\root", r".\root", ".", "name", "its name", ALLOWED, '"."'),
]


@pytest.mark.parametrize("name, canonical, domain, by, word, code, line", NAMES)
def test_a_name_is_explained(written, name, canonical, domain, by, word, code, line):
    got, said = who(written, name)
    assert got == code, said
    found = said["identity"]
    assert found["name"] == name and found["canonical"] == canonical
    assert (found["domain"]["name"], found["domain"]["by"]) == (domain, by), found
    assert word in found["domain"]["why"], found
    lines = written.path.read_text().splitlines()
    assert line in lines[said["line"] - 1], (said, lines[said["line"] - 1])
    assert domain in lines[found["domain"]["line"] - 1], found
    assert said["stage"] == "auth" and said["rule"].startswith("authentication.domains[")
    if code == REFUSED:
        assert said["reply"] == "535 5.7.3 Authentication unsuccessful"
        assert f"add {canonical} to {said['rule']}" in said["change"], said
    if code == UNKNOWN:
        assert "member" in said["change"] and "relay-users" in said["why"], said
    # the same in words
    done = written.cli("explain", "--user", name)
    assert done.returncode == code
    assert re.search(rf"^user: +{re.escape(canonical)}$", done.stdout, re.M), done.stdout
    assert f"{written.path}:{said['line']}" in done.stdout


def test_a_bare_name_goes_to_the_default_domain(written):
    _, said = who(written, "Anna")
    found = said["identity"]
    if written.default:
        assert found["canonical"] == r"CORP\anna" and found["domain"]["by"] == "default"
    else:
        assert found["canonical"] == r"users\anna" and found["domain"]["by"] == "first"


@pytest.mark.parametrize("name, word, change", [
    (r"NOPE\anna", 'no "NOPE"', 'add "NOPE" to the aliases'),
    (r"a\b\c", "no account can have this name", "correct the name"),
    ("CORP\\", "no account in this name", "correct the name"),
    (r"CORP\al@ice", "no account can have this name", "correct the name"),
    (" anna", "no account can have this name", "correct the name"),
])
def test_a_name_that_is_nobodys(written, name, word, change):
    code, said = who(written, name)
    assert code == REFUSED and said["identity"]["canonical"] is None
    assert word in said["why"] and change in said["change"], said
    assert said["identity"]["domain"] is None


def test_the_change_that_explain_names_is_enough(written):
    """Put in what it says, and it is allowed."""
    _, said = who(written, "x@krb.example")
    text = written.path.read_text().splitlines()
    at = said["line"] - 1
    text[at] = text[at].replace("allow: [", r"allow: [KRB\x, ")
    written.path.write_text("\n".join(text) + "\n")
    assert who(written, "x@krb.example")[0] == ALLOWED


def test_with_a_message_both_are_told(written):
    code, said = written.explain("192.0.2.1", "v@foreign.example", user="ALICE@corp.example",
                                 tls=True)
    assert code == ALLOWED and said["rule"] == "access.relay.authenticated"
    assert said["identity"]["canonical"] == r"CORP\alice"
    assert r"CORP\alice" in said["why"], "access rules are told the canonical name"
    assert said["identity"]["allow"]["verdict"] == "allowed"
    done = written.cli("explain", "--client", "192.0.2.1", "--from", "a@b.example", "--to",
                       "v@foreign.example", "--user", r"second\eve")
    assert done.returncode == ALLOWED, "the exit code stays the access rules'"
    assert "the domain's allow list does not name the account" in done.stderr
    assert "may not authenticate" in done.stdout


def test_explain_of_a_user_needs_no_more_than_the_file(written):
    assert who(written, "anna")[0] in (ALLOWED, UNKNOWN)
    assert not (written.folder / "data").exists()
    assert written.cli("explain", "--user", "").returncode == 64
    assert written.cli("explain", "--user", "anna", "--tls").returncode == 64


# -- the service

@pytest.fixture(scope="module")
def relay(tmp_path_factory, certificates):
    service = Service(tmp_path_factory.mktemp("identity"), certificates, {
        "authentication": {
            "name_in_received": True,
            "basic": {"default_domain": "people"},
            "domains": [{"name": "KRB", "backend": "kerberos", "realm": "KRB.EXAMPLE",
                         "keytab": "/nonexistent/k"},
                        {"name": "Users", "backend": "userdb", "aliases": ["people", "users.example"],
                         "allow": [r"PEOPLE\alice", "dora@users.example"]}],
            "throttle": {"delay": "1ms", "delay_max": "1ms", "free_failures": 1000,
                         "refuse_after": 1000}},
    }, {"i": {"tls": "implicit"}})
    service.add_user().add_user("bob", "bobs password").start()
    yield service
    service.finish()


@pytest.mark.parametrize("name", ["alice", "ALICE", r"Users\alice", r"users\Alice", r"PEOPLE\alice",
                                  "alice@people", "Alice@Users.Example", r"users.example\alice"])
@pytest.mark.parametrize("how", ["plain", "login", "scram"])
def test_every_spelling_is_one_identity(relay, name, how):
    before = len(relay.log())
    mark = f"{how}-{name}".encode().hex()
    with Client(relay.port(), implicit=True) as client:
        client.hello()
        if how == "scram":
            reply = scram.authenticate(client, name, relay.PASSWORD)
        else:
            reply = getattr(client, how)(name, relay.PASSWORD)
        assert reply.code == 235, reply
        client.mail("a@b.example", "v@local.example",
                    b"Subject: %s\r\n\r\nbody\r\n" % mark.encode())
        assert client.cmd("MAIL FROM:<a@b.example>").code == 250
        assert client.cmd("RCPT TO:<@@>").code // 100 == 5
    users = re.findall(r" user=(\S+)", relay.log()[before:])
    assert len(users) >= 2 and set(users) <= {r'"Users\\alice"', '""'}, users
    for end in range(200):
        found = [f for f in relay.drop() if f.subject() == mark]
        if found:
            break
        time.sleep(0.05)
    assert r"(authenticated as Users\\alice)" in found[0].header().decode(), found[0].header()


def test_received_tells_no_name_unless_told_to(make):
    service = make(None, {"i": {"tls": "implicit"}})
    service.add_user().start()
    with Client(service.port(), implicit=True) as client:
        assert client.hello().plain(service.USER, service.PASSWORD).code == 235
        client.mail("a@b.example", "v@local.example")
    header = service.wait_drop()[0].header().decode()
    assert "with ESMTPSA" in header and "alice" not in header, header


@pytest.mark.parametrize("how", ["plain", "login", "scram"])
def test_who_is_not_listed_looks_like_a_wrong_password(relay, how):
    replies = []
    for name, password in (("bob", "bobs password"), ("bob", "wrong"), ("ghost", "wrong")):
        with Client(relay.port(), implicit=True) as client:
            client.hello()
            if how == "scram":
                reply = scram.authenticate(client, name, password)
            else:
                reply = getattr(client, how)(name, password)
            replies.append(re.sub(r" \[\S+\]", "", str(reply.lines)))
    assert len(set(replies)) == 1 and "535 5.7.3 Authentication unsuccessful" in replies[0], replies
    assert "allow list" not in "".join(replies)
    relay.wait_log(r'smtp\.auth\.refused .*name=bob reason="the account is not in the domain\'s allow list"')
    code, said = who(relay, "bob")
    assert code == REFUSED and r"add Users\bob" in said["change"]
