"""`postern explain --batch` and `--test`, and the corpus of tests/acl through both."""
import json
import re
import pathlib

import pytest

CORPUS = pathlib.Path(__file__).resolve().parents[1] / "acl"


@pytest.fixture
def relay(make):
    service = make({"access": {"connection": {"list": ["198.51.100.0/24"]},
                               "relay": {"list": ["10.1.0.0/16", "*.corp.example"]}}})
    service.write()
    return service


def run(service, option, text, *more):
    file = service.folder / "my.case"
    file.write_text(text)
    return service.cli("explain", option, str(file), *more)


def test_expectations_that_hold_are_counted(relay):
    done = run(relay, "--test", """# the applications
case client=10.1.2.3 from=a@b.example to=x@other.example -> allowed rule=access.relay entry=10.1.0.0/16
client=10.2.2.3 host=none from=<> to=x@other.example -> refused reply=550 change~ add "10.2.2.3"
client=10.2.2.3 host=a.corp.example from=<> to=x@other.example -> allowed entry=*.corp.example
client=10.2.2.3 host=failed from=<> to=x@other.example -> unknown stage=rcpt reply=450
client=10.2.2.3 from=<> to=x@other.example -> unknown
client=10.2.2.3 user=alice tls=yes from=a@b.example to="x y"@other.example -> allowed
client=198.51.100.9 from=<> to=x@local.example -> refused stage=connect rule=access.connection
client=pickup from=<> to=x@other.example -> allowed rule=pickup
""")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == "8 passed, 0 failed\n"


def test_what_is_not_as_expected_is_told_by_its_line(relay):
    done = run(relay, "--test", "client=10.1.2.3 from=<> to=x@o.example -> refused rule=domains[0]\n"
                                "client=10.1.2.3 from=<> to=x@o.example -> allowed\n")
    assert done.returncode == 1
    assert 'my.case:1: verdict is "allowed", expected "refused"; rule is "access.relay"' in done.stdout
    assert done.stdout.endswith("1 passed, 1 failed\n")


@pytest.mark.parametrize("line, said", [
    ("client=10.1.2 from=<> to=x@o.example -> allowed", "IP address"),
    ("client=10.1.2.3 to=x@o.example -> allowed", "needed"),
    ("client=10.1.2.3 from=<> to=x@o.example", "-> is missing"),
    ("client=10.1.2.3 from=<> to=x@o.example -> maybe", "expected allowed, refused or unknown"),
    ("client=10.1.2.3 from=<> to=x@o.example -> allowed colour=red", "colour"),
    ("client=10.1.2.3 listener=9 from=<> to=x@o.example -> allowed", "listener=9"),
    ("client=10.1.2.3 tls=perhaps from=<> to=x@o.example -> allowed", "yes or no"),
    ("client=10.1.2.3 " + "x" * 20000, "too long"),
])
def test_a_line_that_is_no_case_is_told_and_is_no_answer(relay, line, said):
    done = run(relay, "--test", f"\n{line}\n")
    assert done.returncode == 78 and "my.case:2: " in done.stderr and said in done.stderr


def test_a_batch_is_answered_line_by_line_and_exits_with_the_worst(relay):
    good = "client=10.1.2.3 from=<> to=x@o.example\n"
    unknown = "client=10.2.2.3 from=<> to=x@o.example\n"
    bad = "client=198.51.100.1 from=<> to=x@o.example\n"
    for text, code in ((good, 0), (good + unknown, 2), (good + unknown + bad, 1)):
        done = run(relay, "--batch", text)
        assert done.returncode == code
        assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [
            str(i + 1) for i in range(text.count("\n"))]
    answers = [json.loads(line) for line in
               run(relay, "--batch", good + bad, "--json").stdout.splitlines()]
    assert [a["verdict"] for a in answers] == ["allowed", "refused"]
    assert [a["case"] for a in answers] == [1, 2]
    assert answers[1]["change"].startswith('remove "198.51.100.0/24"')
    steps = answers[0]["steps"]
    assert [s["step"] for s in steps][:3] == ["connection", "tls", "authentication"]
    assert [s["step"] for s in steps][-2:] == ["relay", "routing"]
    assert all(s["rule"] and s["why"] and s["change"] and s["verdict"] == "allowed" for s in steps)


def test_thousands_in_one_run_and_from_standard_input(relay):
    text = "".join(f"client=10.{i % 3}.{i // 256 % 256}.{i % 256} host=none from=a@b.example "
                   f"to=u{i}@other.example\n" for i in range(5000))
    done = relay.cli("explain", "--batch", "-", input=text)
    assert done.returncode == 1 and done.stdout.count("\n") == 5000
    assert "allowed, " in done.stderr and done.stdout.count("\trefused\t") > 3000


