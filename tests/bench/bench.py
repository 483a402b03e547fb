#!/usr/bin/env python3
"""The comparison. Each figure stands beside what the same source reaches straight into the same
sink in the same run, and beside Postfix on the same disk."""
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))
sys.dont_write_bytecode = True
sys.path.insert(0, str(ROOT / "tests/bench"))
import access  # noqa: E402  (path first)
import logins  # noqa: E402  (path first)
from postern import BINARY, Certificates, Service, free_port  # noqa: E402  (path first)

POSTFIX = {
    "compatibility_level": "3.6", "inet_interfaces": "127.0.0.1", "inet_protocols": "ipv4",
    "mydestination": "", "mynetworks": "127.0.0.0/8", "smtpd_relay_restrictions": "permit_mynetworks, reject",
    "smtpd_peername_lookup": "no", "smtpd_client_connection_count_limit": "0",
    "smtpd_client_connection_rate_limit": "0", "default_process_limit": "200",
    "myhostname": "postfix.example", "alias_maps": "", "local_recipient_maps": "",
    "smtp_dns_support_level": "disabled",
    # our own default is 100 to a destination, too
    "default_destination_concurrency_limit": "100", "initial_destination_concurrency": "20",
    "in_flow_delay": "0",
}
MASTER = """{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


def fresh(folder):
    place = pathlib.Path(tempfile.mkdtemp(dir=folder))
    place.chmod(0o755)  # Postfix's processes are not root
    return place


def wait_port(port, timeout=20):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit(f"bench: nobody listens on port {port}")


class SmtpSink:
    """Postfix's smtp-sink; counts by its running counters (-M exits before the last answer)."""

    def __init__(self, folder):
        self.port = free_port()
        self.out = folder / f"sink-{self.port}"
        with open(self.out, "wb") as out:
            self.process = subprocess.Popen(
                ["stdbuf", "-o0", "smtp-sink", "-u", "postfix", "-c", f"127.0.0.1:{self.port}", "1000"], stdout=out,
                stderr=subprocess.DEVNULL)
        wait_port(self.port)

    def messages(self):
        found = re.findall(rb"mesg=(\d+)", self.out.read_bytes()[-4000:])
        return int(found[-1]) if found else 0

    def wait(self, count, timeout):
        end = time.monotonic() + timeout
        while self.messages() < count:
            if time.monotonic() > end:
                raise SystemExit(f"bench: the sink got {self.messages()} of {count} in {timeout} s")
            time.sleep(0.005)

    def stop(self):
        self.process.terminate()
        self.process.wait()


class Postfix:
    """A private instance: its own configuration, queue, data and log below folder."""

    def __init__(self, folder, relay_port, hold):
        self.port = free_port()
        self.etc = folder / "etc"
        for name in ("etc", "queue", "data"):
            (folder / name).mkdir(parents=True)
        settings = dict(POSTFIX, queue_directory=folder / "queue", data_directory=folder / "data",
                        relayhost=f"[127.0.0.1]:{relay_port}", maillog_file=folder / "log",
                        maillog_file_prefixes=folder)
        if hold:
            settings["defer_transports"] = "smtp"
        (self.etc / "main.cf").write_text("".join(f"{k} = {v}\n" for k, v in settings.items()))
        (self.etc / "master.cf").write_text(MASTER.format(port=f"127.0.0.1:{self.port}"))
        shutil.chown(folder / "data", "postfix")
        self.run("start")
        wait_port(self.port)

    def run(self, word):
        done = subprocess.run(["postfix", "-c", str(self.etc), word], capture_output=True, text=True)
        if done.returncode:
            log = self.etc.parent / "log"
            said = log.read_text() if log.exists() else ""
            raise SystemExit(f"bench: postfix {word}: {done.stdout} {done.stderr} {said}")

    def stop(self):
        self.run("stop")


class Postern:
    def __init__(self, folder, certificates, relay_port):
        self.service = Service(folder, certificates, {
            "access": {"relay": {"list": ["127.0.0.1"]}},
            "delivery": {"smart_host": f"[127.0.0.1]:{relay_port}", "retry": ["15m"]},
            "limits": {"connections": 20000, "connections_per_client": 20000},
        })
        self.service.start()
        self.port = self.service.port()

    def stop(self):
        self.service.stop()


def source(port, count, size, sessions, reuse):
    """Seconds that smtp-source takes."""
    command = ["smtp-source", "-c", "-m", str(count), "-l", str(size), "-s", str(sessions),
               "-f", "a@bench.example", "-t", "v@foreign.example"]
    command += ["-d"] if reuse else []
    start = time.monotonic()
    done = subprocess.run([*command, f"127.0.0.1:{port}"], stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, timeout=600)
    if done.returncode:
        raise SystemExit(f"bench: smtp-source: {done.stderr[-500:]}")
    return time.monotonic() - start


def cases():
    for size in (4096, 51200):
        for sessions in (20, 100):
            for reuse in (False, True):
                yield size, sessions, reuse


def title(size, sessions, reuse):
    return f"{size // 1024:3d} KiB {sessions:3d} sessions {'reused    ' if reuse else 'per message'}"


