"""postern import iis: what the configuration that comes out means, and what the report says."""
import json
import re
import subprocess

import pytest

import iis
from postern import BINARY, ROOT, TROUBLE, Service

FAR = "v@far.example"
EVERY_24 = ("255.255.255.0", "255.255.255.255")


class Import:
    """One run; yaml is None where no file was written."""

    def __init__(self, folder, text, *arguments, name="MetaBase.xml"):
        self.folder = folder
        self.input = folder / name
        self.input.write_bytes(text if isinstance(text, bytes) else text.encode())
        self.path = folder / "postern.yaml"
        self.path.unlink(missing_ok=True)
        done = self.cli("import", "iis", self.input, "-o", self.path, "--json", *arguments)
        self.code, self.error = done.returncode, done.stderr
        self.report = json.loads(done.stdout) if done.returncode == 0 else None
        self.yaml = self.path.read_text() if self.path.exists() else None
        if self.code == 0:
            check = self.cli("check", "-c", self.path, "--json")
            assert check.returncode == 0, check.stdout

    def cli(self, *arguments):
        done = subprocess.run([str(BINARY), *map(str, arguments)], capture_output=True, text=True,
                              cwd=self.folder, timeout=120)
        assert not TROUBLE.search(done.stderr), done.stderr
        return done

    def explain(self, client, recipient=FAR, *arguments):
        done = self.cli("explain", "-c", self.path, "--client", client, "--from", "a@b.example",
                        "--to", recipient, "--json", *arguments)
        assert done.returncode in (0, 1, 2), done
        return json.loads(done.stdout)

    def allows(self, client, recipient=FAR, *arguments):
        return self.explain(client, recipient, *arguments)["verdict"] == "allowed"

    def line(self, name, place=None):
        """The report's line about a property; there is exactly one."""
        found = [l for l in self.report["properties"] if l["property"] == name and
                 (place is None or l["place"] == place)]
        assert len(found) == 1, (name, found)
        return found[0]

    def outcome(self, name, place=None):
        return self.line(name, place)["outcome"]


@pytest.fixture
def run(tmp_path):
    return lambda text, *arguments, **names: Import(tmp_path, text, *arguments, **names)


def server(**attributes):
    """A fresh server with these changes; None takes one away."""
    out = {**iis.FRESH_SERVER, **attributes}
    return {name: value for name, value in out.items() if value is not None}


def with_server(**attributes):
    return iis.metabase(servers={1: server(**attributes)})


# -- a fresh server

def test_a_fresh_server_means_the_same_here(run):
    it = run(iis.metabase())
    assert it.code == 0
    # anybody connects and sends to the local domain, nobody relays without a log-in
    assert it.allows("192.0.2.7", "somebody@server01.corp.example")
    refused = it.explain("192.0.2.7")
    assert (refused["verdict"], refused["rule"]) == ("refused", "access.relay")
    assert refused["reply"].startswith(f"550 5.7.1 Unable to relay for {FAR}")
    assert it.allows("192.0.2.7", FAR, "--user", "anna", "--tls")
    for text in ('address: "0.0.0.0:25"', "message_size: 2M", "session_size: 10M",
                 "recipients: 100", "retry: [15m, 30m, 60m, 240m]", "delay_notice: 12h",
                 "expire: 2d", "hop_limit: 15", "messages_per_connection: 20"):
        assert text in it.yaml, text
    assert {l["outcome"] for l in it.report["properties"]} == {"taken over", "changed", "needs you"}
    # every property that was there has a line
    told = {l["property"] for l in it.report["properties"]}
    assert set(iis.FRESH_SERVICE) | set(iis.FRESH_SERVER) <= told


def test_the_configuration_of_a_fresh_server_serves(run, tmp_path, certificates):
    """The real service, on another port, with what was imported."""
    it = run(with_server(ServerBindings="127.0.0.1:25:", RelayIpList=iis.blob(
        grant=[("127.0.0.2", "255.255.255.255")])))
    service = Service(tmp_path / "live", certificates)
    text = it.yaml.replace("127.0.0.1:25", service.address()).replace(
        "service:\n", f"service:\n  data_directory: {service.data}\n")
    service.path.write_text(text)
    service.start()
    try:
        from smtp import Client
        for source, code in (("127.0.0.2", 250), ("127.0.0.3", 550)):
            with Client(service.port(), source=source) as client:
                client.reply()
                client.cmd("EHLO x")
                client.cmd("MAIL FROM:<a@b.example>")
                assert client.cmd(f"RCPT TO:<{FAR}>").code == code
    finally:
        service.finish()


