"""The Debian package on a fresh machine: in, up, out, and what becomes of mail and settings."""
import smtplib
import socket

import pytest

import mail


def install(machine, package, check=True):
    return machine.run("dpkg", "-i", f"/opt/packages/{package.name}", check=check, timeout=300)


def status(machine):
    return machine.run("dpkg-query", "-W", "-f=${db:Status-Abbrev}${Version}", "postern",
                       check=False).stdout


def test_installing_makes_the_user_and_starts_the_service(fresh, packages):
    done = install(fresh, packages[0])
    assert status(fresh).startswith("ii ")
    assert "error" not in (done.stdout + done.stderr).lower(), done
    assert fresh.show("ActiveState") == "active"
    passwd = fresh.out("getent", "passwd", "postern").split(":")
    assert int(passwd[2]) < 1000 and passwd[5:] == ["/var/lib/postern", "/usr/sbin/nologin"]
    assert fresh.sh("stat -c '%U:%G:%a' /etc/postern /etc/postern/postern.yaml "
                    "/etc/postern/credentials /usr/sbin/postern").split() == [
        "root:root:755", "root:root:644", "root:root:700", "root:root:755"]
    # Everything that the unit and the pages name is there, and what is offered is off.
    for page in ("install-debian.md", "administration.md", "configuration.md", "copyright",
                 "examples/printers.yaml"):
        assert fresh.path(f"/usr/share/doc/postern/{page}").is_file(), page
    for unit in ("postern.socket", "postern-accounts.socket"):
        assert fresh.run("systemctl", "is-enabled", unit, check=False).stdout.strip() == "disabled"
    # Installed once more: nothing changes.
    install(fresh, packages[0])
    assert fresh.show("ActiveState") == "active"


def test_the_helper_for_this_machine_s_accounts_comes_with_it(fresh, packages):
    install(fresh, packages[0])
    fresh.run("useradd", "--no-create-home", "--shell", "/usr/sbin/nologin", "anna")
    fresh.run("chpasswd", input="anna:correct horse 7\n")
    fresh.write("/etc/postern/postern.yaml", mail.configuration(more="""
authentication:
  basic: { require_tls: false }
  domains:
    - { name: ".", backend: system, helper: /run/postern-accounts/helper.sock }
"""))
    fresh.run("systemctl", "enable", "--now", "postern-accounts.socket")
    fresh.run("systemctl", "restart", "postern.service")

    def login(password):
        with smtplib.SMTP("127.0.0.1", 25, timeout=30) as client:
            client.ehlo("client.example")
            client.user, client.password = "anna", password
            return client.auth("PLAIN", client.auth_plain)

    assert fresh.inside(login, "correct horse 7")[0] == 235
    with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
        fresh.inside(login, "wrong horse 7")
    assert refused.value.smtp_code == 535
    assert fresh.show("ActiveState", "postern-accounts.service") == "active"
    # An upgrade brings the new helper too, and it answers.
    before = fresh.out("systemctl", "show", "-P", "MainPID", "postern-accounts.service")
    install(fresh, packages[1])
    after = fresh.out("systemctl", "show", "-P", "MainPID", "postern-accounts.service")
    assert after not in ("0", before)
    assert fresh.inside(login, "correct horse 7")[0] == 235
    # Both go with the package.
    fresh.run("dpkg", "--purge", "postern")
    assert fresh.show("ActiveState", "postern-accounts.service") != "active"
    assert not fresh.path("/etc/pam.d/postern").exists()


@pytest.mark.parametrize("holds_the_port", ["service", "systemd"])
def test_an_upgrade_under_load_loses_nothing(fresh, packages, holds_the_port):
    install(fresh, packages[0])
    # What goes out waits in the queue: nobody listens there.
    fresh.write("/etc/postern/postern.yaml", mail.configuration(
        "[self]", 'delivery: { smart_host: "[127.0.0.1]:9", tls: none }'))
    if holds_the_port == "systemd":
        fresh.run("systemctl", "stop", "postern.service")
        fresh.run("systemctl", "enable", "--now", "postern.socket")
    fresh.run("systemctl", "restart", "postern.service")
    waiting = [fresh.inside(mail.send, f"v{i}@partner.example", f"w{i}") for i in range(5)]
    before = fresh.main_pid()
    load = mail.Load(fresh)
    try:
        load.wait(fresh, 30)
        install(fresh, packages[1])
        load.wait(fresh, 30)
    finally:
        promised = load.stop()
    assert packages[1].name.split("_")[1] in status(fresh)
    assert fresh.main_pid() not in (0, before)
    if holds_the_port == "systemd":
        assert load.refused_connections == 0
    fresh.wait(lambda: set(promised) - set(mail.dropped(fresh)), lambda lost: not lost)
    queued = fresh.out("postern", "queue", "list", "--json")
    assert queued.count('"sender"') == len(waiting), queued


