"""The next hop: an SMTP server that records what it is given and can be told to misbehave."""
import base64
import hashlib
import hmac
import os
import socket
import ssl
import threading
import time


class Message:
    """One transaction that ended in the final dot: the lines as they came, the body undotted."""

    def __init__(self, connection):
        self.connection = connection
        self.peer = None
        self.helo = b""
        self.mail = b""
        self.rcpt = []
        self.data = b""
        self.raw = b""
        self.tls = None
        self.user = None
        self.accepted = False
        self.when = None

    @property
    def recipients(self):
        return [line.split(b"<", 1)[1].split(b">", 1)[0].decode() for line in self.rcpt]

    @property
    def sender(self):
        return self.mail.split(b"<", 1)[1].split(b">", 1)[0].decode()


class Sink:
    """hook(verb, line, session) -> None for the usual answer, bytes to send instead, or one of
    "close" (hang up without an answer) and "silent" (never answer). verb is "CONNECT", a command's
    name, or "." for the final dot. accepted(message) is called before the 250 of a final dot."""

    def __init__(self, extensions=("PIPELINING", "SIZE 104857600", "8BITMIME", "DSN", "SMTPUTF8",
                                   "ENHANCEDSTATUSCODES"),
                 tls=None, implicit=False, users=None, hook=None, address="127.0.0.1", port=0,
                 mechanisms=("PLAIN", "LOGIN", "SCRAM-SHA-256"), keep=True, accepted=None):
        self.extensions = list(extensions)
        self.tls, self.implicit = tls, implicit
        self.users, self.mechanisms = users or {}, mechanisms
        self.hook, self.keep, self.on_accept = hook, keep, accepted
        self.messages, self.connections, self.log = [], 0, []
        self.lock = threading.Lock()
        self.listener = None
        self.open_sockets = set()
        self.address = address
        self.port = port
        self.start()

    def start(self):
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        self.listener = socket.socket(family)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((self.address, self.port))
        self.port = self.listener.getsockname()[1]
        self.listener.listen(256)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def stop(self):
        """Stops listening and hangs up on everybody; start() listens on the same port again."""
        listener, self.listener = self.listener, None
        if listener:
            try:
                listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            listener.close()
        with self.lock:
            for peer in list(self.open_sockets):
                try:
                    peer.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    close = stop

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def literal(self):
        host = f"IPv6:{self.address}" if ":" in self.address else self.address
        return f"[{host.removeprefix('IPv6:')}]:{self.port}"

    def wait(self, count=1, timeout=20):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            with self.lock:
                done = [m for m in self.messages if m.accepted]
            if len(done) >= count:
                return done
            time.sleep(0.02)
        raise AssertionError(f"the sink got {len(done)} of {count} messages; log: {self.log[-40:]}")

    def taken(self):
        with self.lock:
            return [m for m in self.messages if m.accepted]

    def _accept(self, listener):
        while True:
            try:
                peer, address = listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                self.open_sockets.add(peer)
                number = self.connections
            session = Session(self, peer, address, number)
            threading.Thread(target=session.run, daemon=True).start()


class Hangup(Exception):
    pass