# -- attributes and Custom children, inheritance, several servers

def test_a_property_is_an_attribute_or_a_custom_child(run):
    custom = [("AuthFlags", 6000, "AuthBasic | AuthAnonymous", "DWORD"),
              ("UnknownName_36973", 36973, "1", "DWORD"),
              ("MasqueradeDomain", 36912, "Masq.Example", "STRING")]
    it = run(iis.metabase(servers={1: {"ServerBindings": ":25:"}}, custom=custom))
    assert it.outcome("AuthFlags") == "needs you" and "basic on" in it.line("AuthFlags")["text"]
    assert it.line("AuthFlags")["place"] == "service"
    assert "authenticated: true" in it.yaml and 'masquerade: "masq.example"' in it.yaml
    assert "basic: { enabled: true, require_tls: true" in it.yaml


def test_a_server_inherits_from_the_service_and_overrides_it(run):
    service = {**iis.FRESH_SERVICE, "MaxRecipients": "50", "RelayForAuth": "1",
               "RelayIpList": iis.blob(grant=[("10.0.0.1", "255.255.255.255")])}
    text = iis.metabase(service=service, servers={
        1: {"MaxRecipients": "70"},
        2: {"RelayForAuth": "0", "RelayIpList": iis.blob(grant=[("10.0.0.2", "255.255.255.255")])}})
    first, second = run(text), None
    assert "recipients: 70" in first.yaml and first.line("MaxRecipients")["place"] == "server"
    assert first.allows("10.0.0.1") and not first.allows("10.0.0.2")
    assert first.allows("192.0.2.7", FAR, "--user", "anna", "--tls")
    second = run(text, "--server", "2")
    assert "recipients: 50" in second.yaml and second.line("MaxRecipients")["place"] == "service"
    assert second.allows("10.0.0.2") and not second.allows("10.0.0.1")
    assert not second.allows("192.0.2.7", FAR, "--user", "anna", "--tls")


def test_of_several_servers_the_first_is_taken_and_the_others_are_named(run):
    text = iis.metabase(servers={3: server(ServerComment="Third"), 2: server(ServerComment="Two"),
                                 11: server(ServerComment="Eleventh")})
    it = run(text)
    assert it.report["server"] == 2
    assert it.report["other_servers"] == [{"server": 3, "comment": "Third"},
                                          {"server": 11, "comment": "Eleventh"}]
    assert run(text, "--server", "11").report["server"] == 11
    shown = it.cli("import", "iis", it.input)
    assert shown.returncode == 0
    assert "not imported: virtual server 3 (Third), ask for it with --server 3" in shown.stderr
    missing = run(text, "--server", "7")
    assert missing.code == 78 and missing.yaml is None and "only: 2, 3, 11" in missing.error


def test_names_of_elements_and_locations_have_any_case(run):
    text = iis.metabase(domains=[(1, "P.Example", {"RouteActionString": "mx.p.example"})])
    text = text.replace("IIsSmtp", "IISSMTP").replace("/LM/SmtpSvc", "/lm/SMTPSVC").replace(
        "/Domain/", "/DOMAIN/")
    it = run(text)
    assert it.report["server"] == 1
    assert '{ name: "p.example", type: remote, smart_host: "mx.p.example" }' in it.yaml


# -- bindings, TLS, authentication

def test_bindings_become_listeners(run):
    it = run(with_server(ServerBindings=":25:\n\t\t10.0.0.5:587:\n\t\t10.0.0.6:2525:mail.example",
                         SecureBindings=":465:", AccessSSLFlags="AccessSSL | AccessSSL128",
                         SSLCertHash="0102ff", SSLStoreName="MY"))
    for listener in ('"0.0.0.0:25", tls: required', '"10.0.0.5:587", tls: required',
                     '"10.0.0.6:2525", tls: required', '"0.0.0.0:465", tls: implicit'):
        assert listener in it.yaml
    assert it.outcome("ServerBindings") == "changed"  # a host name has no counterpart
    assert it.outcome("SSLCertHash") == "needs you"
    assert it.explain("192.0.2.7")["reply"].startswith("530 5.7.0 Must issue a STARTTLS")


