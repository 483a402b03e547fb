"""A machine with a real systemd as process 1, in a container of nspawn.

The root file system is made once by mmdebstrap from this machine's apt sources and kept outside the
tree (root_of); each Machine lies over it with a memory of its own that goes with it. Its network is a
loopback of its own: what should talk inside it runs in inside(), on a thread that is in there.
"""
import concurrent.futures
import ctypes
import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

CLONE_NEWNET = 0x40000000
# What a minimal Debian with systemd needs besides what the package depends on.
BASE = ["systemd", "systemd-sysv", "dbus", "libpam-systemd", "libpam-runtime", "netbase"]


def cache():
    """$POSTERN_CACHE, else below $XDG_CACHE_HOME or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return pathlib.Path(os.environ.get("POSTERN_CACHE") or f"{home}/postern")


def codename():
    return re.search(r"^VERSION_CODENAME=(\w+)", pathlib.Path("/etc/os-release").read_text(),
                     re.M).group(1)


def debian_sources():
    """The apt sources of this machine that have Debian's suite; others are none of ours."""
    word = re.compile(rf"(^|\s){codename()}(\s|$)", re.M)
    folder = pathlib.Path("/etc/apt")
    found = [path for path in [folder / "sources.list", *sorted(folder.glob("sources.list.d/*"))]
             if path.suffix in (".list", ".sources") and path.is_file()
             and word.search(re.sub(r"^\s*#.*$", "", path.read_text(), flags=re.M))]
    assert found, f"no apt source of this machine has {codename()}"
    return found


def dependencies(package):
    """The names in the package's Depends: the first of alternatives."""
    field = subprocess.run(["dpkg-deb", "-f", package, "Depends"], check=True, capture_output=True,
                           text=True).stdout
    return [re.match(r"\s*([\w.+-]+)", part).group(1) for part in field.split(",")]


def root_of(package):
    """The root file system in which the package can be installed without a network."""
    names = sorted({*BASE, *dependencies(package)})
    sources = debian_sources()
    key = hashlib.sha256("\n".join([codename(), *names]).encode()).hexdigest()[:16]
    folder = cache() / "systemd"
    folder.mkdir(parents=True, exist_ok=True)
    root = folder / f"root-{key}"
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if root.is_dir():
            os.utime(root)
            return root
        made = folder / f"making-{key}"
        shutil.rmtree(made, ignore_errors=True)
        done = subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(names)}",
             codename(), str(made), *map(str, sources)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1500)
        assert done.returncode == 0, f"mmdebstrap: {done.stdout[-3000:]}"
        made.rename(root)
        os.utime(root)
        # Those of other dependencies, for the branches that have them; not for ever.
        for old in sorted(folder.glob("root-*"), key=lambda path: path.stat().st_mtime)[:-3]:
            shutil.rmtree(old, ignore_errors=True)
    return root


class Failed(AssertionError):
    pass


class Machine:
    """with Machine(root, packages) as m: packages is a folder, /opt/packages inside."""

    def __init__(self, root, packages):
        self.root, self.packages = root, packages
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-machine-"))
        self.console = self.folder / "console"
        self.process, self.leader = None, None

    def __enter__(self):
        name = f"postern-{os.getpid()}-{self.folder.name[-8:].replace('_', 'x')}"
        self.process = subprocess.Popen(
            ["systemd-nspawn", "-q", "-D", str(self.root), "--volatile=overlay", "--register=no",
             "--keep-unit", "--private-network", f"--machine={name}",
             f"--bind-ro={self.packages}:/opt/packages", "--boot", "--console=pipe"],
            stdin=subprocess.DEVNULL, stdout=open(self.console, "wb"), stderr=subprocess.STDOUT,
            start_new_session=True)
        end = time.monotonic() + 90
        state = ""
        while time.monotonic() < end and self.process.poll() is None:
            self.leader = self._leader()
            if self.leader:
                state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
                if state in ("running", "degraded"):
                    return self
            time.sleep(0.1)
        self.__exit__()
        raise Failed(f"the machine did not start: {state or 'no process 1'}")

    def __exit__(self, *_):
        if self.leader and self.process.poll() is None:
            os.kill(self.leader, signal.SIGRTMIN + 4)  # systemd(1): power off
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _leader(self):
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        try:
            first = children.read_text().split()
        except OSError:
            return None
        return int(first[0]) if first else None

    # -- commands and files

    def run(self, *argv, check=True, timeout=120, input=None):
        """In the machine, as root."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C", "env", "-i",
             "PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=dumb", "LC_ALL=C.UTF-8",
             "DEBIAN_FRONTEND=noninteractive", *map(str, argv)],
            capture_output=True, text=True, timeout=timeout, input=input,
            stdin=None if input is not None else subprocess.DEVNULL)
        if check and done.returncode != 0:
            raise Failed(f"{argv}: exit code {done.returncode}\n{done.stdout}{done.stderr}\n"
                         + self.log()[-3000:])
        return done

    def out(self, *argv, **options):
        return self.run(*argv, **options).stdout.strip()

    def sh(self, script, **options):
        return self.out("sh", "-c", script, **options)

    def path(self, name):
        """The machine's file as this machine sees it."""
        return pathlib.Path(f"/proc/{self.leader}/root{name}")

    def write(self, name, text, mode=0o644):
        self.run("mkdir", "-p", os.path.dirname(name))
        self.run("sh", "-c", f"cat >'{name}' && chmod {mode:o} '{name}'", input=text)

    def inside(self, call, *arguments):
        """Runs it on a thread in the machine's network and returns what it returns. Sockets, and
        threads that it starts, stay in there."""
        def enter():
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f"/proc/{self.leader}/ns/net") as namespace:
                if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), "setns")
            return call(*arguments)

        with concurrent.futures.ThreadPoolExecutor(1) as one:
            return one.submit(enter).result()

    # -- units

    def show(self, what, unit="postern.service"):
        return self.out("systemctl", "show", "-P", what, unit)

    def main_pid(self):
        return int(self.show("MainPID"))

    def log(self, unit="postern.service"):
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", unit, check=False).stdout

    def drop_in(self, text, unit="postern.service"):
        self.write(f"/etc/systemd/system/{unit}.d/test.conf", text)
        self.run("systemctl", "daemon-reload")

    def wait(self, what, true, timeout=30):
        """what() until true(it); returns it."""
        end = time.monotonic() + timeout
        while True:
            value = what()
            if true(value):
                return value
            if time.monotonic() > end:
                raise Failed(f"still {value!r} after {timeout} s\n{self.log()[-3000:]}")
            time.sleep(0.05)

    def wait_active(self, timeout=30):
        self.wait(lambda: self.show("ActiveState"), lambda state: state == "active", timeout)
