"""The accounts of the machine, through `postern serve`: real PAM and pam_unix in a mount namespace
of the test's own, and pam_wrapper. Who may in, what is said, and what happens when the helper does
not answer."""
import bisect
import math
import os
import re
import shutil
import signal
import statistics
import threading
import time

import pytest

from machine import (FQDN, HELPER, HOST, NETBIOS, PAM_UNIX, SERVICE_UID, SHADOW_GID, STRANGER_UID,
                     TODAY, Account, Machine, alive, children, end, family, hashed, tell, uids,
                     wait_until)
from postern import BINARY, PATIENCE, SANITIZED
from smtp import Client

REFUSED = "535 5.7.3 Authentication unsuccessful"
LATER = "454 4.7.0"
SYSTEM = {"name": ".", "backend": "system", "lockout_below": 1000}
MATRIX = "/usr/lib/x86_64-linux-gnu/pam_wrapper/pam_matrix.so"

ACCOUNTS = [
    Account("lou", 4001, "L0u-pw!"),
    Account("yes", 4002, hash=hashed("Y3s-pw!", "yescrypt")),
    Account("locked", 4003, hash="!" + hashed("L0ck-pw!")),
    Account("old", 4004, "Old-pw!", expires=TODAY - 1),
    Account("must", 4005, "Must-pw!", changed=0),
    Account("aged", 4006, "Aged-pw!", changed=TODAY - 400, longest=90, inactive=7),
    Account("none", 4007, hash=""),
    Account("star", 4008, hash="*"),
    Account("guest", 4009, "Guest-pw!"),
    Account("toor", 0, "Toor-pw!", gid=0),
    Account("Lou", 4010, "Other-pw!"),
    Account("out", 4011, "Out-pw!"),
    # As a joined domain shows its accounts: with winbind, with another separator, with SSSD.
    Account("CORP\\alice", 4200, "Alice-pw!"),
    Account("CORP\\bob", 4201, "Bob-pw!"),
    Account("PLUS+alice", 4202, "Alice-pw!"),
    Account("alice@sssd.example", 4203, "Alice-pw!"),
]
GROUPS = {"mail-senders": (4100, ["yes", "locked"]), "lou": (4001, []),
          "CORP\\relay users": (4300, ["CORP\\alice"])}

# name, password, what the log says; None: it may in.
OUTCOMES = [
    ("lou", "L0u-pw!", None),
    ("yes", "Y3s-pw!", None),
    ("Lou", "Other-pw!", None),  # names are case-sensitive, as everywhere on Linux
    ("lou", "Wr0ng-1", "wrong password"),
    ("yes", "Wr0ng-2", "wrong password"),
    ("Lou", "L0u-pw!", "wrong password"),
    ("nosuch", "L0u-pw!", "no such account"),
    ("LOU", "L0u-pw!", "no such account"),
    ("locked", "L0ck-pw!", "the account is locked"),
    ("locked", "Wr0ng-3", "the account is locked"),
    ("star", "x", "the account is locked"),
    ("old", "Old-pw!", "the account has expired"),
    ("old", "Wr0ng-4", "wrong password"),
    ("must", "Must-pw!", "the password must be changed first"),
    ("aged", "Aged-pw!", "the password has expired"),
    ("none", "x", "wrong password"),
    ("guest", "Guest-pw!", "a guest's account"),
    ("nobody", "nobodys password", "a guest's account"),
    ("root", "the root password", "an account with uid 0 does not log in here"),
    ("toor", "Toor-pw!", "an account with uid 0 does not log in here"),
]


@pytest.fixture(scope="module")
def machine():
    made = Machine(ACCOUNTS, GROUPS, {
        "rules": "auth required pam_unix.so\n"
                 "account required pam_nologin.so file=/etc/pam.d/nologin.now\n"
                 "account required pam_access.so nodefgroup accessfile=/etc/pam.d/access.conf\n"
                 "account required pam_unix.so\n",
        "access.conf": "-:out:ALL\n+:ALL:ALL\n",
        "slow": f"auth required pam_exec.so quiet /bin/sleep 3\n{PAM_UNIX}",
        "crash": f"auth required pam_exec.so quiet /bin/sh /etc/pam.d/crash.sh\n{PAM_UNIX}",
        "crash.sh": "kill -ABRT $PPID\n",
    })
    yield made
    made.close()


