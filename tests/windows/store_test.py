"""Certificates of the machine's store: the relay under Wine serves them to real clients of this
machine, takes a renewed one while it runs, and keeps the old one where the new one is of no use. The
keys are CryptoAPI's, without PSS, so TLS 1.2; CNG's stand in tests/windows/cert_store_calls_test.c."""
import json
import shutil
import smtplib
import ssl
import subprocess
import time

import pytest

import wine
from wine import DATA, EXE, windows_path

TOOL = EXE.parent / "cert_tool.exe"
STORE = "LocalMachine/My"
NAME = "store.example"
PASSWORD = "pw"
LOOK = 40  # seconds; the service looks every ten


def tool(*arguments):
    done = wine.wine(TOOL, *arguments)
    assert done.returncode == 0, done
    return done.stdout


class Authority:
    def __init__(self, folder):
        self.folder = folder
        self.count = 0
        self.openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj",
                     "/CN=Store Test CA", "-keyout", "ca.key", "-out", "ca.pem")
        self.openssl("x509", "-in", "ca.pem", "-outform", "DER", "-out", "ca.cer")
        self.ca = folder / "ca.pem"

    def openssl(self, *arguments):
        return subprocess.run(["openssl", *map(str, arguments)], cwd=self.folder, check=True,
                              capture_output=True, text=True).stdout

    def issue(self, subject=NAME, names=f"DNS:{NAME},DNS:localhost,IP:127.0.0.1", usage="serverAuth",
              days=20):
        """-> (PFX, thumbprint). A later one begins later: a certificate knows seconds only."""
        self.count += 1
        name = f"c{self.count}"
        time.sleep(1.1)
        (self.folder / f"{name}.ext").write_text(
            f"subjectAltName={names}\nextendedKeyUsage={usage}\n")
        self.openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/O=Test/CN={subject}",
                     "-keyout", f"{name}.key", "-out", f"{name}.csr")
        self.openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                     "-CAcreateserial", "-days", days, "-extfile", f"{name}.ext", "-out",
                     f"{name}.pem")
        self.openssl("pkcs12", "-export", "-inkey", f"{name}.key", "-in", f"{name}.pem", "-out",
                     f"{name}.pfx", "-passout", f"pass:{PASSWORD}")
        print_ = self.openssl("x509", "-in", f"{name}.pem", "-noout", "-fingerprint", "-sha1")
        return self.folder / f"{name}.pfx", print_.split("=")[1].strip().replace(":", "")

    def put(self, verb="import", **options):
        """Issues one and puts it into the store; -> its thumbprint."""
        pfx, thumbprint = self.issue(**options)
        tool(verb, windows_path(pfx), PASSWORD)
        return thumbprint


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def an_empty_store():
    tool("delete", "My", NAME)
    yield
    tool("delete", "My", NAME)


@pytest.fixture
def relay(make_service):
    def make(**tls):
        service = make_service()
        service.config["tls"] = {"store": STORE, **(tls or {"subject": NAME})}
        return service
    return make


def shown(port):
    """What openssl s_client sees: (thumbprint, version, kind of signature)."""
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-starttls",
                           "smtp", "-servername", NAME], input="QUIT\r\n", capture_output=True,
                          text=True, timeout=60)
    thumbprint = subprocess.run(["openssl", "x509", "-noout", "-fingerprint", "-sha1"],
                                input=done.stdout, capture_output=True, text=True, check=True).stdout
    field = {line.split(":")[0].strip(): line.split(":", 1)[1].strip()
             for line in done.stdout.splitlines() if ":" in line}
    return (thumbprint.split("=")[1].strip().replace(":", ""), field["Protocol"],
            field["Peer signature type"])


def context(authority):
    made = ssl.create_default_context(cafile=authority.ca)
    made.check_hostname = True
    return made


def listing(service, *arguments):
    done = service.cli("check", "--json", *arguments)
    answer = json.loads(done.stdout)
    [store] = answer["certificates"]
    return done, answer, {entry["thumbprint"]: entry for entry in store["list"]}


