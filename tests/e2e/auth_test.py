"""Authentication: what is offered, every mechanism, the states, and what an attacker may learn."""
import base64
import re
import ssl
import time

import pytest

import scram
from postern import PATIENCE, Service
from smtp import Client, Closed, client_context

USER, PASSWORD = Service.USER, Service.PASSWORD


def b64(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


@pytest.fixture(scope="module")
def relay(tmp_path_factory, certificates):
    service = Service(tmp_path_factory.mktemp("auth"), certificates, {
        "limits": {"connections_per_client": 500},
        "authentication": {"throttle": {"delay": "1ms", "delay_max": "1ms",
                                        "account_delay_max": "1ms", "free_failures": 1000,
                                        "refuse_after": 100000}},
    }, {"plain": {"tls": "optional"}, "implicit": {"tls": "implicit"}})
    service.add_user().add_user("bob", "bobs password").start()
    yield service
    service.finish()


@pytest.fixture
def client(relay):
    with Client(relay.port("implicit"), implicit=True) as it:
        yield it.hello()


def test_plain_login_and_scram_all_work(relay):
    for how in ("plain", "login", "scram", "scram without initial response"):
        with Client(relay.port("implicit"), implicit=True) as client:
            client.hello()
            if how == "plain":
                reply = client.plain(USER, PASSWORD)
            elif how == "login":
                reply = client.login(USER, PASSWORD)
            else:
                reply = scram.authenticate(client, USER, PASSWORD, initial=how == "scram")
            assert reply.code == 235, (how, reply)
            assert reply.text == "2.7.0 Authentication successful"


def test_plain_is_taken_without_an_initial_response(client):
    assert client.cmd("AUTH PLAIN").code == 334
    assert client.cmd(b64(f"\0{USER}\0{PASSWORD}")).code == 235


def test_login_takes_the_name_with_the_command(client):
    reply = client.cmd(f"AUTH login {b64(USER)}")
    assert reply.lines == ["334 UGFzc3dvcmQ6"]
    assert client.cmd(b64(PASSWORD)).code == 235


def test_mechanism_names_are_case_insensitive(client):
    assert client.cmd(f"auth plain {b64(chr(0) + USER + chr(0) + PASSWORD)}").code == 235


def test_scram_verifiers_have_at_least_100000_iterations(client):
    assert scram.authenticate(client, USER, PASSWORD).code == 235
    assert scram.authenticate.iterations >= 100000


def test_scram_plus_binds_to_a_tls_1_2_session(relay):
    context = client_context(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
    with Client(relay.port("implicit"), implicit=True, context=context) as client:
        client.hello()
        binding = ("tls-unique", client.sock.get_channel_binding("tls-unique"))
        reply = scram.authenticate(client, USER, PASSWORD, binding, mechanism="SCRAM-SHA-256-PLUS")
        assert reply.code == 235, reply


def test_scram_plus_refuses_the_binding_of_another_session(relay):
    context = client_context(ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
    with Client(relay.port("implicit"), implicit=True, context=context) as client:
        client.hello()
        reply = scram.authenticate(client, USER, PASSWORD, ("tls-unique", b"x" * 12),
                                   mechanism="SCRAM-SHA-256-PLUS")
        assert reply.code == 535, reply


def test_a_downgrade_from_scram_plus_is_noticed(client):
    # "y" says: I can bind, you did not offer it. It was offered, so somebody took it away.
    assert scram.authenticate(client, USER, PASSWORD, flag="y").code // 100 == 5


@pytest.mark.parametrize("part, value", [("nonce", "x"), ("proof", b64(b"\0" * 32)), ("proof", "=="),
                                         ("header", b64(b"y,,")), ("header", b64(b"p=tls-unique,,x"))])
def test_a_spoilt_scram_conversation_fails(client, part, value):
    reply = scram.authenticate(client, USER, PASSWORD,
                               spoil=lambda name, text: value if name == part else text)
    assert reply.code // 100 == 5
    assert client.cmd("NOOP").code == 250


@pytest.mark.parametrize("line", ["AUTH", "AUTH ", "AUTH NTLM", "AUTH CRAM-MD5", "AUTH ANONYMOUS",
                                  "AUTH EXTERNAL =", "AUTH GSSAPI", "AUTH " + "X" * 200])
def test_an_unknown_mechanism_is_504_or_501(client, line):
    assert client.cmd(line).code in (501, 504)
    assert client.plain(USER, PASSWORD).code == 235


@pytest.mark.parametrize("start", ["AUTH PLAIN", "AUTH LOGIN", "AUTH SCRAM-SHA-256"])
def test_a_star_cancels_with_501(client, start):
    assert client.cmd(start).code == 334
    assert client.cmd("*").code == 501
    assert client.plain(USER, PASSWORD).code == 235


@pytest.mark.parametrize("bad", ["!!!!", "AAA", "AAAA=", "A===", "AGFsaWNl\tAHg=", "AGE AGE=", "=AAA"])
def test_bad_base64_is_501(client, bad):
    assert client.cmd(f"AUTH PLAIN {bad}").code == 501
    assert client.cmd("AUTH PLAIN").code == 334
    assert client.cmd(bad).code == 501
    assert client.plain(USER, PASSWORD).code == 235


def test_a_second_auth_and_an_auth_in_a_transaction_are_503(client):
    assert client.cmd("MAIL FROM:<a@b.example>").code == 250
    assert client.plain(USER, PASSWORD).code == 503
    client.cmd("RSET")
    assert client.plain(USER, PASSWORD).code == 235
    assert client.plain(USER, PASSWORD).code == 503
    assert client.cmd("MAIL FROM:<a@b.example>").code == 250
    assert client.cmd("RCPT TO:<x@foreign.example>").code == 250


@pytest.mark.parametrize("token", [b"", b"\0", b"\0\0", b"\0alice\0", b"\0\0correct horse 7",
                                   b"alice\0correct horse 7", b"\0alice\0correct\0horse 7",
                                   b"\0ali\0ce\0correct horse 7", b"\0alice\0correct horse 7\0",
                                   b"bob\0alice\0correct horse 7"])
def test_nul_and_empty_names_and_passwords_are_refused(client, token):
    reply = client.cmd(f"AUTH PLAIN {b64(token) or '='}")
    assert reply.code // 100 == 5, reply
    assert client.cmd("MAIL FROM:<a@b.example>").code == 250
    assert client.cmd("RCPT TO:<x@foreign.example>").code == 550


@pytest.mark.parametrize("name, password", [("", PASSWORD), (USER, ""), ("ali\0ce", PASSWORD),
                                            (USER, PASSWORD + "\0"), (USER, PASSWORD + "\n"),
                                            (USER, PASSWORD + " ")])
def test_login_refuses_what_is_empty_or_odd(client, name, password):
    assert client.cmd("AUTH LOGIN").code == 334
    reply = client.cmd(b64(name))
    if reply.code == 334:
        reply = client.cmd(b64(password))
    assert reply.code // 100 == 5, reply


def test_a_huge_auth_line_is_refused_and_survived(client):
    reply = client.cmd("AUTH PLAIN " + "QUFB" * 4000)
    assert reply.code // 100 == 5
    try:
        assert client.cmd("AUTH PLAIN").code == 334
        assert client.cmd("QUFB" * 20000).code // 100 == 5
    except (Closed, OSError):
        pass


def test_commands_in_the_middle_of_auth_are_taken_as_its_answer(client):
    assert client.cmd("AUTH PLAIN").code == 334
    assert client.cmd("MAIL FROM:<a@b.example>").code == 501
    assert client.cmd("RCPT TO:<b@local.example>").code == 503


def test_scram_gives_an_unknown_user_the_same_salt_twice(relay):
    def first(user):
        with Client(relay.port("implicit"), implicit=True) as client:
            client.hello()
            reply = client.cmd("AUTH SCRAM-SHA-256 " + b64(f"n,,n={user},r=abcdefgh"))
            assert reply.code == 334, reply
            fields = base64.b64decode(reply.text).decode().split(",")
            return fields[1], fields[2]

    assert first("nobody") == first("nobody")
    assert first("nobody") != first("nobody2")
    assert first(USER) == first(USER)
    assert first(USER)[1] == first("nobody")[1], "the iteration count tells who exists"
    assert len(first(USER)[0]) == len(first("nobody")[0]), "the salt's length tells who exists"


def test_the_password_is_checked_for_the_name_that_was_given(client):
    assert client.plain("bob", PASSWORD).code == 535
    assert client.plain("bob", "bobs password").code == 235


@pytest.mark.parametrize("how", ["plain", "login", "scram"])
def test_a_changed_password_holds_at_once(relay, how):
    name = f"carol-{how}"

    def works(password):
        with Client(relay.port("implicit"), implicit=True) as client:
            client.hello()
            if how == "scram":
                return scram.authenticate(client, name, password).code == 235
            return getattr(client, how)(name, password).code == 235

    relay.add_user(name, "first")
    assert works("first") and works("first")
    done = relay.cli("user", "passwd", name, "--password-stdin", input="second\n")
    assert done.returncode == 0, done
    assert not works("first")
    assert works("second")
    assert relay.cli("user", "disable", name).returncode == 0
    assert not works("second")
    assert relay.cli("user", "enable", name).returncode == 0
    assert works("second")
    assert relay.cli("user", "remove", name).returncode == 0
    assert not works("second")


def test_a_password_line_loses_one_line_end_only(relay):
    for name, given, password in (("dora", "two ends\r\n\n", "two ends"), ("emil", " spaces \n",
                                  " spaces "), ("fritz", "no end", "no end")):
        done = relay.cli("user", "add", name, "--password-stdin", input=given)
        assert done.returncode == 0, done
        with Client(relay.port("implicit"), implicit=True) as client:
            assert client.hello().plain(name, password).code == 235, name


def test_user_commands_answer_in_exit_codes(relay):
    listed = relay.cli("user", "list")
    assert listed.returncode == 0 and "alice" in listed.stdout
    assert relay.cli("user", "add", USER, "--password-stdin", input="x\n").returncode == 1
    assert relay.cli("user", "passwd", "nobody", "--password-stdin", input="x\n").returncode == 1
    assert relay.cli("user", "remove", "nobody").returncode == 1
    assert relay.cli("user", "add", "empty", "--password-stdin", input="\n").returncode in (1, 64)
    assert relay.cli("user", "frobnicate", "x").returncode == 64
    assert relay.cli("user", "add", "--password-stdin", input="x\n").returncode == 64


def test_no_password_is_ever_written(relay):
    with Client(relay.port("implicit"), implicit=True) as client:
        client.hello().plain(USER, "hunter2-wrong-one")
        client.login(USER, PASSWORD)
    time.sleep(0.3)
    log = relay.log()
    for secret in (PASSWORD, b64(PASSWORD), b64(f"\0{USER}\0{PASSWORD}"), "hunter2-wrong-one",
                   b64("hunter2-wrong-one")):
        assert secret not in log
    for path in relay.data.rglob("*"):
        if path.is_file():
            assert PASSWORD.encode() not in path.read_bytes(), path


def test_wrong_guesses_become_slow_but_the_first_three_cost_the_fixed_delay_only(make):
    service = make({"authentication": {"throttle": {"delay": "1s"}}}, {"i": {"tls": "implicit"}})
    service.add_user().start()
    took = []
    for _ in range(4):
        with Client(service.port(), implicit=True, source="127.0.0.9") as client:
            client.hello()
            start = time.monotonic()
            reply = client.plain(USER, "wrong")
            took.append(time.monotonic() - start)
            assert reply.code in (535, 454), reply
    assert all(0.9 < t < 1.9 * PATIENCE for t in took[:3]), took
    assert took[3] > 1.5 or reply.code == 454, took


def test_cancelled_and_malformed_attempts_are_no_guesses(make):
    service = make({"authentication": {"throttle": {"delay": "3s"}}}, {"i": {"tls": "implicit"}})
    service.add_user().start()
    with Client(service.port(), implicit=True) as client:
        client.hello()
        start = time.monotonic()
        for _ in range(4):
            client.cmd("AUTH LOGIN")
            assert client.cmd("*").code == 501
            assert client.cmd("AUTH PLAIN !!!").code == 501
            assert client.cmd("AUTH NTLM").code == 504
        assert client.plain(USER, PASSWORD).code == 235
        assert time.monotonic() - start < 2.9 * PATIENCE


def test_a_flood_of_guesses_leaves_others_served(relay):
    clients = [Client(relay.port("implicit"), implicit=True, source="127.0.0.66") for _ in range(25)]
    try:
        for client in clients:
            client.hello()
            client.send(f"AUTH PLAIN {b64(chr(0) + 'nobody' + chr(0) + 'guess')}\r\n")
        with Client(relay.port("implicit"), implicit=True, source="127.0.0.67") as other:
            other.hello()
            start = time.monotonic()
            assert other.plain(USER, PASSWORD).code == 235
            assert time.monotonic() - start < 10
    finally:
        for client in clients:
            client.close()


def test_mechanisms_narrow_and_basic_can_be_off(make):
    service = make({"authentication": {"mechanisms": ["SCRAM-SHA-256"]}}, {"i": {"tls": "implicit"}})
    service.add_user().start()
    with Client(service.port(), implicit=True) as client:
        client.hello()
        offered = next(x[4:] for x in client.ehlo.lines if x[4:].startswith("AUTH "))
        assert offered == "AUTH SCRAM-SHA-256"
        assert client.plain(USER, PASSWORD).code == 504
        assert scram.authenticate(client, USER, PASSWORD).code == 235


def test_a_listener_narrows_the_set_and_cannot_widen_it(make):
    service = make({"authentication": {"mechanisms": ["LOGIN", "SCRAM-SHA-256"]}}, {
        "login": {"tls": "implicit", "mechanisms": ["LOGIN", "PLAIN"]},
        "scram": {"tls": "implicit", "mechanisms": ["SCRAM-SHA-256"]},
        "both": {"tls": "implicit"}})
    service.add_user().start()
    for listener, codes in (("login", (504, 235, 504)), ("scram", (504, 504, 235)),
                            ("both", (504, 235, 235))):
        got = []
        for how in ("plain", "login", "scram"):
            with Client(service.port(listener), implicit=True) as client:
                client.hello()
                offered = next(x[4:] for x in client.ehlo.lines if x[4:].startswith("AUTH "))
                assert "PLAIN" not in offered
                assert ("LOGIN" in offered) == (codes[1] == 235), offered
                assert ("SCRAM-SHA-256" in offered) == (codes[2] == 235), offered
                if how == "scram":
                    got.append(scram.authenticate(client, USER, PASSWORD).code)
                else:
                    got.append(getattr(client, how)(USER, PASSWORD).code)
        assert tuple(got) == codes, (listener, got)
    # from the next session on a reload holds there too
    service.config["listeners"][0]["mechanisms"] = ["SCRAM-SHA-256"]
    service.write()
    assert service.cli("reload").returncode == 0
    with Client(service.port("login"), implicit=True) as client:
        assert client.hello().login(USER, PASSWORD).code == 504


def test_basic_needs_tls_unless_said_otherwise(make):
    """A listener's list does not lift that; and a right password in clear gets nobody in."""
    service = make({"authentication": {"scram": {"require_tls": False}}}, {
        "clear": {"tls": "none", "mechanisms": ["PLAIN", "LOGIN"]}, "tls": {"tls": "optional"}})
    service.add_user().start()
    for listener in ("clear", "tls"):
        with Client(service.port(listener)) as client:
            client.hello()
            assert not re.search(r"AUTH.*(PLAIN|LOGIN)", str(client.ehlo.lines)), client.ehlo
            for how in ("plain", "login"):
                assert getattr(client, how)(USER, PASSWORD).code in (504, 538), (listener, how)
            assert client.cmd("MAIL FROM:<a@b.example>").code == 250
            assert client.cmd("RCPT TO:<x@foreign.example>").code == 550
    assert "smtp.auth.ok" not in service.log()
    with Client(service.port("tls")) as client:
        client.hello().starttls()
        assert client.plain(USER, PASSWORD).code == 235


def test_a_refusals_reason_is_in_the_log_and_never_on_the_wire(make):
    service = make({"authentication": {"domains": [
        {"name": "users", "backend": "userdb", "allow": [USER, "off"]},
        {"name": "KRB", "backend": "kerberos", "realm": "KRB.EXAMPLE", "keytab": "/nonexistent/k"}]}},
        {"i": {"tls": "implicit"}})
    service.add_user().add_user("off", "pw").add_user("bob", "pw").start()
    assert service.cli("user", "disable", "off").returncode == 0
    cases = [(USER, "wrong", 535, "wrong password"),
             ("nobody", "wrong", 535, "no such account in the user database"),
             ("off", "pw", 535, "the account is disabled"),
             ("bob", "pw", 535, "the account is not in the domain's allow list"),
             (r"NOPE\x", "pw", 535, "no such domain"),
             (r"KRB\x", "pw", 454, "keytab: Key table file '/nonexistent/k' not found"),
             ("", "pw", 535, "the name is empty"), (USER, "", 535, "the password is empty"),
             ("a b\\c\\d", "pw", 501, "the name is malformed")]
    words = {535: "5.7.3 Authentication unsuccessful", 454: "4.7.0 Temporary authentication failure",
             501: "5.5.2 Malformed authentication message"}
    for name, password, code, reason in cases:
        before = len(service.log())
        with Client(service.port(), implicit=True) as client:
            reply = client.hello().plain(name, password)
            assert reply.lines == [f"{code} {words[code]}"], (name, reply)
        line = [x for x in service.log()[before:].splitlines() if "smtp.auth.refused" in x]
        assert len(line) == 1 and f'reason="{reason}"' in line[0], (name, line)


def test_in_clear_only_where_the_configuration_says_so(make):
    service = make({"authentication": {"basic": {"require_tls": False},
                                       "scram": {"require_tls": False}}}, {"p": {"tls": "none"}})
    service.add_user().start()
    for how in ("plain", "login"):
        with Client(service.port()) as client:
            assert getattr(client.hello(), how)(USER, PASSWORD).code == 235
    with Client(service.port()) as client:
        client.hello()
        assert "PLUS" not in str(client.ehlo)
        assert scram.authenticate(client, USER, PASSWORD).code == 235


def test_a_wrong_password_after_a_right_one_is_still_wrong(relay):
    for password, code in ((PASSWORD, 235), (PASSWORD[:-1], 535), (PASSWORD, 235),
                           (PASSWORD + "x", 535)):
        with Client(relay.port("implicit"), implicit=True) as client:
            assert client.hello().plain(USER, password).code == code


def test_quit_and_a_lost_connection_in_the_middle_harm_nobody(relay):
    for line in ("AUTH SCRAM-SHA-256 " + b64("n,,n=alice,r=abcdefgh"), "AUTH LOGIN",
                 f"AUTH PLAIN {b64(chr(0) + USER + chr(0) + 'x')}"):
        client = Client(relay.port("implicit"), implicit=True)
        client.hello().send(line + "\r\n")
        client.close()
    with Client(relay.port("implicit"), implicit=True) as client:
        assert client.hello().plain(USER, PASSWORD).code == 235
