"""`postern service` on a machine with systemd: without a package, and with it."""
import json
import shutil

import pytest

import mail

PROGRAM = "/usr/local/sbin/postern"


@pytest.fixture
def bare(fresh, binary):
    """No package: the program alone, as make install would leave it."""
    fresh.run("mkdir", "-p", "/usr/local/sbin", "/etc/postern")
    shutil.copy(binary, fresh.path(PROGRAM))
    fresh.write("/etc/postern/postern.yaml", mail.configuration())
    return fresh


def service(machine, *words, expect=0):
    done = machine.run("postern", "service", *words, check=False)
    assert done.returncode == expect, done
    return done


def test_without_a_package_from_install_to_uninstall(bare):
    before = service(bare, "status", expect=66)
    assert before.stdout == "postern.service: not installed\n"
    assert "postern service install" in service(bare, "start", expect=66).stderr

    done = service(bare, "install")
    assert "wrote /etc/systemd/system/postern.service\n" in done.stdout
    assert "made the user postern\n" in done.stdout and "postern service start" in done.stdout
    assert bare.show("ActiveState") == "inactive" and bare.show("UnitFileState") == "enabled"
    assert "stopped, starts with the machine" in service(bare, "status", expect=1).stdout
    # A second time: the same, and no complaint.
    service(bare, "install")

    assert service(bare, "start").stdout == "postern.service is started\n"
    assert service(bare, "start").stdout == "postern.service runs already\n"
    told = json.loads(service(bare, "status", "--json").stdout)
    assert told == {"manager": "systemd", "name": "postern.service", "state": "running",
                    "automatic": True, "process": bare.main_pid(), "account": "postern",
                    "defined": "/etc/systemd/system/postern.service", "says": "serving"}
    bare.inside(mail.send)
    # The unit is the package's, with its sandbox.
    verdict = bare.out("systemd-analyze", "security", "--no-pager", "postern.service", check=False)
    assert float(verdict.splitlines()[-1].split(": ")[1].split()[0]) <= 2.0
    bare.run("systemctl", "reload", "postern.service")

    assert "systemd has no pause" in service(bare, "pause", expect=1).stderr
    assert service(bare, "stop").stdout == "postern.service is stopped\n"
    assert service(bare, "stop").stdout == "postern.service did not run\n"
    service(bare, "start")
    done = service(bare, "uninstall")
    assert "removed /etc/systemd/system/postern.service\n" in done.stdout
    assert bare.show("LoadState") == "not-found"
    assert bare.path("/var/lib/postern/queue.db").exists()
    assert bare.path("/etc/postern/postern.yaml").exists()
    assert service(bare, "status", expect=66).stdout == "postern.service: not installed\n"
    service(bare, "uninstall", expect=66)


def test_another_configuration_with_odd_characters_in_its_name(bare):
    name = '/etc/postern/a "b" 50%/relay.yaml'
    bare.run("mkdir", "-p", '/etc/postern/a "b" 50%')
    bare.path(name).write_text(mail.configuration())
    bare.run("rm", "/etc/postern/postern.yaml")
    bare.run("sh", "-c", "cd '/etc/postern/a \"b\" 50%' && postern service install -c relay.yaml")
    service(bare, "start")
    bare.inside(mail.send)
    bare.run("systemctl", "reload", "postern.service")


def test_a_service_that_does_not_start_says_why(bare):
    service(bare, "install")
    bare.write("/etc/postern/postern.yaml", "listeners: 25\n")
    done = service(bare, "start", expect=1)
    assert "did not start" in done.stderr and "exit code 78" in done.stderr
    assert "failed" in service(bare, "status", expect=1).stdout


def test_what_it_cannot_do_is_said(bare):
    done = bare.run("runuser", "-u", "nobody", "--", PROGRAM, "service", "install", check=False)
    assert done.returncode == 74 and "needs root" in done.stderr
    shutil.copy(bare.path(PROGRAM), bare.path("/root/postern"))
    done = bare.run("/root/postern", "service", "install", check=False)
    assert done.returncode == 74 and "/usr/local/sbin" in done.stderr
    bare.write("/etc/systemd/system/postern.service", "[Service]\nExecStart=/bin/true\n")
    done = service(bare, "install", expect=74)
    assert "was not written by this command" in done.stderr
    assert "/bin/true" in bare.path("/etc/systemd/system/postern.service").read_text()


def test_with_the_package_its_own_unit_is_used(fresh, packages):
    fresh.run("dpkg", "-i", f"/opt/packages/{packages[0].name}")
    assert "running, starts with the machine" in service(fresh, "status").stdout
    service(fresh, "stop")
    fresh.write("/etc/postern/other.yaml", mail.configuration())
    done = service(fresh, "install", "-c", "/etc/postern/other.yaml")
    assert "wrote /etc/systemd/system/postern.service.d/50-service-install.conf" in done.stdout
    assert fresh.show("FragmentPath") == "/lib/systemd/system/postern.service"
    service(fresh, "start")
    fresh.inside(mail.send)
    fresh.run("systemctl", "reload", "postern.service")
    done = service(fresh, "uninstall")
    assert "apt remove postern" in done.stdout
    assert "stopped, does not start by itself" in service(fresh, "status", expect=1).stdout
    assert not fresh.path("/etc/systemd/system/postern.service.d").exists()
    service(fresh, "install")
    service(fresh, "start")
