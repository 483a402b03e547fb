"""Limits by the minute in the running service: refused with 421, 450 and 452, explained, kept by a
reload; and explain, told what was counted, says the same as the session."""
import json
import os
import random
import re
import time

import pytest

import agreement_test as agreement
from smtp import Client, client_context

RATES = {"limits": {"rate": {"client": {"connections": 6, "messages": 3, "recipients": 5},
                             "account": {"messages": 2}}},
         "access": {"relay": {"list": ["127.0.0.0/8"]},
                    "profiles": [{"name": "fast", "clients": ["127.0.1.0/24"],
                                  "rate": {"client": {"connections": 0, "messages": 0,
                                                      "recipients": 100}}}]}}


def connect(service, source):
    return Client(service.port(), source=source)


def ident(reply):
    return re.search(r"\[([0-9A-Z]{12})\]$", reply.text)[1]


def explained(service, reply):
    done = service.cli("explain", ident(reply), "--json")
    assert done.returncode == 1, done
    return json.loads(done.stdout)


def test_messages_recipients_and_connections_of_a_client(make):
    service = make(RATES).start()
    with connect(service, "127.0.0.7") as it:
        it.hello()
        for _ in range(2):
            assert it.cmd("MAIL FROM:<a@b.example>").code == 250
            assert it.cmd("RCPT TO:<x@local.example>").code == 250
            assert it.cmd("RCPT TO:<y@local.example>").code == 250
            assert it.cmd("RSET").code == 250
        assert it.cmd("MAIL FROM:<a@b.example>").code == 250
        assert it.cmd("RCPT TO:<x@local.example>").code == 250
        sixth = it.cmd("RCPT TO:<y@local.example>")
        assert (sixth.code, sixth.enhanced) == (452, "4.7.1") and "at most 5 a minute" in sixth.text
        assert it.data(b"Subject: x\r\n\r\nx\r\n").code == 250  # for those that were taken
        fourth = it.cmd("MAIL FROM:<a@b.example>")
        assert (fourth.code, fourth.enhanced) == (450, "4.7.1"), fourth
    told = explained(service, sixth)
    assert told["verdict"] == "refused" and told["stage"] == "rcpt"
    assert told["rule"] == "limits.rate.client.recipients" and told["line"] > 0
    assert told["facts"]["counted"]["client.recipients"] == 5
    assert "5 recipients within the last minute" in told["why"] and "room again in" in told["why"]
    assert "set limits.rate.client.recipients: 6" in told["change"]
    text = service.cli("explain", ident(fourth)).stdout
    assert "3 messages within the last minute, and 3 is the most" in text, text
    assert "limits.rate.client.messages" in text
    service.wait_log(r"smtp\.mail\.refused .*rule=limits\.rate\.client\.messages .*code=450")
    for _ in range(5):
        with connect(service, "127.0.0.7") as it:
            assert it.reply().code == 220
    with connect(service, "127.0.0.7") as it:
        seventh = it.reply()
        assert (seventh.code, seventh.enhanced) == (421, "4.7.0")
        assert it.closed()
    assert explained(service, seventh)["stage"] == "connect"
    with connect(service, "127.0.0.8") as it:  # another client has its own count
        it.hello().mail("a@b.example", "x@local.example")
    for _ in range(10):  # and a profile its own limits
        with connect(service, "127.0.1.7") as it:
            it.hello().mail("a@b.example", "x@local.example")
    assert service.cli("access", "suggest").stdout.startswith("# nobody")