def test_an_upgrade_keeps_a_changed_configuration_and_a_stopped_service(fresh, packages):
    install(fresh, packages[0])
    mine = mail.configuration() + "# mine\n"
    fresh.write("/etc/postern/postern.yaml", mine)
    fresh.run("systemctl", "stop", "postern.service")
    install(fresh, packages[1])
    assert fresh.path("/etc/postern/postern.yaml").read_text() == mine
    assert fresh.show("ActiveState") == "inactive"
    fresh.run("systemctl", "disable", "postern.service")
    install(fresh, packages[1])
    assert fresh.show("UnitFileState") == "disabled" and fresh.show("ActiveState") == "inactive"


def test_an_upgrade_that_does_not_take_the_configuration_leaves_the_old_version_running(
        fresh, packages):
    install(fresh, packages[0])
    fresh.write("/etc/postern/postern.yaml", mail.configuration())
    fresh.run("systemctl", "restart", "postern.service")
    before = fresh.main_pid()
    fresh.write("/etc/postern/postern.yaml", mail.configuration(more="unheard_of: true"))
    done = install(fresh, packages[1])
    assert "the old version runs on" in done.stderr and "unheard_of: unknown key" in done.stderr
    assert status(fresh).startswith("ii ")
    assert fresh.main_pid() == before and fresh.show("ActiveState") == "active"
    fresh.inside(mail.send)


def test_where_the_port_is_taken_it_is_installed_and_says_so(fresh, packages):
    def take():
        other = socket.socket()
        other.bind(("127.0.0.1", 25))
        other.listen()
        return other

    with fresh.inside(take):
        done = install(fresh, packages[0])
        assert status(fresh).startswith("ii ")
        assert "did not start" in done.stderr and "listeners" in done.stderr
    fresh.wait_active()  # and comes up by itself once the port is free


def test_removing_keeps_settings_and_mail_and_installing_again_finds_them(fresh, packages):
    install(fresh, packages[0])
    fresh.write("/etc/postern/postern.yaml", mail.configuration())
    fresh.run("systemctl", "reload", "postern.service")
    fresh.inside(mail.send, mail.LOCAL, "kept")
    fresh.wait(lambda: mail.dropped(fresh), lambda keys: keys == ["kept"])
    fresh.run("dpkg", "--remove", "postern")
    assert status(fresh).startswith("rc ")
    assert not fresh.path("/usr/sbin/postern").exists()
    assert fresh.show("ActiveState") != "active"
    assert fresh.path("/etc/postern/postern.yaml").exists()
    assert mail.dropped(fresh) == ["kept"]
    with pytest.raises(ConnectionRefusedError):
        fresh.inside(mail.send)
    install(fresh, packages[1])
    assert fresh.show("ActiveState") == "active"
    fresh.inside(mail.send, mail.LOCAL, "again")
    fresh.wait(lambda: sorted(mail.dropped(fresh)), lambda keys: keys == ["again", "kept"])


def test_purging_leaves_mail_and_the_administrator_s_files_and_says_so(fresh, packages):
    install(fresh, packages[0])
    fresh.run("systemctl", "enable", "--now", "postern.socket", check=False)
    done = fresh.run("dpkg", "--purge", "postern")
    assert "/var/lib/postern is kept" in done.stderr
    assert status(fresh) == "" or status(fresh).startswith("un")
    for gone in ("/etc/postern", "/var/log/postern", "/usr/share/doc/postern",
                 "/etc/systemd/system/multi-user.target.wants/postern.service",
                 "/etc/systemd/system/sockets.target.wants/postern.socket",
                 "/etc/systemd/system/postern.service", "/lib/systemd/system/postern.service",
                 "/var/lib/systemd/deb-systemd-helper-enabled/postern.service.dsh-also"):
        assert fresh.run("test", "-e", gone, check=False).returncode != 0, gone
    assert fresh.path("/var/lib/postern/queue.db").exists()
    assert fresh.show("LoadState") == "not-found"
    # A key of the administrator's is never deleted.
    install(fresh, packages[0])
    fresh.write("/etc/postern/credentials/key.pem", "mine", 0o600)
    done = fresh.run("dpkg", "--purge", "postern")
    assert "/etc/postern/credentials is kept" in done.stderr
    assert fresh.path("/etc/postern/credentials/key.pem").read_text() == "mine"
