"""postern access: the lists in the configuration file, changed in place; what clients then get."""
import json
import os
import stat

import pytest

from postern import Service
from smtp import Client

FAR = "v@far.example"
FORMS = {
    # name: (before, after adding `10.9.9.9` to the relay list)
    "flow": ("access:\n  relay: { grant: only, list: [self, 10.0.0.1] } # mind\n",
             "access:\n  relay: { grant: only, list: [self, 10.0.0.1, 10.9.9.9] } # mind\n"),
    "empty flow": ("access:\n  relay:\n    list: []   # nobody yet\n",
                   "access:\n  relay:\n    list: [10.9.9.9]   # nobody yet\n"),
    "flow of many lines": ("access:\n  relay:\n    list: [\n      self,     # us\n      10.0.0.1  # it\n    ]\n",
                           "access:\n  relay:\n    list: [\n      self,     # us\n      10.0.0.1, 10.9.9.9  # it\n    ]\n"),
    "flow with a comma at its end": ("access: { relay: { list: [10.0.0.1, ] } }\n",
                                     "access: { relay: { list: [10.0.0.1, 10.9.9.9, ] } }\n"),
    "block": ("access:\n  relay:\n    grant: only\n    list:\n      # ours\n      - self\n      - 10.0.0.1  # the scanner\n\n      # and then\nlimits: { recipients: 5 }\n",
              "access:\n  relay:\n    grant: only\n    list:\n      # ours\n      - self\n      - 10.0.0.1  # the scanner\n      - 10.9.9.9\n\n      # and then\nlimits: { recipients: 5 }\n"),
    "block without indentation": ("access:\n  relay:\n    list:\n    - 'fd00::/8'\n",
                                  "access:\n  relay:\n    list:\n    - 'fd00::/8'\n    - 10.9.9.9\n"),
    "block without a line end": ("access:\n  relay:\n    list:\n      - self",
                                 "access:\n  relay:\n    list:\n      - self\n      - 10.9.9.9\n"),
    "CRLF": ("access:\r\n  relay:\r\n    list:\r\n      - self\r\n",
             "access:\r\n  relay:\r\n    list:\r\n      - self\r\n      - 10.9.9.9\r\n"),
    "a mark and letters before": ("\ufeff# Größe \U0001f4e8\naccess:\n  relay: { list: [self] }\n",
                                  "\ufeff# Größe \U0001f4e8\naccess:\n  relay: { list: [self, 10.9.9.9] }\n"),
    "no list": ("access:\n  relay:\n    # polarity\n    grant: only\n",
                "access:\n  relay:\n    # polarity\n    list: [10.9.9.9]\n    grant: only\n"),
    "no list in braces": ("access: { relay: { grant: only } }\n",
                          "access: { relay: { list: [10.9.9.9], grant: only } }\n"),
    "empty braces": ("access:\n  relay: {}\n", "access:\n  relay: {list: [10.9.9.9]}\n"),
    "a list that is nothing": ("access:\n  relay:\n    list:  # later\n    grant: only\n",
                               "access:\n  relay:\n    list: [10.9.9.9]  # later\n    grant: only\n"),
    "a section that is nothing": ("access:\n  relay:\nlimits: { recipients: 5 }\n",
                                  "access:\n  relay: { list: [10.9.9.9] }\nlimits: { recipients: 5 }\n"),
    "no section": ("access:\n  connection: { grant: only, list: [self] }\n",
                   "access:\n  relay: { list: [10.9.9.9] }\n  connection: { grant: only, list: [self] }\n"),
    "no access at all": ("# mine\nlimits: { recipients: 5 }\n",
                         "# mine\nlimits: { recipients: 5 }\naccess: { relay: { list: [10.9.9.9] } }\n"),
    "an empty file": ("", "access: { relay: { list: [10.9.9.9] } }\n"),
    "comments alone": ("# nothing yet\n", "# nothing yet\naccess: { relay: { list: [10.9.9.9] } }\n"),
    "JSON": ('{\n  "access": {"relay": {"list": ["self"]}}\n}\n',
             '{\n  "access": {"relay": {"list": ["self", "10.9.9.9"]}}\n}\n'),
    "JSON without it": ('{"limits": {"recipients": 5}}\n',
                        '{"access": { "relay": { "list": ["10.9.9.9"] } }, "limits": {"recipients": 5}}\n'),
}
# The forms above in which the list itself says the same again once the entry is gone.
RETURNS = [name for name, (before, _) in FORMS.items()
           if name != "no section" and "list: [" in before.replace('"', "") and "of many lines" not in name or "block" in name or name == "CRLF"]


@pytest.fixture
def file(make):
    """file(text): a service folder whose configuration is this text, byte for byte."""
    service = make()

    def write(text):
        service.path.write_bytes(text.encode())
        return service

    return write


def content(service):
    return service.path.read_bytes().decode()


