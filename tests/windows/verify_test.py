"""What packaging/windows/verify.ps1 embeds: there is no PowerShell here to run it, but its constants are
those of the program, and the configurations that it writes are valid."""
import re

import wine
from wine import postern, windows_path

SCRIPT = (postern.ROOT / "packaging/windows/verify.ps1").read_bytes()
TEXT = SCRIPT.decode()


def test_it_is_plain_ascii():
    assert SCRIPT.isascii() and b"\t" not in SCRIPT


def test_the_service_sid_is_the_programs():
    rights = (postern.ROOT / "win32/rights.h").read_text()
    assert re.search(r'RIGHTS_SERVICE_SID L"(S-1-5-80-[0-9-]+)"', rights)[1] in TEXT


def test_the_recovery_actions_and_times_are_the_programs():
    control = (postern.ROOT / "win32/service_control_scm.c").read_text()
    delays = re.findall(r"SC_ACTION_RESTART, (\d+)", control)
    assert "reset 86400 s: " + " ".join(f"1/{d}" for d in delays) in TEXT
    assert "FORGIVEN_AFTER_S = 24 * 60 * 60" in control
    wait = re.search(r"PRESHUTDOWN_MS = (\d+)", control)[1]
    assert f"-eq {wait}) \"$ms\"" in TEXT
    assert 'L"SeChangeNotifyPrivilege\\0"' in control and "'SeChangeNotifyPrivilege'" in TEXT


def test_its_configurations_are_valid(tmp_path, certificates):
    texts = re.findall(r'@"\n(.*?)\n"@', TEXT, re.S)
    assert len(texts) == 2
    for number, text in enumerate(texts):
        folder = tmp_path / str(number)
        folder.mkdir()
        text = text.replace("@FOLDER@", windows_path(folder)).replace("$more", "")
        text = text.replace("tls: { store: LocalMachine/My, thumbprint: \"$($made.Thumbprint)\" }",
                            f"tls: {{ certificate: '{windows_path(certificates.certificate)}', "
                            f"key: '{windows_path(certificates.key)}' }}")
        text = re.sub(r"\$\w+", "0", re.sub(r":\$\w+\"", lambda _: f":{postern.free_port()}\"", text))
        file = folder / "postern.yaml"
        file.write_text(text)
        done = wine.wine(wine.EXE, "check", "-c", windows_path(file))
        assert done.returncode == 0, done


def test_the_texts_that_it_looks_for_are_in_the_program():
    codes = (postern.ROOT / "win32/local_account_codes.c").read_text()
    for name, number in (("LOGON_FAILURE", 1326), ("ACCOUNT_DISABLED", 1331),
                         ("ACCOUNT_EXPIRED", 1793), ("PASSWORD_MUST_CHANGE", 1907),
                         ("INVALID_LOGON_HOURS", 1328)):
        assert f"ERROR_{name}" in codes and f"'({number})'" in TEXT
    assert "a member of Guests" in (postern.ROOT / "win32/local_account_logon.c").read_text()
    assert "wrong password" in (postern.ROOT / "win32/sspi_codes.c").read_text()
