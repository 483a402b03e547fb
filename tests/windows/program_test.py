"""postern.exe as a file: what its header asks of Windows, which DLLs it needs, what it says of itself."""
import re
import struct
import subprocess

import pytest

import wine

BYTES = wine.EXE.read_bytes() if wine.EXE.exists() else b""
HIGH_ENTROPY_VA, DYNAMIC_BASE, NX_COMPAT, GUARD_CF = 0x20, 0x40, 0x100, 0x4000
# What every Windows since 10 and Server 2016 has.
SYSTEM = {"advapi32", "authz", "bcrypt", "crypt32", "dbghelp", "gdi32", "iphlpapi", "kernel32",
          "msvcrt", "ncrypt", "netapi32", "ole32", "psapi", "secur32", "shell32", "user32", "userenv",
          "ws2_32", "wtsapi32", "shlwapi", "rpcrt4", "ntdll", "version", "normaliz"}


def header():
    """(machine, characteristics of the file, optional header) of PE32+, Microsoft PE Format."""
    at = struct.unpack_from("<I", BYTES, 0x3c)[0]
    assert BYTES[:2] == b"MZ" and BYTES[at:at + 4] == b"PE\0\0"
    machine, _, _, _, _, size, flags = struct.unpack_from("<HHIIIHH", BYTES, at + 4)
    return machine, flags, BYTES[at + 24:at + 24 + size]


def sections():
    """{name: (flags, bytes)}; "/N" are those of the debugger, which are not loaded."""
    at = struct.unpack_from("<I", BYTES, 0x3c)[0]
    count, size = struct.unpack_from("<H", BYTES, at + 6)[0], struct.unpack_from(
        "<H", BYTES, at + 20)[0]
    found = {}
    for number in range(count):
        section = BYTES[at + 24 + size + 40 * number:][:40]
        length, start = struct.unpack_from("<II", section, 16)
        name = section[:8].rstrip(b"\0").decode()
        found[name] = struct.unpack_from("<I", section, 36)[0], BYTES[start:start + length]
    return found


def test_addresses_are_random_and_data_is_not_executed():
    machine, flags, optional = header()
    assert machine == 0x8664 and struct.unpack_from("<H", optional)[0] == 0x20b
    wanted = HIGH_ENTROPY_VA | DYNAMIC_BASE | NX_COMPAT
    assert struct.unpack_from("<H", optional, 70)[0] & wanted == wanted
    # without its relocations it could not be moved, whatever the flag says
    assert flags & 1 == 0 and struct.unpack_from("<II", optional, 112 + 5 * 8)[1] > 0


def test_no_section_is_written_and_executed():
    assert {".text", ".rdata", ".rsrc", ".reloc"} <= set(sections())
    for name, (flags, _) in sections().items():
        assert flags & 0xa0000000 != 0xa0000000, name


def test_control_flow_guard_where_the_compiler_knows_it():
    cache = (wine.EXE.parent / "CMakeCache.txt").read_text()
    if not re.search(r"^HAVE_GUARD_CF:INTERNAL=1$", cache, re.M):
        pytest.skip("this compiler does not know -mguard=cf")
    assert struct.unpack_from("<H", header()[2], 70)[0] & GUARD_CF


def test_it_needs_no_dll_but_those_of_windows():
    done = subprocess.run(["x86_64-w64-mingw32-objdump", "-p", wine.EXE], capture_output=True,
                          text=True, check=True)
    needed = {name.lower() for name in re.findall(r"DLL Name: (\S+?)\.(?:dll|drv)$", done.stdout,
                                                  re.M | re.I)}
    assert "kernel32" in needed and needed <= SYSTEM, needed - SYSTEM


def test_no_folder_of_the_build_is_compiled_into_it():
    """OpenSSL would read its configuration from there (CVE-2019-1552), libsasl2 its plug-ins."""
    loaded = b"".join(b for name, (_, b) in sections().items() if not name.startswith("/"))
    assert b"openssl.cnf" in loaded and b"Common Files/SSL" in loaded
    # (names of source files in OpenSSL's error calls are read by nobody)
    for folder in (b"windows-deps", b".cache/postern"):
        assert folder not in loaded, loaded[loaded.index(folder) - 40:][:120]


def test_it_tells_its_version_and_has_its_messages():
    version = wine.wine(wine.EXE, "version").stdout.split()[1]
    resources = sections()[".rsrc"][1]

    def value(key):
        """A string of the version resource: UTF-16, its key, padding, the text."""
        at = resources.index(key.encode("utf-16-le") + b"\0\0") + 2 * len(key) + 2
        return resources[at:at + 400].decode("utf-16-le", "replace").lstrip("\0").split("\0")[0]

    assert value("ProductName") == "Postern" and value("OriginalFilename") == "postern.exe"
    assert value("ProductVersion") == version
    for text in ("Postern did not start (exit code %2):", "could not be delivered to %3",
                 "Logging in is refused for now after wrong passwords: %2"):
        assert text.encode("utf-16-le") in resources, text
    assert b"requestedExecutionLevel" in resources
