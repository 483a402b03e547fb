"""Logins a second through the product, each beside the bare call of the library that does the work,
on the same KDC, directory or core, in the same run and by turns."""
import concurrent.futures
import os
import pathlib
import statistics
import subprocess
import time

import scram
from postern import Service
from realm import HOST, REALM, Directory, Kdc
from smtp import Client

HERE = pathlib.Path(__file__).resolve().parent
THREADS = 8  # of the product's lane for such a backend
CLIENTS, LOGINS, ROUNDS = 16, 160, 3
PASSWORD = "correct horse 7"


def compile_bare(folder):
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "krb5", "ldap", "libcrypto"],
                           capture_output=True, text=True, check=True).stdout.split()
    program = folder / "bare_logins"
    subprocess.run(["cc", "-O2", "-std=c17", "-o", str(program), str(HERE / "bare_logins.c"),
                    "-pthread", *flags], check=True)
    return program


def bare(program, *arguments, threads=THREADS, count=LOGINS, **environment):
    done = subprocess.run([str(program), str(threads), str(count), *map(str, arguments)],
                          capture_output=True, text=True, env=dict(os.environ, **environment))
    if done.returncode != 0:
        raise SystemExit(f"bench: the bare call failed: {arguments} {done}")
    return float(done.stdout)


def product(service, one, count=LOGINS):
    """one(client, i) logs in on a connection of its own; all sessions count, with greeting and end."""
    def session(i):
        # From several addresses: one has a share of the lane only.
        with Client(service.port("mail"), source=f"127.0.0.{2 + i % 8}", timeout=60) as client:
            client.hello()
            reply = one(client, i)
            if reply is not None and reply.code != 235:
                raise SystemExit(f"bench: a login failed: {reply}")
            client.cmd("QUIT")

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        began = time.monotonic()
        list(pool.map(session, range(count)))
        return count / (time.monotonic() - began)


def plain(domain):
    return lambda client, i: client.plain(f"{domain}\\alice", PASSWORD)


def compare(title, ours, theirs, what):
    rates = [(ours(), theirs()) for _ in range(ROUNDS)]
    mine, other = (statistics.median(r) for r in zip(*rates))
    ratio = statistics.median(a / b for a, b in rates)
    print(f"{title:34} {mine:8.1f}/s   {what:44} {other:8.1f}/s   ratio {ratio:5.2f}")


class FirstTimes:
    """Each password is proved once only, so that no cache answers."""

    def __init__(self, users):
        self.users = iter(users)

    def __call__(self, client, i):
        return client.plain(f"users\\{next(self.users)}", PASSWORD)


def bench_logins(folder, certificates):
    print("\nlogins, through PLAIN in clear (SMTP's own TLS is not counted); median of "
          f"{ROUNDS} rounds of {LOGINS}, {CLIENTS} clients at a time")
    program = compile_bare(folder)
    kdc = Kdc(folder / "kdc", {"alice": (PASSWORD, "")})
    directory = Directory(folder / "directory", certificates, {"alice": PASSWORD})
    free = {"delay": "1ms", "free_failures": 1000, "refuse_after": 100000}
    service = Service(folder / "logins", certificates, {
        "authentication": {
            "throttle": free, "basic": {"require_tls": False}, "scram": {"require_tls": False},
            "domains": [kdc.domain(), directory.domain(), directory.domain("START", starttls=True),
                        {"name": "users", "backend": "userdb"}]},
        "limits": {"connections_per_client": 500},
        "logging": {"level": "warn"},
    }, {"mail": {"tls": "optional"}})
    service.add_user()
    firsts = [f"user{i}" for i in range(ROUNDS * 40)]
    for name in firsts:
        service.add_user(name, PASSWORD)
    service.start()
    try:
        compare("Kerberos", lambda: product(service, plain("KRB")),
                lambda: bare(program, "kerberos", f"alice@{REALM}", PASSWORD, f"smtp/{HOST}@{REALM}",
                             KRB5_CONFIG=str(kdc.profile), KRB5_KTNAME=f"FILE:{kdc.keytab}",
                             KRB5RCACHENAME="none:"),
                f"krb5 on {THREADS} threads")
        name = "uid=alice,ou=people,dc=dir,dc=example"
        compare("LDAP, ldaps", lambda: product(service, plain("DIR")),
                lambda: bare(program, "ldap", f"ldaps://127.0.0.1:{directory.port}", certificates.ca,
                             name, PASSWORD), f"libldap on {THREADS} threads")
        compare("LDAP, StartTLS", lambda: product(service, plain("START")),
                lambda: bare(program, "ldap", f"ldap://127.0.0.1:{directory.clear_port}",
                             certificates.ca, name, PASSWORD), f"libldap on {THREADS} threads")
        cores = os.cpu_count()
        first = FirstTimes(firsts)
        compare("user database, PLAIN, first time", lambda: product(service, first, 40),
                lambda: bare(program, "pbkdf2", 100000, threads=cores, count=40),
                f"PBKDF2 of 100,000 on {cores} threads")
        quick = lambda: product(service, lambda client, i: None)  # noqa: E731
        compare("user database, PLAIN, proved before", lambda: product(service, plain("users")), quick,
                "the same sessions without a login")
        compare("user database, SCRAM-SHA-256",
                lambda: product(service, lambda c, i: scram.authenticate(c, "users\\alice", PASSWORD)),
                lambda: bare(program, "pbkdf2", 100000, threads=cores, count=40),
                f"PBKDF2 of 100,000 (the client's) on {cores} threads")
    finally:
        service.finish()
        kdc.close()
        directory.close()