@pytest.fixture
def running(machine, certificates, request):
    """running(domains, ...): a service of this test on the machine."""
    made = []

    def start(domains, **options):
        service = machine.service(certificates, domains, f"s{abs(hash(request.node.name)) % 10**8}"
                                  f"-{len(made)}", **options)
        made.append(service)
        return service.start()

    yield start
    for service in made:
        service.finish()


@pytest.fixture(scope="module")
def relay(machine, certificates):
    service = machine.service(certificates, [SYSTEM], "relay")
    service.config["authentication"]["name_in_received"] = True
    service.start()
    yield service
    service.finish()


def login(service, name, password, how="plain"):
    with Client(service.port("implicit"), implicit=True, timeout=20 * PATIENCE) as client:
        client.hello()
        reply = client.plain(name, password) if how == "plain" else client.login(name, password)
        assert len(reply.lines) == 1
        return reply.lines[0]


def log_since(service, mark, pattern):
    """The first match of it in what was logged since."""
    return wait_until(lambda: re.search(pattern, service.log()[mark:]))


# -- who may in

@pytest.mark.parametrize("name, password, reason", OUTCOMES,
                         ids=[f"{n}-{p}".replace(" ", "_") for n, p, _ in OUTCOMES])
def test_each_account_has_one_outcome(relay, name, password, reason):
    mark = len(relay.log())
    line = login(relay, name, password)
    if reason is None:
        assert line == "235 2.7.0 Authentication successful"
        assert login(relay, name, password, "login") == line
        log_since(relay, mark, rf'(?s)(smtp\.auth\.ok [^\n]*user="?\.\\{{1,2}}{name}"?\n.*){{2}}')
        return
    assert line == REFUSED  # the same words for all
    said = log_since(relay, mark, r"smtp\.auth\.refused.*").group(0)
    assert reason in said
    assert password not in said.replace(reason, "") or password == "x"
    assert login(relay, name, password, "login") == REFUSED


@pytest.mark.parametrize("name, password", [("lou", ""), ("none", ""), ("nosuch", ""), ("", "x")])
def test_an_empty_name_or_password_is_refused_unasked(relay, name, password):
    assert re.match(r"5\d\d 5\.", login(relay, name, password))
    assert re.match(r"5\d\d 5\.", login(relay, name, password, "login"))


FORMS = ["lou", ".\\lou", f"{HOST}\\lou", f"{HOST.upper()}\\lou", f"{NETBIOS}\\lou",
         f"{FQDN}\\lou", f"lou@{FQDN}", f"lou@{HOST}", f"lou@{NETBIOS.lower()}", "lou@."]


@pytest.mark.parametrize("form", FORMS)
def test_every_name_of_this_machine_means_one_account(relay, form):
    mark = len(relay.log())
    assert login(relay, form, "L0u-pw!").startswith("235 ")
    said = log_since(relay, mark, r"smtp\.auth\.ok.*").group(0)
    assert said.replace("\\\\", "\\").rstrip().endswith(("user=.\\lou", 'user=".\\lou"')), said


@pytest.mark.parametrize("form", ["CORP\\lou", "lou@corp.example", "\\lou", f"@{FQDN}", "lou@", f"lou@{FQDN}.",
                                  "lou@relay.example"])  # what mail calls it is no machine's name
@pytest.mark.parametrize("how", ["plain", "login"])
def test_a_domain_that_is_not_here_is_refused_like_a_wrong_password(relay, form, how):
    assert login(relay, form, "L0u-pw!", how) == REFUSED


def test_a_bare_name_belongs_to_the_default_domain(machine, running):
    users = {"name": "users", "backend": "userdb"}
    service = running([users, SYSTEM])
    assert login(service, "lou", "L0u-pw!") == REFUSED  # the first: users
    service.write({"authentication": {"basic": {"default_domain": "."}}})
    assert machine.cli(service, "reload").returncode == 0
    assert login(service, "lou", "L0u-pw!").startswith("235 ")
    service.write({"authentication": {"basic": {"default_domain": NETBIOS}}})
    assert machine.cli(service, "reload").returncode == 0
    assert login(service, "lou", "L0u-pw!").startswith("235 ")


