"""The service under test: a configuration, a data directory, a process that is ours."""
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = pathlib.Path(os.environ.get("POSTERN", ROOT / "build/asan/postern"))
SANITIZED = os.environ.get("POSTERN_PRESET", "asan") in ("asan", "tsan")
# Slower builds get more time.
PATIENCE = 3 if SANITIZED else 1
TROUBLE = re.compile(r"(Address|Leak|Thread|UndefinedBehavior)Sanitizer|runtime error:|"
                     r"Assertion .* failed|\bassert(ion)?\b.*\bfailed\b", re.I)
TROUBLE_LINES = re.compile(r"==\d+==|SUMMARY:|runtime error|#\d+ 0x|WARNING: Thread")

_next_port = None


def free_port():
    """A port below the ephemeral range, so that no client socket of another test takes it."""
    global _next_port
    if _next_port is None:
        _next_port = 10000 + (os.getpid() * 97) % 20000
    while True:
        _next_port = 10000 + (_next_port - 10000 + 1) % 22000
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", _next_port))
            except OSError:
                continue
        return _next_port


def merged(base, over):
    out = dict(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merged(out[key], value)
        else:
            out[key] = value
    return out


class Certificates:
    """A CA and a certificate for relay.example, localhost, sink.example and 127.0.0.1."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.ca = self.folder / "ca.pem"
        self._run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                  "-nodes", "-days", "30", "-subj", "/CN=Test CA", "-keyout", "ca.key",
                  "-out", "ca.pem")
        self.certificate, self.key = self.issue("relay", "relay.example",
                                                "DNS:relay.example,DNS:localhost,IP:127.0.0.1")
        self.other, self.other_key = self.issue("other", "other.example", "DNS:other.example")
        self.sink, self.sink_key = self.issue("sink", "sink.example",
                                              "DNS:sink.example,IP:127.0.0.1")

    def _run(self, *arguments):
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)

    def issue(self, name, subject, names, days=30):
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={names}\n")
        self._run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                  "-subj", f"/CN={subject}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        self._run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                  "-CAcreateserial", "-days", str(days), "-extfile", f"{name}.ext",
                  "-out", f"{name}.pem")
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"

    def server_context(self, certificate=None, key=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate or self.sink, key or self.sink_key)
        return context


class DropFile:
    """senders/receivers of the x- lines; content is what stands behind them."""

    def __init__(self, path):
        self.path = path
        self.raw = path.read_bytes()
        self.sender, self.receivers = None, []
        rest = self.raw
        while True:
            line, _, after = rest.partition(b"\r\n")
            if line.lower().startswith(b"x-sender:"):
                self.sender = line.split(b":", 1)[1].strip().decode()
            elif line.lower().startswith(b"x-receiver:"):
                self.receivers.append(line.split(b":", 1)[1].strip().decode())
            else:
                break
            rest = after
        self.content = rest

    def body(self):
        return self.content.partition(b"\r\n\r\n")[2]

    def header(self):
        return self.content.partition(b"\r\n\r\n")[0]

    def subject(self):
        found = re.search(rb"^Subject: *(.*?)\r?$", self.header(), re.M | re.I)
        return found.group(1).decode() if found else None


def unchecked_tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Service:
    """listeners: {name: options}; each gets a free port of 127.0.0.1 unless it names an address."""

    USER, PASSWORD = "alice", "correct horse 7"

    def __init__(self, folder, certificates, config=None, listeners=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.certificates = certificates
        self.data = self.folder / "data"
        self.path = self.folder / "postern.yaml"
        self.log_path = self.folder / "postern.log"
        self.process = None
        self.starts = 0
        self.environment = {}
        self.expect_trouble = False
        self.wrapper = []
        self.listeners = {}
        for name, options in (listeners or {"plain": {"tls": "optional"}}).items():
            options = dict(options)
            options.setdefault("address", f"127.0.0.1:{free_port()}")
            self.listeners[name] = options
        self.config = merged({
            "service": {"hostname": "relay.example", "data_directory": str(self.data)},
            "listeners": list(self.listeners.values()),
            "tls": {"certificate": str(certificates.certificate), "key": str(certificates.key)},
            "access": {"relay": {"grant": "only", "authenticated": True, "list": []}},
            "domains": [{"name": "local.example", "type": "local"}],
            "authentication": {"throttle": {"delay": "1ms"}},
            "resolver": {"servers": ["127.0.0.1:9"]},
        }, config or {})

    # -- configuration
    def write(self, over=None):
        if over:
            self.config = merged(self.config, over)
        self.path.write_text(json.dumps(self.config, indent=2) + "\n")

    def port(self, name=None):
        options = self.listeners[name or next(iter(self.listeners))]
        return int(options["address"].rsplit(":", 1)[1])

    def address(self, name=None):
        return self.listeners[name or next(iter(self.listeners))]["address"]

    # -- process
    def env(self):
        env = dict(os.environ)
        env.pop("NOTIFY_SOCKET", None)
        env.pop("LISTEN_FDS", None)
        env.update(self.environment)
        return env

    def start(self, wait=True, timeout=20):
        if not self.path.exists():
            self.write()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [*self.wrapper, str(BINARY), "serve", "-c", str(self.path)], stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, env=self.env(), cwd=self.folder)
        self.starts += 1
        if wait:
            self.wait_ready(timeout * PATIENCE)
        return self

    def wait_ready(self, timeout=20):
        end = time.monotonic() + timeout
        for name in self.listeners:
            host, port = self.listeners[name]["address"].rsplit(":", 1)
            while True:
                try:
                    with socket.create_connection((host.strip("[]"), int(port)), 5) as probe:
                        # A socket that listens already is not served yet: its banner is.
                        if self.listeners[name].get("tls") == "implicit":
                            probe = unchecked_tls().wrap_socket(probe)
                        if probe.recv(1):
                            break
                except OSError:
                    pass
                if self.process.poll() is not None:
                    raise AssertionError(f"serve ended with {self.process.returncode}:\n"
                                         f"{self.log()[-4000:]}")
                if time.monotonic() > end:
                    raise AssertionError(f"no banner on {host}:{port}:\n{self.log()[-4000:]}")
                time.sleep(0.02)

    def stop(self, timeout=30):
        """SIGTERM; returns the exit code."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout * PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                self.process = None
                raise AssertionError(f"SIGTERM did not end it:\n{self.log()[-3000:]}")
        code = self.process.returncode
        self.process = None
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process = None

    def running(self):
        return self.process is not None and self.process.poll() is None

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def attempts(self):
        """What the log says of each login: ("ok", identity) or ("refused", reason)."""
        found = []
        for line in self.log().splitlines():
            kind = re.search(r"smtp\.auth\.(ok|refused|busy)", line)
            if kind:
                fields = dict(re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', line))
                word = fields.get("user") if kind[1] == "ok" else fields.get("reason", "busy")
                found.append((kind[1], (word or "").strip('"').replace("\\\\", "\\")))
        return found

    def wait_log(self, pattern, timeout=15, flags=0):
        end = time.monotonic() + timeout * PATIENCE
        while time.monotonic() < end:
            found = re.search(pattern, self.log(), flags)
            if found:
                return found
            time.sleep(0.03)
        raise AssertionError(f"{pattern!r} never stood in the log:\n{self.log()[-4000:]}")

    def trouble(self):
        """What a sanitizer or an assertion said, "" when all is well."""
        text = self.log()
        found = TROUBLE.search(text)
        if not found:
            return ""
        start = max(0, text.rfind("\n", 0, found.start()) - 500)
        return text[start:start + 5000]

    def finish(self):
        """The end of a test: it must still run, stop in order and have reported nothing."""
        died = self.process is not None and self.process.poll()
        code = self.stop()
        trouble = self.trouble()
        assert not trouble, trouble
        if died is not None and died is not False and not self.expect_trouble:
            raise AssertionError(f"serve died with {died}:\n{self.log()[-4000:]}")
        if code is not None and not self.expect_trouble:
            assert code == 0, f"exit code {code} after SIGTERM:\n{self.log()[-3000:]}"

    # -- command line
    def cli(self, *arguments, input=None, timeout=60, config=True):
        if config and not self.path.exists():
            self.write()
        command = [str(BINARY), *map(str, arguments)]
        if config:
            command += ["-c", str(self.path)]
        done = subprocess.run(command, input=input, capture_output=True, text=True,
                              timeout=timeout * PATIENCE, env=self.env(), cwd=self.folder)
        assert not TROUBLE.search(done.stderr), done.stderr
        return done

    def add_user(self, name=USER, password=PASSWORD):
        done = self.cli("user", "add", name, "--password-stdin", input=password + "\n")
        assert done.returncode == 0, done
        return self

    def explain(self, client, recipient, sender="a@b.example", **options):
        arguments = ["explain", "--client", client, "--from", sender, "--to", recipient, "--json"]
        for key, value in options.items():
            if value is True:
                arguments.append(f"--{key}")
            elif value is not None and value is not False:
                arguments += [f"--{key}", value]
        done = self.cli(*arguments)
        assert done.returncode in (0, 1, 2), done
        answer = json.loads(done.stdout)
        assert answer["verdict"] == ("allowed", "refused", "unknown")[done.returncode], answer
        return done.returncode, answer

    def queue(self):
        done = self.cli("queue", "list", "--json")
        assert done.returncode == 0, done
        return json.loads(done.stdout)

    def wait_queue_empty(self, timeout=20):
        end = time.monotonic() + timeout * PATIENCE
        while time.monotonic() < end:
            left = self.queue()
            if not left:
                return
            time.sleep(0.1)
        raise AssertionError(f"still queued: {left}")

    # -- directories
    def folder_of(self, name):
        return self.data / "mail" / name

    def drop(self):
        folder = self.folder_of("Drop")
        if not folder.is_dir():
            return []
        return [DropFile(path) for path in sorted(folder.glob("*.eml"))]

    def wait_drop(self, count=1, timeout=20):
        end = time.monotonic() + timeout * PATIENCE
        while time.monotonic() < end:
            files = self.drop()
            if len(files) >= count:
                return files
            time.sleep(0.03)
        raise AssertionError(f"{len(files)} of {count} files in Drop:\n{self.log()[-4000:]}")

    def badmail(self):
        folder = self.folder_of("Badmail")
        return sorted(p for p in folder.iterdir() if p.is_file()) if folder.is_dir() else []