@pytest.mark.parametrize("bindings", ["", "nonsense", ":0:", ":65536:", "999.0.0.1:25:", "25"])
def test_bindings_that_cannot_be_read_do_not_listen_everywhere(run, bindings):
    it = run(with_server(ServerBindings=bindings))
    assert 'address: "127.0.0.1:25"' in it.yaml and "0.0.0.0" not in it.yaml.replace("127.0.0.1", "")
    assert "needs you" in {l["outcome"] for l in it.report["properties"]
                           if l["property"] == "ServerBindings"}


@pytest.mark.parametrize("flags, anonymous, basic, integrated", [
    ("AuthAnonymous", True, False, False), ("1", True, False, False), ("0x7", True, True, True),
    ("AuthNTLM", False, False, True), ("AuthBasic | AuthNTLM", False, True, True),
    ("authbasic|AUTHANONYMOUS", True, True, False), ("0", False, False, False),
    ("", False, False, False),
])
def test_the_flags_of_authentication(run, flags, anonymous, basic, integrated):
    it = run(with_server(AuthFlags=flags, SaslLogonDomain="CORP"))
    yes = {True: "true", False: "false"}
    assert f"anonymous: {yes[anonymous]}" in it.yaml
    assert f"basic: {{ enabled: {yes[basic]}, require_tls: true" in it.yaml
    assert f"integrated: {{ enabled: {yes[integrated]}" in it.yaml
    if basic:
        assert 'default_domain: "CORP"' in it.yaml and 'name: "CORP", backend: system' in it.yaml
    if not anonymous:
        answer = it.explain("192.0.2.7", "a@server01.corp.example")
        assert answer["reply"].startswith("530 5.7.1 Client was not authenticated")


def test_flags_that_cannot_be_read_are_imported_closed(run):
    it = run(with_server(AuthFlags="AuthSomething", AccessSSLFlags="x"))
    assert "anonymous: false" in it.yaml and "tls: required" in it.yaml
    assert it.outcome("AuthFlags") == it.outcome("AccessSSLFlags") == "needs you"


# -- the two lists

def test_only_the_list_of_single_addresses_and_groups(run):
    grant = [("127.0.0.1", "255.255.255.255"), ("10.1.0.0", "255.255.0.0"),
             ("192.168.1.5", "255.255.255.255"), ("172.16.3.4", "255.240.0.0")]
    for name, rule in (("RelayIpList", "access.relay"), ("IPSecurity", "access.connection")):
        it = run(with_server(**{name: iis.blob(grant=grant)}))
        assert it.outcome(name) == "taken over"
        for inside in ("127.0.0.1", "10.1.255.1", "192.168.1.5", "172.31.0.1"):
            answer = it.explain(inside)
            assert answer["rule"] != rule or answer["verdict"] == "allowed", inside
        for outside in ("127.0.0.2", "10.2.0.1", "192.168.1.6", "172.32.0.1", "0.0.0.0"):
            answer = it.explain(outside)
            assert (answer["verdict"], answer["rule"]) == ("refused", rule), outside


def test_all_except_the_list_for_connections(run):
    deny = [("10.9.0.0", "255.255.0.0"), ("192.0.2.66", "255.255.255.255")]
    it = run(with_server(IPSecurity=iis.blob(deny=deny)))
    assert it.outcome("IPSecurity") == "taken over" and "grant: all-except" in it.yaml
    for address, may in (("10.9.1.1", False), ("192.0.2.66", False), ("10.8.1.1", True)):
        assert it.allows(address, "a@server01.corp.example") == may


def test_only_the_list_below_and_an_empty_list_lets_nobody(run):
    it = run(with_server(IPSecurity=iis.blob(grant=iis.NOBODY), RelayIpList=iis.blob(
        grant=iis.NOBODY)))
    assert it.outcome("IPSecurity") == it.outcome("RelayIpList") == "taken over"
    for address in ("127.0.0.1", "192.0.2.7", "0.0.0.0"):
        assert it.explain(address)["rule"] == "access.connection"
    assert it.yaml.count("list: []") == 2


def test_the_published_sample(run):
    sample = ("18000080200000803c00008044000080010000004c000000000000000000000001000000020000000200"
              "000003000000040000000000000"
              "04c00008000000000000000000000000000000000ffffffff7f000001c0a80105")
    assert sample == iis.blob(grant=[("127.0.0.1", "255.255.255.255"),
                                     ("192.168.1.5", "255.255.255.255")])
    it = run(with_server(RelayIpList=sample.upper()))
    assert it.allows("192.168.1.5") and not it.allows("192.168.1.4")


