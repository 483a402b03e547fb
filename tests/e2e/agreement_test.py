"""There is no second opinion: for random policies, clients, senders, recipients, log-ins and TLS, what
`postern explain` says and what a live session on loopback gets is the same: verdict, stage, rule,
line, entry, reply. And what explain proposes to change does turn its verdict."""
import copy
import json
import os
import random
import re

import pytest

from dnsserver import SERVFAIL
from smtp import Client, Closed, client_context

SESSIONS, PAIRS = 8, 12  # of one policy; a pair is a sender and a recipient: a case
LONG_POLICIES, SHORT_POLICIES = 210, 16
SHARES = 2  # of the long test, to run side by side

NAMES = {"127.0.6.1": "printer.corp.example", "127.0.6.2": "a.print.corp.example",
         "127.0.6.3": "mfp12.corp.example", "127.0.6.4": "host.other.example",
         "127.0.7.1": "x.y.corp.example"}
FAILING = ("127.0.8.1", "127.0.8.2")
CLIENTS = ["127.0.0.1", "127.0.0.2", "127.0.0.9", "127.0.1.1", "127.0.1.77", "127.1.2.3",
           "127.200.0.1", *NAMES, *FAILING]
ENTRIES = ["self", "127.0.0.1", "127.0.0.2", "127.0.1.0/24", "127.0.0.0/255.255.255.0",
           "127.0.0.5-127.0.1.50", "127.1.0.0/16", "127.0.6.0/23", "127.0.0.0/8", "10.0.0.0/8",
           "::1", "fd00::/8", "::ffff:127.0.1.77", "printer.corp.example", "*.corp.example",
           "*.print.corp.example", "/^mfp\\d+\\.corp\\.example$/", "/other/", "nobody.example",
           "file:some.txt"]
FILE_ENTRIES = ["127.0.0.9", "127.200.0.0/16", "*.y.corp.example", "127.0.8.1"]
DOMAINS = [{"name": "local.example", "type": "local"}, {"name": "second.example", "type": "local"},
           {"name": "partner.example", "type": "remote", "relay": True},
           {"name": "*.wild.example", "type": "remote", "relay": True},
           {"name": "*.local.example", "type": "local"},
           {"name": "closed.example", "type": "remote"}]
PROFILES = [
    {"name": "by address", "clients": ["127.0.1.0/24", "127.0.0.2"], "senders": ["a@b.example", "*@*.local.example",
                                                                                 "*@local.example", "<>"]},
    {"name": "by name", "clients": ["*.corp.example", "127.1.0.0/16"],
     "recipients": {"allow": ["*@local.example", "/victim/"], "refuse": ["*@victim.example", "/^v@/"]}},
    {"name": "by account", "accounts": ["alice"], "senders": ["/^bob@/", "*@x.example"]},
    {"name": "by both", "accounts": ["alice"], "clients": ["127.0.0.0/8"], "recipients": {"refuse": ["*"]}},
    {"name": "all", "senders": ["*"], "recipients": {"refuse": ["*@*.wild.example"]}}]
SENDERS = ["", "a@b.example", "bob@local.example", "bob@local.example", "x@sub.local.example", "A@Partner.Example", '"a b"@x.example', "a@[192.0.2.1]",
           "x" * 70 + "@long.example", "@r1.example,@r2.example:a@b.example",
           # malformed
           "a@@b.example", "a", "a@-b.example", "a@b..example"]
RECIPIENTS = ["v@victim.example", "bob@local.example", "BOB@LOCAL.EXAMPLE", "bob@second.example",
              "x@partner.example", "x@sub.wild.example", "x@wild.example", "x@a.b.wild.example",
              "x@sub.local.example", "x@closed.example", "postmaster", "Postmaster",
              "postmaster@relay.example", "postmaster@victim.example", "other@relay.example",
              "v%victim.example@local.example", "victim.example!v@local.example",
              '"v@victim.example"@local.example', "v:x@partner.example", "v@[192.0.2.1]",
              "v@[IPv6:2001:db8::1]", "@r1.example,@r2.example:bob@local.example",
              "@r1.example:v@victim.example", "xn--bcher-kva@xn--bcher-kva.example",
              # malformed
              "v", "", "v@", "v@victim.example.", "v@-victim.example", "v@@victim.example"]


