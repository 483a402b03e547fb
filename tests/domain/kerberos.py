"""Clients of integrated authentication, scripted: a peer's own tokens over smtp.Client."""
import base64
import contextlib
import os
import subprocess

import gssapi

import ad

SPNEGO = gssapi.OID.from_int_seq("1.3.6.1.5.5.2")
KERBEROS = gssapi.OID.from_int_seq("1.2.840.113554.1.2.2")
NO_LAYER = b"\1\0\0\0"
FLAGS = gssapi.RequirementFlag


def b64(data):
    return base64.b64encode(data).decode()


def token_of(reply):
    """What a 334 carries; .NET wants it on one line."""
    assert reply.code == 334 and len(reply.lines) == 1, reply
    return base64.b64decode(reply.text, validate=True)


@contextlib.contextmanager
def environment(values):
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


class Context:
    """One side of Kerberos, raw or in SPNEGO, with the tickets of a file."""

    def __init__(self, cache, service="smtp", mechanism=SPNEGO, host=ad.RELAY_NAME, bindings=None,
                 flags=FLAGS.mutual_authentication | FLAGS.integrity):
        credentials = gssapi.Credentials(usage="initiate",
                                         store={"ccache": cache}) if cache else None
        name = gssapi.Name(f"{service}@{host}", gssapi.NameType.hostbased_service)
        self.context = gssapi.SecurityContext(
            name=name, creds=credentials, mech=mechanism, flags=flags, usage="initiate",
            channel_bindings=bindings)

    def step(self, token=None):
        return self.context.step(token) or b""

    @property
    def complete(self):
        return self.context.complete

    def answer_layer(self, wrapped):
        """RFC 4752 section 3.1: the server's offer must be four bytes with "no layer" in them."""
        offer = self.context.unwrap(wrapped).message
        assert len(offer) == 4 and offer[0] & 1, offer
        return self.context.wrap(NO_LAYER, False).message


def sasl(client, context, command="GSSAPI", initial=True):
    """RFC 4752 as MIT's and Cyrus's clients do it; returns the last reply."""
    token = context.step()
    if initial:
        reply = client.cmd(f"AUTH {command} {b64(token)}")
    else:
        assert client.cmd(f"AUTH {command}").lines == ["334 "]
        reply = client.cmd(b64(token))
    while reply.code == 334 and not context.complete:
        reply = client.cmd(b64(context.step(token_of(reply))))
    if reply.code != 334:
        return reply
    wrapped = token_of(reply)
    if not wrapped:
        reply = client.cmd("")
        wrapped = token_of(reply)
    return client.cmd(b64(context.answer_layer(wrapped)))


def dotnet(client, context, command="AUTH gssapi"):
    """System.Net.Mail's SmtpNegotiateAuthenticationModule, byte for byte: lower case, the token with
    the command, an empty answer as CR LF CR LF, no authorization name. Yields (sent, reply)."""
    said = []

    def say(line):
        client.send(line + "\r\n")
        reply = client.reply()
        said.append((line, reply))
        return reply

    reply = say(f"{command} {b64(context.step())}")
    while reply.code == 334:
        challenge = token_of(reply)
        if context.complete:
            answer = b64(context.answer_layer(challenge))
        else:
            token = context.step(challenge)
            answer = b64(token) if token else "\r\n" if context.complete else ""
        reply = say(answer)
    return said


class NtlmClient:
    """Samba's ntlm_auth as the client's half: "ntlmssp-client-1", or "gss-spnego-client"."""

    complete = False

    def __init__(self, account, password, domain=ad.SHORT, protocol="ntlmssp-client-1"):
        self.process = subprocess.Popen(
            ["ntlm_auth", f"--helper-protocol={protocol}", f"--username={account}",
             f"--domain={domain}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        answer = self._ask("PW " + b64(password.encode()))
        assert answer.startswith("OK"), answer

    def _ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")

    def step(self, token=None):
        answer = self._ask("YR" if token is None else "TT " + b64(token))
        kind, _, rest = answer.partition(" ")
        assert kind in ("YR", "KK", "AF"), answer
        return base64.b64decode(rest)

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def ntlm(client, ours, command="AUTH NTLM", initial=True):
    """MS-SMTPNTLM; returns the last reply."""
    first = ours.step()
    if initial:
        reply = client.cmd(f"{command} {b64(first)}")
    else:
        reply = client.cmd(command)
        assert reply.code == 334, reply
        reply = client.cmd(b64(first))
    if reply.code != 334:
        return reply
    return client.cmd(b64(ours.step(token_of(reply))))
