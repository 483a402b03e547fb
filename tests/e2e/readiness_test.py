"""Only what works is offered: every mechanism and every backend of accounts proves itself at start
and at a reload; what fails is logged once with reason and cure, and `postern check` says the same."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

from postern import Service
from smtp import Client

HOST = "relay.example"
EMPTY_KEYTAB = b"\x05\x02"


def keytab(path, *principals):
    """A keytab that MIT's ktutil has written, without any KDC."""
    path = pathlib.Path(path)
    path.unlink(missing_ok=True)
    lines = []
    for principal in principals:
        lines += [f"addent -password -p {principal}@KRB.EXAMPLE -k 1 -e aes256-cts-hmac-sha1-96",
                  "a password"]
    done = subprocess.run(["ktutil"], input="\n".join([*lines, f"wkt {path}", "q"]) + "\n",
                          capture_output=True, text=True, timeout=30)
    assert path.exists(), done
    return path


@pytest.fixture
def folder():
    """With a short name, so that the reasons that hold it are not cut."""
    with tempfile.TemporaryDirectory(prefix="k") as it:
        yield pathlib.Path(it)


def check(service):
    """(what each said of itself, what each listener offers, the warnings)"""
    done = service.cli("check", "--json")
    assert done.returncode == 0, done
    said = json.loads(done.stdout)
    found = said["authentication"]
    return ({x["what"]: x for x in found["readiness"]},
            {x["address"]: x for x in found["listeners"]}, said["messages"])


def offered(service, listener=None, tls=True):
    with Client(service.port(listener)) as client:
        client.hello()
        if tls:
            client.starttls()
        lines = [x[4:] for x in client.ehlo.lines if x[4:].startswith("AUTH ")]
        return lines[0].split()[1:] if lines else []


def integrated(**more):
    return {"enabled": True, "mechanisms": ["GSSAPI", "GSS-SPNEGO", "NTLM"], **more}


KERBEROS = ["GSSAPI", "GSS-SPNEGO"]


@pytest.mark.parametrize("fault, reason, cure", [
    ("absent", r"keytab \S+: Key table file '\S+' not found", "export the keys of smtp/HOST"),
    ("empty", "holds no key$", r"setspn -S"),
    ("of another service", r"holds no key for smtp/ or SMTPSVC/", r"setspn -S"),
    ("no keytab at all", r"keytab \S+: ", "export the keys"),
])
def test_a_keytab_that_does_not_serve(make, folder, fault, reason, cure):
    path = folder / "relay.keytab"
    if fault == "empty":
        path.write_bytes(EMPTY_KEYTAB)
    elif fault == "of another service":
        keytab(path, f"HTTP/{HOST}")
    elif fault == "no keytab at all":
        path.write_bytes(b"this is none\n" * 9)
    service = make({"authentication": {"integrated": integrated(keytab=str(path))}})
    items, listeners, messages = check(service)
    service.start()
    assert not {"NTLM", *KERBEROS} & set(offered(service))
    log = service.log()
    for name in KERBEROS:
        assert not items[name]["ready"]
        assert re.search(reason, items[name]["reason"]), items[name]
        assert cure in items[name]["cure"], items[name]
        told = [m for m in messages if m["text"].startswith(f"{name} is not ready")]
        assert len(told) == 1 and told[0]["severity"] == "warning" and told[0]["line"] > 0, messages
        assert told[0]["key"] == "authentication.integrated.keytab"
        lines = [x for x in log.splitlines()
                 if "auth.integrated.not_ready" in x and f"mechanism={name} " in x]
        assert len(lines) == 1, log
        assert items[name]["reason"][:40].split("'")[0] in lines[0] and "cure=" in lines[0], lines
    for listener in listeners.values():
        assert not set(KERBEROS) & set(listener["tls"] + (listener["clear"] or []))
    done = service.cli("check")
    assert done.returncode == 0
    assert re.search(r"^  GSSAPI +NOT READY: ", done.stdout, re.M), done.stdout