def test_the_three_states_of_the_relay_list(run):
    absent = run(with_server(RelayIpList=None))
    assert absent.outcome("RelayIpList") == "taken over" and not absent.allows("192.0.2.7")
    trap = run(with_server(RelayIpList=""))
    assert trap.outcome("RelayIpList") == "needs you"
    assert "open relay" in trap.line("RelayIpList")["text"]
    assert re.search(r"relay:\n    grant: only\n    authenticated: true\n    list: \[\]", trap.yaml)
    for address in ("192.0.2.7", "127.0.0.1", "10.0.0.1"):
        assert not trap.allows(address)
    shown = trap.cli("import", "iis", trap.input)
    assert shown.returncode == 0 and "open relay" in shown.stderr
    listed = run(with_server(RelayIpList=iis.blob(grant=[("10.0.0.1", "255.255.255.255")])))
    assert listed.allows("10.0.0.1") and not listed.allows("10.0.0.2")


@pytest.mark.parametrize("relay", [
    iis.blob(deny=[("10.0.0.1", "255.255.255.255")]),  # all except: strangers relay
    iis.blob(grant=[("0.0.0.0", "0.0.0.0")]),
    iis.blob(grant=[("0.0.0.0", "128.0.0.0"), ("128.0.0.0", "128.0.0.0")]),  # two halves
    iis.blob(grant=[("8.0.0.0", "255.0.0.0")]),  # a network of strangers
])
def test_no_open_relay_is_ever_imported(run, relay):
    it = run(with_server(RelayIpList=relay))
    assert it.outcome("RelayIpList") == "needs you"
    assert "open relay" in it.line("RelayIpList")["text"]
    for address in ("192.0.2.7", "8.8.8.8", "10.0.0.2", "200.1.1.1"):
        assert not it.allows(address)


def damaged_lists():
    whole = iis.blob(grant=[("10.0.0.1", "255.255.255.255")])
    yield from (whole[:n] for n in range(2, len(whole), 17))
    yield from ("zz", whole + "f", whole.replace("7f", "80", 1)[:-2], "00" * 100, "ff" * 100,
                whole.replace("4c000080", "4c00ff80"), whole.replace("01000000020000000200", "ffffffff020000000200"))


@pytest.mark.parametrize("damaged", damaged_lists())
def test_a_damaged_list_is_imported_closed(run, damaged):
    it = run(with_server(RelayIpList=damaged, IPSecurity=damaged))
    for name in ("RelayIpList", "IPSecurity"):
        assert it.outcome(name) == "needs you" and "closed" in it.line(name)["text"]
    assert it.explain("10.0.0.1")["rule"] == "access.connection"
    assert it.yaml.count("grant: only") == it.yaml.count("list: []") == 2


def test_names_in_a_binary_list_cannot_be_read_and_it_says_so(run):
    """Their layout was never seen: nothing is guessed, and nobody gets in by it."""
    grant = [("10.0.0.1", "255.255.255.255")]
    it = run(with_server(RelayIpList=iis.blob(grant=grant, grant_names=1),
                         IPSecurity=iis.blob(deny=grant, deny_names=1)))
    assert "host names" in it.line("RelayIpList")["text"]
    assert it.outcome("RelayIpList") == it.outcome("IPSecurity") == "needs you"
    assert "10.0.0.1" in it.yaml
    # a list that refuses names which cannot be read refuses everybody
    assert it.explain("192.0.2.7")["rule"] == "access.connection"


def test_masks_with_holes_and_both_polarities_never_let_more_in(run):
    grant = [("10.0.0.1", "255.0.255.0"), ("10.1.0.0", "255.255.0.0"), ("10.2.0.1", "255.255.255.255")]
    it = run(with_server(RelayIpList=iis.blob(grant=grant, deny=[("10.1.2.0", "255.255.255.0")])))
    assert it.outcome("RelayIpList") == "needs you"
    assert it.allows("10.2.0.1") and not it.allows("10.1.9.9") and not it.allows("10.9.0.9")


# -- domains

