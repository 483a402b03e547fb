"""What README.md and docs/ say is true: examples, commands and their output, links, event names."""
import importlib.machinery
import importlib.util
import json
import pathlib
import re
import time
import shlex
import subprocess

import pytest

import samples
from postern import BINARY, ROOT, Service, free_port
from sink import Sink
from smtp import Client

EXAMPLES = {path.stem: path for path in sorted((ROOT / "docs/examples").glob("*.yaml"))}
PAGES = [ROOT / "README.md", ROOT / "packaging/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOREIGN = "buyer@partner.example"

# (options, recipient) -> (verdict, stage, rule, entry, reply)
QUESTIONS = {
    "local-applications": [
        ("--client 127.0.0.1", FOREIGN, ("allowed", "rcpt", "access.relay", "self", "")),
        ("--client ::1 --listener [::1]:25", FOREIGN,
         ("allowed", "rcpt", "access.relay", "self", "")),
        ("--pickup", FOREIGN, ("allowed", "rcpt", "pickup", "", "")),
        ("--client 192.0.2.7", FOREIGN,
         ("refused", "connect", "access.connection", "", "554 5.7.1 Access denied")),
        ("--client 127.0.0.2", FOREIGN,
         ("refused", "connect", "access.connection", "", "554 5.7.1 Access denied")),
    ],
    "printers": [
        ("--client 10.20.30.7", FOREIGN,
         ("allowed", "rcpt", "access.relay", "10.20.30.0/24", "")),
        ("--client 10.20.40.15", FOREIGN,
         ("allowed", "rcpt", "access.relay", "10.20.40.10-10.20.40.19", "")),
        ("--client 10.20.40.20", FOREIGN,
         ("refused", "rcpt", "access.relay", "", f"550 5.7.1 Unable to relay for {FOREIGN}")),
        ("--client 10.20.50.7", FOREIGN,
         ("refused", "rcpt", "access.relay", "", f"550 5.7.1 Unable to relay for {FOREIGN}")),
        ("--client 10.20.50.7 --user anna --tls", FOREIGN,
         ("refused", "rcpt", "access.relay", "", f"550 5.7.1 Unable to relay for {FOREIGN}")),
        ("--client 192.0.2.7", FOREIGN,
         ("refused", "connect", "access.connection", "", "554 5.7.1 Access denied")),
    ],
    "authenticated-submission": [
        ("--client 192.0.2.7 --listener 0.0.0.0:587 --tls --user anna", FOREIGN,
         ("allowed", "rcpt", "access.relay.authenticated", "", "")),
        ("--client 192.0.2.7 --listener 0.0.0.0:465 --tls --user anna", FOREIGN,
         ("allowed", "rcpt", "access.relay.authenticated", "", "")),
        ("--client 192.0.2.7 --listener 0.0.0.0:587", FOREIGN,
         ("refused", "mail", "listeners[1].tls", "",
          "530 5.7.0 Must issue a STARTTLS command first")),
        ("--client 192.0.2.7 --listener 0.0.0.0:587 --tls", FOREIGN,
         ("refused", "mail", "listeners[1].anonymous", "", "530 5.7.1 Client was not authenticated")),
        ("--client 192.0.2.7", "anna@example.net",
         ("allowed", "rcpt", "domains[0]", "example.net", "")),
        ("--client 192.0.2.7", FOREIGN,
         ("refused", "rcpt", "access.relay", "", f"550 5.7.1 Unable to relay for {FOREIGN}")),
    ],
}


def run(*arguments, cwd=None):
    return subprocess.run([str(BINARY), *map(str, arguments)], capture_output=True, text=True,
                          cwd=cwd, timeout=60)


def say(path):
    return path.relative_to(ROOT).as_posix()


# -- the examples

def test_every_example_is_asked():
    assert set(QUESTIONS) == set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_valid(name):
    done = run("check", "-c", EXAMPLES[name], "--json")
    answer = json.loads(done.stdout)
    assert done.returncode == 0 and answer["valid"] and answer["errors"] == 0, answer
    # /etc/postern/cert.pem is the reader's: it may be absent here.
    others = [m for m in answer["messages"] if m["key"] != "tls.certificate"]
    assert others == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_answers_as_it_is_meant(name):
    for options, recipient, expected in QUESTIONS[name]:
        done = run("explain", "-c", EXAMPLES[name], *options.split(), "--from", "a@example.net",
                   "--to", recipient, "--json")
        assert done.returncode in (0, 1), (options, done)
        answer = json.loads(done.stdout)
        got = tuple(answer[k] for k in ("verdict", "stage", "rule", "entry", "reply"))
        assert got == expected, (options, recipient)
        assert done.returncode == (0 if got[0] == "allowed" else 1), (options, recipient)
        assert (answer["change"] != "") == (got[0] == "refused"), answer


class Example(Service):
    """An example with other ports, other folders, and a certificate for its name."""

    def __init__(self, folder, certificates, name, next_hop):
        text = EXAMPLES[name].read_text()
        self.hostname = re.search(r"hostname: (\S+)", text).group(1)
        certificate, key = certificates.issue(f"example-{name}", self.hostname,
                                              f"DNS:{self.hostname}", days=90)
        listeners = {}
        for address, tls in re.findall(r'address: "([^"]+)", tls: (\w+)', text):
            host = "[::1]" if address.startswith("[") else "127.0.0.1"
            mine = f"{host}:{free_port()}"
            listeners[address] = {"address": mine, "tls": tls}
            text = text.replace(f'"{address}"', f'"{mine}"')
        super().__init__(folder, certificates, listeners=listeners)
        for old, new in (("/etc/postern/cert.pem", str(certificate)),
                         ("/etc/postern/key.pem", str(key)),
                         ("mail.example.net:25", next_hop),
                         ("service:\n", f"service:\n  data_directory: {self.data}\n")):
            text = text.replace(old, new)
        self.path.write_text(text)


@pytest.fixture
def example(tmp_path, certificates):
    made = []

    def build(name, next_hop="[127.0.0.1]:9"):
        # A short folder: the control socket's path must fit.
        made.append(Example(tmp_path / str(len(made)), certificates, name, next_hop))
        return made[-1]

    yield build
    for service in made:
        service.finish()


@pytest.mark.parametrize("name", EXAMPLES)
def test_with_a_certificate_there_is_nothing_to_warn_of(example, name):
    done = example(name).cli("check")
    assert done.returncode == 0 and ": valid, 0 warnings" in done.stdout, done


def test_local_applications_send_through_the_smart_host(example, sink):
    service = example("local-applications", sink.literal).start()
    with Client(service.port("127.0.0.1:25")) as client:
        client.hello()
        assert "STARTTLS" not in client.ehlo.text
        client.mail("app@example.net", FOREIGN, samples.message("m", b"x\r\n"))
    assert sink.wait()[0].recipients == [FOREIGN]
    with Client(service.port("127.0.0.1:25"), source="127.0.0.2") as client:
        assert client.reply().code == 554


def test_a_printer_with_bare_line_feeds_sends_through_a_smart_host_with_tls(example, certificates):
    with Sink(tls=certificates.server_context()) as sink:
        service = example("printers", sink.literal).start()
        with Client(service.port()) as client:
            client.reply()
            for line in ("HELO mfp", "MAIL FROM:<mfp@example.net>", f"RCPT TO:<{FOREIGN}>", "DATA"):
                client.send(line + "\n")
                assert client.reply().code in (250, 354)
            client.send("Subject: scan\n\nline\n\r\n.\r\n")
            assert client.reply().code == 250
        message = sink.wait()[0]
        assert message.tls and b"\r\n\r\nline\r\n" in message.data


def test_submission_takes_users_inside_tls_alone(example):
    service = example("authenticated-submission").add_user().start()
    with Client(service.port("0.0.0.0:587")) as client:
        client.hello()
        assert "AUTH" not in client.ehlo.text
        assert client.cmd("MAIL FROM:<a@example.net>").code == 530
        client.starttls()
        assert client.plain(service.USER, service.PASSWORD).code == 235
        assert client.cmd("MAIL FROM:<a@example.net>").code == 250
        assert client.cmd(f"RCPT TO:<{FOREIGN}>").code == 250
    with Client(service.port("0.0.0.0:465"), implicit=True) as client:
        client.hello()
        assert client.login(service.USER, service.PASSWORD).code == 235
    with Client(service.port("0.0.0.0:25")) as client:
        client.hello()
        assert client.cmd("MAIL FROM:<a@partner.example>").code == 250
        assert client.cmd(f"RCPT TO:<{FOREIGN}>").code == 550
        assert client.cmd("RCPT TO:<anna@example.net>").code == 250


# -- the pages

def fences(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def test_the_readme_shows_each_example_in_full():
    shown = fences((ROOT / "README.md").read_text(), "yaml")
    assert sorted(shown) == sorted(path.read_text() for path in EXAMPLES.values())


def test_examples_of_explain_print_what_the_pages_show(tmp_path):
    """```console blocks: `$ postern explain ...` is run beside docs/examples, its output compared;
    postern.yaml is the piece of yaml above it."""
    seen = 0
    for path in EXAMPLES.values():
        (tmp_path / path.name).write_text(path.read_text())
    for page in PAGES:
        for language, block in re.findall(r"^```(yaml|console)\n(.*?)^```$", page.read_text(),
                                          re.M | re.S):
            if language == "yaml":
                (tmp_path / "postern.yaml").write_text(block)
                continue
            for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
                command, _, expected = part.replace("\\\n", " ").partition("\n")
                words = shlex.split(command)
                assert words[:2] == ["postern", "explain"] and "-c" in words, command
                done = run(*words[1:], cwd=tmp_path)
                assert done.stdout.strip() == expected.strip(), f"{say(page)}: {command}"
                seen += 1
    assert seen >= 5


def test_every_yaml_piece_of_the_pages_is_valid(tmp_path):
    """Pieces stand for themselves: what they leave out has a default."""
    for page in PAGES:
        for i, piece in enumerate(fences(page.read_text(), "yaml")):
            path = tmp_path / f"{page.stem}-{i}.yaml"
            path.write_text(piece)
            done = run("check", "-c", path)
            assert done.returncode == 0, f"{say(page)}: {piece}\n{done.stderr}"


def test_every_command_of_the_pages_exists():
    known = set(re.findall(r"^  (\w+) +\S", run("--help").stdout, re.M)) | {"config-reference"}
    for page in PAGES:
        text = page.read_text()
        if page.name == "README.md":
            text = re.sub(r"^## State\n.*?(?=^## )", "", text, flags=re.M | re.S)
        code = fences(text, "\\w*") + re.findall(r"`([^`\n]+)`", text) + re.findall(
            r"^ {4}(.*)$", text, re.M)
        for piece in code:
            for word in re.findall(r"(?:^|[$ /])postern ([a-z][a-z-]*)\b", piece):
                assert word in known, f"{say(page)}: postern {word}"


def test_every_verb_and_option_of_the_pages_exists():
    """A line that begins with `postern COMMAND`: the command's own help has its words."""
    for page in PAGES:
        text = page.read_text()
        for command, rest in re.findall(r"(?:\$ |`|^ {4})postern ([a-z]+)\b([^`\n]*)", text, re.M):
            options = re.findall(r"(--[a-z][a-z-]+)", rest)
            shown = run(command, "--help").stdout if options or rest else ""
            if command in ("queue", "user", "sessions"):  # their verbs
                options += re.findall(r"^ ([a-z]+)(?: |$)", rest)
            for option in options:
                assert option in shown, f"{say(page)}: postern {command} {option}"


def test_every_link_leads_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            if "://" in target:
                continue
            name, _, anchor = target.partition("#")
            to = (page.parent / name).resolve() if name else page
            assert to.exists(), f"{say(page)}: {target}"
            if anchor:
                headings = [re.sub(r"[^a-z0-9 -]", "", h.lower()).replace(" ", "-")
                            for h in re.findall(r"^#+ (.*)$", to.read_text(), re.M)]
                assert anchor in headings, f"{say(page)}: {target}"


def test_every_path_that_the_pages_name_exists():
    for page in PAGES:
        for name in re.findall(r"`((?:docs|service|auth|posix|tests|packaging)/[\w./-]*)`",
                               page.read_text()):
            assert "NAME" in name or (ROOT / name).exists(), f"{say(page)}: {name}"
        # as an include writes them, from service/
        for name in re.findall(r"(?<![\w/])((?:net|session|smtp|acl|route|queue|store)/\w+\.[ch])\b",
                               page.read_text()):
            assert (ROOT / "service" / name).exists(), f"{say(page)}: {name}"


def test_every_decision_stands_in_the_index_once():
    folder = ROOT / "docs/decisions"
    index = (folder / "README.md").read_text()
    pages = sorted(p.name for p in folder.glob("[0-9]*.md"))
    assert re.findall(r"\]\((\d[^)]*\.md)\)", index) == pages


def test_every_section_that_the_program_names_exists():
    named = 0
    for source in sorted((ROOT / "service").rglob("*.[ch]")) + sorted((ROOT / "auth").rglob("*.[ch]")):
        for page, title in re.findall(r'(docs/[\w-]+\.md), \\?"([^"\\]+)', source.read_text()):
            assert f"# {title}\n" in (ROOT / page).read_text(), f"{say(source)}: {page}, {title}"
            named += 1
    assert named >= 2


def options_of_the_reference():
    found, section = set(), ""
    for line in (ROOT / "docs/configuration.md").read_text().splitlines():
        heading = re.match(r"#+ `([\w.\[\]]+)`", line)
        row = re.match(r"\| `(\w+)` \|", line)
        if heading:
            section = heading.group(1).replace("[]", "")
            found.add(section)
        elif row:
            found.add(f"{section}.{row.group(1)}")
    return found


def test_every_option_of_the_configuration_that_the_pages_name_exists():
    options, named = options_of_the_reference(), 0
    sections = "|".join({option.partition(".")[0] for option in options})
    events = set(events_of_the_code())
    for page in PAGES:
        for name in re.findall(rf"`((?:{sections})(?:\.[a-z_]+)+)(?:: [^`]*)?`", page.read_text()):
            if name in events or re.search(r"\.(db|sock|h|c)\b", name):
                continue
            assert name in options, f"{say(page)}: {name}"
            named += 1
    assert named > 60


def test_every_reply_that_the_pages_quote_is_one_of_ours():
    """`550 5.7.1 Unable to relay for ...`: up to what varies it stands in the sources."""
    sources = ""
    for source in sorted((ROOT / "service").rglob("*.[ch]")):
        sources += re.sub(r'"\s*\n\s*"', "", source.read_text())
    quoted = 0
    for page in PAGES:
        for code, status, text in re.findall(r"`(?:[^`\n]*?)\b([245]\d\d) (\d\.\d\.\d+) ?([^`\n]*)`",
                                             page.read_text()):
            words = re.split(r"\.\.\.|\(|\[|<", text)[0].strip()
            if not words:
                assert re.search(rf'{code}, *"{re.escape(status)}"|"{code} {re.escape(status)}',
                                 sources), f"{say(page)}: {code} {status}"
                continue
            place = sources.find(words)
            assert place >= 0, f"{say(page)}: {code} {status} {text}"
            assert any(status in sources[at.start() - 600:at.start() + 900]
                       for at in re.finditer(re.escape(words), sources)), (say(page), text, status)
            quoted += 1
    assert quoted > 12


def test_the_doors_of_the_architecture_are_those_that_are_checked():
    loader = importlib.machinery.SourceFileLoader("check_doors", str(ROOT / "tests/check-doors"))
    spec = importlib.util.spec_from_loader("check_doors", loader)
    doors = importlib.util.module_from_spec(spec)
    loader.exec_module(doors)
    rows = re.findall(r"^\| (\w+) \| `([\w/]+)` \| ([\w, -]+) \| (.*) \|$",
                      (ROOT / "docs/architecture.md").read_text(), re.M)
    told = {room: (folder, set(re.findall(r"\w+", others))) for room, folder, others, _ in rows}
    real = {room: door for room, door in doors.DOORS.items() if (ROOT / door[0]).is_dir()}
    assert told == real
    for _, folder, _, headers in rows:
        for header in re.findall(r"`([\w.]+)`", headers):
            assert (ROOT / folder / header).exists(), f"{folder}/{header}"


def test_the_threads_of_the_architecture_are_those_that_run(make):
    table = (ROOT / "docs/architecture.md").read_text().partition("## Threads")[2].partition("##")[0]
    told = set(re.findall(r"^\| ([a-z][a-z-]*) \|", table, re.M)) - {"thread"}
    service = make().start()

    def running():
        names = {(task / "comm").read_text().strip()
                 for task in pathlib.Path(f"/proc/{service.process.pid}/task").iterdir()}
        return {"main" if name == BINARY.name else re.sub(r"-\d+$", "", name) for name in names}

    # A thread gives itself its name, which may be a moment after the service is ready.
    end = time.monotonic() + 10
    while (real := running()) != told and time.monotonic() < end:
        time.sleep(0.05)
    assert real == told


EVENT = r"[a-z-]+\.[a-z._-]+"


def events_of_the_code():
    """{event: levels}; a level that depends on something is not among them."""
    found = {}
    for folder in ("service", "auth", "posix"):
        for source in (ROOT / folder).rglob("*.c"):
            text = source.read_text()
            for level, name in re.findall(rf'log_event\(([^";]*?)"({EVENT})"', text):
                plain = re.fullmatch(r"\s*LOG_(\w+),\s*", level)
                found.setdefault(name, set()).update([plain.group(1).lower()] if plain else [])
            for name in re.findall(rf'\[(?:ACL|QUEUE)_\w+\] = "({EVENT})"', text):
                found.setdefault(name, set())
    return found


def test_every_event_of_the_log_is_told_with_its_level():
    """Rows of tables that begin with names of events and their level."""
    told = {}
    for page in PAGES:
        for names, level in re.findall(rf"^\| (`{EVENT}`[^|]*) \| (debug|info|warn|error) \|",
                                       page.read_text(), re.M):
            told.update((name, level) for name in re.findall(rf"`({EVENT})`", names))
    real = events_of_the_code()
    assert len(real) > 50
    assert real.keys() - told.keys() == set(), "give each a row in docs/administration.md, Logs"
    assert told.keys() - real.keys() == set(), "no such event"
    wrong = {name: told[name] for name, levels in real.items() if levels and levels != {told[name]}}
    assert wrong == {}