class Session:
    def __init__(self, sink, sock, address, number):
        self.sink, self.sock, self.address, self.number = sink, sock, address, number
        self.buffer = b""
        self.tls = None
        self.user = None
        self.helo = b""
        self.extra = {}
        self.reset()

    def reset(self):
        self.message = Message(self.number)

    def send(self, data):
        self.sock.sendall(data)

    def read(self):
        data = self.sock.recv(65536)
        if not data:
            raise Hangup
        self.buffer += data

    def line(self):
        while b"\r\n" not in self.buffer:
            self.read()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def say(self, verb, line, usual):
        """True when the usual answer went out."""
        with self.sink.lock:
            self.sink.log.append((self.number, verb, line))
        answer = self.sink.hook(verb, line, self) if self.sink.hook else None
        if answer is None:
            self.send(usual)
            return usual[:1] in b"23"
        if answer == "close":
            raise Hangup
        if answer == "silent":
            while True:
                self.read()
        self.send(answer)
        return answer[:1] in (b"2", b"3")

    def run(self):
        try:
            self.sock.settimeout(120)
            if self.sink.implicit:
                self.wrap()
            if self.say("CONNECT", b"", b"220 sink.example ESMTP\r\n"):
                while self.command():
                    pass
        except (Hangup, OSError, ssl.SSLError, ValueError, IndexError):
            pass
        finally:
            with self.sink.lock:
                self.sink.open_sockets.discard(self.sock)
            try:
                self.sock.close()
            except OSError:
                pass

    def wrap(self):
        old = self.sock
        self.sock = self.sink.tls.wrap_socket(old, server_side=True)
        self.tls = self.sock.version()
        with self.sink.lock:
            self.sink.open_sockets.discard(old)
            self.sink.open_sockets.add(self.sock)

    def command(self):
        line = self.line()
        verb = line.split(b" ")[0].split(b":")[0].upper().decode("ascii", "replace")
        method = getattr(self, "do_" + verb.lower(), None)
        if method is None:
            self.say(verb, line, b"500 5.5.2 what?\r\n")
            return True
        return method(line) is not False

    def do_ehlo(self, line):
        words = ["sink.example"] + self.sink.extensions
        if self.sink.tls and not self.tls:
            words.append("STARTTLS")
        if self.sink.users:
            words.append("AUTH " + " ".join(self.sink.mechanisms))
        self.helo = line
        self.reset()
        text = "".join(f"250{'-' if i + 1 < len(words) else ' '}{w}\r\n"
                       for i, w in enumerate(words))
        self.say("EHLO", line, text.encode())

    def do_helo(self, line):
        self.helo = line
        self.reset()
        self.say("HELO", line, b"250 sink.example\r\n")

    def do_starttls(self, line):
        if self.say("STARTTLS", line, b"220 2.0.0 go\r\n"):
            self.wrap()
            self.buffer = b""

    def do_auth(self, line):
        words = line.decode().split(" ")
        mechanism, initial = words[1].upper(), words[2] if len(words) > 2 else None
        ok = getattr(self, "auth_" + mechanism.lower().replace("-", "_"))(initial)
        self.say("AUTH", line, b"235 2.7.0 ok\r\n" if ok else b"535 5.7.8 no\r\n")

    def challenge(self, text):
        self.send(b"334 " + base64.b64encode(text) + b"\r\n")
        return base64.b64decode(self.line())

    def auth_plain(self, initial):
        raw = base64.b64decode(initial) if initial not in (None, "=") else self.challenge(b"")
        _, user, password = raw.split(b"\0")
        return self.check(user, password)

    def auth_login(self, initial):
        user = base64.b64decode(initial) if initial else self.challenge(b"Username:")
        return self.check(user, self.challenge(b"Password:"))

    def check(self, user, password):
        ok = self.sink.users.get(user.decode()) == password.decode()
        self.user = user.decode() if ok else None
        return ok

    def auth_scram_sha_256(self, initial):
        first = (base64.b64decode(initial) if initial else self.challenge(b"")).decode()
        bare = first.split(",", 2)[2]
        fields = dict(part.split("=", 1) for part in bare.split(","))
        user, salt = fields["n"], b"0123456789abcdef"
        nonce = fields["r"] + base64.b64encode(os.urandom(9)).decode()
        server_first = f"r={nonce},s={base64.b64encode(salt).decode()},i=4096"
        final = self.challenge(server_first.encode()).decode()
        without, proof = final.rsplit(",p=", 1)
        password = self.sink.users.get(user)
        if password is None or f"r={nonce}" not in without:
            return False
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 4096)
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        stored = hashlib.sha256(client_key).digest()
        text = f"{bare},{server_first},{without}".encode()
        signature = hmac.digest(stored, text, "sha256")
        given = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature))
        if hashlib.sha256(given).digest() != stored:
            return False
        server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), text, "sha256")
        if self.extra.get("forge"):
            server = bytes(32)
        self.challenge(b"v=" + base64.b64encode(server))
        self.user = user
        return True

    def do_mail(self, line):
        self.reset()
        self.message.mail = line
        self.say("MAIL", line, b"250 2.1.0 ok\r\n")

    def do_rcpt(self, line):
        if self.say("RCPT", line, b"250 2.1.5 ok\r\n"):
            self.message.rcpt.append(line)

    def do_rset(self, line):
        self.reset()
        self.say("RSET", line, b"250 2.0.0 ok\r\n")

    def do_noop(self, line):
        self.say("NOOP", line, b"250 2.0.0 ok\r\n")

    def do_data(self, line):
        usual = b"354 go\r\n" if self.message.rcpt else b"503 5.5.1 no recipients\r\n"
        if not self.say("DATA", line, usual):
            return
        end = 0
        while True:
            if self.buffer.startswith(b".\r\n"):
                raw, self.buffer = b"", self.buffer[3:]
                break
            at = self.buffer.find(b"\r\n.\r\n", max(0, end - 5))
            if at >= 0:
                raw, self.buffer = self.buffer[:at + 2], self.buffer[at + 5:]
                break
            end = len(self.buffer)
            self.read()
        message = self.message
        message.raw = raw
        message.data = raw.replace(b"\r\n.", b"\r\n")
        if message.data.startswith(b"."):
            message.data = message.data[1:]
        message.helo, message.tls, message.user = self.helo, self.tls, self.user
        message.peer, message.when = self.address, time.monotonic()
        with self.sink.lock:
            self.sink.messages.append(message)
        if self.sink.on_accept:
            self.sink.on_accept(message)
        try:
            message.accepted = self.say(".", b"", b"250 2.0.0 taken\r\n")
        finally:
            self.reset()
            if not self.sink.keep:
                message.data = message.raw = b""

    def do_quit(self, line):
        self.say("QUIT", line, b"221 2.0.0 bye\r\n")
        return False