def test_a_domain_whose_type_cannot_be_told_is_never_local(run):
    it = run(iis.metabase(domains=[(1, "partner.example", {"RouteAction": "268435456"}),
                                   (1, "plain.example", {})]))
    for name in ("partner.example", "plain.example"):
        answer = it.explain("192.0.2.7", f"a@{name}")
        assert (answer["verdict"], answer["rule"]) == ("refused", "access.relay")
        told = [l for l in it.report["properties"] if l["property"] == "domain" and l["value"] == name]
        assert told[0]["outcome"] == "needs you"
    assert it.outcome("RouteAction") == "needs you"
    assert "type: local" not in it.yaml.replace('"server01.corp.example", type: local', "")


def test_what_a_domain_tells_for_certain(run):
    it = run(iis.metabase(domains=[
        (1, "*.wild.example", {"RouteAction": "1"}),
        (1, "hop.example", {"RouteActionString": "[10.0.0.9]", "RouteUserName": "u",
                            "RoutePassword": "49634462500000"}),
        (1, "path.example", {"RouteActionString": "C:\\Inetpub\\mailroot\\Drop"}),
        (1, "SERVER01.corp.example", {}), (2, "other.example", {}), (1, "bad_/name", {})]))
    assert '"*.wild.example", type: remote }' in it.yaml
    assert '"hop.example", type: remote, smart_host: "[10.0.0.9]" }' in it.yaml
    assert "relay: true }" not in it.yaml
    assert it.line("RouteActionString", "domain path.example")["outcome"] == "needs you"
    assert it.line("RoutePassword", "domain hop.example")["outcome"] == "needs you"
    assert "49634462500000" not in it.yaml and "other.example" not in it.yaml
    assert not it.allows("192.0.2.7", "a@x.wild.example")
    assert not it.allows("192.0.2.7", "a@path.example")


@pytest.mark.parametrize("name", ["CORP", "corp"])
def test_a_default_domain_that_looks_like_a_windows_domain_needs_eyes(run, name):
    it = run(iis.metabase(service={**iis.FRESH_SERVICE, "DefaultDomain": name},
                          servers={1: server(SaslLogonDomain="CORP")}))
    assert it.outcome("DefaultDomain") == "needs you"


# -- delivery, limits, the rest

def test_a_server_with_everything_changed(run):
    it = run(iis.metabase(service={}, servers={1: {
        "FullyQualifiedDomainName": "Relay.Example", "DefaultDomain": "mail.example",
        "MaxMessageSize": "5242880", "MaxSessionSize": "20971520", "MaxRecipients": "500",
        "MaxConnections": "300", "ConnectionTimeout": "90", "MaxOutConnections": "50",
        "MaxOutConnectionsPerDomain": "5", "MaxBatchedMessages": "7", "RemoteSmtpPort": "2525",
        "RemoteTimeout": "120", "HopCount": "30", "SmtpRemoteProgressiveRetry": "1,2,3",
        "SmtpRemoteDelayExpireMinutes": "90", "SmtpRemoteNDRExpireMinutes": "7200",
        "SmartHost": "10.0.0.25", "SmartHostType": "1", "MasqueradeDomain": "masq.example",
        "SendNdrTo": "postmaster", "LogType": "1",
        "LogPluginClsid": "{FF160663-DE82-11CF-BC0A-00AA006111E0}", "RouteAction": "17",
        "RouteUserName": "CORP\\relay", "RoutePassword": "0102", "EnableReverseDnsLookup": "TRUE",
        "ConnectResponse": "hello", "SmtpDsUseCat": "1", "SendBadTo": "bad@mail.example",
        "SomethingNew": "42"}}))
    for text in ('hostname: "relay.example"', "message_size: 5M", "session_size: 20M",
                 "recipients: 500", "connections: 300", "idle: 90s", "connections: 50",
                 "connections_per_destination: 5", "messages_per_connection: 7", "port: 2525",
                 "idle: 2m", "hop_limit: 30", "retry: [1m, 2m, 3m]", "delay_notice: 90m",
                 "expire: 5d", 'smart_host: "[10.0.0.25]"', "direct_first: true",
                 'masquerade: "masq.example"', 'ndr_copy_to: "postmaster@mail.example"',
                 "protocol: true", "# format: w3c", 'user: "CORP\\relay"'):
        assert text in it.yaml, text
    for name in ("RouteAction", "RouteUserName", "RoutePassword", "ConnectResponse", "SmtpDsUseCat",
                 "SendBadTo"):
        assert it.outcome(name) == "needs you", name
    for name in ("EnableReverseDnsLookup", "SomethingNew", "SmartHost", "SendNdrTo"):
        assert it.outcome(name) == "changed", name