def add(service, *entries, where="relay"):
    return service.cli("access", "add", where, *entries)


def remove(service, *entries, where="relay"):
    return service.cli("access", "remove", where, *entries)


@pytest.mark.parametrize("form", FORMS)
def test_an_entry_is_spliced_in_and_nothing_else_changes(file, form):
    before, after = FORMS[form]
    service = file(before)
    done = add(service, "10.9.9.9")
    assert done.returncode == 0, done
    assert content(service) == after
    shown = json.loads(service.cli("access", "show", "--json").stdout)
    assert shown["relay"]["list"][-1]["entry"] == "10.9.9.9"
    assert add(service, "10.9.9.9").returncode == 0 and content(service) == after  # is there


@pytest.mark.parametrize("form", RETURNS)
def test_what_was_added_can_be_taken_out_again(file, form):
    before, after = FORMS[form]
    service = file(after)
    done = remove(service, "10.9.9.9")
    assert done.returncode == 0, done
    assert content(service).rstrip("\n") == before.rstrip("\n")


@pytest.mark.parametrize("text, entry, left", [
    ("access: { relay: { list: [self, a.example, 10.0.0.1] } }\n", "self", "[a.example, 10.0.0.1]"),
    ("access: { relay: { list: [self, a.example, 10.0.0.1] } }\n", "A.Example", "[self, 10.0.0.1]"),
    ("access: { relay: { list: [self, 10.0.0.1] } }\n", "10.0.0.1", "[self]"),
    ("access: { relay: { list: ['fd00::/8'] } }\n", "fd00::/8", "[]"),
    ("access: { relay: { list: [self, ] } }\n", "self", "list: []"),
    ("access:\n  relay:\n    list:\n      - self # us\n    grant: only\n", "self",
     "    list: []\n    grant: only\n"),
    ("access:\n  relay:\n    list: # who\n      # ours\n      - self\n", "self",
     "    list: [] # who\n      # ours\n"),
    ("access:\n  relay:\n    list:\n      - a.example # one\n      # between\n      - self\n", "a.example",
     "    list:\n      # between\n      - self\n"),
    ("access:\n  relay:\n    list: [\n      self, # us\n      a.example, # it\n      10.0.0.1 # last\n    ]\n",
     "a.example", "    list: [\n      self, # us\n      10.0.0.1 # last\n    ]\n"),
    ("access:\n  relay:\n    list: [\n      self, # us\n      10.0.0.1 # last\n    ]\n", "10.0.0.1",
     "    list: [\n      self, # us\n    ]\n"),
    ("access:\n  relay:\n    list: [self,\n           10.0.0.1, 10.0.0.2,\n           10.0.0.3]\n", "10.0.0.3",
     "    list: [self,\n           10.0.0.1, 10.0.0.2,\n           ]\n"),
])
def test_an_entry_is_taken_out_with_its_line(file, text, entry, left):
    service = file(text)
    done = remove(service, entry)
    assert done.returncode == 0, done
    assert left in content(service), content(service)
    assert service.cli("check").returncode == 0


ENTRIES = ["10.0.0.0/8", "10.1.2.0/255.255.255.0", "10.2.0.5-10.2.0.9", "fd00::/8", "app.corp.example",
           "*.print.corp.example", r"/^mfp\d+\.corp\.example$/", r"/^it's "'"'r"\d"'"'r"\.corp\.example$/", "self"]


@pytest.mark.parametrize("form", ["flow", "block", "JSON", "no access at all"])
def test_every_form_of_entry_is_quoted_as_it_needs(file, form):
    service = file(FORMS[form][0])
    had = [e["entry"] for e in json.loads(service.cli("access", "show", "--json").stdout)["relay"]["list"]]
    done = add(service, *ENTRIES)
    assert done.returncode == 0, done
    now = [e["entry"] for e in json.loads(service.cli("access", "show", "--json").stdout)["relay"]["list"]]
    assert now == had + [e for e in ENTRIES if e not in had]
    if form == "JSON":
        json.loads(content(service))
    done = remove(service, *[e for e in ENTRIES if e not in had])
    assert done.returncode == 0, done
    left = [e["entry"] for e in json.loads(service.cli("access", "show", "--json").stdout)["relay"]["list"]]
    assert left == had


def test_several_at_once_are_written_together_or_not_at_all(file):
    service = file(FORMS["block"][0])
    done = add(service, "10.5.0.1", "10.0.0.300", "10.5.0.2")
    assert done.returncode == 64 and "10.0.0.300" in done.stderr
    assert content(service) == FORMS["block"][0]
    assert remove(service, "self", "not.there").returncode == 1
    assert content(service) == FORMS["block"][0]


@pytest.mark.parametrize("entry", ["10.0.0.300", "no such entry", "10.0.0.1/33", "/(/", "", "a\nb", "file:absent.txt"])
def test_an_entry_that_is_none_changes_nothing(file, entry):
    service = file(FORMS["flow"][0])
    assert add(service, entry).returncode == 64
    assert content(service) == FORMS["flow"][0]


