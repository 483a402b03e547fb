"""A Kerberos realm and a directory of a test's own: MIT's KDC and OpenLDAP's slapd, both on
127.0.0.1, in a folder, as our children."""
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import time

from postern import free_port

REALM = "KRB.EXAMPLE"
HOST = "relay.example"


def wait_port(port, process, log, patience=15):
    end = time.monotonic() + patience
    while time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert process.poll() is None, f"ended with {process.returncode}: {log.read_text()[-2000:]}"
        time.sleep(0.02)
    raise AssertionError(f"nobody listens on {port}: {log.read_text()[-2000:]}")


class Child:
    """A server that can be killed, frozen and started again at the same port."""

    process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, env=self.environment)
        wait_port(self.port, self.process, self.log)
        return self

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process = None

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        if self.process is not None:
            self.thaw()
        self.kill()


class Kdc(Child):
    """Accounts: {name: (password, options of addprinc)}. relay.keytab has the keys of smtp/relay.example
    where services is true."""

    def __init__(self, folder, accounts, services=True, realm=REALM):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.realm, self.port, self.log = realm, free_port(), self.folder / "kdc.log"
        self.keytab = self.folder / "relay.keytab"
        self.profile = self.folder / "krb5.conf"
        self.profile.write_text(f"""[libdefaults]
  default_realm = {realm}
  dns_lookup_kdc = false
  rdns = false
  udp_preference_limit = 1
[realms]
  {realm} = {{
    kdc = 127.0.0.1:{self.port}
  }}
""")
        (self.folder / "kdc.conf").write_text(f"""[kdcdefaults]
  kdc_listen = ""
  kdc_tcp_listen = 127.0.0.1:{self.port}
[realms]
  {realm} = {{
    database_name = {self.folder}/principal
    key_stash_file = {self.folder}/stash
    acl_file = {self.folder}/acl
    max_life = 10h
    default_principal_flags = +preauth
    supported_enctypes = aes256-cts-hmac-sha1-96:normal
  }}
[logging]
  kdc = FILE:{self.folder}/kdc-requests.log
""")
        self.environment = dict(os.environ, KRB5_CONFIG=str(self.profile),
                                KRB5_KDC_PROFILE=str(self.folder / "kdc.conf"))
        self.command = ["krb5kdc", "-n", "-r", realm]
        self._run("kdb5_util", "create", "-s", "-r", realm, "-P", "the master's word")
        lines = ["addpol -maxfailure 2 -failurecountinterval 0 -lockoutduration 0 lockable"]
        for name, (password, options) in accounts.items():
            lines.append(f'addprinc {options} -pw "{password}" {name}')
        if services:
            lines += [f"addprinc -randkey {service}/{HOST}" for service in ("smtp", "SMTPSVC")]
        self.admin(*lines)
        if services:
            self.export()
        self.start()

    def _run(self, *command, input=None):
        done = subprocess.run(command, input=input, env=self.environment, capture_output=True,
                              text=True, timeout=60)
        assert done.returncode == 0, (command, done)
        return done

    def admin(self, *lines):
        done = self._run("kadmin.local", "-r", self.realm, input="\n".join(lines) + "\n")
        wrong = [line for line in done.stderr.splitlines()
                 if not line.startswith(("Authenticating", "No policy", "WARNING"))]
        assert not wrong, wrong

    def export(self, keytab=None, service="smtp"):
        """New keys, of the next version, in a new file that takes the place of the old one."""
        keytab = pathlib.Path(keytab or self.keytab)
        new = keytab.with_suffix(".new")
        new.unlink(missing_ok=True)
        self.admin(f"ktadd -k {new} {service}/{HOST}")
        new.rename(keytab)
        return keytab

    def domain(self, name="KRB", **more):
        return {"name": name, "backend": "kerberos", "realm": self.realm,
                "keytab": str(self.keytab), "kdc": [f"127.0.0.1:{self.port}"], **more}

    def requests(self):
        log = self.folder / "kdc-requests.log"
        return log.read_text(errors="replace") if log.exists() else ""


SLAPD_CONF = """include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
include /etc/ldap/schema/nis.schema
pidfile {folder}/slapd.pid
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload argon2
moduleload ppolicy
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
{security}
loglevel stats
database mdb
suffix "dc=dir,dc=example"
rootdn "cn=admin,dc=dir,dc=example"
directory {folder}/db
maxsize 16777216
overlay ppolicy
ppolicy_default "cn=policy,dc=dir,dc=example"
access to attrs=userPassword by anonymous auth by * none
access to * by anonymous none by users read
"""

