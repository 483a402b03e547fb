#!/usr/bin/env python3
"""Counts what really ran: "PASSED FAILED" on standard output.

count.py ctest LOG   the log of ctest -V; each cmocka test counts, a program that died counts as a
                     failure besides, a program that is no cmocka program counts as one.
count.py junit XML   pytest's report; a skipped test counts as nothing.
"""
import collections
import re
import sys
import xml.etree.ElementTree

LINE = re.compile(r"^(\d+): (.*)$")
START = re.compile(r"^test (\d+)$")
RESULT = re.compile(r"^\s*\d+/\d+ Test\s+#(\d+): (\S+) \.+\s*(\*\*\*.*|)(Passed|Failed|Exception.*)?")


def count_ctest(text):
    good = collections.Counter()
    bad = collections.defaultdict(set)
    passed = failed = programs = 0
    for line in text.splitlines():
        output = LINE.match(line)
        if output:
            number, said = output.groups()
            if said.startswith("[       OK ]"):
                good[number] += 1
            elif said.startswith("[  FAILED  ]") and "test(s)" not in said:
                bad[number].add(said[12:].strip())
            continue
        result = RESULT.match(line)
        if not result:
            continue
        programs += 1
        number = result.group(1)
        died = "***" in line
        passed += good[number]
        failed += len(bad[number])
        if died and not bad[number]:
            failed += 1
        elif not died and not good[number] and not bad[number]:
            passed += 1
    if programs == 0 and "No tests were found" not in text:
        failed += 1
    return passed, failed


def count_junit(path):
    passed = failed = 0
    for case in xml.etree.ElementTree.parse(path).iter("testcase"):
        kinds = {child.tag for child in case}
        if kinds & {"failure", "error"}:
            failed += 1
        elif "skipped" not in kinds:
            passed += 1
    return passed, failed


def main():
    kind, path = sys.argv[1:]
    if kind == "ctest":
        with open(path, errors="replace") as file:
            print(*count_ctest(file.read()))
    else:
        print(*count_junit(path))


if __name__ == "__main__":
    main()
