"""The access lists: the engine beside a plain array and beside Postfix's cidr: table (`postmap -q`) in
the same run, and what clients notice when a million entries are read again under load. Look-ups
and loading are in CPU time, so that what else runs on the machine counts for nobody."""
import json
import os
import pathlib
import random
import resource
import socket
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENGINE = ROOT / "build/release/tests/access_bench"
SIZES = (1_000, 10_000, 100_000, 1_000_000)
KEYS = 100_000


def dotted(number):
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def write(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def v4(rng, n):
    return [dotted(x) for x in rng.sample(range(1 << 24, 224 << 24), n)]


def v6(rng, n):
    return [f"2001:db8:{rng.getrandbits(16):x}:{rng.getrandbits(16):x}::{i % 65535 + 1:x}"
            for i in range(n)]


def names(rng, n):
    return [f"host{i}.site{rng.randrange(5000)}.corp.example" for i in range(n)]


def keys_of(rng, entries, kind):
    """Half of them listed."""
    hits = [rng.choice(entries) for _ in range(KEYS // 2)]
    if kind == "names":
        both = hits + [f"other{i}.corp.example" for i in range(KEYS // 2)]
        both = [f"192.0.2.1 {name}" for name in both]
    else:
        both = hits + (v4 if kind == "v4" else v6)(random.Random(2), KEYS // 2)
    rng.shuffle(both)
    return both


def engine(config, keys, seconds, *more):
    done = subprocess.run([ENGINE, config, keys, str(seconds), *more], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def postmap(table, keys):
    """CPU seconds and answers of `postmap -q -` with these keys."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(["postmap", "-c", table.parent, "-q", "-", f"cidr:{table}"],
                          input="".join(f"{key}\n" for key in keys), capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode in (0, 1), done.stderr
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            done.stdout.count("\n"))


def postfix(folder, entries, keys):
    """Loading, and look-ups a second; as many as take a few seconds."""
    table = write(folder / "cidr", [f"{entry} OK" for entry in entries])
    (folder / "main.cf").write_text("compatibility_level = 3.6\n")
    load, _ = postmap(table, keys[:1])
    count = max(10, min(len(keys), 300_000_000 // len(entries) // 10))
    took, answers = postmap(table, keys[:count])
    assert abs(answers - count / 2) < count / 3 + 5
    return load, count / max(took - load, 0.001)


def measure(folder, kind, make, n):
    rng = random.Random(n)
    entries = make(rng, n)
    keys = keys_of(rng, entries, kind)
    listed = write(folder / f"{kind}-{n}", entries)
    asked = write(folder / f"keys-{kind}-{n}", keys)
    config = folder / f"{kind}-{n}.yaml"
    config.write_text(f'access: {{ i_know_this_is_an_open_relay: true, relay: {{ list: ["file:{listed}"] }} }}\n')
    figures = engine(config, asked, 2)
    assert figures["entries"] == n and 0.4 < figures["lookups_yes"] < 0.6
    line = (f"{kind:5} {n:>9,}  load {figures['load_ms']:5} ms  {figures['bytes'] / n:5.1f} bytes an entry"
            f"  {figures['lookups']:>12,.0f} look-ups/s {1e9 / figures['lookups']:5.0f} ns"
            f"  {figures['decisions']:>10,.0f} decisions/s {1e9 / figures['decisions']:5.0f} ns")
    if kind == "v4":
        linear = engine(listed, asked, 1, "linear")
        load, rate = postfix(folder, entries, keys)
        line += (f"  | a plain list {linear['lookups']:>10,.0f}/s"
                 f"  | postmap cidr: {rate:>9,.0f}/s, load {load * 1000:,.0f} ms")
    print(line, flush=True)


# -- a reload under load

class Clients(threading.Thread):
    """Connects, sends MAIL and RCPT a few times, hangs up; remembers how long each answer took."""

    def __init__(self, port, source):
        super().__init__(daemon=True)
        self.port, self.source = port, source
        self.answers, self.wrong, self.stop = [], [], False

    def ask(self, peer, file, line, code):
        start = time.monotonic()
        if line:
            peer.sendall(line)
        reply = file.readline()
        while reply[3:4] == b"-":
            reply = file.readline()
        self.answers.append((start, time.monotonic() - start))
        if reply[:3] != code:
            self.wrong.append((line, reply))

    def run(self):
        while not self.stop:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 30, (self.source, 0)) as peer:
                    file = peer.makefile("rb")
                    self.ask(peer, file, b"", b"220")
                    self.ask(peer, file, b"EHLO x\r\n", b"250")
                    for _ in range(5):
                        self.ask(peer, file, b"MAIL FROM:<a@b.example>\r\n", b"250")
                        self.ask(peer, file, b"RCPT TO:<x@other.example>\r\n", b"250")
                        self.ask(peer, file, b"RSET\r\n", b"250")
            except OSError as e:
                self.wrong.append(("connection", e))
            time.sleep(0.002)


def spread(samples):
    samples = sorted(samples)
    return (f"{len(samples):,} answers, median {samples[len(samples) // 2] * 1000:.2f} ms, "
            f"99.9 % {samples[len(samples) * 999 // 1000] * 1000:.1f} ms, "
            f"longest {samples[-1] * 1000:.1f} ms")


def bench_reload(service, entries):
    rounds = 6
    clients = [Clients(service.port(), f"127.0.{i}.1") for i in range(4)]
    for client in clients:
        client.start()
    time.sleep(5)
    change = time.monotonic()
    for i in range(rounds):
        if i % 2 == 0:  # the list alone, found by the service itself
            before = service.log().count("access.lists.reloaded")
            write(service.folder / "new", [*entries, dotted(i)])
            os.replace(service.folder / "new", service.folder / "clients")
            while service.log().count("access.lists.reloaded") == before:
                time.sleep(0.1)
        else:
            assert service.cli("reload").returncode == 0
    end = time.monotonic()
    for client in clients:
        client.stop = True
    for client in clients:
        client.join(30)
    wrong = [w for client in clients for w in client.wrong]
    answers = [a for client in clients for a in client.answers]
    took = [int(ms) for ms in
            [line.split("ms=")[1].split()[0] for line in service.log().splitlines()
             if "access.lists.reloaded" in line]]
    print(f"reload {len(entries):,} entries, {rounds} times under load ({end - change:.0f} s; "
          f"reading took {min(took)}-{max(took)} ms): {len(wrong)} wrong answers of clients")
    print(f"  before:      {spread([d for at, d in answers if at < change])}")
    print(f"  meanwhile:   {spread([d for at, d in answers if change <= at < end])}", flush=True)
    assert not wrong, wrong[:3]


def bench_access(folder, certificates, fresh, service_class):
    place = fresh(folder)
    for n in SIZES:
        measure(place, "v4", v4, n)
    measure(place, "v6", v6, SIZES[-1])
    for n in (SIZES[0], SIZES[-1]):
        measure(place, "names", names, n)
    entries = v4(random.Random(3), SIZES[-1] - 1) + ["127.0.0.0/16"]
    service = service_class(place / "reload", certificates, {
        "access": {"i_know_this_is_an_open_relay": True, "relay": {"list": ["file:clients"]}},
        "logging": {"level": "info"}})
    write(service.folder / "clients", entries)
    service.start(timeout=60)
    try:
        bench_reload(service, entries)
    finally:
        service.stop()
