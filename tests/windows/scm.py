"""The installed service, by its own commands; and the entries that it has written to the event log,
from Wine's trace of the calls."""
import ast
import json
import re
import socket
import time

import wine
from wine import EXE


def postern(*arguments, **options):
    return wine.wine(EXE, *arguments, **options)


def service(verb, code=0, *more):
    done = postern("service", verb, *more)
    assert done.returncode == code, done
    return done


def state():
    return json.loads(postern("service", "status", "--json").stdout)["state"]


def wait_state(wanted, seconds=60):
    end = time.monotonic() + seconds
    while state() != wanted:
        assert time.monotonic() < end, f"never {wanted}: {state()}"
        time.sleep(0.2)


def answers(port, seconds):
    """Whether a greeting comes within that time."""
    try:
        with socket.create_connection(("127.0.0.1", port), seconds) as probe:
            probe.settimeout(seconds)
            return probe.recv(3) == b"220"
    except OSError:
        return False


HEAD = re.compile(r"^(\w+):fixme:advapi:ReportEventW \(\w+,0x(\w+),0x\w+,0x(\w+),")
STRING = re.compile(r'^(\w+):\w+:eventlog:ReportEventW L"(.*)"(\.\.\.)?$')
KINDS = {1: "error", 2: "warning", 4: "information"}
SEVERITIES = {3: "error", 2: "warning", 1: "information"}


def entries(since=0):
    """(number, kind, insertion strings) of each ReportEvent from that byte of the trace on. A thread
    that reports is named by its number, so that two at a time can be told apart."""
    found, open_ones = [], {}
    with open(wine.TRACE, errors="replace") as trace:
        trace.seek(since)
        for line in trace:
            head, string = HEAD.match(line), STRING.match(line)
            if head:
                number = int(head[3], 16)
                kind = KINDS[int(head[2], 16)]
                assert SEVERITIES[number >> 30] == kind, line
                open_ones[head[1]] = []
                found.append((number & 0xffff, kind, open_ones[head[1]]))
            elif string and string[1] in open_ones:
                open_ones[string[1]].append(ast.literal_eval(f'"{string[2]}"'))
    return found


def trace_now():
    return wine.TRACE.stat().st_size


def wait_entry(number, since=0, seconds=30, says=""):
    """The first entry of that number with that text in one of its strings; it has all four."""
    end = time.monotonic() + seconds
    while True:
        for found, kind, strings in entries(since):
            if found == number and len(strings) == 4 and any(says in s for s in strings):
                return kind, strings
        assert time.monotonic() < end, f"no entry {number} ({says}): {entries(since)}"
        time.sleep(0.2)
