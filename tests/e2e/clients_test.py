"""Real clients over plain SMTP, STARTTLS with AUTH, and implicit TLS; what they sent is what lies
in the Drop directory, byte for byte."""
import email.message
import json
import re
import shutil
import smtplib
import ssl
import subprocess
import time

import pytest

import samples
from postern import Service
from smtp import Client, client_context

ROUTES = ("plain", "starttls", "implicit")
USER, PASSWORD = Service.USER, Service.PASSWORD


@pytest.fixture(scope="module")
def relay(tmp_path_factory, certificates):
    service = Service(tmp_path_factory.mktemp("clients"), certificates, {
        "limits": {"connections_per_client": 500},
    }, {
        "plain": {"tls": "optional"},
        "implicit": {"tls": "implicit"},
        "device": {"tls": "none", "bare_lf": "normalise"},
    })
    service.add_user().start()
    yield service
    service.finish()


def tool(name):
    path = shutil.which(name)
    if not path:
        pytest.skip(f"{name} is not installed")
    return path


def run(command, **more):
    done = subprocess.run(command, capture_output=True, timeout=120, **more)
    assert done.returncode == 0, (command, done.stdout[-1500:], done.stderr[-1500:])
    return done


def arrived(relay, subject, timeout=20):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        for file in relay.drop():
            if file.subject() == subject:
                return file
        time.sleep(0.05)
    raise AssertionError(f"{subject} did not arrive:\n{relay.log()[-3000:]}")


def by_swaks(relay, route, message, recipient, folder):
    path = folder / "message"
    # swaks stuffs dots itself, and ends the data with a line end of its own.
    assert message.endswith(b"\r\n")
    path.write_bytes(message[:-2])
    command = [tool("swaks"), "--server", "127.0.0.1", "--helo", "client.example",
               "--from", "a@sender.example", "--to", recipient, "--data", f"@{path}"]
    if route == "implicit":
        command += ["--port", str(relay.port("implicit")), "--tlsc"]
    else:
        command += ["--port", str(relay.port("plain"))]
    if route == "starttls":
        command += ["--tls"]
    if route != "plain":
        command += ["--auth", "LOGIN", "--auth-user", USER, "--auth-password", PASSWORD]
    run(command)


def by_curl(relay, route, message, recipient, folder):
    path = folder / "message"
    path.write_bytes(message)
    scheme, port = ("smtps", "implicit") if route == "implicit" else ("smtp", "plain")
    command = [tool("curl"), "-sS", f"{scheme}://localhost:{relay.port(port)}/client.example",
               "--cacert", relay.certificates.ca, "--mail-from", "a@sender.example",
               "--mail-rcpt", recipient, "--upload-file", path]
    if route == "starttls":
        command += ["--ssl-reqd"]
    if route != "plain":
        command += ["--user", f"{USER}:{PASSWORD}"]
    run(command)


def by_smtplib(relay, route, message, recipient, folder):
    context = ssl.create_default_context(cafile=relay.certificates.ca)
    if route == "implicit":
        client = smtplib.SMTP_SSL("localhost", relay.port("implicit"), context=context)
    else:
        client = smtplib.SMTP("127.0.0.1", relay.port("plain"))
    with client:
        if route == "starttls":
            client._host = "localhost"
            client.starttls(context=context)
        if route != "plain":
            client.login(USER, PASSWORD)
        assert client.sendmail("a@sender.example", [recipient], message) == {}


def by_msmtp(relay, route, message, recipient, folder, mechanism="plain"):
    secret = folder / "secret"
    secret.write_text(PASSWORD + "\n")
    lines = ["account default", "host localhost", "from a@sender.example", "domain client.example",
             f"port {relay.port('implicit' if route == 'implicit' else 'plain')}",
             "set_from_header off", "set_date_header off", "set_msgid_header off"]
    if route != "plain":
        lines += ["tls on", f"tls_starttls {'on' if route == 'starttls' else 'off'}",
                  f"tls_trust_file {relay.certificates.ca}", f"auth {mechanism}", f"user {USER}",
                  f'passwordeval "cat {secret}"']
    configuration = folder / "msmtprc"
    configuration.write_text("\n".join(lines) + "\n")
    configuration.chmod(0o600)
    command = [tool("msmtp"), "-C", configuration, recipient]
    run(command, input=message.replace(b"\r\n", b"\n"))


def by_nodemailer(relay, route, message, recipient, folder):
    path, options = folder / "message", folder / "options.json"
    path.write_bytes(message)
    transport = {"host": "127.0.0.1", "name": "client.example", "secure": route == "implicit",
                 "port": relay.port("implicit" if route == "implicit" else "plain"),
                 "tls": {"ca": [relay.certificates.ca.read_text()], "servername": "localhost"},
                 "ignoreTLS": route == "plain", "requireTLS": route == "starttls"}
    if route != "plain":
        transport["auth"] = {"user": USER, "pass": PASSWORD}
    options.write_text(json.dumps({"transport": transport, "envelope": {
        "from": "a@sender.example", "to": [recipient]}}))
    run([tool("node"), f"{__file__.rsplit('/', 1)[0]}/nodemailer_send.js", options, path])