def random_list(rng):
    return [rng.choice(ENTRIES) for _ in range(rng.choice((0, 1, 2, 3, 5)))]


def random_policy(rng, service):
    """The configuration, written; the listeners' addresses stay."""
    listeners = list(service.listeners.values())
    for i, listener in enumerate(listeners):
        listener["tls"] = "required" if i == 1 else rng.choice(("optional", "optional", "required"))
        listener.pop("anonymous", None)
        if rng.random() < 0.5:
            listener["anonymous"] = rng.random() < 0.5
    config = copy.deepcopy(service.config)
    config["listeners"] = listeners
    config["authentication"]["anonymous"] = rng.random() < 0.8
    # A connection list that shuts most out would leave little to ask.
    only = rng.random() < 0.3
    config["access"] = {
        "i_know_this_is_an_open_relay": True,
        "connection": {"grant": "only" if only else "all-except",
                       "list": random_list(rng) + ["127.0.0.0/9"] * (rng.random() < 0.7) if only
                       else random_list(rng)[:1]},
        "relay": {"grant": rng.choice(("only", "only", "all-except")),
                  "authenticated": rng.random() < 0.6, "list": random_list(rng)},
        "profiles": rng.sample(PROFILES, rng.choice((0, 0, 0, 1, 2, 3)))}
    config["domains"] = rng.sample(DOMAINS, rng.randrange(len(DOMAINS) + 1))
    return config


def random_session(rng, service):
    address = rng.choice(CLIENTS)
    return {"client": address, "host": NAMES.get(address, "failed" if address in FAILING else "none"),
            "listener": rng.choice(list(service.listeners)), "tls": rng.random() < 0.5,
            "user": service.USER if rng.random() < 0.25 else None,
            "pairs": [(rng.choice(SENDERS), rng.choice(RECIPIENTS)) for _ in range(PAIRS)]}


def as_line(service, session, sender, recipient):
    words = [f"client={session['client']}", f"host={session['host']}",
             f"listener={service.address(session['listener'])}",
             f"tls={'yes' if session['tls'] else 'no'}"]
    if session["user"]:
        words.append(f"user={session['user']}")
    return " ".join([*words, f"from=<{sender}>", f"to=<{recipient}>"])


def talk(service, session, context):
    """The reply that settles each pair, or None where no such session comes about."""
    pairs = session["pairs"]
    with Client(service.port(session["listener"]), source=session["client"], context=context,
                timeout=60) as it:
        greeting = it.reply()
        if greeting.code != 220:
            return [greeting] * len(pairs)
        it.cmd("EHLO client.example")
        if session["tls"]:
            it.starttls()
        if session["user"]:
            reply = it.plain(service.USER, service.PASSWORD)
            if reply.code != 235:  # in clear where the listener demands TLS
                assert reply.code == 530, reply
                return None
        it.send("".join(f"MAIL FROM:<{sender}>\r\nRCPT TO:<{recipient}>\r\nRSET\r\n"
                        for sender, recipient in pairs))
        out = []
        for _ in pairs:
            mail, rcpt, reset = it.reply(), it.reply(), it.reply()
            assert reset.code == 250, reset
            out.append(rcpt if mail.code == 250 else mail)
        return out


class Log:
    """What the service tells of refusals, by their id, and of what it took, by client and recipient."""

    def __init__(self, service):
        self.service, self.at, self.refused, self.allowed = service, 0, {}, {}

    def read(self):
        with open(self.service.log_path, errors="replace") as file:
            file.seek(self.at)
            text = file.read()
            end = text.rfind("\n") + 1
            self.at += len(text[:end].encode())
        for line in text[:end].splitlines():
            if '"smtp.' not in line or not line.startswith("{"):
                continue
            event = json.loads(line)
            if event.get("refusal"):
                self.refused[event["refusal"]] = event
            elif event["event"] == "smtp.rcpt.allowed":
                self.allowed.setdefault((event["sid"]), []).append(event)