def test_an_entry_with_a_name_of_its_own_gives_its_name_to_the_account(running):
    service = running([{**SYSTEM, "name": "OFFICE", "aliases": ["."]}])
    assert login(service, ".\\lou", "L0u-pw!").startswith("235 ")
    assert login(service, "lou@office", "L0u-pw!").startswith("235 ")
    assert len(re.findall(r"smtp\.auth\.ok.*OFFICE\\{1,2}lou", service.log())) == 2


def test_mail_of_an_account_is_relayed_and_told_by_its_name(relay):
    with Client(relay.port("implicit"), implicit=True) as client:
        client.hello()
        assert client.cmd("MAIL FROM:<a@b.example>").code == 250
        assert client.cmd("RCPT TO:<x@foreign.example>").code == 550
        client.cmd("RSET")
        assert client.plain("lou", "L0u-pw!").code == 235
        assert client.cmd("MAIL FROM:<a@b.example>").code == 250
        assert client.cmd("RCPT TO:<x@foreign.example>").code == 250
        client.cmd("RSET")
        before = len(relay.drop())
        mark = len(relay.log())
        client.mail("a@b.example", "v@local.example")
        client.quit()
    received = relay.wait_drop(before + 1)[-1].header()
    assert b"ESMTPSA" in received and rb"(authenticated as .\\lou)" in received, received
    log_since(relay, mark, r"smtp\.message\.accepted.*user=\"?\.\\{1,2}lou")


# -- rules for accounts

def test_account_management_refuses_after_a_right_password(machine, running):
    service = running([{**SYSTEM, "pam_service": "rules"}])
    assert login(service, "yes", "Y3s-pw!").startswith("235 ")
    assert login(service, "out", "Out-pw!") == REFUSED  # pam_access
    service.wait_log("smtp.auth.refused.*not now or not here, by the rules for accounts")
    mark = len(service.log())
    (machine.pam_folder / "nologin.now").write_text("closed\n")
    try:
        assert login(service, "lou", "L0u-pw!") == REFUSED  # pam_nologin
        log_since(service, mark, "smtp.auth.refused.*the rules for accounts refuse it")
    finally:
        (machine.pam_folder / "nologin.now").unlink()
    assert login(service, "yes", "Y3s-pw!").startswith("235 ")


def test_an_allow_list_takes_accounts_and_groups_of_the_machine(machine, running):
    service = running([{**SYSTEM, "allow": [".\\mail-senders", f"{HOST}\\out"]}])
    assert login(service, "yes", "Y3s-pw!").startswith("235 ")  # by the group
    assert login(service, "out", "Out-pw!").startswith("235 ")  # by name
    mark = len(service.log())
    assert login(service, "lou", "L0u-pw!") == REFUSED
    log_since(service, mark, "smtp.auth.refused.*(in none of the groups that may|allow)")
    assert login(service, "yes", "wrong") == REFUSED
    assert login(service, "locked", "L0ck-pw!") == REFUSED  # in the group, and locked
    # The primary group of an account counts, too.
    primary = running([{**SYSTEM, "allow": [".\\lou"]}])
    assert login(primary, "lou", "L0u-pw!").startswith("235 ")
    assert login(primary, "yes", "Y3s-pw!") == REFUSED
    assert "none of the groups that may exists" not in primary.log()
    for user, code in (("yes", 0), ("out", 0), ("nosuch", None)):
        done = machine.cli(service, "explain", "--client", "192.0.2.1", "--tls", "--user", user,
                           "--from", "a@b.example", "--to", "x@foreign.example")
        assert done.returncode == code or code is None, done


@pytest.mark.parametrize("domain, pam_name", [("CORP", None), ("PLUS", "{domain}+{user}"),
                                              ("sssd.example", "{user}@{domain}")])
def test_an_account_of_a_joined_domain_is_called_as_pam_knows_it(running, domain, pam_name):
    entry = {"name": domain, "backend": "system", **({"pam_name": pam_name} if pam_name else {})}
    service = running([SYSTEM, entry])
    for form in (f"{domain}\\alice", f"{domain.lower()}\\ALICE", f"alice@{domain}"):
        assert login(service, form, "Alice-pw!").startswith("235 "), service.log()[-800:]
    assert login(service, f"{domain}\\lou", "L0u-pw!") == REFUSED  # the machine's own is another
    assert login(service, "alice", "Alice-pw!") == REFUSED
    assert len(re.findall(rf"smtp\.auth\.ok.*{re.escape(domain)}\\{{1,2}}alice", service.log())) == 3


