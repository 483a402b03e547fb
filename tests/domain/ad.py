#!/usr/bin/python3
"""A throw-away Active Directory domain of Samba's, and a machine that is joined to it.

usage: ad.py [COMMAND...]     as root: a shell, or COMMAND, on the joined machine; then all is gone

enter() gives the calling process namespaces of its own: a network with two machines in it and a
mount namespace where /run, /etc/samba, /etc/hosts and the like are ours. From then on it *is* the
joined machine relay.corp.example (10.77.0.20). The controller dc1.corp.example (10.77.0.10) runs
behind a virtual cable in further namespaces of its own and dies with the process that made it.
Nothing of the machine changes: files, network names, users, services.

What takes long, provisioning and joining, is kept as a tar below build/domain, named by Samba's
version and what these files say. It holds the passwords, which are drawn anew each time: mode 0600.
"""
import base64
import contextlib
import ctypes
import hashlib
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KEPT = ROOT / "build" / "domain"
UNPACKED = KEPT / "root"
LAB = pathlib.Path("/run/lab")
REALM, SHORT, DNS = "CORP.EXAMPLE", "CORP", "corp.example"
DC, RELAY = "10.77.0.10", "10.77.0.20"
DC_NAME, RELAY_NAME = f"dc1.{DNS}", f"relay.{DNS}"
ACCOUNTS = ("alice", "bob", "carol", "dave", "juergen", "oracle", "victim", "locked", "disabled",
            "expired", "stale", "mustchange", "Guest", "svc-smtp", "Administrator")
LOCKOUT_THRESHOLD = 6
CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
# The folders of one Samba machine, and where they lie among ours.
STATE = {"var": "/var/lib/samba", "cache": "/var/cache/samba", "log": "/var/log/samba",
         "run": "/run/samba", "etc": "/etc/samba"}

DC_CONF = """
[global]
 realm = {REALM}
 workgroup = {SHORT}
 netbios name = DC1
 server role = active directory domain controller
 interfaces = {DC}/24
 bind interfaces only = yes
 disable netbios = yes
 server services = rpc, ldap, cldap, kdc, winbindd, dns, s3fs
 dns forwarder = 0.0.0.0
 log level = 1
 load printers = no
 printcap name = /dev/null
 disable spoolss = yes
 ntlm auth = ntlmv2-only
 tls keyfile = {LAB}/tls/dc.key
 tls certfile = {LAB}/tls/dc.pem
 tls cafile = {LAB}/tls/ca.pem
 idmap_ldb:use rfc2307 = yes
[sysvol]
 path = /var/lib/samba/sysvol
 read only = no
[netlogon]
 path = /var/lib/samba/sysvol/{DNS}/scripts
 read only = no
"""
RELAY_CONF = """
[global]
 realm = {REALM}
 workgroup = {SHORT}
 netbios name = RELAY
 server role = member server
 security = ads
 interfaces = {RELAY}/24
 bind interfaces only = yes
 disable netbios = yes
 idmap config * : backend = tdb
 idmap config * : range = 100000-199999
 idmap config {SHORT} : backend = rid
 idmap config {SHORT} : range = 200000-299999
 kerberos method = dedicated keytab
 dedicated keytab file = FILE:/var/lib/samba/private/krb5.keytab
 machine password timeout = 0
 winbind max domain connections = 4
 template shell = /usr/sbin/nologin
"""
KRB5_CONF = """
[libdefaults]
 default_realm = {REALM}
 dns_lookup_realm = false
 dns_lookup_kdc = false
 dns_canonicalize_hostname = false
 rdns = false
 udp_preference_limit = 1
[realms]
 {REALM} = {{
  kdc = {DC}
  kpasswd_server = {DC}
 }}
[domain_realm]
 .{DNS} = {REALM}
 {DNS} = {REALM}
"""
HOSTS = """127.0.0.1 localhost
{DC} {DC_NAME} dc1
{RELAY} {RELAY_NAME} relay
"""
RESOLV = """nameserver {DC}
search {DNS}
options timeout:1 attempts:2
"""
# pam_winbind alone: what local accounts do is another suite's question.
PAM = """auth required {UNPACKED}/lib/x86_64-linux-gnu/security/pam_winbind.so
account required {UNPACKED}/lib/x86_64-linux-gnu/security/pam_winbind.so
"""


def filled(text):
    return text.lstrip("\n").format(**globals())