BASE_LDIF = """dn: dc=dir,dc=example
objectClass: dcObject
objectClass: organization
o: dir
dc: dir

dn: ou=people,dc=dir,dc=example
objectClass: organizationalUnit
ou: people

dn: cn=policy,dc=dir,dc=example
objectClass: device
objectClass: pwdPolicy
cn: policy
pwdAttribute: userPassword
pwdLockout: TRUE

"""


class Directory(Child):
    """accounts: {uid: password, or None for none}; locked: those of them that ppolicy has locked;
    groups: {cn: [uid]}. The passwords are kept by Argon2, so that a wrong one takes its time."""

    def __init__(self, folder, certificates, accounts, groups=None, locked=(), certificate=None,
                 key=None, tls=True):
        self.folder = pathlib.Path(folder)
        (self.folder / "db").mkdir(parents=True)
        self.log = self.folder / "slapd.log"
        self.certificates = certificates
        self.port, self.clear_port = free_port(), free_port()
        conf = SLAPD_CONF.format(folder=self.folder, certificate=certificate or certificates.sink,
                                 key=key or certificates.sink_key, security="")
        if not tls:
            conf = "".join(l for l in conf.splitlines(True) if not l.startswith("TLS"))
        (self.folder / "slapd.conf").write_text(conf)
        ldif = BASE_LDIF
        for uid, password in accounts.items():
            ldif += (f"dn: uid={uid},ou=people,dc=dir,dc=example\nobjectClass: inetOrgPerson\n"
                     f"uid: {uid}\ncn: {uid}\nsn: {uid}\n")
            if password is not None:
                ldif += f"userPassword: {self.hash(password)}\n"
            if uid in locked:
                ldif += "pwdAccountLockedTime: 000001010000Z\n"
            ldif += "\n"
        for cn, members in (groups or {}).items():
            ldif += f"dn: cn={cn},dc=dir,dc=example\nobjectClass: groupOfNames\ncn: {cn}\n"
            ldif += "".join(f"member: uid={m},ou=people,dc=dir,dc=example\n" for m in members)
            ldif += "\n"
        self.environment = dict(os.environ)
        done = subprocess.run(["slapadd", "-f", str(self.folder / "slapd.conf")], input=ldif,
                              text=True, capture_output=True, timeout=60)
        assert done.returncode == 0, done
        urls = f"ldap://127.0.0.1:{self.clear_port}/"
        if tls:
            urls += f" ldaps://127.0.0.1:{self.port}/"
        else:
            self.port = self.clear_port
        self.command = ["slapd", "-d", "stats", "-f", str(self.folder / "slapd.conf"), "-h", urls]
        self.start()

    @staticmethod
    def hash(password):
        done = subprocess.run(["slappasswd", "-o", "module-path=/usr/lib/ldap", "-o",
                               "module-load=argon2", "-h", "{ARGON2}", "-s", password],
                              capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def domain(self, name="DIR", starttls=False, **more):
        url = f"ldap://127.0.0.1:{self.clear_port}" if starttls else f"ldaps://127.0.0.1:{self.port}"
        return {"name": name, "backend": "ldap", "url": url, "ca_file": str(self.certificates.ca),
                "bind": "uid={user},ou=people,dc=dir,dc=example", **more}

    def binds(self):
        return self.log.read_text(errors="replace").count(" BIND dn=")


class Trap:
    """Listens and counts; how: "silent" (takes all, says nothing), "full" (its backlog is full, so
    a connection is never made), "close" (hangs up at once), "garbage", "dribble" (one byte in half
    a second of what looks like the beginning of an answer)."""

    def __init__(self, how="silent", first=b""):
        import threading
        self.how, self.first, self.connections, self.stopped = how, first, 0, False
        self.sockets = []
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(0 if how == "full" else 256)
        self.port = self.listener.getsockname()[1]
        if how == "full":
            for _ in range(4):
                s = socket.socket()
                s.setblocking(False)
                s.connect_ex(("127.0.0.1", self.port))
                self.sockets.append(s)
        else:
            threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        import threading
        while True:
            try:
                s, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.sockets.append(s)
            if self.how != "silent":
                threading.Thread(target=self._serve, args=(s,), daemon=True).start()

    def _serve(self, s):
        with contextlib.suppress(OSError):
            if self.how == "close":
                s.close()
            elif self.how == "garbage":
                s.sendall(b"\0\0\1\0" + b"HTTP/1.1 400 Bad Request\r\n\r\n" * 12)
                s.close()
            sent = 0
            while self.how == "dribble" and not self.stopped:
                s.sendall(self.first[sent:sent + 1] or b"\0")
                sent += 1
                time.sleep(0.5)

    def close(self):
        self.stopped = True
        for s in [self.listener, *self.sockets]:
            with contextlib.suppress(OSError):
                s.close()
