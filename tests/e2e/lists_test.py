"""The `file:` lists of a running service: watched, swapped, refused when faulty."""
import os
import time

from policy_test import ALLOWED, REFUSED, live


def make_with_list(make, entries, **access):
    service = make({"access": {"relay": {"list": ["self", "file:clients.txt"]}, **access}})
    (service.folder / "clients.txt").write_text(entries)
    service.start()
    return service


def replace(service, text):
    """As documented: a new file, renamed over the old one."""
    (service.folder / "clients.new").write_text(text)
    os.replace(service.folder / "clients.new", service.folder / "clients.txt")


def test_a_changed_list_holds_without_a_reload(make):
    service = make_with_list(make, "127.0.5.5\n")
    assert live(service, "127.0.5.5", "x@other.example") == ALLOWED
    assert live(service, "127.0.5.6", "x@other.example") == REFUSED
    replace(service, "# moved\n127.0.5.6\n")
    service.wait_log(r"access\.lists\.reloaded .*entries=2")
    assert live(service, "127.0.5.5", "x@other.example") == REFUSED
    assert live(service, "127.0.5.6", "x@other.example") == ALLOWED
    with open(service.folder / "clients.txt", "a") as file:  # in place, too
        file.write("127.0.5.5\n")
    service.wait_log(r"access\.lists\.reloaded .*entries=3")
    assert live(service, "127.0.5.5", "x@other.example") == ALLOWED


def test_a_list_behind_a_link_is_watched_too(make):
    service = make({"access": {"relay": {"list": ["file:clients.txt"]}}})
    (service.folder / "one.txt").write_text("127.0.5.5\n")
    (service.folder / "two.txt").write_text("127.0.5.6\n")
    (service.folder / "current").symlink_to("one.txt")
    (service.folder / "clients.txt").symlink_to("current")
    service.start()
    assert live(service, "127.0.5.6", "x@other.example") == REFUSED
    (service.folder / "next").symlink_to("two.txt")
    os.replace(service.folder / "next", service.folder / "current")
    service.wait_log(r"access\.lists\.reloaded")
    assert live(service, "127.0.5.6", "x@other.example") == ALLOWED


def test_a_faulty_list_is_refused_with_its_place_and_the_old_one_stays(make):
    service = make_with_list(make, "127.0.5.5\n")
    replace(service, "127.0.5.6\n\n  127.0.0.300\n")
    service.wait_log(r"access\.lists\.refused .*clients\.txt:3:3.*127\.0\.0\.300")
    assert live(service, "127.0.5.5", "x@other.example") == ALLOWED
    assert live(service, "127.0.5.6", "x@other.example") == REFUSED
    time.sleep(3)  # it is told once, not every second
    assert service.log().count("access.lists.refused") == 1
    replace(service, "127.0.5.6\n")
    service.wait_log(r"access\.lists\.reloaded")
    assert live(service, "127.0.5.6", "x@other.example") == ALLOWED
    os.unlink(service.folder / "clients.txt")
    service.wait_log(r"access\.lists\.refused .*does not exist")
    assert live(service, "127.0.5.6", "x@other.example") == ALLOWED


def test_a_list_that_would_open_the_relay_is_refused(make):
    service = make_with_list(make, "127.0.5.5\n")
    replace(service, "127.0.5.6\n0.0.0.0/1\n128.0.0.0/1\n")
    service.wait_log(r"access\.lists\.refused .*open relay")
    assert live(service, "127.0.5.6", "x@other.example") == REFUSED
    assert live(service, "127.0.5.5", "x@other.example") == ALLOWED


def test_a_half_edited_configuration_does_not_matter_to_a_changed_list(make):
    service = make_with_list(make, "127.0.5.5\n")
    service.path.write_text("access: { rel")
    replace(service, "127.0.5.6\n")
    service.wait_log(r"access\.lists\.reloaded")
    assert live(service, "127.0.5.6", "x@other.example") == ALLOWED
    assert service.cli("reload").returncode == 78