@pytest.mark.parametrize("value", ["4294967295", "-1"])
def test_unlimited(run, value):
    names = ("MaxMessageSize", "MaxSessionSize", "MaxRecipients", "MaxConnections",
             "MaxOutConnections", "MaxOutConnectionsPerDomain", "MaxBatchedMessages")
    it = run(with_server(**{name: value for name in names}))
    assert {it.outcome(name) for name in names} == {"changed"}
    assert "message_size: 2G" in it.yaml and "recipients: 50000" in it.yaml
    limits = it.yaml.partition("limits:")[2].partition("delivery:")[0]
    assert " connections:" not in limits


@pytest.mark.parametrize("kind, host, result", [
    ("0", "mx.example", None), ("2", "mx.example", '"mx.example"'), ("2", "[10.1.1.1]", '"[10.1.1.1]"'),
    ("2", "10.1.1.1", '"[10.1.1.1]"'), ("2", "one.example;two.example", None), ("2", "", None),
    ("9", "mx.example", '"mx.example"'), (None, "mx.example", '"mx.example"'),
])
def test_smart_hosts(run, kind, host, result):
    it = run(with_server(SmartHost=host, SmartHostType=kind))
    found = re.search(r"smart_host: (.*)", it.yaml)
    assert (found.group(1) if found else None) == result


def test_values_cannot_break_out_of_the_configuration(run):
    """Quotes, newlines, YAML's own line ends and terminal escapes in every text."""
    evil = 'x"\n  i_know_this_is_an_open_relay: true #\u2028access:\u0085\u009b31m'
    names = ("FullyQualifiedDomainName", "DefaultDomain", "MasqueradeDomain", "SmartHost",
             "SendNdrTo", "SaslLogonDomain", "ServerComment", "RouteUserName", "SSLCertHash",
             "SSLStoreName", "AuthFlags", "ServerBindings", "SmtpRemoteProgressiveRetry")
    it = run(iis.metabase(service={}, servers={1: {name: evil for name in names}},
                          domains=[(1, evil, {})]))
    assert it.code == 0 and "\u2028" not in it.yaml and "\u0085" not in it.yaml
    assert not re.search(r"^\s*i_know", it.yaml, re.M) and "\u009b" not in it.yaml
    shown = it.cli("import", "iis", it.input)
    assert "\u009b" not in shown.stderr and "\u009b" not in shown.stdout


# -- encodings

@pytest.mark.parametrize("encode", [
    lambda t: t.encode(), lambda t: b"\xef\xbb\xbf" + t.encode(),
    lambda t: b"\xff\xfe" + t.encode("utf-16-le"), lambda t: b"\xfe\xff" + t.encode("utf-16-be"),
    lambda t: t.encode("utf-16-le"), lambda t: t.encode("utf-16-be"),
], ids=["utf8", "utf8-bom", "utf16le-bom", "utf16be-bom", "utf16le", "utf16be"])
@pytest.mark.parametrize("form", ["xml", "json"])
def test_encodings(run, encode, form):
    comment = "Größe \U0001f4e8"
    text = with_server(ServerComment=comment) if form == "xml" else exported(
        {"ServerComment": comment, "RelayForAuth": 1})
    it = run(encode(text))
    assert it.code == 0, it.error
    assert it.line("ServerComment")["value"] == comment


# -- what nothing can be made of