def test_a_group_of_a_joined_domain_is_looked_up_in_it(running):
    service = running([{"name": "CORP", "backend": "system", "allow": ["CORP\\relay users"]}])
    assert login(service, "CORP\\alice", "Alice-pw!").startswith("235 ")
    assert login(service, "CORP\\bob", "Bob-pw!") == REFUSED
    service.wait_log("smtp.auth.refused.*in none of the groups that may")


# -- postern check

def test_check_tells_whether_local_accounts_work_and_what_to_do(machine, running):
    service = running([SYSTEM])
    done = machine.cli(service, "check")
    assert done.returncode == 0 and re.search(r"(?m)^.*system.*ready", done.stdout), done
    service.write({"authentication": {"domains": [{**SYSTEM, "pam_service": "nowhere"}]}})
    done = machine.cli(service, "check")
    said = done.stdout + done.stderr
    assert "there is no PAM service nowhere" in said and "packaging/pam/postern" in said, said
    service.write({"authentication": {"domains": [
        {**SYSTEM, "pam_service": "postern", "helper": str(machine.folder / "none.sock")}]}})
    said = (lambda done: done.stdout + done.stderr)(machine.cli(service, "check"))
    assert "none.sock" in said and "postern-accounts.socket" in said, said


# -- rights

def test_the_service_is_not_root_and_the_helper_is(relay):
    assert uids(relay.process.pid) == {SERVICE_UID}
    guard = children(relay.process.pid)
    assert len(guard) == 1 and uids(guard[0]) == {0}
    server = wait_until(lambda: children(guard[0]))
    assert len(server) == 1 and uids(server[0]) == {0}
    for pid in (*guard, *server):
        assert os.path.realpath(f"/proc/{pid}/exe") == str(HELPER.resolve())
    # Nothing of the service is open in it: no listener, no database.
    opened = [os.readlink(f"/proc/{server[0]}/fd/{fd}")
              for fd in os.listdir(f"/proc/{server[0]}/fd")]
    assert not [path for path in opened if "users.db" in path or "queue.db" in path]


def test_who_is_in_group_shadow_needs_no_root_at_all(running):
    service = running([SYSTEM], uid=SERVICE_UID, groups=(SHADOW_GID,))
    for pid in family(service.process.pid):
        assert uids(pid) == {SERVICE_UID}
    for name, password, reason in OUTCOMES:
        mark = len(service.log())
        line = login(service, name, password)
        assert line.startswith("235 ") == (reason is None), (name, password, line)
        if reason is not None:
            assert line == REFUSED
            assert reason in log_since(service, mark, r"smtp\.auth\.refused.*").group(0)


def test_without_root_and_without_the_group_nothing_is_offered_and_the_cure_is_told(machine,
                                                                                    running):
    service = running([SYSTEM], uid=SERVICE_UID)
    with Client(service.port("implicit"), implicit=True) as client:
        assert "AUTH" not in client.hello().ehlo.text
    said = service.wait_log(r"auth\.backend\.not_ready.*").group(0)
    assert "cannot read /etc/shadow" in said and "group shadow" in said


# -- a helper that does not answer

def ask_in_background(service, name, password):
    """A thread that logs in, and where its answer and its time will be."""
    answer = {}

    def run():
        began = time.monotonic()
        answer["line"] = login(service, name, password)
        answer["took"] = time.monotonic() - began

    thread = threading.Thread(target=run)
    thread.start()
    return thread, answer


def checks_of(service):
    """What the helper's server has forked: the checks under way."""
    return [pid for guard in children(service.process.pid) for server in children(guard)
            for pid in children(server) if alive(pid)]