def run(*command, input=None, check=True, timeout=120, **more):
    done = subprocess.run([str(c) for c in command], input=input, text=True, capture_output=True,
                          timeout=timeout, **more)
    if check and done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{done.stdout[-2000:]}"
                           f"{done.stderr[-2000:]}")
    return done


def why_not():
    """Why there can be no domain here, or None."""
    if os.geteuid() != 0:
        return "namespaces need root"
    for program in ("samba", "samba-tool", "winbindd", "wbinfo", "net", "kinit", "ip", "unshare"):
        if not shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
            return f"{program} is not installed"
    if not (UNPACKED / "lib/x86_64-linux-gnu/security/pam_winbind.so").exists():
        return f"{UNPACKED} is not there: ./test domain unpacks it"
    done = run("unshare", "--net", "--mount", "--pid", "--fork", "--propagation", "private", "sh",
               "-c", "ip link add v0 type veth peer name v1 && mount -t tmpfs none /run", check=False)
    return None if done.returncode == 0 else f"no namespaces here: {done.stderr.strip()}"


def mount(*arguments):
    run("mount", *arguments)


def enter():
    """From here on this process and its children are alone: see above. Before any thread starts."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS | CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    mount("--make-rprivate", "/")
    mount("-t", "tmpfs", "-o", "mode=755", "lab", "/run")
    for folder in (LAB, "/run/lock", "/run/samba"):
        os.makedirs(folder)
    LAB.chmod(0o711)
    # A library and a plug-in more than the machine has, for this process and its children alone.
    libraries = "/usr/lib/x86_64-linux-gnu"
    mount("-t", "overlay", "-o", f"lowerdir={UNPACKED}/lib/x86_64-linux-gnu:{libraries}", "lab",
          libraries)
    files = LAB / "files"
    files.mkdir()
    nss = pathlib.Path("/etc/nsswitch.conf").read_text()
    nss = re.sub(r"^(passwd|group):.*$", r"\1: files winbind", nss, flags=re.M)
    for name, text in (("hosts", filled(HOSTS)), ("resolv.conf", filled(RESOLV)),
                       ("krb5.conf", filled(KRB5_CONF)), ("nsswitch.conf", nss)):
        (files / name).write_text(text)
        if pathlib.Path("/etc", name).exists():
            mount("--bind", files / name, f"/etc/{name}")
    shutil.copytree("/etc/pam.d", files / "pam.d")
    (files / "pam.d" / "postern").write_text(filled(PAM))
    mount("--bind", files / "pam.d", "/etc/pam.d")
    os.environ["KRB5_CONFIG"] = str(files / "krb5.conf")
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", "relay0", "type", "veth", "peer", "name", "dc0")
    run("ip", "address", "add", f"{RELAY}/24", "dev", "relay0")
    run("ip", "link", "set", "relay0", "up")


def key():
    """Changes when the kept tar is of no use any more."""
    parts = [run("samba", "--version").stdout, (HERE / "provision.py").read_text(), DC_CONF,
             RELAY_CONF, repr(ACCOUNTS), repr(STATE), str(LAB)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


class Machine:
    """A Samba program that is the init of a pid namespace, with folders of its own."""

    def __init__(self, name):
        self.name = name
        self.folder = LAB / name
        self.process = None

    def make_folders(self):
        for part in STATE:
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        (self.folder / "var" / "private").mkdir(mode=0o700, exist_ok=True)

    def binds(self):
        return "".join(f"mkdir -p {to}; mount --bind {self.folder / part} {to}\n"
                       for part, to in STATE.items())

    def spawn(self, script, *options):
        """Runs script as root of new namespaces once release() is called."""
        self.out = open(self.folder / "out", "ab")
        self.process = subprocess.Popen(
            ["unshare", *options, "--mount", "--propagation", "private", "--pid", "--fork",
             "--kill-child", "--mount-proc", "bash", "-euc", "read -r go\n" + script],
            stdin=subprocess.PIPE, stdout=self.out, stderr=self.out, start_new_session=True,
            preexec_fn=lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL))

    def release(self):
        self.process.stdin.write(b"go\n")
        self.process.stdin.close()

    def init(self):
        """The pid, seen from here, of the first process in its pid namespace."""
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return int(pathlib.Path(path).read_text().split()[0])

    def pids(self):
        space = os.readlink(f"/proc/{self.init()}/ns/pid")
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{entry}/ns/pid") == space:
                        found.append(int(entry))
        return found

    def signal_all(self, number):
        for pid in self.pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def freeze(self):
        # Twice: what was forked between the list and the signal.
        self.signal_all(signal.SIGSTOP)
        self.signal_all(signal.SIGSTOP)

    def thaw(self):
        self.signal_all(signal.SIGCONT)

    def inside(self, *command, **more):
        return run("nsenter", "-t", self.init(), "-m", "-n", "-p", *command, **more)

    def terminate(self, timeout=15):
        """In order: its databases are whole afterwards."""
        if self.process and self.process.poll() is None:
            os.kill(self.init(), signal.SIGTERM)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
        self.process = None

    def kill(self):
        # SIGKILL to a pid namespace's init ends all that is in it.
        if self.process and self.process.poll() is None:
            with contextlib.suppress(OSError, IndexError):
                os.kill(self.init(), signal.SIGKILL)
            self.process.kill()
            self.process.wait()
        self.process = None

    def log(self):
        return (self.folder / "out").read_text(errors="replace")


class Domain:
    """up() after enter(). passwords: {account: password}; ca, keytab: files."""

    def __init__(self):
        self.dc, self.relay = Machine("dc"), Machine("relay")
        self.ca = LAB / "tls" / "ca.pem"
        self.keytab = LAB / "relay.keytab"
        self.passwords = {}
        self.times = {}
        self.cabled = False

    # -- coming up
    def up(self):
        start = time.monotonic()
        kept = KEPT / f"ad-{key()}.tar"
        if kept.exists():
            run("tar", "-C", LAB, "--xattrs", "--xattrs-include=*", "--acls", "-xf", kept)
            self._read_passwords()
        else:
            self._provision()
        self._watch("restored" if kept.exists() else "provisioned", start)
        self.start_dc()
        self._watch("controller ready", start)
        if not kept.exists():
            self._join()
            self._watch("joined", start)
            self.dc.terminate()
            self._keep(kept)
            self.start_dc()
            self._watch("kept", start)
        self._bind_relay()
        self.start_winbindd()
        self._watch("member ready", start)
        self.lock("locked")
        return self

    def _watch(self, what, start):
        self.times[what] = time.monotonic() - start

    def _read_passwords(self):
        accounts = json.loads((LAB / "accounts.json").read_text())
        self.passwords = accounts["passwords"]

    def _secret_file(self, name, text):
        path = LAB / name
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as f:
            f.write(text)
        return path

    def _provision(self):
        self.passwords = {name: secrets.token_urlsafe(12) + "aA1" for name in ACCOUNTS}
        self.passwords["juergen"] = "Grüße-" + secrets.token_urlsafe(9)
        self._secret_file("accounts.json", json.dumps({"passwords": self.passwords,
                                                       "host": RELAY_NAME}))
        self._certificates()
        self.dc.make_folders()
        (self.dc.folder / "etc" / "smb.conf").write_text(filled(DC_CONF))
        # The administrator's password is set below: samba-tool would want it as an argument.
        script = self.dc.binds() + f"""
