"""A name server for tests: answers what it was told, from loopback, over UDP and TCP."""
import ipaddress
import socket
import struct
import threading

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28}
NAMES = {number: name for name, number in TYPES.items()}
NOERROR, SERVFAIL, NXDOMAIN, REFUSED = 0, 2, 3, 5


def encode_name(name):
    out = b""
    for label in name.rstrip(".").split("."):
        if label:
            raw = label.encode("ascii")
            out += bytes([len(raw)]) + raw
    return out + b"\0"


def encode_data(kind, value):
    if kind == "A":
        return ipaddress.IPv4Address(value).packed
    if kind == "AAAA":
        return ipaddress.IPv6Address(value).packed
    if kind == "MX":
        preference, host = value
        return struct.pack(">H", preference) + encode_name(host)
    if kind == "TXT":
        return bytes([len(value)]) + value.encode()
    return encode_name(value)


class DnsServer:
    """zones: {(name, type): [values] or a response code or "silent"}. Names are lower case without
    the last dot; ptr() adds what reverse look-ups need. queries holds (name, type) as asked."""

    def __init__(self, records=None, address="127.0.0.1"):
        self.records = dict(records or {})
        self.queries = []
        self.truncate = set()
        for _ in range(50):
            self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.udp.bind((address, 0))
            self.address, self.port = self.udp.getsockname()
            self.tcp = socket.socket()
            self.tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                self.tcp.bind((address, self.port))
                break
            except OSError:
                self.udp.close()
                self.tcp.close()
        self.tcp.listen(16)
        self.stopping = False
        for target in (self._serve_udp, self._serve_tcp):
            threading.Thread(target=target, daemon=True).start()

    @property
    def endpoint(self):
        return f"{self.address}:{self.port}"

    def add(self, name, kind, *values):
        self.records[(name.lower(), kind)] = list(values)

    def fail(self, name, kind, what=SERVFAIL):
        self.records[(name.lower(), kind)] = what

    def ptr(self, address, *names):
        self.add(ipaddress.ip_address(address).reverse_pointer, "PTR", *names)

    def close(self):
        self.stopping = True
        self.udp.close()
        self.tcp.close()

    def answer(self, query, over_udp):
        ident, flags, count = struct.unpack(">HHH", query[:6])
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]])
            at += 1 + query[at]
        question = query[12:at + 5]
        kind = NAMES.get(struct.unpack(">H", query[at + 1:at + 3])[0], "?")
        name = b".".join(labels).decode("ascii", "replace").lower()
        self.queries.append((name, kind))
        found = self.records.get((name, kind))
        if found == "silent":
            return None
        code, answers = NOERROR, []
        if isinstance(found, int):
            code = found
        elif found is not None:
            answers = [(name, kind, value) for value in found]
        else:
            alias, hops = name, 0
            while (alias, "CNAME") in self.records and hops < 8:
                target = self.records[(alias, "CNAME")][0]
                answers.append((alias, "CNAME", target))
                alias, hops = target, hops + 1
            answers += [(alias, kind, value) for value in self.records.get((alias, kind), [])]
            if not answers and not any(known == name for known, _ in self.records):
                code = NXDOMAIN
        truncated = over_udp and (name, kind) in self.truncate
        if truncated:
            answers = []
        body = b""
        for owner, type_name, value in answers:
            data = encode_data(type_name, value)
            body += encode_name(owner) + struct.pack(">HHIH", TYPES[type_name], 1, 60, len(data))
            body += data
        header = struct.pack(">HHHHHH", ident, 0x8180 | (0x0200 if truncated else 0) | code, 1,
                             len(answers), 0, 0)
        return header + question + body

    def _serve_udp(self):
        while not self.stopping:
            try:
                query, peer = self.udp.recvfrom(4096)
                reply = self.answer(query, True)
                if reply is not None:
                    self.udp.sendto(reply, peer)
            except OSError:
                return
            except (IndexError, struct.error):
                continue

    def _serve_tcp(self):
        while not self.stopping:
            try:
                peer, _ = self.tcp.accept()
            except OSError:
                return
            threading.Thread(target=self._one_tcp, args=(peer,), daemon=True).start()

    def _one_tcp(self, peer):
        with peer:
            file = peer.makefile("rwb")
            while head := file.read(2):
                reply = self.answer(file.read(struct.unpack(">H", head)[0]), False)
                if reply is None:
                    return
                file.write(struct.pack(">H", len(reply)) + reply)
                file.flush()