BILLION_LAUGHS = """<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;">]>
<configuration><IIsSmtpServer Location="/LM/SmtpSvc/1" ServerComment="&d;"/></configuration>"""
HOSTILE = {
    "empty": "", "blank": " \n\n", "no xml": "hello", "cut": iis.metabase()[:900],
    "two roots": "<a/><b/>", "unclosed": "<configuration>", "wrong nesting": "<a><b></a></b>",
    "billion laughs": BILLION_LAUGHS,
    "a doctype alone": '<!DOCTYPE x>' + iis.metabase().partition("?>")[2],
    "an external entity": '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
    "an external subset": '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd"><x/>',
    "an undefined entity": "<x>&nothing;</x>",
    "no smtp": '<configuration><IIsWebServer Location="/LM/W3SVC/1"/></configuration>',
    "smtp below another": '<configuration><IIsSmtpServer Location="/LM/Other/SmtpSvc/1"/></configuration>',
    "no location": "<configuration><IIsSmtpServer AuthFlags=\"1\"/></configuration>",
    "too deep": "<a>" * 5000 + "</a>" * 5000,
    "an attribute twice": '<IIsSmtpServer Location="/LM/SmtpSvc/1" A="1" A="2"/>',
    "a NUL": iis.metabase().replace("Default SMTP", "Default\0SMTP"),
    "not UTF-8": iis.metabase().encode().replace(b"Default SMTP", b"Default\xff\xfeSMTP"),
    "half a surrogate": b"\xff\xfe" + "<a b='".encode("utf-16-le") + b"\x00\xd8" + "'/>".encode("utf-16-le"),
    "an odd UTF-16": b"\xff\xfe" + iis.metabase().encode("utf-16-le") + b"<",
    "another encoding": '<?xml version="1.0" encoding="EBCDIC-CP-US"?><a/>',
    "too many nodes": "<c>" + "".join(f'<d Location="/LM/SmtpSvc/1/Domain/d{i}"/>'
                                      for i in range(10001)) + "</c>",
    "json: cut": '{"format": "postern-iis-smtp", "version": 1, ',
    "json: another format": '{"format": "other", "version": 1}',
    "json: another version": '{"format": "postern-iis-smtp", "version": 2, "servers": [{"number": 1}]}',
    "json: no server": '{"format": "postern-iis-smtp", "version": 1, "servers": []}',
    "json: no number": '{"format": "postern-iis-smtp", "version": 1, "servers": [{}]}',
    "json: a key twice": '{"format": "postern-iis-smtp", "format": "postern-iis-smtp", "version": 1}',
    "json: deep": '{"format":' + "[" * 100000 + "]" * 100000 + "}",
    "json: a bad address": '{"format": "postern-iis-smtp", "version": 1, "servers": [{"number": 1, '
                           '"properties": {"RelayIpList": {"IPGrant": ["10.0.0.256"]}}}]}',
    "json: a number as a list": '{"format": "postern-iis-smtp", "version": 1, "servers": '
                                '[{"number": 1, "properties": {"RelayIpList": {"IPGrant": 5}}}]}',
}


@pytest.mark.parametrize("what", HOSTILE)
def test_nothing_is_made_of_hostile_input(run, what):
    it = run(HOSTILE[what])
    assert it.code == 78, it.error
    assert it.yaml is None and not list(it.folder.glob("*.tmp*"))
    assert re.search(r"MetaBase\.xml: \S", it.error)


def test_input_that_is_missing_or_too_large(run, tmp_path):
    it = run(iis.metabase())
    assert it.cli("import", "iis", tmp_path / "absent.xml").returncode == 66
    large = tmp_path / "large.xml"
    with open(large, "wb") as f:
        f.write(b"<a>")
        f.truncate(65 * 1024 * 1024)
    done = it.cli("import", "iis", large, "-o", tmp_path / "large.yaml")
    assert done.returncode in (74, 78) and not (tmp_path / "large.yaml").exists()


def test_a_metabase_of_many_megabytes_takes_a_moment(run):
    filler = "".join(f'<IIsWebVirtualDir Location="/LM/W3SVC/1/ROOT/{i}" Path="C:\\{i}"/>\n'
                     for i in range(150000))
    assert run(iis.metabase(extra=filler)).code == 0


def test_an_existing_file_stays_unless_forced(run):
    it = run(iis.metabase())
    it.path.write_text("mine\n")
    done = it.cli("import", "iis", it.input, "-o", it.path)
    assert done.returncode == 1 and it.path.read_text() == "mine\n"
    done = it.cli("import", "iis", it.input, "-o", it.path, "--force")
    assert done.returncode == 0 and it.path.read_text() == it.yaml


def test_usage(run):
    it = run(iis.metabase())
    for arguments in (["iis"], ["exchange", it.input], ["iis", it.input, "--server", "0"],
                      ["iis", it.input, "--server", "x"], ["iis", it.input, "--json"]):
        assert it.cli("import", *arguments).returncode == 64, arguments
    help_text = it.cli("import", "--help")
    assert help_text.returncode == 0 and "--server" in help_text.stdout


# -- what the PowerShell exporter writes

