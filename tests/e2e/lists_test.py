"""The `file:` lists of a running service: watched, swapped, refused when faulty."""
import os
import re
import time

import pytest

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


OPEN_FILES = {"two halves": "10.0.0.0/8\n0.0.0.0/1\n128.0.0.0/1\n", "everybody": "0.0.0.0/0\n",
              "ipv6": "::/0\n", "a public range": "10.0.0.0-20.0.0.0\n", "pattern": "/^.*\\.[a-z]+$/\n",
              "wildcard": "*.com\n", "many pieces": "".join(f"{i}.0.0.0/8\n" for i in range(1, 224))}


@pytest.mark.parametrize("name", OPEN_FILES)
def test_an_open_relay_hidden_in_a_file_is_found_and_does_not_start(make, name):
    service = make({"access": {"relay": {"list": ["file:clients.txt"]}}})
    (service.folder / "clients.txt").write_text(OPEN_FILES[name])
    done = service.cli("check")
    assert done.returncode == 78 and re.search(r"clients\.txt:\d+:\d+: .*open relay", done.stderr), done
    service.start(wait=False)
    assert service.process.wait(30) == 78
    service.write({"access": {"i_know_this_is_an_open_relay": True}})
    assert service.cli("check").returncode == 0
    service.start()
