"""SCRAM-SHA-256 from the client's side, with channel binding where Python's ssl has one."""
import base64
import hashlib
import hmac
import os


def b64(data):
    return base64.b64encode(data).decode()


def authenticate(client, user, password, binding=None, flag="n", mechanism="SCRAM-SHA-256",
                 spoil=None, initial=True):
    """Returns the last reply; spoil(name, text) may change "nonce", "proof", "header"."""
    spoil = spoil or (lambda name, text: text)
    header = f"p={binding[0]},," if binding else f"{flag},,"
    nonce = b64(os.urandom(18))
    escaped = user.replace("=", "=3D").replace(",", "=2C")
    bare = f"n={escaped},r={nonce}"
    first = b64((header + bare).encode())
    if initial:
        reply = client.cmd(f"AUTH {mechanism} {first}")
    else:
        reply = client.cmd(f"AUTH {mechanism}")
        if reply.code != 334:
            return reply
        reply = client.cmd(first)
    if reply.code != 334:
        return reply
    server_first = base64.b64decode(reply.text).decode()
    fields = dict(part.split("=", 1) for part in server_first.split(","))
    assert fields["r"].startswith(nonce) and len(fields["r"]) > len(nonce)
    assert int(fields["i"]) >= 4096
    authenticate.iterations = int(fields["i"])
    bound = header.encode() + (binding[1] if binding else b"")
    without = f"c={spoil('header', b64(bound))},r={spoil('nonce', fields['r'])}"
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]),
                                 int(fields["i"]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    text = f"{bare},{server_first},{without}".encode()
    signature = hmac.digest(hashlib.sha256(client_key).digest(), text, "sha256")
    proof = b64(bytes(a ^ b for a, b in zip(client_key, signature)))
    reply = client.cmd(b64(f"{without},p={spoil('proof', proof)}".encode()))
    if reply.code != 334:
        return reply
    final = base64.b64decode(reply.text).decode()
    server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), text, "sha256")
    assert final == "v=" + b64(server), "the server did not prove that it knows us"
    return client.cmd("")