def exported(properties, domains=(), service=None):
    return json.dumps({"format": "postern-iis-smtp", "version": 1, "computer": "SERVER01",
                       "service": {"properties": service or {}},
                       "servers": [{"number": 1, "properties": properties,
                                    "domains": list(domains)}]}, ensure_ascii=False)


def test_the_exporters_lists_with_names(run):
    it = run(exported({
        "AuthFlags": 1, "RelayForAuth": 0, "ServerBindings": [":25:", "10.0.0.5:587:"],
        "DefaultDomain": "mail.example", "SmtpMailNoHelo": False, "MaxMessageSize": 1048576,
        "RelayIpList": {"GrantByDefault": False, "IPGrant": ["10.1.0.0, 255.255.0.0", "127.0.0.1"],
                        "IPDeny": [], "DomainGrant": ["app.corp.example", "*.print.example"],
                        "DomainDeny": []},
        "IPSecurity": {"GrantByDefault": True, "IPGrant": [], "IPDeny":
                       "192.0.2.7, 255.255.255.255", "DomainGrant": None,
                       "DomainDeny": ["bad.example"]}},
        domains=[{"name": "p.example", "properties": {"RouteAction": 16}}]), name="export.json")
    assert it.code == 0, it.error
    for client, may in (("10.1.5.5", True), ("127.0.0.1", True), ("10.2.0.1", False)):
        assert it.allows(client, FAR, "--host", "") == may
    assert it.allows("198.51.100.1", FAR, "--host", "app.corp.example")
    assert not it.allows("198.51.100.1", FAR, "--host", "x.app.corp.example")
    assert it.allows("198.51.100.1", FAR, "--host", "p1.print.example")
    for host in ("bad.example", "x.bad.example"):
        assert it.explain("198.51.100.1", "a@mail.example", "--host", host)["rule"] == "access.connection"
    assert it.explain("192.0.2.7", "a@mail.example", "--host", "")["rule"] == "access.connection"
    assert "message_size: 1M" in it.yaml and '"10.0.0.5:587"' in it.yaml
    assert it.outcome("RelayIpList") == it.outcome("IPSecurity") == "changed"
    assert it.outcome("RouteAction") == "needs you"


@pytest.mark.parametrize("name", ["10.0.0", "300.1.2.3", "printer.7", "self", "SELF"])
def test_a_name_that_a_list_would_read_as_something_else_is_left_out(run, name):
    """An address that went wrong is no name, and `self` would be this machine."""
    lists = {"GrantByDefault": False, "IPGrant": [], "DomainGrant": [name, "app.example"]}
    it = run(exported({"RelayIpList": lists}), name="export.json")
    assert it.code == 0, it.error
    assert it.outcome("RelayIpList") == "needs you"
    assert it.allows("198.51.100.1", FAR, "--host", "app.example")
    assert not it.allows("127.0.0.1", FAR, "--host", "")


def test_the_exporters_relay_list_that_lets_everybody(run):
    for lists in ({"GrantByDefault": True}, {"GrantByDefault": True, "IPDeny": ["10.0.0.1"]}, ""):
        it = run(exported({"RelayIpList": lists}))
        assert "open relay" in it.line("RelayIpList")["text"]
        assert it.outcome("RelayIpList") == "needs you" and not it.allows("192.0.2.7")
    it = run(exported({"RelayIpList": {"GrantByDefault": False}}))
    assert it.outcome("RelayIpList") == "taken over" and not it.allows("192.0.2.7")


def test_the_json_of_the_page_is_taken(run):
    page = (ROOT / "docs/from-iis.md").read_text()
    example = re.search(r"^```json\n(.*?)^```$", page, re.M | re.S).group(1)
    it = run(example)
    assert it.code == 0, it.error
    assert it.allows("10.1.5.5", FAR, "--host", "") and it.outcome("RouteAction") == "needs you"


def test_the_importer_knows_every_property_of_the_exporter(run):
    script = (ROOT / "packaging/iis/export-iis-smtp.ps1").read_text()
    names = re.findall(r"'(\w+)'", script.partition("$names = @(")[2].partition(")")[0])
    assert len(names) > 50
    it = run(exported({name: 1 for name in names}))
    told = {l["property"]: l["text"] for l in it.report["properties"]}
    assert set(names) <= set(told)
    assert [name for name in names if "does not know" in told[name]] == []