CLIENTS = {"swaks": by_swaks, "curl": by_curl, "smtplib": by_smtplib, "msmtp": by_msmtp,
           "nodemailer": by_nodemailer}


@pytest.mark.parametrize("body", ["simple", "dots", "eightbit", "longlines", "blank", "controls",
                                  "large"])
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_delivers_byte_for_byte(relay, tmp_path, client, route, body):
    if client == "swaks" and body == "dots":
        pytest.skip("swaks takes a last line that is a lone dot for the end of the data")
    name = f"{client}-{route}-{body}"
    # swaks takes a last line that is a dot for the end.
    tail = b"end\r\n" if client == "swaks" else b""
    message = samples.message(name, samples.BODIES[body] + tail)
    CLIENTS[client](relay, route, message, "b@local.example", tmp_path)
    file = arrived(relay, name)
    assert samples.dropped(file.content, message) == ""
    assert file.sender in ("a@sender.example", "<a@sender.example>")
    assert [r.strip("<>") for r in file.receivers] == ["b@local.example"]
    received = file.header().split(b"Message-ID")[0].decode()
    keyword = {"plain": "ESMTP", "starttls": "ESMTPSA", "implicit": "ESMTPSA"}[route]
    assert re.search(rf"\bwith {keyword}\b", received), received
    assert USER not in received, "the account's name does not belong into Received"


@pytest.mark.parametrize("route", ["starttls", "implicit"])
@pytest.mark.parametrize("mechanism", ["plain", "login", "scram-sha-256"])
def test_msmtp_authenticates_by(relay, tmp_path, route, mechanism):
    name = f"msmtp-{mechanism}-{route}"
    message = samples.message(name, b"x\r\n")
    by_msmtp(relay, route, message, "b@local.example", tmp_path, mechanism)
    assert samples.dropped(arrived(relay, name).content, message) == ""


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks_authenticates_by(relay, tmp_path, mechanism):
    done = run([tool("swaks"), "--server", "127.0.0.1", "--port", str(relay.port("plain")), "--tls",
                "--auth", mechanism, "--auth-user", USER, "--auth-password", PASSWORD,
                "--helo", "client.example", "--from", "a@b.example", "--to", "b@local.example",
                "--quit-after", "RCPT"])
    assert b"235 " in done.stdout


def test_curl_authenticates_by_scram(relay, tmp_path):
    features = subprocess.run([tool("curl"), "-V"], capture_output=True, text=True).stdout
    if "GSASL" not in features.upper():
        pytest.skip("Debian's curl is built without GNU SASL, so it has no SCRAM")
    path = tmp_path / "message"
    path.write_bytes(samples.message("curl-scram", b"x\r\n"))
    run([tool("curl"), "-sS", f"smtp://localhost:{relay.port('plain')}", "--ssl-reqd", "--cacert",
         relay.certificates.ca, "--mail-from", "a@b.example", "--mail-rcpt", "b@local.example",
         "--user", f"{USER}:{PASSWORD}", "--login-options", "AUTH=SCRAM-SHA-256",
         "--upload-file", path])


def test_smtplib_sends_a_message_object_with_smtputf8(relay):
    message = email.message.EmailMessage()
    message["From"], message["To"] = "jürgen@sender.example", "möller@local.example"
    message["Subject"] = "utf8-object"
    message.set_content("Grüße\n")
    with smtplib.SMTP("127.0.0.1", relay.port("plain")) as client:
        client.send_message(message)
    file = arrived(relay, "utf8-object")
    assert file.receivers == ["möller@local.example"]
    assert re.search(rb"with UTF8SMTP", file.header())


def test_a_message_without_a_final_newline_gets_one(relay):
    message = samples.message("no-final-newline", b"last line")
    with smtplib.SMTP("127.0.0.1", relay.port("plain")) as client:
        client.sendmail("a@sender.example", ["b@local.example"], message)
    file = arrived(relay, "no-final-newline")
    assert samples.dropped(file.content, message + b"\r\n") == ""


def test_an_empty_body_and_an_empty_message_are_taken(relay):
    with Client(relay.port("plain")) as client:
        client.hello()
        message = samples.message("empty-body", b"")
        client.mail("a@sender.example", "b@local.example", message)
        assert samples.dropped(arrived(relay, "empty-body").content, message) == ""
        before = len(relay.drop())
        client.mail("a@sender.example", "b@local.example", b"")
    relay.wait_drop(before + 1)


