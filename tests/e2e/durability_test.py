"""Nothing that got its 250 is lost: kills, a full disk, no descriptors, and the order of system
calls. Duplicates are allowed after a kill; they are counted and told."""
import collections
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time

import pytest

import samples
from postern import PATIENCE
from sink import Sink
from smtp import Client, Closed

pytestmark = [pytest.mark.solo, pytest.mark.long]
KILLS = int(os.environ.get("KILLS", "50"))
TAG = re.compile(rb"^Subject: (\S+)", re.M)


class Load:
    """Threads that hand in numbered messages and remember which of them got a 250."""

    def __init__(self, service, threads=4, size=2000):
        self.service, self.size = service, size
        self.acked, self.refused = set(), collections.Counter()
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.pause = 0.0
        self.threads = [threading.Thread(target=self.work, args=(k,), daemon=True)
                        for k in range(threads)]
        for thread in self.threads:
            thread.start()

    def work(self, k):
        n = 0
        while not self.stopping.is_set():
            try:
                with Client(self.service.port(), timeout=10) as client:
                    client.hello()
                    while not self.stopping.is_set():
                        n += 1
                        self.one(client, k, n)
                        time.sleep(self.pause)
            except (OSError, Closed, AssertionError):
                time.sleep(0.02)

    def one(self, client, k, n):
        tag = f"t{k}-{n}"
        size = self.size * (40 if n % 25 == 0 else 1)
        body = (b"0123456789" * 7 + b"\r\n") * (size // 72)
        recipients = ["v@foreign.example"] if n % 2 else ["v@foreign.example", "l@local.example"]
        for line in ["MAIL FROM:<a@local.example>"] + [f"RCPT TO:<{r}>" for r in recipients]:
            reply = client.cmd(line)
            if reply.code != 250:
                self.count(reply.code)
                client.cmd("RSET")
                time.sleep(0.05)
                return
        reply = client.data(samples.message(tag, body))
        if reply.code == 250:
            with self.lock:
                self.acked.add((tag, len(recipients)))
        else:
            self.count(reply.code)
            time.sleep(0.05)

    def count(self, code):
        with self.lock:
            self.refused[code] += 1

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(30)


class Record:
    """Which tags the next hop has said 250 to, and how often; nothing else is kept."""

    def __init__(self):
        self.seen = collections.Counter()
        self.whole = True
        self.sink = Sink(keep=False, accepted=self.take)

    def take(self, message):
        tag = TAG.search(message.data).group(1).decode()
        self.whole = self.whole and message.data.endswith(b"\r\n")
        with self.sink.lock:
            self.seen[tag] += 1
            self.sink.messages.clear()


@pytest.fixture
def record():
    it = Record()
    yield it
    it.sink.stop()


def config(record, **more):
    return {"access": {"relay": {"list": ["127.0.0.1"]}},
            "delivery": {"smart_host": record.sink.literal, "retry": ["1s"]},
            "limits": {"connections_per_client": 200}, **more}


def settle(service, record, load, timeout=120):
    """Waits until all that was promised has come out; returns what is missing."""
    foreign = {tag for tag, _ in load.acked}
    local = {tag for tag, count in load.acked if count == 2}
    end = time.monotonic() + timeout * PATIENCE
    while time.monotonic() < end:
        dropped = collections.Counter(file.subject() for file in service.drop())
        missing = foreign - set(record.seen), local - set(dropped)
        if not missing[0] and not missing[1] and not service.queue():
            break
        time.sleep(0.5)
    return missing, dropped


def judge(service, record, load, record_property, what):
    missing, dropped = settle(service, record, load)
    doubles = sum(n - 1 for n in record.seen.values()) + sum(n - 1 for n in dropped.values())
    beyond = len(set(record.seen) - {tag for tag, _ in load.acked})
    record_property("note", f"{what}: {len(load.acked)} messages got a 250, all came out, "
                    f"{doubles} twice, {beyond} came out whose 250 was lost")
    assert missing == (set(), set()), missing
    assert record.whole
    assert service.queue() == []


def test_fifty_kills_at_random_moments_lose_nothing(make, record, record_property):
    service = make(config(record)).start()
    load = Load(service, 6)
    chance = random.Random(20240607)
    acked_at_kill = []
    for _ in range(KILLS):
        # From "just opened" to "long under way".
        time.sleep(chance.choice([0.01, 0.05, 0.1, 0.2, 0.4, 0.8]) * chance.uniform(0.5, 1.5))
        service.kill()
        acked_at_kill.append(len(load.acked))
        service.start()
    time.sleep(0.5)
    load.stop()
    assert load.acked and len(set(acked_at_kill)) > KILLS // 3, "the kills met no load"
    judge(service, record, load, record_property, f"{KILLS} kills")
    assert list((service.folder_of("Drop") / ".tmp").iterdir()) == []


def test_kills_while_the_next_hop_is_down_lose_nothing(make, record, record_property):
    record.sink.stop()
    service = make(config(record)).start()
    load = Load(service, 4)
    chance = random.Random(7)
    for _ in range(10):
        time.sleep(chance.uniform(0.1, 0.5))
        service.kill()
        service.start()
    load.stop()
    assert len(service.queue()) >= len(load.acked) > 0
    record.sink.start()
    judge(service, record, load, record_property, "10 kills, next hop down")


def test_a_kill_in_the_middle_of_an_upload_leaves_no_rest(make, record):
    service = make(config(record)).start()
    for _ in range(3):
        client = Client(service.port())
        client.hello()
        client.cmd("MAIL FROM:<a@local.example>")
        client.cmd("RCPT TO:<v@foreign.example>")
        client.cmd("DATA")
        client.send(b"Subject: half\r\n\r\n" + (b"x" * 70 + b"\r\n") * 100000)
        time.sleep(0.2)
        service.kill()
        client.close()
        service.start()
    time.sleep(2)
    assert record.seen == {} and service.queue() == []


def test_pickup_under_kills_loses_nothing(make, record, record_property):
    service = make(config(record)).start()
    folder, names = service.folder_of("Pickup"), set()
    chance = random.Random(3)
    for round_ in range(12):
        for i in range(10):
            tag = f"p{round_}-{i}"
            made = service.folder / "made"
            made.write_bytes(b"x-sender: a@local.example\r\nx-receiver: v@foreign.example\r\n"
                             b"Subject: %s\r\n\r\nx\r\n" % tag.encode())
            os.rename(made, folder / f"{tag}.eml")
            names.add(tag)
        time.sleep(chance.uniform(0.05, 0.5))
        service.kill()
        service.start()
    end = time.monotonic() + 60
    while not names <= set(record.seen) and time.monotonic() < end:
        time.sleep(0.2)
    assert names <= set(record.seen), names - set(record.seen)
    assert list(folder.iterdir()) == []
    record_property("note", f"Pickup under 12 kills: {len(names)} files, all came out, "
                    f"{sum(record.seen.values()) - len(names)} twice")


# -- a full disk

@pytest.fixture
def small_disk(tmp_path):
    if os.getuid() != 0:
        pytest.skip("mounting a small disk needs root")
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(place)],
                          capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def test_a_full_queue_is_452_and_the_drained_one_takes_mail_again(make, record, small_disk,
                                                                 record_property):
    record.sink.stop()
    service = make(config(record, service={"data_directory": str(small_disk / "data")},
                          queue={"reserve": "8M"}))
    service.data = small_disk / "data"
    service.start()
    load = Load(service, 4, size=20000)
    end = time.monotonic() + 60
    while not load.refused[452] and time.monotonic() < end:
        time.sleep(0.1)
    time.sleep(1)
    assert load.refused[452] > 0, load.refused
    assert shutil.disk_usage(small_disk).free > 4 << 20, "the reserve was eaten"
    first = len(load.acked)
    record.sink.start()
    # Without more room: freed pages are used again.
    end = time.monotonic() + 60
    while len(load.acked) < first + 200 and time.monotonic() < end:
        time.sleep(0.2)
    load.stop()
    assert len(load.acked) >= first + 200, (first, len(load.acked), load.refused)
    assert set(load.refused) <= {452, 451}, load.refused
    judge_foreign(record, load)
    record_property("note", f"full queue: {first} taken, {load.refused[452]} times 452, then "
                    f"{len(load.acked) - first} more as it drained; none lost")


