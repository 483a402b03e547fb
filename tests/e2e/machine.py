"""A machine of a test's own, for accounts: namespaces in which it has a name of its own and
/etc/passwd, shadow, group, hosts, nsswitch.conf and pam.d are files of the test. PAM and its
pam_unix are the real ones. Needs root."""
import ctypes
import ctypes.util
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

import pytest

from postern import BINARY, PATIENCE, Service

HELPER = BINARY.with_name("postern-accounts")
SERVICE_USER, SERVICE_UID = "relayer", 4900
STRANGER_UID = 4999  # has no account and nobody allows it
SHADOW_GID = 42
TODAY = int(time.time() // 86400)

# sha512 as `passwd` makes it with ENCRYPT_METHOD SHA512, yescrypt as Debian 12 does by default.
SALTS = {"sha512": "$6$postern.test$", "yescrypt": "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$",
         "md5": "$1$postern$"}

# A name that NetBIOS cuts off after 15 characters.
HOST, NETBIOS, FQDN = ("relay-box-in-the-cellar", "RELAY-BOX-IN-TH",
                       "relay-box-in-the-cellar.office.example")

UNSHARE = ["unshare", "--mount", "--uts", "--propagation", "private"]
PAM_UNIX = "auth required pam_unix.so\naccount required pam_unix.so\n"


def hashed(password, method="sha512"):
    library = ctypes.CDLL(ctypes.util.find_library("crypt") or "libcrypt.so.1")
    library.crypt.restype = ctypes.c_char_p
    made = library.crypt(password.encode(), SALTS[method].encode())
    assert made and made.startswith(SALTS[method].encode()), made
    return made.decode()


def why_not():
    """A reason to skip, or None."""
    if os.getuid() != 0:
        return "only root can give itself another /etc/passwd"
    tried = subprocess.run([*UNSHARE, "true"],
                           capture_output=True)
    return None if tried.returncode == 0 else "no mount namespaces here"


class Account:
    """One line of passwd and shadow. hash: what stands in shadow, by default that of the password."""

    def __init__(self, name, uid, password=None, hash=None, changed=TODAY - 10, longest=99999,
                 inactive="", expires="", gid=None):
        if hash is None:
            hash = hashed(password) if password is not None else "!"
        self.name = name
        self.passwd = f"{name}:x:{uid}:{uid if gid is None else gid}::/nonexistent:/usr/sbin/nologin"
        self.shadow = f"{name}:{hash}:{changed}:0:{longest}:7:{inactive}:{expires}:"


class Machine:
    """accounts: of Account; groups: {name: (gid, [members])}; pam: {service: text}."""

    def __init__(self, accounts, groups=None, pam=None):
        reason = why_not()
        if reason:
            pytest.skip(reason)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-machine-"))
        self.folder.chmod(0o755)
        self.pam_folder = self.folder / "pam.d"
        self.pam_folder.mkdir()
        everybody = [Account("root", 0, "the root password"), Account("daemon", 1, hash="*"),
                     Account("nobody", 65534, "nobodys password"),
                     Account(SERVICE_USER, SERVICE_UID), *accounts]
        self._file("passwd", [a.passwd for a in everybody])
        self._file("shadow", [a.shadow for a in everybody])
        os.chown(self.folder / "shadow", 0, SHADOW_GID)
        (self.folder / "shadow").chmod(0o640)
        lines = ["root:x:0:", f"shadow:x:{SHADOW_GID}:", "nogroup:x:65534:",
                 f"{SERVICE_USER}:x:{SERVICE_UID}:"]
        lines += [f"{name}:x:{gid}:{','.join(members)}"
                  for name, (gid, members) in (groups or {}).items()]
        self._file("group", lines)
        self._file("nsswitch.conf", ["passwd: files", "group: files", "shadow: files",
                                     "hosts: files"])
        self._file("hosts", ["127.0.0.1 localhost", f"127.0.1.1 {FQDN} {HOST}"])
        self.pam({"other": "auth required pam_deny.so\naccount required pam_deny.so\n",
                  "postern": PAM_UNIX, **(pam or {})})
        self.script = self.folder / "enter"
        binds = "".join(f"mount --bind {self.folder}/{name} /etc/{name}\n"
                        for name in ("passwd", "shadow", "group", "hosts", "nsswitch.conf", "pam.d"))
        self.script.write_text(f"#!/bin/sh -e\n{binds}hostname {HOST}\nexec \"$@\"\n")
        self.script.chmod(0o755)
        self.helpers = []

    def _file(self, name, lines):
        path = self.folder / name
        path.write_text("".join(f"{line}\n" for line in lines))
        path.chmod(0o644)

    def pam(self, services):
        for name, text in services.items():
            (self.pam_folder / name).write_text(text)

    def enter(self, uid=None, groups=()):
        """What to put before a command, to run it on this machine; as root, or as that user."""
        words = [*UNSHARE, str(self.script)]
        if uid is not None:
            words += ["setpriv", "--no-new-privs", f"--reuid={uid}", f"--regid={uid}"]
            words += [f"--groups={','.join(map(str, groups))}"] if groups else ["--clear-groups"]
        return words

    def run(self, *command, uid=None, groups=(), **options):
        return subprocess.run([*self.enter(uid, groups), *map(str, command)], capture_output=True,
                              text=True, timeout=60 * PATIENCE, **options)

    def service(self, certificates, domains, name="postern", uid=None, groups=(), **config):
        """A service on this machine; with uid it never was root and has these groups."""
        made = Service(self.folder / name, certificates, {
            "service": {"hostname": "relay.example", "data_directory": str(self.folder / name / "data"),
                        "user": SERVICE_USER if uid is None else ""},
            "limits": {"connections_per_client": 500},
            "authentication": {
                "domains": domains,
                "throttle": {"delay": "1ms", "delay_max": "1ms", "account_delay_max": "1ms",
                             "free_failures": 1000, "refuse_after": 100000}},
            **config}, {"plain": {"tls": "optional"}, "implicit": {"tls": "implicit"}})
        made.wrapper = self.enter(uid, groups)
        for key, source in (("certificate", certificates.certificate), ("key", certificates.key)):
            copy = made.folder / f"{key}.pem"
            shutil.copy(source, copy)
            os.chown(copy, SERVICE_UID, SERVICE_UID)
            made.config["tls"][key] = str(copy)
        os.chown(made.folder, SERVICE_UID, SERVICE_UID)
        return made

    def cli(self, service, *arguments, uid=None, groups=()):
        if not service.path.exists():
            service.write()
        return self.run(BINARY, *arguments, "-c", service.path, uid=uid, groups=groups)

    def helper(self, *options, path=None, activated=False, uid=None, groups=(), environment=None,
               program=HELPER):
        """A helper of its own beside the service, as systemd would run it."""
        it = Helper(self, [str(program), *options], path, activated, uid, groups, environment)
        self.helpers.append(it)
        return it

    def close(self):
        for helper in self.helpers:
            helper.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Helper:
    """postern-accounts with a socket of its own: --socket, or --socket-activated by systemd's own
    tool."""

    def __init__(self, machine, program, path, activated, uid, groups, environment):
        self.path = path or machine.folder / f"helper{len(machine.helpers)}.sock"
        self.log_path = self.path.with_suffix(".log")
        self.machine, self.uid, self.groups = machine, uid, groups
        self.environment = dict(os.environ, **(environment or {}))
        command = [*program, "--allow-user", SERVICE_USER]
        if activated:
            passed = [word for name in self.environment if name.endswith("SAN_OPTIONS")
                      for word in ("-E", name)]
            self.command = ["systemd-socket-activate", "-l", str(self.path), *passed, *command,
                            "--socket-activated"]
        else:
            self.command = [*command, "--socket", str(self.path)]
        self.process = None

    def start(self):
        self.path.unlink(missing_ok=True)
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self.machine.enter(self.uid, self.groups), *self.command], stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, env=self.environment)
        end = time.monotonic() + 10 * PATIENCE
        while not self.path.exists():
            assert self.process.poll() is None and time.monotonic() < end, self.log()
            time.sleep(0.02)
        time.sleep(0.1)
        self.path.chmod(0o666)  # systemd: SocketUser; who connects is looked at in any case
        return self

    def log(self):
        return self.log_path.read_text(errors="replace")

    def ask(self, account, password, service="postern", deadline_ms=20000):
        """A question in the helper's own protocol (service/base/account_protocol.h), as root:
        the result's number, the text, and how long it took in seconds."""
        def string(text):
            return struct.pack(">H", len(text.encode())) + text.encode()

        body = (struct.pack(">I", deadline_ms) + string(service) + string("") + string(account) +
                string(password) + b"\0")
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(deadline_ms / 1000 + 5)
            s.connect(str(self.path))
            began = time.monotonic()
            s.sendall(struct.pack(">BBH", 1, 1, len(body)) + body)
            answer = b""
            while data := s.recv(4096):
                answer += data
            took = time.monotonic() - began
        assert len(answer) >= 4 and answer[0] == 1, answer
        return answer[1], answer[4:].decode(), took

    def close(self):
        if self.process is None:
            return
        for pid in family(self.process.pid):
            tell(pid, signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


def children(pid):
    try:
        return [int(c) for t in pathlib.Path(f"/proc/{pid}/task").iterdir()
                for c in (t / "children").read_text().split()]
    except OSError:
        return []


def family(pid):
    """It and all that come from it, the parent first."""
    found = [pid]
    for child in children(pid):
        found += family(child)
    return found


def tell(pid, which):
    try:
        os.kill(pid, which)
    except ProcessLookupError:
        pass


def end(pids):
    """Kills them and waits until they are no more than a line in a table."""
    for pid in pids:
        tell(pid, signal.SIGKILL)
    wait_until(lambda: not any(alive(pid) for pid in pids))


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def uids(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("Uid:"):
            return {int(word) for word in line.split()[1:]}
    raise AssertionError(f"process {pid} has no uid")


def wait_until(what, patience=15):
    end = time.monotonic() + patience * PATIENCE
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"never: {what}")