def test_a_helper_killed_during_a_check_is_454_and_comes_back(running):
    service = running([{**SYSTEM, "name": "SLOW", "pam_service": "slow", "aliases": ["."]}])
    for victims in ("server", "check"):
        wait_until(lambda: not checks_of(service))  # one that has answered may not have ended yet
        thread, answer = ask_in_background(service, "lou", "L0u-pw!")
        checks = wait_until(lambda: checks_of(service))
        guard = children(service.process.pid)[0]
        end(children(guard) if victims == "server" else checks)
        thread.join()
        assert answer["line"].startswith(LATER), (victims, answer)
        assert answer["took"] < 3 * PATIENCE, (victims, answer)
        assert children(service.process.pid) == [guard]
        assert login(service, "lou", "L0u-pw!").startswith("235 "), victims
    # All of it: without root no other can be started; it says so and does not call passwords wrong.
    end(family(guard))
    assert login(service, "lou", "L0u-pw!").startswith(LATER)
    service.wait_log("cannot be started again without root: restart the service")
    service.stop()
    service.start()
    assert login(service, "lou", "L0u-pw!").startswith("235 ")


def test_a_service_in_group_shadow_starts_its_helper_again(running):
    service = running([SYSTEM], uid=SERVICE_UID, groups=(SHADOW_GID,))
    assert login(service, "lou", "L0u-pw!").startswith("235 ")
    end(family(children(service.process.pid)[0]))
    wait_until(lambda: login(service, "lou", "L0u-pw!").startswith("235 "))


def test_a_frozen_helper_is_454_within_the_deadline_and_others_go_on(machine, running):
    service = running([{"name": "users", "backend": "userdb"}, {**SYSTEM, "deadline": "4s"}])
    service.wrapper, wrapper = [], service.wrapper
    done = machine.run(BINARY, "user", "add", "app", "--password-stdin", "-c",
                       str(service.path), input="Apps-pw!\n")
    assert done.returncode == 0, done
    service.wrapper = wrapper
    assert login(service, "app", "Apps-pw!").startswith("235 ")
    frozen = family(children(service.process.pid)[0])
    for pid in frozen:
        tell(pid, signal.SIGSTOP)
    try:
        waiting = [ask_in_background(service, ".\\lou", "L0u-pw!") for _ in range(6)]
        took = []
        while any(thread.is_alive() for thread, _ in waiting):
            began = time.monotonic()
            assert login(service, "app", "Apps-pw!").startswith("235 ")
            if any(thread.is_alive() for thread, _ in waiting):  # answered before they were
                took.append(time.monotonic() - began)
        for thread, answer in waiting:
            assert answer["line"].startswith(LATER), answer
            assert answer["took"] < 10 * PATIENCE, answer
        assert took and max(took) < 4 * PATIENCE, took
    finally:
        for pid in frozen:
            tell(pid, signal.SIGCONT)
    wait_until(lambda: login(service, ".\\lou", "L0u-pw!").startswith("235 "), 40)


@pytest.mark.parametrize("service_of_pam, deadline, word",
                         [("slow", "1s", "took too long"), ("crash", "5s", "died")])
def test_a_module_that_hangs_or_crashes_is_454(running, service_of_pam, deadline, word):
    service = running([{**SYSTEM, "pam_service": service_of_pam, "deadline": deadline}])
    began = time.monotonic()
    assert login(service, "lou", "L0u-pw!").startswith(LATER)
    assert time.monotonic() - began < 5 * PATIENCE
    service.wait_log(f"smtp.auth.refused.*{word}")


def test_the_helper_ends_with_the_service_however_that_ends(running):
    service = running([SYSTEM])
    helpers = family(children(service.process.pid)[0])
    assert len(helpers) == 2
    service.kill()
    wait_until(lambda: not any(alive(pid) for pid in helpers))


def test_sixty_at_once_are_all_answered(running, record_property):
    service = running([SYSTEM])
    began = time.monotonic()
    waiting = [ask_in_background(service, "lou", "L0u-pw!") for _ in range(60)]
    for thread, _ in waiting:
        thread.join()
    took = time.monotonic() - began
    lines = [answer["line"][:3] for _, answer in waiting]
    record_property("note", f"local accounts, sha512: 60 logins at once in {took:.1f} s, "
                    f"{lines.count('235')} right, {lines.count('454')} later")
    # Who waited so long for a turn that an answer in time was in danger got 454.
    assert set(lines) <= {"235", "454"} and lines.count("235") >= (20 if SANITIZED else 45), lines
    assert max(answer["took"] for _, answer in waiting) < 10 * PATIENCE
    assert login(service, "yes", "Y3s-pw!").startswith("235 ")