def test_an_account_from_wherever_and_its_connections(make):
    service = make({"limits": {"rate": {"account": {"messages": 4, "connections": 2}}}})
    service.write()
    service.add_user()
    service.start()

    def login(source):
        it = connect(service, source)
        it.hello().starttls()
        assert it.plain(service.USER, service.PASSWORD).code == 235
        return it

    with login("127.0.0.7") as one, login("127.0.0.8") as two, login("127.0.0.9") as three:
        for _ in range(2):  # a connection counts once
            assert one.cmd("MAIL FROM:<a@b.example>").code == 250
            assert one.cmd("RSET").code == 250
        assert two.cmd("MAIL FROM:<a@b.example>").code == 250
        refused = three.cmd("MAIL FROM:<a@b.example>")
        assert (refused.code, refused.enhanced) == (421, "4.7.0") and three.closed()
        assert explained(service, refused)["rule"] == "limits.rate.account.connections"
        assert two.cmd("RSET").code == 250
        assert two.cmd("MAIL FROM:<a@b.example>").code == 250
        refused = one.cmd("MAIL FROM:<a@b.example>")
        assert refused.code == 450 and "for this account" in refused.text
    with connect(service, "127.0.0.7") as it:  # nobody logged in
        it.hello()
        assert it.cmd("MAIL FROM:<a@b.example>").code == 250


def test_a_reload_keeps_what_was_counted(make):
    service = make({"limits": {"rate": {"client": {"messages": 3}}}}).start()
    with connect(service, "127.0.0.7") as it:
        it.hello()
        for _ in range(3):
            assert it.cmd("MAIL FROM:<a@b.example>").code == 250
            assert it.cmd("RSET").code == 250
        for most, code in ((2, 450), (4, 250), (4, 450), (0, 250)):
            if most != service.config["limits"]["rate"]["client"]["messages"]:
                service.write({"limits": {"rate": {"client": {"messages": most}}}})
                assert service.cli("reload").returncode == 0
            assert it.cmd("MAIL FROM:<a@b.example>").code == code, most
            assert it.cmd("RSET").code == 250


def test_observing_leaves_profiles_as_they_are(make):
    """access.mode: observe has a connection control of its own; the profiles keep their clients."""
    service = make({"access": {"mode": "observe", "connection": {"grant": "only", "list": ["127.0.0.1"]},
                               "profiles": [{"name": "p", "clients": ["127.0.1.0/24"],
                                             "senders": ["x@y.example"]}]}}).start()
    for source, code in (("127.0.1.7", 550), ("127.0.0.7", 250)):
        with connect(service, source) as it:
            it.hello()
            assert it.cmd("MAIL FROM:<a@b.example>").code == code, source
        assert service.explain(source, "x@local.example", sender="a@b.example")[0] == (code == 550)


# -- explain and a session agree, what was counted included

NAMES = ["client.connections", "client.messages", "client.recipients",
         "account.connections", "account.messages", "account.recipients"]
CLIENTS = ["127.0.0.2", "127.0.1.1", "127.0.1.77", "127.1.2.3"]


def random_rates(rng, chance):
    out = {"client": {}, "account": {}}
    for name in NAMES:
        by, what = name.split(".")
        if rng.random() < chance:
            out[by][what] = rng.choice((0, 2, 5, 9, 20)) * (3 if what == "recipients" else 1)
    return out


class Counts:
    """What the service must have counted, from what it answered."""

    def __init__(self):
        self.counts = {}

    def add(self, name, who):
        self.counts[name, who] = self.counts.get((name, who), 0) + 1

    def words(self, client, user):
        who = {"client": client, "account": user}
        items = [f"{name}:{self.counts[name, who[name.split('.')[0]]]}" for name in NAMES
                 if (name, who[name.split(".")[0]]) in self.counts]
        return f"counted={','.join(items)} " if items else ""