def verdict_of(reply):
    return {2: "allowed", 5: "refused", 4: "unknown"}[reply.code // 100]


def differences(answer, reply, event):
    """event: the log's, of a refusal by a rule or of an allowed recipient."""
    got = {"verdict": verdict_of(reply)}
    if got["verdict"] != "allowed":
        got["code"] = reply.code
    if event is not None:
        got.update(rule=event["rule"], line=event["line"] or None, entry=event["entry"])
    elif got["verdict"] != "allowed":
        got["rule"] = "smtp.address"  # no rule: the grammar
    said = {key: answer[key] for key in ("verdict", "rule", "line", "entry")}
    said["code"] = int(answer["reply"][:3]) if answer["reply"] else None
    return {key: (said[key], value) for key, value in got.items() if said[key] != value}


# -- the change

def entry_holds(entry, session):
    """Whether this entry alone would list the client."""
    import ipaddress
    address, host = ipaddress.ip_address(session["client"]), session["host"]
    if entry == "file:some.txt":
        return any(entry_holds(e, session) for e in FILE_ENTRIES)
    if entry == "self":
        return session["client"] == "127.0.0.1"
    if entry.startswith("/"):
        return host not in ("none", "failed") and bool(re.search(entry[1:-1], host))
    if entry.startswith("*."):
        return host.endswith(entry[1:])
    if entry.startswith("::ffff:"):
        return entry[7:] == session["client"]
    if "-" in entry:
        first, last = map(ipaddress.ip_address, entry.split("-"))
        return first <= address <= last
    try:
        net = ipaddress.ip_network(entry)
    except ValueError:
        return entry == host
    return net.version == address.version and address in net


def named(change):
    """The entries of `remove "A" (x:1), "B" (x:2) and "C" (x:3) from LIST`."""
    return re.findall(r'(?:^remove |, | and )"(.+?)"(?= \(| from )', change)


def apply(config, session, answer):
    """The configuration and the session with the first change that is proposed; None: the message
    itself would have to change."""
    config, session = copy.deepcopy(config), dict(session)
    change = answer["change"]
    lists = {"access.connection.list": config["access"]["connection"]["list"],
             "access.relay.list": config["access"]["relay"]["list"]}
    if match := re.match(r"access\.profiles\[(\d+)\]\.(senders|recipients)\.?(\w*)", answer["rule"]):
        part = config["access"]["profiles"][int(match[1])][match[2]]
        part = part[match[3]] if match[3] else part
        if add := re.match(r'add "(.+)" to access', change):
            part.append(add[1])
        else:
            for entry in named(change):
                part.remove(entry)
    elif change.startswith("authenticate"):
        session["user"] = "alice"
    elif change.startswith("use TLS"):
        session["tls"] = True
    elif match := re.search(r'add "([^"]+)" to ([a-z.]+)', change):
        lists[match[2]].append(match[1])
    elif match := re.match(r'remove ".+ from (access\.[a-z]+\.list)', change):
        entries = lists[match[1]]
        holders = [e for e in entries if entry_holds(e, session)]
        # All that hold the client are named, each as often as it is there, and nothing else is.
        want = [e.removeprefix("::ffff:") for e in holders if e != "file:some.txt"]
        for _ in range(holders.count("file:some.txt")):
            want += [e for e in FILE_ENTRIES if entry_holds(e, session)]
        assert sorted(named(change)) == sorted(want), (answer, entries)
        entries[:] = [e for e in entries if e not in holders]
        if change.endswith("and repair the reverse DNS of the client, for the names there"):
            assert session["host"] == "failed"
            session["host"] = "none"
    else:
        return None
    return config, session


def turned(before, after):
    """Allowed, or at least past the rule that refused it."""
    return after["verdict"] == "allowed" or after["rule"] != before["rule"]


# -- the run

def explain(service, lines, path=None):
    done = service.cli("explain", "--batch", "-", "--json", *(["-c", str(path)] if path else []),
                       input="".join(f"{line}\n" for line in lines), timeout=300,
                       config=path is None)
    assert done.returncode in (0, 1, 2), done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(lines)
    return answers


def one_policy(rng, service, log, context, tally):
    config = random_policy(rng, service)
    service.path.write_text(json.dumps(config, indent=1))
    done = service.cli("reload", timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    sessions = [random_session(rng, service) for _ in range(SESSIONS)]
    lines = [as_line(service, s, *pair) for s in sessions for pair in s["pairs"]]
    answers = explain(service, lines)
    replies = []
    for session in sessions:
        try:
            replies += talk(service, session, context) or [None] * PAIRS
        except Closed as e:
            raise AssertionError(f"{session}: the session was closed: {e}") from e
    log.allowed.clear()
    log.read()
    taken = [event for events in log.allowed.values() for event in events]
    for line, answer, reply in zip(lines, answers, replies):
        if reply is None:
            tally["none"] += 1
            continue
        ident = re.search(r"\[([0-9A-Z]{12})\]$", reply.text)
        event = log.refused[ident[1]] if ident else taken.pop(0) if reply.code == 250 else None
        wrong = differences(answer, reply, event)
        assert not wrong, (f"{line}\nexplain, live: {wrong}\n{reply}\n{event}\n"
                           f"{json.dumps(answer)}\n{json.dumps(config)}")
        tally[answer["verdict"]] += 1
        tally["cases"] += 1
        tally["rules"].add(answer["rule"])
    try_changes(service, config, sessions, answers, tally)


def try_changes(service, config, sessions, answers, tally):
    """Each change that this policy's refusals propose, once, tried on the first case that has it."""
    seen = set()
    for i, answer in enumerate(answers):
        key = (answer["rule"], answer["change"])
        if answer["verdict"] != "refused" or key in seen or len(seen) >= 4:
            continue
        seen.add(key)
        session = sessions[i // PAIRS]
        after = apply(config, session, answer)
        if after is None:
            continue
        path = service.folder / "changed.yaml"
        path.write_text(json.dumps(after[0], indent=1))
        again = explain(service, [as_line(service, after[1], *session["pairs"][i % PAIRS])], path)[0]
        assert turned(answer, again), (f"the change does not turn it: {answer['change']}\n"
                                       f"{session}\n{json.dumps(answer)}\n{json.dumps(again)}\n"
                                       f"{json.dumps(config)}")
        tally["changes"] += 1


def agree(make, dns, policies, seed):
    rng = random.Random(seed)
    for address, name in NAMES.items():
        dns.ptr(address, name)
        dns.add(name, "A", address)
    for address in FAILING:
        dns.ptr(address, "x.example")
        dns.fail(".".join(reversed(address.split("."))) + ".in-addr.arpa", "PTR", SERVFAIL)
    service = make({"resolver": {"servers": [dns.endpoint], "timeout": "1s"},
                    "logging": {"level": "debug", "format": "json"},
                    "authentication": {"basic": {"require_tls": False}},
                    "limits": {"errors": 10000}},
                   {"one": {"tls": "optional"}, "two": {"tls": "required"},
                    "three": {"tls": "optional"}})
    (service.folder / "some.txt").write_text("".join(f"{e}\n" for e in FILE_ENTRIES))
    service.write()
    service.add_user()
    service.start()
    tally = {"cases": 0, "none": 0, "changes": 0, "rules": set(),
             "allowed": 0, "refused": 0, "unknown": 0}
    log, context = Log(service), client_context()
    for _ in range(policies):
        one_policy(rng, service, log, context, tally)
    return tally


def report(record_property, seed, tally):
    record_property("note", f"seed {seed}: {tally['cases']} cases agreed ({tally['allowed']} allowed, "
                            f"{tally['refused']} refused, {tally['unknown']} cannot tell; "
                            f"{len(tally['rules'])} rules), {tally['changes']} changes tried")
    assert min(tally["allowed"], tally["refused"]) > tally["cases"] / 10
    assert tally["unknown"] > 0 and tally["changes"] > 0
    assert {"access.relay", "access.connection", "smtp.address"} <= tally["rules"]


def test_explain_and_a_session_agree(make, dns, record_property):
    seed = int(os.environ.get("AGREEMENT_SEED", "1"))
    report(record_property, seed, agree(make, dns, SHORT_POLICIES, seed))


@pytest.mark.long
@pytest.mark.parametrize("share", range(SHARES))
def test_explain_and_a_session_agree_on_twenty_thousand_cases(make, dns, record_property, share):
    """Another seed each day finds other cases; AGREEMENT_SEED, that of the first share, repeats a
    run."""
    given = os.environ.get("AGREEMENT_SEED")
    seed = int(given) + share if given else random.SystemRandom().randrange(1 << 30)
    tally = agree(make, dns, LONG_POLICIES // SHARES, seed)
    while tally["cases"] < 20000 // SHARES:  # sessions that cannot come about are no cases
        seed += SHARES
        more = agree(make, dns, 30, seed)
        for key, value in more.items():
            tally[key] = tally[key] | value if key == "rules" else tally[key] + value
    report(record_property, seed, tally)
