"""postern.exe under Wine, as tests/e2e/postern.py has it on this system. The Wine prefix is that of
tests/wine.sh, which must have been started (./test windows does)."""
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))
os.environ.setdefault("POSTERN_PRESET", "asan")  # patience of three: each program starts slowly
import postern  # noqa: E402

EXE = postern.ROOT / "build/windows/postern.exe"
TRACE = pathlib.Path(os.environ.get("WINEPREFIX", "/nonexistent")) / "trace.log"
DATA = pathlib.Path(os.environ.get("WINEPREFIX", "/nonexistent")) / "drive_c/ProgramData/Postern"


def windows_path(path):
    return "Z:" + str(path).replace("/", "\\")


def wine(*arguments, input=None, timeout=120):
    """Runs a program of Wine to its end."""
    done = subprocess.run(["wine", *map(str, arguments)], input=input, capture_output=True, text=True,
                          timeout=timeout, errors="replace", cwd="/tmp")
    done.stdout = done.stdout.replace("\r\n", "\n")
    done.stderr = done.stderr.replace("\r\n", "\n")
    return done


class WineService(postern.Service):
    """serve in the foreground; stop is Ctrl-C, kill is TerminateProcess."""

    def __init__(self, folder, certificates, config=None, listeners=None):
        super().__init__(folder, certificates, config, listeners)
        self.config["service"]["data_directory"] = windows_path(self.data)
        self.config["tls"] = {"certificate": windows_path(certificates.certificate),
                              "key": windows_path(certificates.key)}
        self.wrapper = ["wine"]

    def start(self, wait=True, timeout=20):
        postern.BINARY = EXE
        return super().start(wait, timeout)

    def cli(self, *arguments, input=None, timeout=60, config=True):
        if config and not self.path.exists():
            self.write()
        command = [EXE, *arguments]
        if config:
            command += ["-c", windows_path(self.path)]
        return wine(*command, input=input, timeout=timeout * postern.PATIENCE)

    def stop(self, timeout=30):
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(2)
            self.process.wait(timeout * postern.PATIENCE)
        code = self.process.returncode
        self.process = None
        return code

    def kill(self):
        """From another process, as the task manager does it."""
        done = wine("taskkill", "/F", "/IM", "postern.exe")
        assert done.returncode == 0, done
        self.process.wait(60)
        self.process = None