def test_an_open_relay_is_refused(file):
    service = file(FORMS["flow"][0])
    for entries in (["0.0.0.0/0"], ["0.0.0.0/1", "128.0.0.0/1"], ["*.com"]):
        done = add(service, *entries)
        assert done.returncode == 1 and "open relay" in done.stderr
        assert content(service) == FORMS["flow"][0]


def test_a_file_that_is_invalid_or_missing_or_a_link_is_left_alone(file, tmp_path):
    service = file("access: { relay: { list: [self] }\n")
    assert add(service, "10.0.0.1").returncode == 78
    assert content(service) == "access: { relay: { list: [self] }\n"
    service.path.unlink()
    service.path.symlink_to(tmp_path / "elsewhere.yaml")
    (tmp_path / "elsewhere.yaml").write_text(FORMS["flow"][0])
    assert add(service, "10.0.0.1").returncode == 74
    assert service.path.is_symlink()
    service.path.unlink()
    done = service.cli("access", "add", "relay", "10.0.0.1", "-c", service.path, config=False)
    assert done.returncode == 66


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_the_file_keeps_its_mode(file, mode):
    service = file(FORMS["flow"][0])
    os.chmod(service.path, mode)
    if os.geteuid() == 0:
        os.chown(service.path, 4711, 4712)
    assert add(service, "10.0.0.1", "10.7.7.7").returncode == 0
    now = service.path.stat()
    assert stat.S_IMODE(now.st_mode) == mode
    assert os.geteuid() != 0 or (now.st_uid, now.st_gid) == (4711, 4712)
    assert [p.name for p in service.folder.iterdir() if p.name.endswith(".tmp")] == []


def relays(service, client):
    with Client(service.port(), source=client) as it:
        if it.reply().code != 220:
            return False
        it.cmd("EHLO x")
        it.cmd("MAIL FROM:<a@b.example>")
        return it.cmd(f"RCPT TO:<{FAR}>").code == 250


def test_a_running_service_takes_it_over_at_the_next_mail(make):
    service = make().start()
    with Client(service.port(), source="127.0.0.2") as open_session:
        open_session.reply()
        open_session.cmd("EHLO x")
        open_session.cmd("MAIL FROM:<a@b.example>")
        assert open_session.cmd(f"RCPT TO:<{FAR}>").code == 550
        done = add(service, "127.0.0.2")
        assert done.returncode == 0 and "reloaded" in done.stdout
        assert open_session.cmd(f"RCPT TO:<{FAR}>").code == 550  # pinned for this transaction
        open_session.cmd("RSET")
        open_session.cmd("MAIL FROM:<a@b.example>")
        assert open_session.cmd(f"RCPT TO:<{FAR}>").code == 250
    assert not relays(service, "127.0.0.3")
    assert remove(service, "127.0.0.2").returncode == 0
    assert not relays(service, "127.0.0.2")
    assert add(service, "127.0.0.4", where="connection").returncode == 0
    with Client(service.port(), source="127.0.0.4") as it:
        assert it.reply().code == 554


def test_access_test_says_what_both_lists_do(make, dns):
    dns.ptr("127.0.6.1", "printer.corp.example")
    dns.add("printer.corp.example", "A", "127.0.6.1")
    service = make({"access": {"connection": {"grant": "all-except", "list": ["127.0.0.9"]},
                               "relay": {"grant": "only", "list": ["127.0.0.2", "printer.corp.example"]}},
                    "resolver": {"servers": [dns.endpoint]}})
    for arguments, code, words in (
            (["127.0.0.2"], 0, ["127.0.0.2"]), (["127.0.0.3"], 1, ["refused", "change:"]),
            (["127.0.0.9"], 1, ["access.connection"]), (["127.0.6.1"], 0, ["printer.corp.example"]),
            (["127.0.0.3", "--host", "printer.corp.example"], 0, []), (["127.0.6.1", "--host", ""], 1, []),
            (["somewhere"], 64, [])):
        done = service.cli("access", "test", *arguments)
        assert done.returncode == code, done
        for word in words:
            assert word in done.stdout
    answer = json.loads(service.cli("access", "test", "127.0.0.2", "--json").stdout)
    assert answer["relay"]["verdict"] == "allowed" and answer["relay"]["entry"] == "127.0.0.2"


def test_usage(file):
    service = file(FORMS["flow"][0])
    for arguments in ([], ["frob"], ["add"], ["add", "relay"], ["add", "both", "10.0.0.1"], ["show", "x"],
                      ["test"], ["remove", "relay"]):
        assert service.cli("access", *arguments).returncode == 64, arguments
    shown = service.cli("access", "show").stdout
    assert "access.relay: only, 2 entries" in shown and "postern.yaml:2" in shown