def test_bdat_keeps_what_has_no_final_newline(relay):
    message = samples.message("bdat", b"one\r\n.\r\ntwo")
    with Client(relay.port("plain")) as client:
        client.hello()
        assert client.cmd("MAIL FROM:<a@sender.example>").code == 250
        assert client.cmd("RCPT TO:<b@local.example>").code == 250
        half = len(message) // 2
        client.send(b"BDAT %d\r\n" % half + message[:half])
        assert client.reply().code == 250
        client.send(b"BDAT %d LAST\r\n" % (len(message) - half) + message[half:])
        assert client.reply().code == 250
    content = arrived(relay, "bdat").content
    assert samples.dropped(content, message) == "" or samples.dropped(content,
                                                                      message + b"\r\n") == ""


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_a_device_that_ends_lines_with_lf_alone_is_heard(relay, ending):
    name = f"device-{len(ending)}"
    message = samples.message(name, b"scan\r\n..dots\r\n\r\nend\r\n")
    with Client(relay.port("device")) as client:
        assert client.reply().code == 220
        for line in (b"HELO scanner", b"MAIL FROM:<scan@local.example>",
                     b"RCPT TO:<b@local.example>"):
            client.send(line + ending)
            assert client.reply().code == 250
        client.send(b"DATA" + ending)
        assert client.reply().code == 354
        stuffed = message.replace(b"\r\n.", b"\r\n..").replace(b"\r\n", ending)
        # The end of a message is CRLF.CRLF whatever the lines end with.
        client.send(stuffed[:-len(ending)] + b"\r\n.\r\n")
        assert client.reply().code == 250
        client.send(b"QUIT" + ending)
        assert client.reply().code == 221
    assert samples.dropped(arrived(relay, name).content, message) == ""


def test_bare_lf_is_refused_where_it_is_not_asked_for(relay):
    before = len(relay.drop())
    with Client(relay.port("plain")) as client:
        client.hello()
        assert client.cmd("MAIL FROM:<a@sender.example>").code == 250
        assert client.cmd("RCPT TO:<b@local.example>").code == 250
        assert client.cmd("DATA").code == 354
        client.send(b"Subject: bare\r\n\r\none\ntwo\r\n.\r\n")
        assert client.reply().code // 100 == 5
    time.sleep(0.5)
    assert len(relay.drop()) == before


@pytest.mark.parametrize("hello", [b"HELO", b"EHLO", b"EHLO NPIF65E56", b"HELO my printer",
                                   b"EHLO [10.0.0.1]", b"EHLO gr\xfc\xdfe", b"EHLO _x_",
                                   b"HELO -bad-.example..", b"ehlo "])
def test_an_odd_hello_is_taken(relay, hello):
    with Client(relay.port("plain")) as client:
        assert client.reply().code == 220
        assert client.cmd(hello).code == 250
        assert client.cmd("MAIL FROM:<a@sender.example>").code == 250


def test_dotnet_blank_lines_after_auth_are_swallowed(relay):
    with Client(relay.port("implicit"), implicit=True) as client:
        client.hello()
        assert client.plain(USER, PASSWORD).code in (235, 503, 334)
        client.send(b"\r\n\r\n")
        assert client.cmd("NOOP").code == 250
        assert client.cmd("MAIL FROM:<a@sender.example>").code == 250


def test_login_prompts_and_the_old_auth_line_are_exact(relay):
    with Client(relay.port("implicit"), implicit=True) as client:
        client.hello()
        lines = [line[4:] for line in client.ehlo.lines]
        assert "AUTH=LOGIN" in lines
        offered = next(line for line in lines if line.startswith("AUTH "))
        assert {"PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"} <= set(offered.split())
        for extension in ("PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES",
                          "CHUNKING"):
            assert extension in lines
        assert "SIZE 26214400" in lines
        assert "STARTTLS" not in lines and "BINARYMIME" not in lines
        assert client.login(USER, PASSWORD).code == 235


def test_no_mechanism_is_offered_in_clear(relay):
    with Client(relay.port("plain")) as client:
        client.hello()
        assert not any("AUTH" in line for line in client.ehlo.lines), client.ehlo
        assert client.plain(USER, PASSWORD).code // 100 == 5
        client.starttls()
        assert client.plain(USER, PASSWORD).code == 235


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_both_tls_versions_serve(relay, version):
    context = client_context(version, version, ca=relay.certificates.ca)
    with Client(relay.port("implicit"), implicit=True, context=context) as client:
        client.hello()
        assert client.login(USER, PASSWORD).code == 235


def test_many_clients_at_once_are_all_served(relay):
    clients = [Client(relay.port("plain")) for _ in range(60)]
    try:
        for client in clients:
            client.hello()
        for i, client in enumerate(clients):
            client.mail("a@sender.example", "b@local.example", samples.message(f"many-{i}", b"x\r\n"))
    finally:
        for client in clients:
            client.close()
    for i in range(len(clients)):
        arrived(relay, f"many-{i}")