def how_many(size, quick):
    scale = float(os.environ.get("BENCH_SCALE", "1"))
    return int((quick if size == 4096 else quick // 3) * scale)


def bench_accept(folder, certificates):
    """Nothing is delivered since nobody listens at the next hop; both put each message off, Postern
    after an attempt, Postfix by defer_transports, and both log as they do by default."""
    print("accept alone, messages/s (ratio to source into sink; aim 0.50 at 4 KiB, 0.25 at 50 KiB)")
    for size, sessions, reuse in cases():
        sink = SmtpSink(folder)
        n = how_many(size, 12000)
        direct = n / source(sink.port, n, size, sessions, reuse)
        sink.stop()
        closed = free_port()
        place = fresh(folder)
        ours = Postern(place / "postern", certificates, closed)
        rate = n / source(ours.port, n, size, sessions, reuse)
        ours.stop()
        postfix = Postfix(place / "postfix", closed, hold=True)
        m = how_many(size, 1500)
        theirs = m / source(postfix.port, m, size, sessions, reuse)
        postfix.stop()
        shutil.rmtree(place)
        print(f"  {title(size, sessions, reuse)}: sink {direct:7.0f}  postern {rate:7.0f} "
              f"({rate / direct:4.2f})  postfix {theirs:6.0f}  postern/postfix {rate / theirs:5.1f}",
              flush=True)


def bench_relay(folder, certificates):
    print("relay end to end, messages/s (aim: 8 times Postfix)")
    for size, sessions, reuse in cases():
        rates = []
        place = fresh(folder)
        for kind, n in (("postern", how_many(size, 6000)), ("postfix", how_many(size, 900))):
            sink = SmtpSink(folder)
            if kind == "postern":
                server = Postern(place / kind, certificates, sink.port)
            else:
                server = Postfix(place / kind, sink.port, hold=False)
            start = time.monotonic()
            source(server.port, n, size, sessions, reuse)
            sink.wait(n, 300)
            rates.append(n / (time.monotonic() - start))
            server.stop()
            sink.stop()
        shutil.rmtree(place)
        print(f"  {title(size, sessions, reuse)}: postern {rates[0]:7.0f}  postfix {rates[1]:6.0f}  "
              f"postern/postfix {rates[0] / rates[1]:5.1f}", flush=True)


def resident(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Rss: +(\d+) kB", text, re.M).group(1)) * 1024


def bench_idle(folder, certificates):
    ours = Postern(folder / "idle", certificates, free_port())
    pid = ours.service.process.pid
    time.sleep(1)
    before = resident(pid)
    print(f"idle service: {before / 1048576:.1f} MiB resident (aim: under 20)")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(8000, hard - 200)
    held = []
    for i in range(count):
        peer = socket.create_connection(("127.0.0.1", ours.port), 10,
                                        (f"127.0.1.{1 + i // 4000}", 0))
        peer.recv(512)
        peer.sendall(b"EHLO idle.example\r\n")
        peer.recv(2048)
        held.append(peer)
    after = resident(pid)
    print(f"{count} idle plain sessions: {(after - before) / count / 1024:.1f} KiB each (aim: under 16)")
    for peer in held:
        peer.close()
    ours.stop()


def bench_start(folder, certificates):
    service = Service(folder / "start", certificates)
    service.start()
    service.stop()
    took = []
    for _ in range(10):
        start = time.monotonic()
        service.start(wait=False)
        while True:
            try:
                with socket.create_connection(("127.0.0.1", service.port()), 1) as peer:
                    if peer.recv(1):
                        break
            except OSError:
                time.sleep(0.001)
        took.append(time.monotonic() - start)
        service.stop()
    print(f"start to banner: {statistics.median(took) * 1000:.0f} ms (aim: under 100)")


def instructions(folder, certificates, messages):
    """Instructions that the service executes in all for so many messages."""
    service = Service(folder / f"calls-{messages}", certificates, {
        "logging": {"level": "warn"}, "service": {"workers": 1}})
    out = folder / f"callgrind-{messages}"
    service.wrapper = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}",
                       "--dump-instr=no", "--quiet"]
    service.start(timeout=120)
    with socket.create_connection(("127.0.0.1", service.port()), 60) as peer:
        file = peer.makefile("rb")
        file.readline()
        body = b"Subject: x\r\n\r\n" + (b"0123456789" * 7 + b"\r\n") * 56
        peer.sendall(b"HELO x\r\n")
        file.readline()
        for _ in range(messages):
            for line in (b"MAIL FROM:<a@b.example>\r\n", b"RCPT TO:<b@local.example>\r\n",
                         b"DATA\r\n", body + b".\r\n"):
                peer.sendall(line)
                assert file.readline()[:1] in b"23"
    end = time.monotonic() + 120
    while len(service.drop()) < messages and time.monotonic() < end:
        time.sleep(0.2)
    service.process.send_signal(signal.SIGTERM)
    service.process.wait(120)
    service.process = None
    return int(re.search(r"^(?:totals|summary): (\d+)", out.read_text(), re.M).group(1))


def bench_instructions(folder, certificates):
    few, many = 20, 120
    per = (instructions(folder, certificates, many) - instructions(folder, certificates, few))
    print(f"instructions a message of 4 KiB, accepted and dropped: {per / (many - few) / 1000:.0f} thousand")


def bench_access(folder, certificates):
    access.bench_access(folder, certificates, fresh, Service)


SECTIONS = {"access": bench_access, "start": bench_start, "idle": bench_idle, "accept": bench_accept,
            "relay": bench_relay, "logins": logins.bench_logins,
            "instructions": bench_instructions}


def main():
    wanted = sys.argv[1:] or list(SECTIONS)
    unknown = [name for name in wanted if name not in SECTIONS]
    if unknown or not BINARY.exists():
        sys.exit(f"bench: no such section: {unknown}" if unknown else f"bench: no {BINARY}")
    # On the disk that the project lies on, so that every fsync is a real one.
    base = ROOT / "build/bench"
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir(parents=True)
    certificates = Certificates(base)
    print(f"{os.cpu_count()} cores, {os.uname().release}, disk {base}")
    try:
        for name in wanted:
            SECTIONS[name](base, certificates)
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    main()