# -- a helper that others start

@pytest.mark.parametrize("activated", [False, True], ids=["socket", "socket-activated"])
def test_a_helper_of_its_own_serves_a_service_that_never_was_root(machine, running, activated):
    if activated and not shutil.which("systemd-socket-activate"):
        pytest.skip("systemd-socket-activate is not installed")
    helper = machine.helper(activated=activated).start()
    service = running([{**SYSTEM, "helper": str(helper.path)}], uid=SERVICE_UID)
    assert uids(service.process.pid) == {SERVICE_UID} and not children(service.process.pid)
    assert login(service, "lou", "L0u-pw!").startswith("235 ")
    assert login(service, "must", "Must-pw!") == REFUSED
    assert login(service, "nosuch", "x") == REFUSED
    # Somebody whom nobody allowed is hung up on, and is told nothing.
    stranger = machine.run("/usr/bin/python3", "-c", "import socket,sys\n"
                           "s = socket.socket(socket.AF_UNIX); s.settimeout(20)\n"
                           f"s.connect({str(helper.path)!r})\n"
                           "print(s.recv(100))", uid=STRANGER_UID)
    assert stranger.stdout == "b''\n", stranger
    assert f"accounts.peer.refused uid={STRANGER_UID}" in helper.log()
    # It goes and comes back; the service needs no restart.
    helper.close()
    assert login(service, "lou", "L0u-pw!").startswith(LATER)
    helper.start()
    wait_until(lambda: login(service, "lou", "L0u-pw!").startswith("235 "), 40)


def test_guesses_beyond_the_helpers_rate_are_454_and_nothing_is_hashed(machine, running):
    helper = machine.helper("--account-burst", "3", "--account-rate", "0").start()
    service = running([{**SYSTEM, "helper": str(helper.path)}], uid=SERVICE_UID)
    assert [login(service, "lou", f"guess {i}")[:3] for i in range(5)] == ["535"] * 3 + ["454"] * 2
    assert login(service, "yes", "Y3s-pw!").startswith("235 ")  # another account
    service.wait_log("smtp.auth.refused.*asked too often")


def test_a_helper_that_is_not_there_is_told_with_its_cure(machine, running):
    path = machine.folder / "nowhere.sock"
    users = {"name": "users", "backend": "userdb"}
    service = running([users, {**SYSTEM, "helper": str(path)}])
    assert login(service, ".\\lou", "L0u-pw!").startswith(LATER)
    said = service.wait_log(r"auth\.backend\.not_ready.*").group(0)
    assert str(path) in said and "cure=" in said


# -- pam_wrapper

def test_accounts_of_pam_wrapper(machine, running, tmp_path_factory):
    """libpam_wrapper puts another PAM below the helper: any module, without touching /etc."""
    library = "/usr/lib/x86_64-linux-gnu/libpam_wrapper.so"
    if not os.path.exists(library) or not os.path.exists(MATRIX):
        pytest.skip("libpam-wrapper is not installed")
    program = HELPER
    if SANITIZED:  # the wrapper loads libpam with RTLD_DEEPBIND, which sanitizers refuse
        program = BINARY.parents[1] / "release" / HELPER.name
        if not program.exists():
            pytest.skip(f"{program} is not built, and a sanitizer and pam_wrapper do not mix")
    folder = machine.folder / "wrapped"
    folder.mkdir()
    (folder / "matrix").write_text("ann:Ann-pw!:wrapped\nbob:Bob-pw!:another\n")
    rules = f"auth required {MATRIX} passdb={folder}/matrix\naccount required {MATRIX} passdb={folder}/matrix\n"
    (folder / "wrapped").write_text(rules)
    # Readiness looks for the service where the system has it; the wrapper answers from its own.
    machine.pam({"wrapped": "auth required pam_deny.so\naccount required pam_deny.so\n"})
    helper = machine.helper(environment={
        "LD_PRELOAD": library, "PAM_WRAPPER": "1", "PAM_WRAPPER_SERVICE_DIR": str(folder),
        }, program=program).start()
    service = running([{**SYSTEM, "pam_service": "wrapped", "helper": str(helper.path)}],
                      uid=SERVICE_UID)
    assert login(service, "ann", "Ann-pw!").startswith("235 "), helper.log() + service.log()
    assert login(service, "ann", "Bob-pw!") == REFUSED
    assert login(service, "bob", "Bob-pw!") == REFUSED  # of another service
    assert login(service, "nosuch", "Ann-pw!") == REFUSED