def test_clients_see_the_certificate_of_the_store(relay, authority):
    thumbprint = authority.put()
    service = relay().add_user().start()
    assert shown(service.port()) == (thumbprint, "TLSv1.2", "RSA")
    with smtplib.SMTP("localhost", service.port(), timeout=60) as client:  # chain and name are good
        client.starttls(context=context(authority))
        client.login(service.USER, service.PASSWORD)
        client.sendmail("a@local.example", ["b@local.example"], b"Subject: python\r\n\r\nx\r\n")
    done = subprocess.run(
        ["swaks", "--server", f"127.0.0.1:{service.port()}", "--tls", "--tls-verify", "--tls-ca-path",
         authority.ca, "--auth", "PLAIN", "--auth-user", service.USER, "--auth-password",
         service.PASSWORD, "--from", "a@local.example", "--to", "b@local.example", "--header",
         "Subject: swaks"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done
    assert {f.subject() for f in service.wait_drop(2)} == {"python", "swaks"}


def test_a_renewed_one_is_taken_while_it_runs_and_sessions_go_on(relay, authority):
    old = authority.put()
    service = relay().add_user().start()
    with smtplib.SMTP("localhost", service.port(), timeout=60) as client:
        client.starttls(context=context(authority))
        client.login(service.USER, service.PASSWORD)
        assert shown(service.port())[0] == old
        new = authority.put()
        service.wait_log(f"tls.certificate.renewed .*thumbprint={new}", LOOK)
        assert shown(service.port())[0] == new
        client.sendmail("a@local.example", ["b@local.example"], b"Subject: old one\r\n\r\nx\r\n")
    with smtplib.SMTP("localhost", service.port(), timeout=60) as client:
        client.starttls(context=context(authority))
        assert client.noop()[0] == 250
    [mail] = service.wait_drop()
    assert mail.subject() == "old one"
    assert service.log().count("service.ready") == 1  # one start


def test_a_new_one_without_its_key_keeps_the_old_one_and_says_what_mends_it(relay, authority):
    old = authority.put()
    service = relay().start()
    lost = authority.put("import-lost")
    service.wait_log("tls.certificate.refused", LOOK)
    [line] = [x for x in service.log().splitlines() if "tls.certificate.refused" in x]
    assert lost in line and "postern check --grant-key" in line, line
    assert shown(service.port())[0] == old
    time.sleep(12)
    assert service.log().count("tls.certificate.refused") == 1  # said once
    third = authority.put()
    service.wait_log(f"tls.certificate.renewed .*thumbprint={third}", LOOK)
    assert shown(service.port())[0] == third


def test_one_that_is_taken_out_of_the_store_stays_in_use(relay, authority):
    old = authority.put()
    service = relay().start()
    tool("delete", "My", NAME)
    service.wait_log("tls.certificate.refused", LOOK)
    assert shown(service.port())[0] == old
    done = service.cli("reload")
    assert done.returncode != 0 and STORE in done.stderr, done
    assert shown(service.port())[0] == old


def test_a_thumbprint_names_one_as_the_dialogs_give_it(relay, authority):
    old = authority.put()
    authority.put()
    spelled = "\u200e" + " ".join(old[i:i + 2].lower() for i in range(0, 40, 2))
    service = relay(thumbprint=spelled).start()
    assert shown(service.port())[0] == old


def test_without_one_that_fits_it_does_not_start_and_tells_why(relay, authority):
    authority.put(usage="clientAuth")
    service = relay()
    done = service.cli("serve")
    assert done.returncode == 78, done
    assert f"{STORE}, subject {NAME}" in done.stderr and "not for servers" in done.stderr, done


def test_check_lists_each_with_what_is_wrong_and_gives_the_right(relay, authority):
    wrong = authority.put(usage="clientAuth")
    good = authority.put()
    lost = authority.put("import-lost")
    other = authority.put(subject=f"other.{NAME}", names=f"DNS:other.{NAME}")
    service = relay()
    done, answer, list_ = listing(service)
    assert done.returncode == 0, done
    assert list_[good]["verdict"] == "taken" and list_[good]["service_may_read_key"] is False
    assert list_[wrong]["why"].startswith("is not for servers")
    assert "may not read" in list_[lost]["why"]
    assert list_[other]["why"] == "is another one"
    texts = [m["text"] for m in answer["messages"] if m["key"] == "tls.store"]
    assert any("NT SERVICE\\Postern may not read the key" in t and "--grant-key" in t for t in texts)
    assert any("RSA-PSS" in t for t in texts)
    done, answer, list_ = listing(service, "--grant-key")
    assert list_[good]["service_may_read_key"] is True
    assert done.returncode == 74, done  # the lost one's right cannot be given
    done, answer, list_ = listing(service)
    assert list_[good]["service_may_read_key"] is True
    assert not any("NT SERVICE" in m["text"] for m in answer["messages"])


def test_next_hops_are_judged_by_the_machine_s_roots(relay, authority):
    authority.put()
    service = relay().start()

    def send(host):
        return wine.wine(EXE, "send", "--to", "b@local.example", "--from", "a@local.example",
                         "--server", f"{host}:{service.port()}", "--tls", "verify", "-v")
    tool("delete", "Root", "Store Test CA")
    done = send("localhost")
    assert done.returncode != 0 and "certificate" in done.stdout + done.stderr, done
    tool("trust", windows_path(authority.folder / "ca.cer"))
    try:
        assert send("localhost").returncode == 0, send("localhost")
        assert send("127.0.0.1").returncode == 0  # an address of the certificate
        tool("delete", "My", NAME)
        authority.put(names=f"DNS:{NAME}")  # right authority, other name
        assert service.cli("reload").returncode == 0
        done = send("localhost")
        assert done.returncode != 0 and "certificate" in done.stdout + done.stderr, done
    finally:
        tool("delete", "Root", "Store Test CA")


def test_the_installed_service_writes_both_events(authority):
    """install gives the right to the key; 20 and 21 are calls of the event log."""
    port = wine.postern.free_port()
    old = authority.put()
    wine.wine(EXE, "service", "uninstall")
    shutil.rmtree(DATA, ignore_errors=True)
    DATA.mkdir(parents=True)
    (DATA / "postern.yaml").write_text(json.dumps({
        "service": {"hostname": NAME},
        "listeners": [{"address": f"127.0.0.1:{port}", "tls": "optional"}],
        "tls": {"store": STORE, "subject": NAME},
        "domains": [{"name": "local.example", "type": "local"}],
        "logging": {"file": "postern.log"}, "resolver": {"servers": ["127.0.0.1:9"]}}))
    try:
        done = wine.wine(EXE, "service", "install")
        assert done.returncode == 0 and f"{old}: NT SERVICE\\Postern may read" in done.stdout, done
        assert wine.wine(EXE, "service", "start").returncode == 0
        assert shown(port)[0] == old
        before = len(wine.TRACE.read_text(errors="replace"))

        def wait_trace(text):
            end = time.monotonic() + LOOK
            while text not in wine.TRACE.read_text(errors="replace")[before:]:
                assert time.monotonic() < end, wine.TRACE.read_text(errors="replace")[before:][-3000:]
                time.sleep(0.3)
        lost = authority.put("import-lost")
        wait_trace("tls.certificate.refused")
        said = wine.TRACE.read_text(errors="replace")[before:]
        assert "0xc0000015" in said.lower() and lost in said and "--grant-key" in said, said
        assert shown(port)[0] == old
        new = authority.put()
        wait_trace("tls.certificate.renewed")
        assert "0x40000014" in wine.TRACE.read_text(errors="replace")[before:].lower()
        assert shown(port)[0] == new
    finally:
        wine.wine(EXE, "service", "stop")
        wine.wine(EXE, "service", "uninstall")