samba-tool domain provision --realm={REALM} --domain={SHORT} --host-name=dc1 --host-ip={DC} \\
    --server-role=dc --dns-backend=SAMBA_INTERNAL --use-rfc2307 -q
/usr/bin/python3 {HERE}/provision.py {LAB}/accounts.json {self.keytab}
"""
        done = subprocess.run(["unshare", "--mount", "--propagation", "private", "bash", "-euc",
                               script], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"provisioning failed:\n{done.stdout[-1500:]}{done.stderr[-3000:]}")

    def _certificates(self):
        folder = LAB / "tls"
        folder.mkdir()
        (folder / "ext").write_text(f"subjectAltName=DNS:{DC_NAME},DNS:{DNS},IP:{DC}\n")
        curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        for command in (
                ("req", "-x509", *curve, "-days", "3650", "-subj", "/CN=Test domain CA", "-keyout",
                 "ca.key", "-out", "ca.pem"),
                ("req", "-new", *curve, "-subj", f"/CN={DC_NAME}", "-keyout", "dc.key", "-out",
                 "dc.csr"),
                ("x509", "-req", "-in", "dc.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                 "-CAcreateserial", "-days", "3650", "-extfile", "ext", "-out", "dc.pem")):
            run("openssl", *command, cwd=folder)
        for name in ("ca.key", "dc.key"):
            (folder / name).chmod(0o600)

    def _keep(self, kept):
        KEPT.mkdir(parents=True, exist_ok=True)
        for old in KEPT.glob("ad-*.tar"):
            old.unlink()
        part = kept.with_suffix(".part")
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        run("tar", "-C", LAB, "--xattrs", "--xattrs-include=*", "--acls", "-cf", part, "dc",
            "relay", "tls", "accounts.json", "relay.keytab")
        part.rename(kept)

    def start_dc(self):
        script = self.dc.binds() + f"""