# -- what the time of a refusal tells

def mann_whitney(a, b):
    """How likely one of a is greater than one of b (ties half), and the two-sided p of that by
    chance alone: the normal approximation with the correction for ties."""
    pooled = sorted(a + b)
    rank, ties = {}, 0
    for value in set(pooled):
        n = bisect.bisect_right(pooled, value) - bisect.bisect_left(pooled, value)
        rank[value] = bisect.bisect_left(pooled, value) + (n + 1) / 2
        ties += n ** 3 - n
    u = sum(rank[value] for value in a) - len(a) * (len(a) + 1) / 2
    n, total = len(a) * len(b), len(a) + len(b)
    spread = math.sqrt(n / 12 * (total + 1 - ties / (total * (total - 1))))
    z = (u - n / 2) / spread if spread else 0.0
    return u / n, math.erfc(abs(z) / math.sqrt(2))


def test_the_statistic_tells_what_differs_from_what_does_not():
    same = [i % 17 for i in range(60)]
    assert mann_whitney(same, same) == (0.5, 1.0)
    likely, p = mann_whitney([i + 0.5 for i in range(60)], [i + 20 for i in range(60)])
    assert likely < 0.3 and p < 1e-4
    assert mann_whitney([1.0] * 5, [1.0] * 5) == (0.5, 1.0)


@pytest.mark.long
@pytest.mark.solo
@pytest.mark.parametrize("method", ["yescrypt", "sha512"])
def test_unknown_wrong_and_locked_cannot_be_told_by_time(certificates, record_property, method):
    """Interleaved, each try on a connection and with a password of its own."""
    tries, accounts = 50, 6
    machine = Machine([
        *(Account(f"user{i}", 5000 + i, hash=hashed("Right-pw!", method)) for i in range(accounts)),
        *(Account(f"closed{i}", 5100 + i, hash="!" + hashed("Right-pw!", method))
          for i in range(accounts))])
    service = machine.service(certificates, [{**SYSTEM, "deadline": "9s"}])
    helper = machine.helper("--burst", "100000").start()
    took = {"wrong": [], "unknown": [], "locked": []}
    raw = {what: [] for what in took}
    try:
        service.start()
        for _ in range(3):  # both have seen right passwords, as on any machine that works
            assert login(service, "user0", "Right-pw!").startswith("235 ")
            assert helper.ask("user0", "Right-pw!")[0] == 0
        for i in range(-6, tries):  # the first ones are warming up
            names = {"wrong": f"user{i % accounts}", "unknown": f"nobody{i}",
                     "locked": f"closed{i % accounts}"}
            for what in sorted(names, key=lambda what: hash((what, i))):
                with Client(service.port("implicit"), implicit=True) as client:
                    client.hello()
                    began = time.monotonic()
                    line = client.plain(names[what], f"wrong {what} {i}").lines[0]
                    wire = time.monotonic() - began
                assert line == REFUSED, service.log()[-1500:]
                of_helper = helper.ask(names[what], f"wrong {what} {i}")[2]
                if i >= 0:
                    took[what].append(wire)
                    raw[what].append(of_helper)
    finally:
        service.finish()
        machine.close()
    for level, times in (("client", took), ("helper", raw)):
        middle = {what: statistics.median(times[what]) * 1000 for what in times}
        record_property("note", f"local accounts, {method}, time of a refusal at the {level}, medians "
                        f"of {tries}: " + ", ".join(f"{w} {m:.0f} ms" for w, m in middle.items()))
        for what in ("unknown", "locked"):
            likely, p = mann_whitney(times["wrong"], times[what])
            record_property("note", f"local accounts, {method}, {level}: a wrong password takes longer "
                            f"than {what} in {likely:.0%} of the pairs, Mann-Whitney p = {p:.3f}")
            if level == "client":
                assert p > 0.001, (what, likely, p, middle)
            else:
                assert 0.7 < middle["wrong"] / middle[what] < 1.4, middle