def test_usage_and_missing_files(relay):
    assert relay.cli("explain", "--batch", "a", "--test", "b").returncode == 64
    assert relay.cli("explain", "--batch", "a", "--client", "10.0.0.1").returncode == 64
    assert relay.cli("explain", "--test", "/nowhere.case").returncode == 66


# -- the corpus: what the engine says of a policy in plain words, explain says of the same in YAML

def policies():
    """(file, policy as configuration, [(line, case)]) of every policy that YAML can say."""
    for path in sorted(CORPUS.glob("*.case")):
        config, cases, fits = None, [], True
        for number, line in enumerate(path.read_text().splitlines(), 1):
            key, _, rest = line.strip().partition(" ")
            rest = rest.strip()
            if key == "policy":
                if config and fits and cases:
                    yield path.name, config, cases
                config, cases, fits = fresh(), [], True
            elif key == "case":
                cases.append((number, rest))
            elif key == "faulty" or (key == "self" and path.name == "lists.case"):
                fits = False  # a policy that is none; cases about the addresses of a machine
            elif key == "self":
                pass
            elif key and not key.startswith("#") and key != "open":
                extend(config, key, rest)
        if config and fits and cases:
            yield path.name, config, cases


def fresh():
    return {"service": {"hostname": "relay.example.net"}, "listeners": [], "domains": [],
            "authentication": {}, "access": {
                "i_know_this_is_an_open_relay": True, "connection": {"list": []},
                "relay": {"list": []}}}


def extend(config, key, rest):
    access = config["access"]
    if key in ("connection", "relay"):
        access[key]["grant"] = rest
    elif key in ("connection-entry", "relay-entry"):
        access[key.split("-")[0]]["list"].append(rest)
    elif key == "authenticated":
        access["relay"]["authenticated"] = rest == "on"
    elif key == "anonymous":
        config["authentication"]["anonymous"] = rest == "on"
    elif key == "hostname":
        config["service"]["hostname"] = rest
    elif key in ("local", "remote", "relay-domain"):
        config["domains"].append({"name": rest, "type": "local" if key == "local" else "remote",
                                  **({"relay": True} if key == "relay-domain" else {})})
    elif key == "profile":
        access.setdefault("profiles", []).append({"name": "p", "recipients": {}})
    elif key in ("rate", "profile-rate"):
        name, n = rest.split()
        by, what = name.split(".")
        where = access["profiles"][-1] if key == "profile-rate" else config.setdefault("limits", {})
        where.setdefault("rate", {}).setdefault(by, {})[what] = int(n)
    elif key.startswith("profile-"):
        part = {"client": "clients", "account": "accounts", "sender": "senders"}.get(key[8:])
        profile = access["profiles"][-1]
        (profile if part else profile["recipients"]).setdefault(part or key[8:], []).append(rest)
    elif key == "listener":
        options = {"address": f"127.0.0.1:{2500 + len(config['listeners'])}"}
        options["tls"] = "required" if "tls" in rest.split() else "optional"
        if "anonymous" in rest:
            options["anonymous"] = "no-anonymous" not in rest
        config["listeners"].append(options)
    else:
        raise AssertionError(key)


ONLY_THE_ENGINE = ("authfailed=", "user=unknown", "user=failed", "tls=unknown", "tls=failed",
                   "origin=", "counted=unknown")


def as_case(case):
    """The case in the words of --test; None where only the engine can be asked so."""
    facts, _, expected = case.partition("->")
    if any(word in facts for word in ONLY_THE_ENGINE) or "\\" in facts:
        return None
    for word in ("hint~", "text~"):
        expected = expected.partition(word)[0]
    expected, tilde, change = expected.partition("change~")
    change = re.split(r" \(\w+\.case:", change)[0]  # the places are of the case file
    words = [w for w in expected.split() if w.split("=")[0] not in ("line", "status", "need", "local")]
    if "host=" not in facts:
        facts += " host=none"
    return f"{facts.strip()} -> {' '.join(words)}" + (f" change~{change}" if tilde else "")


def test_the_corpus_of_the_engine_holds_for_explain(make):
    asked = grammar = 0
    service = make()
    service.write()
    for number, (name, config, cases) in enumerate(policies()):
        config["listeners"] = config["listeners"] or [{"address": "127.0.0.1:2500"}]
        service.path.write_text(json.dumps(config))
        lines = [(n, as_case(case)) for n, case in cases]
        lines = [(n, text) for n, text in lines if text]
        done = run(service, "--test", "".join(f"{text}\n" for _, text in lines), "--json")
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert len(answers) == len(lines), done.stderr
        for (at, text), answer in zip(lines, answers):
            if answer["rule"] == "smtp.address":  # the grammar refuses it before any rule is asked
                assert answer["verdict"] == "refused"
                grammar += 1
                continue
            assert answer["difference"] == "", f"{name}:{at}: {text}: {answer['difference']}"
        asked += len(lines)
    assert asked >= 150 and grammar <= 21