def judge_foreign(record, load, timeout=90):
    wanted = {tag for tag, _ in load.acked}
    end = time.monotonic() + timeout
    while not wanted <= set(record.seen) and time.monotonic() < end:
        time.sleep(0.2)
    assert wanted <= set(record.seen), len(wanted - set(record.seen))


def test_a_disk_that_others_filled_loses_nothing_and_recovers(make, record, small_disk,
                                                             record_property):
    service = make(config(record, service={"data_directory": str(small_disk / "data")},
                          queue={"reserve": "4M"}, domains=[]))
    service.data = small_disk / "data"
    service.start()
    load = Load(service, 4)
    time.sleep(1.5)
    ballast = small_disk / "ballast"
    try:
        with open(ballast, "wb", buffering=0) as file:
            while True:
                file.write(b"\0" * 4096)
    except OSError:
        pass
    time.sleep(3)
    assert service.running()
    while_full = len(load.acked)
    time.sleep(1)
    stuck = len(load.acked) == while_full
    service.kill()
    ballast.unlink()
    service.start()
    again = len(load.acked)
    end = time.monotonic() + 60
    while len(load.acked) < again + 50 and time.monotonic() < end:
        time.sleep(0.1)
    load.stop()
    assert len(load.acked) >= again + 50, load.refused
    judge_foreign(record, load)
    record_property("note", f"disk filled by others: {load.refused[452] + load.refused[451]} times "
                    f"4xx, {'none' if stuck else 'some'} taken while full, a kill in it, none lost")


