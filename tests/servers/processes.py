"""Run a server as a child process that cannot outlive the tests, with its output in a file."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

GO = {"GOGC": "400", "GOMEMLIMIT": "1GiB"}
"""For servers written in Go: memory is there, processors are what the tests wait for."""

_LEASH = """
import ctypes, os, signal, sys
parent, account = int(sys.argv[1]), int(sys.argv[2])
if account >= 0:
    os.setgroups([]), os.setgid(account), os.setuid(account)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != parent:
    sys.exit("the tests are gone")
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Asks the kernel to kill the server together with its parent (1 is PR_SET_PDEATHSIG), then becomes the server."""

_SPAWNER = concurrent.futures.ThreadPoolExecutor(1, "spawner")
"""The kernel takes the *thread* that forked for the parent, so all servers are started by one that lives on."""


class StartError(Exception):
    """A server did not come up; the text ends with the last lines of its log."""


class Process:
    """One server: started in its own process group, stopped with everything that it started itself."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | os.PathLike[str]],
        folder: Path,
        env: Mapping[str, str] | None = None,
        account: int = -1,
    ) -> None:
        self.name = name
        self.command = [os.fspath(word) for word in command]
        self.log = folder / f"{name}.log"
        self._env = {**os.environ, **(env or {})}
        self._account = account
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; what it prints is added to its log."""
        leash = [sys.executable, "-S", "-E", "-c", _LEASH, str(os.getpid()), str(self._account)]
        with self.log.open("ab") as log:
            self._child = _SPAWNER.submit(
                subprocess.Popen,
                [*leash, *self.command],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.log.parent,
                start_new_session=True,
            ).result()

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its group."""
        assert self._child is not None, f"{self.name} was not started"
        return self._child.pid

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the whole group."""
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._child.pid, number)

    def stop(self, grace: float = 0.0) -> None:
        """End it and everything that it started: politely for these seconds, then for certain."""
        if self._child is None:
            return
        if grace and self.running:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(grace)
        self.signal(signal.SIGKILL)
        self._child.wait()
        self._child = None

    def expect_running(self) -> None:
        """Raise when it has ended by itself."""
        if not self.running:
            raise StartError(f"{self.name} ended by itself\n{self.tail()}")

    def tail(self, lines: int = 30) -> str:
        """The last lines of its log."""
        if not self.log.exists():
            return f"{self.log}: nothing was written"
        text = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join([f"--- {self.log}", *text])


def stop_all(processes: Sequence[Process]) -> None:
    """Stop all of them at once."""
    for process in processes:
        process.signal(signal.SIGKILL)
    for process in processes:
        process.stop()


_RESERVED: list[socket.socket] = []


def free_port(host: str = "127.0.0.1") -> int:
    """A port nobody listens on and nobody else was given, below those that the kernel gives to outgoing connections.

    A server may listen on it seconds later, and finds it free again when it was stopped for a while: it is reserved
    for as long as this process lives, by its UDP namesake, which no server here uses and no dead process holds.
    """
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        port = random.randrange(20000, 32000)
        reservation = socket.socket(type=socket.SOCK_DGRAM)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                reservation.bind((host, port))
                probe.bind((host, port))
            except OSError:
                reservation.close()
                continue
        _RESERVED.append(reservation)
        return port
    raise StartError("no free port between 20000 and 32000")
