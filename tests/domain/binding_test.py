"""Channel bindings of integrated logins: what a client binds to must be this very channel."""
import hashlib
import ssl

import pytest
from gssapi.raw import ChannelBindings

import ad
import kerberos
from smtp import Client, client_context

MUTUAL = kerberos.FLAGS.mutual_authentication | kerberos.FLAGS.integrity


@pytest.fixture(scope="module")
def service(relay, domain, certificates):
    certificates.issue("other", "other.corp.example", "DNS:other.corp.example")
    return relay([{"name": ad.SHORT, "aliases": [ad.DNS], "backend": "kerberos", "realm": ad.REALM,
                   "keytab": str(domain.keytab), "kdc": [ad.DC]}],
                 {"enabled": True, "keytab": str(domain.keytab)})


@pytest.fixture(scope="module")
def cache(domain, tmp_path_factory):
    path = tmp_path_factory.mktemp("tickets") / "alice"
    domain.ticket("alice", path)
    return f"FILE:{path}"


def connect(service, version, session=None):
    context = client_context()
    context.minimum_version = context.maximum_version = version
    if session:
        context = session.context
    client = Client(service.port("implicit"), context=context, server_name=ad.RELAY_NAME)
    client.sock = context.wrap_socket(client.sock, server_hostname=ad.RELAY_NAME,
                                      session=session.sock.session if session else None)
    return client.hello()


def end_point(client):
    """RFC 5929 section 4.1; the tests' certificates are signed with SHA-256."""
    shown = client.sock.getpeercert(binary_form=True)
    return b"tls-server-end-point:" + hashlib.sha256(shown).digest()


def log_in(client, cache, bindings, way):
    given = ChannelBindings(application_data=bindings) if bindings is not None else None
    if way == "GSSAPI, Kerberos":
        context = kerberos.Context(cache, "smtp", kerberos.KERBEROS, bindings=given, flags=MUTUAL)
        return kerberos.sasl(client, context)
    context = kerberos.Context(cache, "SMTPSVC", kerberos.SPNEGO, bindings=given, flags=MUTUAL)
    command = "AUTH gssapi" if way == "GSSAPI, .NET" else "AUTH GSS-SPNEGO"
    return kerberos.dotnet(client, context, command)[-1][1]


WAYS = ["GSSAPI, Kerberos", "GSSAPI, .NET", "GSS-SPNEGO"]
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3],
                                   ids=["TLS 1.2", "TLS 1.3"])


@VERSIONS
@pytest.mark.parametrize("way", WAYS)
def test_the_certificate_binds_as_windows_clients_do(service, cache, row, version, way):
    with connect(service, version) as client:
        reply = log_in(client, cache, end_point(client), way)
        row(f"{way}, bound to the certificate, {client.sock.version()}", "alice", reply.lines[-1],
            " ".join(service.attempts()[-1]))
        assert reply.code == 235, (reply, service.attempts()[-1])
        assert service.attempts()[-1] == ("ok", f"{ad.SHORT}\\alice")


def test_the_certificate_binds_in_a_resumed_session_too(service, cache):
    with connect(service, ssl.TLSVersion.TLSv1_2) as first:
        assert first.cmd("NOOP").code == 250
        with connect(service, ssl.TLSVersion.TLSv1_2, session=first) as client:
            assert client.sock.session_reused
            reply = log_in(client, cache, end_point(client), "GSS-SPNEGO")
            assert reply.code == 235, (reply, service.attempts()[-1])


def test_tls_unique_binds_below_1_3(service, cache):
    with connect(service, ssl.TLSVersion.TLSv1_2) as client:
        unique = b"tls-unique:" + client.sock.get_channel_binding("tls-unique")
        assert log_in(client, cache, unique, "GSSAPI, Kerberos").code == 235


@VERSIONS
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wrong", ["certificate", "session", "rubbish"])
def test_another_channel_is_refused(service, cache, row, version, way, wrong):
    with connect(service, version) as client:
        if wrong == "certificate":
            pem = (service.certificates.folder / "other.pem").read_text()
            bound = b"tls-server-end-point:" + \
                hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest()
        elif wrong == "session":
            bound = b"tls-unique:" + b"\x5a" * 12
        else:
            bound = b"x" * 300
        reply = log_in(client, cache, bound, way)
        if wrong == "certificate":
            row(f"{way}, bound to another's certificate, {client.sock.version()}", "alice",
                reply.lines[-1], " ".join(service.attempts()[-1]))
        assert reply.lines == ["535 5.7.3 Authentication unsuccessful"]
        assert service.attempts()[-1][0] == "refused"
        assert "channel binding" in service.attempts()[-1][1]
        assert client.cmd("NOOP").code == 250


def test_a_token_that_was_bound_is_no_good_a_second_time(service, cache):
    """The same AP-REQ again, on the same channel, also when its binding is not the first we try."""
    with connect(service, ssl.TLSVersion.TLSv1_2) as client:
        for bound in (end_point(client),
                      b"tls-unique:" + client.sock.get_channel_binding("tls-unique")):
            context = kerberos.Context(cache, "smtp", kerberos.KERBEROS, flags=MUTUAL,
                                       bindings=ChannelBindings(application_data=bound))
            token = kerberos.b64(context.step())
            assert client.cmd(f"AUTH GSSAPI {token}").code == 334
            assert client.cmd("*").code == 501
            reply = client.cmd(f"AUTH GSSAPI {token}")
            assert reply.code == 535, reply
            assert "replay" in service.attempts()[-1][1]


def test_without_tls_there_is_nothing_to_compare_with(service, cache):
    """As behind a proxy that ends TLS: the client has bound to a channel that we never saw."""
    with service.client("plain") as client:
        reply = log_in(client, cache, b"tls-server-end-point:" + b"\1" * 32, "GSSAPI, Kerberos")
        assert reply.code == 235, (reply, service.attempts()[-1])