ip link set lo up
ip address add {DC}/24 dev dc0
ip link set dc0 up
exec samba --foreground --no-process-group -M prefork --option='prefork children=2' </dev/null
"""
        if self.cabled:
            run("ip", "link", "add", "relay0", "type", "veth", "peer", "name", "dc0")
            run("ip", "address", "add", f"{RELAY}/24", "dev", "relay0")
            run("ip", "link", "set", "relay0", "up")
        self.cabled = True
        self.dc.spawn(script, "--net")
        # The cable's other end follows into the network namespace, when there is one.
        end = time.monotonic() + 10
        mine = os.readlink("/proc/self/ns/net")
        while os.readlink(f"/proc/{self.dc.process.pid}/ns/net") == mine:
            if time.monotonic() > end:
                raise RuntimeError("the controller's network never came")
            time.sleep(0.005)
        run("ip", "link", "set", "dc0", "netns", self.dc.process.pid)
        self.dc.release()
        self.wait_dc()

    def wait_dc(self, timeout=60):
        """Until every service of it has really answered."""
        end = time.monotonic() + timeout
        while True:
            lacking = self.dc_lacks()
            if not lacking:
                return
            if self.dc.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the controller is not ready: {lacking}\n{self.dc.log()[-4000:]}")
            time.sleep(0.1)

    def dc_lacks(self):
        for port in (53, 88, 389, 445, 636):
            try:
                socket.create_connection((DC, port), 1).close()
            except OSError as e:
                return f"port {port}: {e}"
        if run("kinit", "-c", "MEMORY:", "alice", input=self.passwords["alice"] + "\n",
               check=False).returncode != 0:
            return "kinit"
        bound = self.ldap_bind("alice", self.passwords["alice"])
        if bound.returncode != 0:
            return f"ldaps: {bound.stderr}"
        try:
            if self.dc.inside("timeout", "3", "wbinfo", "-p", check=False).returncode != 0:
                return "wbinfo"
        except (OSError, IndexError) as e:
            return str(e)
        return None

    def _join(self):
        self.relay.make_folders()
        (self.relay.folder / "etc" / "smb.conf").write_text(filled(RELAY_CONF))
        login = self._secret_file("join", f"username=Administrator\ndomain={SHORT}\n"
                                          f"password={self.passwords['Administrator']}\n")
        script = self.relay.binds() + f"net ads join -A {login} --no-dns-updates\n"
        done = run("unshare", "--mount", "--propagation", "private", "bash", "-euc", script,
                   check=False)
        login.unlink()
        if done.returncode != 0:
            raise RuntimeError(f"join failed:\n{done.stdout}{done.stderr}")

    def _bind_relay(self):
        """This process's own view becomes that of the joined machine."""
        for part, to in STATE.items():
            os.makedirs(to, exist_ok=True)
            mount("--bind", self.relay.folder / part, to)

    def start_winbindd(self):
        self.relay.spawn("exec winbindd -F --no-process-group </dev/null\n")
        self.relay.release()
        end = time.monotonic() + 30
        while run("wbinfo", "-t", check=False).returncode != 0:
            if self.relay.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"winbindd is not ready:\n{self.relay.log()[-3000:]}")
            time.sleep(0.1)

    # -- the directory
    def _ldap(self, program, account, password, *arguments, **more):
        """The password goes through a file of ours, never through an argument."""
        path = self._secret_file(f"pw-{os.getpid()}-{threading.get_ident()}", password)
        try:
            return run(program, "-x", "-H", f"ldaps://{DC_NAME}", "-D", f"{account}@{DNS}", "-y",
                       path, "-o", "nettimeout=5", *arguments, check=False,
                       env={**os.environ, "LDAPTLS_CACERT": str(self.ca)}, **more)
        finally:
            path.unlink()

    def ldap_bind(self, account, password):
        return self._ldap("ldapsearch", account, password, "-LLL", "-b", "DC=corp,DC=example", "-s",
                          "base", "dn")

    def attribute(self, account, name):
        """What the controller says, "" when the account has no such attribute."""
        done = self._ldap("ldapsearch", "Administrator", self.passwords["Administrator"], "-LLL",
                          "-b", "DC=corp,DC=example", f"(sAMAccountName={account})", name)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        found = re.search(rf"^{name}: (.*)$", done.stdout, re.M)
        return found.group(1) if found else ""

    def bad_passwords(self, account):
        return int(self.attribute(account, "badPwdCount") or 0)

    def locked(self, account):
        return int(self.attribute(account, "lockoutTime") or 0) != 0

    def lock(self, account):
        for _ in range(LOCKOUT_THRESHOLD + 1):
            self.ldap_bind(account, "not the password")
        if not self.locked(account):
            raise RuntimeError(f"{account} is not locked")

    def unlock(self, account):
        """And forgets its wrong passwords: a right one does both, as lockoutTime 0 does."""
        dn = self.attribute(account, "distinguishedName")
        done = self._ldap("ldapmodify", "Administrator", self.passwords["Administrator"],
                          input=f"dn: {dn}\nchangetype: modify\nreplace: lockoutTime\n"
                                f"lockoutTime: 0\n")
        if done.returncode != 0:
            raise RuntimeError(done.stderr)

    def change_password(self, account, password):
        """By the administrator, as an old service account's is changed."""
        dn = self.attribute(account, "distinguishedName")
        value = base64.b64encode(f'"{password}"'.encode("utf-16-le")).decode()
        done = self._ldap("ldapmodify", "Administrator", self.passwords["Administrator"],
                          input=f"dn: {dn}\nchangetype: modify\nreplace: unicodePwd\n"
                                f"unicodePwd:: {value}\n")
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        self.passwords[account] = password

    def export_keytab(self, path):
        """The service account's keys as the controller has them now."""
        for name in ("smtp", "SMTPSVC"):
            self.dc.inside("samba-tool", "domain", "exportkeytab", path,
                           f"--principal={name}/{RELAY_NAME}")

    def ticket(self, account, cache):
        """A ticket of the account in the file cache; returns what a client needs to find it."""
        run("kinit", "-c", f"FILE:{cache}", account, input=self.passwords[account] + "\n")
        return {"KRB5CCNAME": f"FILE:{cache}"}

    # -- trouble
    @contextlib.contextmanager
    def frozen(self):
        self.dc.freeze()
        try:
            yield
        finally:
            self.dc.thaw()

    @contextlib.contextmanager
    def slow(self, still=0.4, running=0.1):
        """It works for a moment, stands still for longer, and so on."""
        over = threading.Event()

        def pulse():
            while not over.is_set():
                self.dc.freeze()
                over.wait(still)
                self.dc.thaw()
                over.wait(running)

        thread = threading.Thread(target=pulse)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.dc.thaw()

    @contextlib.contextmanager
    def unplugged(self):
        """Packets to it vanish."""
        self.dc.inside("ip", "link", "set", "dc0", "down")
        try:
            yield
        finally:
            self.dc.inside("ip", "link", "set", "dc0", "up")

    def kill_dc(self):
        """Power cut. The cable goes with its network; nothing has the address any more."""
        self.dc.kill()
        end = time.monotonic() + 5
        while os.path.exists("/sys/class/net/relay0") and "relay0" in run("ip", "link").stdout:
            if time.monotonic() > end:
                raise RuntimeError("the cable is still there")
            time.sleep(0.05)

    def down(self):
        self.relay.kill()
        self.dc.kill()


def main():
    reason = why_not()
    if reason:
        sys.exit(f"ad.py: {reason}")
    enter()
    domain = Domain()
    try:
        domain.up()
        for what, seconds in domain.times.items():
            print(f"{what:20} {seconds:5.1f} s", file=sys.stderr)
        print(f"passwords: {LAB}/accounts.json  CA: {domain.ca}  keytab: {domain.keytab}",
              file=sys.stderr)
        return subprocess.run(sys.argv[1:] or [os.environ.get("SHELL", "/bin/sh")]).returncode
    finally:
        domain.down()


if __name__ == "__main__":
    sys.exit(main())
