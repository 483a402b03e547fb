"""Clients for a machine: one message, and a load that remembers what it was promised."""
import re
import smtplib
import threading

LOCAL = "inbox@local.example"
CONFIGURATION = """
service: {{ hostname: relay.example, data_directory: /var/lib/postern }}
listeners:
  - {{ address: "127.0.0.1:25", tls: optional }}
access:
  connection: {{ grant: only, list: [self] }}
  relay: {{ grant: only, authenticated: false, list: {relay} }}
domains:
  - {{ name: local.example, type: local }}
limits: {{ connections_per_client: 500 }}
{more}
"""


def configuration(relay="[]", more=""):
    return CONFIGURATION.format(relay=relay, more=more)


def send(to=LOCAL, key="one", port=25):
    """Called inside the machine. An SMTP refusal is an exception of smtplib's."""
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.sendmail("app@client.example", [to],
                        f"Subject: {key}\r\nX-Key: {key}\r\n\r\ntext\r\n")


def dropped(machine):
    """The keys of the messages in Drop, one for each file."""
    return re.findall(r"^X-Key: (\S+)", machine.run(
        "sh", "-c", "cat /var/lib/postern/mail/Drop/*.eml 2>/dev/null || true").stdout, re.M)


class Load:
    """Sends message after message from a few threads until stop(); promised: the keys that got
    250; refused_connections: how often nobody listened."""

    def __init__(self, machine, to=LOCAL, threads=4):
        self.promised, self.refused_connections, self.sent = [], 0, 0
        self.errors = []
        self.lock, self.ending = threading.Lock(), threading.Event()
        self.to = to
        self.threads = [threading.Thread(target=machine.inside, args=(self._send_all, i))
                        for i in range(threads)]
        for thread in self.threads:
            thread.start()

    def _send_all(self, number):
        count = 0
        while not self.ending.is_set():
            count += 1
            key = f"k{number}-{count}"
            try:
                self._send(key)
            except ConnectionRefusedError:
                with self.lock:
                    self.refused_connections += 1
                self.ending.wait(0.02)
            except (smtplib.SMTPException, OSError) as error:
                # The service ended amid a session: not promised, so the client sends it again.
                with self.lock:
                    self.errors.append(f"{type(error).__name__}: {error}")
                self.ending.wait(0.02)

    def _send(self, key):
        client = smtplib.SMTP("127.0.0.1", 25, timeout=30)
        try:
            client.ehlo("client.example")
            client.sendmail("app@client.example", [self.to],
                            f"Subject: {key}\r\nX-Key: {key}\r\n\r\ntext\r\n")
            with self.lock:
                self.promised.append(key)
        finally:
            client.close()

    def wait(self, machine, more):
        """Until so many more messages were promised."""
        with self.lock:
            aim = len(self.promised) + more
        machine.wait(lambda: len(self.promised), lambda n: n >= aim, 60)

    def stop(self):
        self.ending.set()
        for thread in self.threads:
            thread.join()
        return self.promised