def one_session(rng, service, counts, limited, context):
    """[(case line, reply, event's key)] of one session, pair by pair."""
    session = {"client": rng.choice(CLIENTS), "host": "none", "listener": "one", "tls": False,
               "user": service.USER if rng.random() < 0.4 else None}
    pairs = [(rng.choice(("a@b.example", "", "bob@local.example", "a@x.example")),
              rng.choice(("bob@local.example", "v@victim.example", "postmaster", "x@partner.example")))
             for _ in range(6)]
    out, first = [], True

    def case(pair):
        return counts.words(session["client"], session["user"]) + agreement.as_line(
            service, session, *pair)

    with Client(service.port("one"), source=session["client"], context=context) as it:
        before = case(pairs[0])
        greeting = it.reply()
        if greeting.code != 220:
            return [(before, greeting)]
        if limited("client.connections"):
            counts.add("client.connections", session["client"])
        it.cmd("EHLO x")
        if session["user"]:
            assert it.plain(service.USER, service.PASSWORD).code == 235
        for pair in pairs:
            # The connection is counted already; explain asks for a fresh one.
            line = re.sub(r"client\.connections:\d+", "client.connections:0", case(pair))
            if not first:
                line = re.sub(r"account\.connections:\d+", "account.connections:0", line)
            mail = it.cmd(f"MAIL FROM:<{pair[0]}>")
            if mail.code != 250:
                out.append((line, mail))
                if mail.code == 421:
                    return out
                continue
            counts.add("client.messages", session["client"])
            counts.add("account.messages", session["user"])
            if first:
                counts.add("account.connections", session["user"])
            first = False
            line = re.sub(r"(client|account)\.(messages|connections):\d+", r"\1.\2:0", case(pair))
            rcpt = it.cmd(f"RCPT TO:<{pair[1]}>")
            if rcpt.code == 250:
                counts.add("client.recipients", session["client"])
                counts.add("account.recipients", session["user"])
            out.append((line, rcpt))
            assert it.cmd("RSET").code == 250
    return out


@pytest.mark.parametrize("seed", range(int(os.environ.get("RATE_SEEDS", "3"))))
def test_explain_and_a_session_agree_on_what_was_counted(make, record_property, seed):
    """Every count is by a limit of its own kind, for all: so the counts are known from the replies."""
    rng = random.Random(seed)
    service = make({"logging": {"level": "debug", "format": "json"}, "limits": {"errors": 10000},
                    "domains": [*agreement.DOMAINS],
                    "authentication": {"basic": {"require_tls": False}}},
                   {"one": {"tls": "optional"}})
    # A limit of a million counts and never refuses: so all of them are counted, whatever the policy.
    every = {"client": {k: 1000000 for k in ("connections", "messages", "recipients")},
             "account": {k: 1000000 for k in ("connections", "messages", "recipients")}}

    def write():
        rates = random_rates(rng, 0.4)
        profiles = [{"name": "some", "clients": ["127.0.1.0/24"], "rate": random_rates(rng, 0.4)},
                    {"name": "alice", "accounts": ["alice"], "rate": random_rates(rng, 0.4),
                     "senders": ["*@local.example", "a@b.example", "<>"]}]
        for rate in (rates, *(p["rate"] for p in profiles)):
            for by in rate.values():
                for what, n in by.items():
                    by[what] = n or 1000000
        service.config["limits"]["rate"] = {by: {**every[by], **rates[by]} for by in every}
        service.config["access"] = {
            "relay": {"grant": "only", "authenticated": True, "list": ["127.1.0.0/16"]},
            "profiles": rng.sample(profiles, rng.randrange(3))}
        service.write()

    write()
    service.add_user()
    service.start()
    log, context, counts, begin = agreement.Log(service), client_context(), Counts(), time.monotonic()
    cases, rules = 0, set()
    for _ in range(5):
        results = [r for _ in range(10)
                   for r in one_session(rng, service, counts, lambda _: True, context)]
        answers = agreement.explain(service, [line for line, _ in results])
        if time.monotonic() - begin > 50:
            break  # the window begins to slide
        time.sleep(0.05)
        log.allowed.clear()
        log.read()
        taken = [event for events in log.allowed.values() for event in events]
        for (line, reply), answer in zip(results, answers):
            found = re.search(r"\[([0-9A-Z]{12})\]$", reply.text)
            event = log.refused[found[1]] if found else taken.pop(0)
            got = {"rule": event["rule"], "line": event["line"] or None,
                   "code": reply.code if reply.code != 250 else None}
            said = {"rule": answer["rule"], "line": answer["line"],
                    "code": int(answer["reply"][:3]) if answer["reply"] else None}
            assert got == said, (line, reply, event, answer)
            assert answer["verdict"] == ("allowed" if reply.code == 250 else "refused")
            cases += 1
            rules.add(answer["rule"])
        write()
        assert service.cli("reload").returncode == 0
    record_property("note", f"rates, seed {seed}: {cases} cases agreed, "
                            f"{sum('.rate.' in r for r in rules)} limits met")
    assert cases > 100 and any(".rate." in r for r in rules)