def test_a_good_keytab_is_offered_and_what_it_lacks_is_told(make, tmp_path):
    path = keytab(tmp_path / "relay.keytab", f"smtp/{HOST}")
    service = make({"authentication": {"integrated": integrated(keytab=str(path))}})
    items, listeners, messages = check(service)
    for name in KERBEROS:
        assert items[name]["ready"] and "SMTPSVC/" in items[name]["reason"]
        assert name in listeners[service.address()]["tls"]
    assert any("GSSAPI will not work for all" in m["text"] for m in messages)
    service.start()
    assert set(KERBEROS) <= set(offered(service))
    assert "auth.integrated.incomplete" in service.log()
    both = keytab(tmp_path / "both.keytab", f"smtp/{HOST}", f"SMTPSVC/{HOST}")
    service.write({"authentication": {"integrated": integrated(keytab=str(both))}})
    items, _, messages = check(service)
    assert items["GSSAPI"]["ready"] and items["GSSAPI"]["reason"] == ""
    assert not any("GSSAPI" in m["text"] for m in messages)


@pytest.mark.parametrize("program, reason", [
    ("/usr/bin/no_such_ntlm_auth", r"cannot start: No such file"),
    ("/bin/true", r"ntlm_auth"),
    ("/bin/cat", r"."),
    ("ntlm_auth", r"no command"),
    ("", r"no ntlm_auth is configured"),
])
def test_an_ntlm_auth_that_does_not_serve(make, program, reason):
    service = make({"authentication": {"integrated": integrated(ntlm_auth=program)}})
    items, listeners, messages = check(service)
    assert not items["NTLM"]["ready"] and re.search(reason, items["NTLM"]["reason"]), items["NTLM"]
    assert items["NTLM"]["cure"] != ""
    assert "NTLM" not in listeners[service.address()]["tls"]
    assert any(m["text"].startswith("NTLM is not ready") and
               m["key"] == "authentication.integrated.ntlm_auth" for m in messages)
    service.start()
    assert "NTLM" not in offered(service)
    lines = [x for x in service.log().splitlines()
             if "auth.integrated.not_ready" in x and "mechanism=NTLM" in x]
    assert len(lines) == 1 and "cure=" in lines[0], lines


def test_a_reload_proves_anew_both_ways(make, folder):
    path = folder / "relay.keytab"
    service = make({"authentication": {"integrated": integrated(keytab=str(path))}}).start()
    assert "GSSAPI" not in offered(service)
    keytab(path, f"smtp/{HOST}", f"SMTPSVC/{HOST}")
    assert "GSSAPI" not in offered(service), "nobody has asked for a new look"
    assert service.cli("reload").returncode == 0
    assert set(KERBEROS) <= set(offered(service))
    path.write_bytes(EMPTY_KEYTAB)
    assert service.cli("reload").returncode == 0
    assert not set(KERBEROS) & set(offered(service))
    lines = [x for x in service.log().splitlines()
             if "auth.integrated.not_ready" in x and "mechanism=GSSAPI" in x]
    assert len(lines) == 2 and "not found" in lines[0] and "holds no key" in lines[1], lines


@pytest.mark.parametrize("domain, what, reason", [
    ({"name": "KRB", "backend": "kerberos", "realm": "KRB.EXAMPLE", "keytab": "/nonexistent/k",
      "kdc": ["127.0.0.1:1"]}, "KRB (kerberos)", r"'/nonexistent/k' not found"),
    ({"name": "DIR", "backend": "ldap", "url": "ldaps://127.0.0.1:1", "bind": "{user}@dir.example",
      "ca_file": "/nonexistent/ca.pem"}, "DIR (ldap)", r"ca_file: /nonexistent/ca.pem"),
])
def test_a_domain_that_is_not_ready_is_told_and_harms_no_other(make, domain, what, reason):
    service = make({"authentication": {"domains": [{"name": "users", "backend": "userdb"}, domain]}})
    service.add_user()
    items, _, messages = check(service)
    assert items["users (userdb)"]["ready"]
    assert not items[what]["ready"] and re.search(reason, items[what]["reason"]), items
    assert items[what]["cure"] != ""
    told = [m for m in messages if m["text"].startswith(f"{what} is not ready")]
    assert len(told) == 1 and told[0]["key"] == "authentication.domains[1]", messages
    written = service.path.read_text().splitlines()[told[0]["line"] - 1:]
    assert f'"{domain["name"]}"' in "".join(written[:4]), told
    service.start()
    lines = [x for x in service.log().splitlines() if "auth.backend.not_ready" in x]
    assert len(lines) == 1 and what in lines[0] and "cure=" in lines[0], lines
    with Client(service.port()) as client:
        client.hello().starttls()
        assert client.plain(f"{domain['name']}\\anna", "x").code == 454
        assert client.plain(service.USER, service.PASSWORD).code == 235