# -- no descriptors

def test_exhausted_descriptors_refuse_and_recover(make, record, record_property):
    service = make(config(record, limits={"connections": 1000, "connections_per_client": 1000}))
    service.wrapper = ["prlimit", "--nofile=96:96"]
    service.start()
    service.wait_log(r"connections", 10)
    held, told = [], collections.Counter()
    for _ in range(150):
        try:
            client = Client(service.port(), timeout=3)
            told[client.reply().code] += 1
            held.append(client)
        except (OSError, Closed):
            told["closed"] += 1
    assert service.running()
    assert told[220] >= 20, told
    # Who is in is still served, and what they send still goes out.
    client = held[0]
    client.cmd("EHLO x.example")
    client.mail("a@local.example", "v@foreign.example", samples.message("in-need", b"x\r\n"))
    for other in held[1:]:
        other.close()
    end = time.monotonic() + 30
    while "in-need" not in record.seen and time.monotonic() < end:
        time.sleep(0.1)
    assert "in-need" in record.seen
    load = Load(service, 4)
    time.sleep(2)
    load.stop()
    assert load.acked
    judge_foreign(record, load)
    record_property("note", f"96 descriptors: 150 connections gave {dict(told)}, and it went on")


# -- the order of system calls

def test_the_trace_shows_the_sync_before_the_250(make, record):
    if not shutil.which("strace"):
        pytest.skip("strace is not installed")
    service = make(config(record))
    trace = service.folder / "trace"
    probe = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True)
    if probe.returncode:
        pytest.skip(f"strace cannot trace here: {probe.stderr.strip()[:100]}")
    service.wrapper = ["strace", "-f", "-ttt", "-s", "200", "-o", str(trace), "-e",
                       "trace=fsync,fdatasync,sync_file_range,write,writev,sendto,sendmsg,pwrite64,"
                       "rename,renameat,renameat2,unlink,unlinkat,openat"]
    service.start(timeout=40)
    with Client(service.port()) as client:
        client.hello()
        for i in range(5):
            client.mail("a@local.example", "v@foreign.example", samples.message(f"s{i}", b"x\r\n"))
    service_pid = service.process.pid
    os.kill(int(subprocess.run(["pgrep", "-P", str(service_pid)], capture_output=True, text=True)
                .stdout.split()[0]), signal.SIGTERM)
    service.process.wait(30)
    service.process = None
    synced, promised, good = False, 0, 0
    for line in trace.read_text(errors="replace").splitlines():
        if re.search(r'"354 ', line):
            synced = False
        elif re.search(r"f(data)?sync(\(\d+\)| resumed>\)) += 0", line):
            synced = True
        elif re.search(r'"250 2\.6\.0 ', line):
            promised += 1
            good += synced
            synced = False
    assert promised == 5 and good == 5, (promised, good)
