"""A client that sends the very bytes it is told to."""
import base64
import socket
import ssl
import time


class Reply:
    def __init__(self, lines):
        self.lines = lines
        self.code = int(lines[-1][:3])
        self.text = "\n".join(line[4:] for line in lines)

    @property
    def enhanced(self):
        return self.text.split(" ")[0]

    def __repr__(self):
        return f"<{self.code} {self.text!r}>"


class Closed(Exception):
    """The server hung up."""


class Client:
    """source binds the client's address, as 127.0.0.2."""

    def __init__(self, port, host="127.0.0.1", source=None, implicit=False, timeout=20,
                 context=None, server_name="relay.example"):
        self.context = context or client_context()
        self.server_name = server_name
        self.sock = socket.create_connection((host, port), timeout,
                                             (source, 0) if source else None)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        if implicit:
            self.start_tls()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            self.sock.close()
        except OSError:
            pass

    def start_tls(self):
        self.sock = self.context.wrap_socket(self.sock, server_hostname=self.server_name)

    def send(self, data):
        if isinstance(data, str):
            data = data.encode("utf-8")
        self.sock.sendall(data)

    def dribble(self, data):
        """One segment, or one TLS record, for each byte."""
        for i in range(len(data)):
            self.sock.sendall(data[i:i + 1])

    def line(self):
        while b"\n" not in self.buffer:
            try:
                data = self.sock.recv(65536)
            except (ConnectionResetError, BrokenPipeError, ssl.SSLEOFError) as e:
                raise Closed(str(e)) from e
            if not data:
                raise Closed("end of file")
            self.buffer += data
        line, self.buffer = self.buffer.split(b"\n", 1)
        assert line.endswith(b"\r"), f"a reply line without CR: {line!r}"
        return line[:-1].decode("utf-8", "replace")

    def reply(self):
        lines = []
        while True:
            line = self.line()
            assert line[:3].isdigit() and line[3:4] in ("-", " ", ""), f"no reply: {line!r}"
            lines.append(line)
            if line[3:4] != "-":
                return Reply(lines)

    def cmd(self, line):
        self.send((line if isinstance(line, bytes) else line.encode("utf-8")) + b"\r\n")
        return self.reply()

    def hello(self, name="client.example"):
        greeting = self.reply()
        assert greeting.code == 220, greeting
        self.ehlo = self.cmd(f"EHLO {name}")
        assert self.ehlo.code == 250, self.ehlo
        return self

    def starttls(self, name="client.example"):
        reply = self.cmd("STARTTLS")
        assert reply.code == 220, reply
        self.start_tls()
        self.ehlo = self.cmd(f"EHLO {name}")
        assert self.ehlo.code == 250, self.ehlo
        return self

    def plain(self, user, password):
        token = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        return self.cmd(f"AUTH PLAIN {token}")

    def login(self, user, password):
        first = self.cmd("AUTH LOGIN")
        if first.code != 334:
            return first
        assert first.lines == ["334 VXNlcm5hbWU6"]
        second = self.cmd(base64.b64encode(user.encode()).decode())
        if second.code != 334:
            return second
        assert second.lines == ["334 UGFzc3dvcmQ6"]
        return self.cmd(base64.b64encode(password.encode()).decode())

    def data(self, message):
        """message with CRLF line ends, stuffed here; returns the reply to the final dot."""
        go = self.cmd("DATA")
        if go.code != 354:
            return go
        stuffed = message.replace(b"\r\n.", b"\r\n..")
        if stuffed.startswith(b"."):
            stuffed = b"." + stuffed
        if stuffed and not stuffed.endswith(b"\r\n"):
            stuffed += b"\r\n"
        self.send(stuffed + b".\r\n")
        return self.reply()

    def mail(self, sender, recipients, message=b"Subject: x\r\n\r\nbody\r\n", params="", rparams=""):
        """The whole transaction; every reply must be good. Returns the last reply."""
        reply = self.cmd(f"MAIL FROM:<{sender}>{params}")
        assert reply.code == 250, reply
        for recipient in [recipients] if isinstance(recipients, str) else recipients:
            reply = self.cmd(f"RCPT TO:<{recipient}>{rparams}")
            assert reply.code in (250, 251), reply
        reply = self.data(message)
        assert reply.code == 250, reply
        return reply

    def quit(self):
        reply = self.cmd("QUIT")
        assert reply.code == 221, reply
        self.close()

    def closed(self, timeout=10):
        """Whether the server hangs up by itself, what it says meanwhile thrown away."""
        self.sock.settimeout(timeout)
        end = time.monotonic() + timeout
        try:
            while time.monotonic() < end:
                if not self.sock.recv(65536):
                    return True
        except (ConnectionResetError, BrokenPipeError, ssl.SSLError):
            return True
        except (TimeoutError, socket.timeout):
            return False
        return False


def client_context(minimum=None, maximum=None, ca=None, seclevel=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca:
        context.load_verify_locations(ca)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if minimum:
        context.minimum_version = minimum
    if maximum:
        context.maximum_version = maximum
    if seclevel is not None:
        context.set_ciphers(f"ALL:@SECLEVEL={seclevel}")
    return context