def test_without_any_domain_that_is_ready_no_password_is_asked_for(make):
    service = make({"authentication": {"domains": [
        {"name": "KRB", "backend": "kerberos", "realm": "KRB.EXAMPLE",
         "keytab": "/nonexistent/k"}]}})
    items, listeners, _ = check(service)
    assert not items["PLAIN"]["ready"] and not items["LOGIN"]["ready"], items
    assert "SCRAM-SHA-256" not in items, "there is no user database"
    assert listeners[service.address()]["tls"] == []
    service.start()
    assert offered(service) == []


def test_what_a_listener_leaves_out(make):
    service = make({"authentication": {"basic": {"require_tls": False}}}, {
        "all": {"tls": "optional"},
        "some": {"tls": "optional", "mechanisms": ["LOGIN", "SCRAM-SHA-256"]},
        "inside": {"tls": "implicit"}, "never": {"tls": "none"}, "must": {"tls": "required"}})
    items, listeners, _ = check(service)
    everything = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"]
    at = {name: listeners[service.address(name)] for name in service.listeners}
    assert at["all"] == {"address": service.address("all"), "clear": ["PLAIN", "LOGIN"],
                         "tls": everything, "left_out": []}
    assert at["some"]["clear"] == ["LOGIN"]
    assert at["some"]["tls"] == ["SCRAM-SHA-256", "LOGIN"]
    assert at["some"]["left_out"] == ["SCRAM-SHA-256-PLUS", "PLAIN"]
    assert at["inside"]["clear"] is None and at["inside"]["tls"] == everything
    assert at["never"]["tls"] is None and at["never"]["clear"] == ["PLAIN", "LOGIN"]
    assert at["must"]["clear"] is None and at["must"]["tls"] == everything
    # and that is what the service says
    service.start()
    for name in ("all", "some", "never"):
        assert offered(service, name, tls=False) == at[name]["clear"], name
    for name in ("all", "some", "must"):
        assert offered(service, name) == at[name]["tls"], name
    done = service.cli("check")
    number = list(service.listeners).index("some")
    assert f"left out by listeners[{number}].mechanisms: SCRAM-SHA-256-PLUS PLAIN" in done.stdout


def test_check_makes_nothing(make):
    service = make()
    before = sorted(service.folder.rglob("*"))
    items, _, _ = check(service)
    assert items["users (userdb)"]["ready"]
    assert [p for p in sorted(service.folder.rglob("*")) if p not in before] == [service.path]


def test_a_user_database_that_is_none(make):
    service = make()
    service.data.mkdir()
    (service.data / "users.db").write_bytes(b"certainly no database\n" * 400)
    items, listeners, _ = check(service)
    assert not items["users (userdb)"]["ready"] and items["users (userdb)"]["reason"], items
    assert not items["SCRAM-SHA-256"]["ready"] and not items["PLAIN"]["ready"]
    assert listeners[service.address()]["tls"] == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("how", ["service.user", "the data directory's owner"])
def test_what_root_alone_can_read_is_no_proof(certificates, how):
    folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-ready-"))
    folder.chmod(0o755)
    path = keytab(folder / "relay.keytab", f"smtp/{HOST}", f"SMTPSVC/{HOST}")
    path.chmod(0o600)
    config = {"authentication": {"integrated": integrated(keytab=str(path))}}
    if how == "service.user":
        config["service"] = {"user": "nobody"}
    service = Service(folder, certificates, config, {"p": {"tls": "none"}})
    service.config["tls"] = {}
    try:
        if how != "service.user":
            service.data.mkdir()
            shutil.chown(service.data, "nobody")
        items, _, _ = check(service)
        done = service.cli("check")
        assert "authentication, as the user nobody:" in done.stdout
        assert not items["GSSAPI"]["ready"] and "ermission denied" in items["GSSAPI"]["reason"]
        if how == "service.user":
            service.start()
            assert "GSSAPI" not in offered(service, tls=False)
            assert re.search(r"auth\.integrated\.not_ready.*GSSAPI.*ermission denied", service.log())
        shutil.chown(path, "nobody")
        items, _, _ = check(service)
        assert items["GSSAPI"]["ready"], items
        if how == "service.user":
            assert service.cli("reload").returncode == 0
            assert "GSSAPI" in offered(service, tls=False)
    finally:
        service.finish()
        shutil.rmtree(folder, ignore_errors=True)
