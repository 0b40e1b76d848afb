"""Commands and ranks as forks of the test process, which has everything imported: starting one costs no import.

A fork runs in a session of its own, as a terminal or launcher would have it, and what it leaves behind is killed.
"""

import os
import pickle
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from typing import Any

LIMIT = 120.0
"""Seconds that a fork has, unless it is told otherwise; a loaded machine needs a tenth."""
FOREIGN = ("SLURM_", "RANK", "WORLD_", "LOCAL_", "MASTER_", "TORCHELASTIC_")


class Fork:
    """`work()` in another process; what it prints goes to files, and its exit code is that of a Python program."""

    def __init__(
        self, work: Callable[[], Any], *, cwd: Path | None = None, variables: Mapping[str, str] | None = None
    ) -> None:
        self.returncode: int | None = None
        self.output, self.errors = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            _become(work, self.output.fileno(), self.errors.fileno(), cwd, dict(variables or {}))

    def poll(self) -> int | None:
        """The exit code, negative for a signal, or None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
                self.signal_all(signal.SIGKILL)
        return self.returncode

    def wait(self, limit: float = LIMIT) -> int:
        """The exit code; what runs longer is killed and `TimeoutExpired` raised with what it printed."""
        deadline = time.monotonic() + limit
        while self.poll() is None:
            if time.monotonic() > deadline:
                self.signal_all(signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise TimeoutExpired("a fork", limit, self.text(self.output), self.text(self.errors))
            time.sleep(0.005)
        assert self.returncode is not None
        return self.returncode

    def finish(self, limit: float = LIMIT) -> "CompletedProcess[str]":
        """Its exit code and everything that it printed."""
        code = self.wait(limit)
        return CompletedProcess("a fork", code, self.text(self.output), self.text(self.errors))

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the process and those it started, as a terminal does."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            if self.returncode is None:  # not yet the leader of its group
                os.kill(self.pid, number)

    @staticmethod
    def text(file: Any) -> str:
        return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")


def _become(work: Callable[[], Any], out: int, err: int, cwd: Path | None, variables: dict[str, str]) -> None:
    """Turn this fork into a program that does `work`, and never return."""
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.stdout, sys.stderr = (open(file, "w", buffering=1, closefd=False) for file in (1, 2))  # noqa: SIM115
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for name in [name for name in os.environ if name.startswith(FOREIGN)]:
            del os.environ[name]
        os.environ.update({"OMP_NUM_THREADS": "1", "COLUMNS": "160"} | variables)
        if cwd:
            os.chdir(cwd)
        work()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def command(main: Callable[[], None], *words: object, cwd: Path | None = None) -> Fork:
    """A command line begun: `main` is what the console script calls."""

    def work() -> None:
        sys.argv = ["command", *map(str, words)]
        main()

    return Fork(work, cwd=cwd)


def by_torchrun(rank: int, count: int, port: int) -> dict[str, str]:
    """What torchrun sets for one of its processes."""
    return {
        **{"RANK": str(rank), "WORLD_SIZE": str(count), "LOCAL_RANK": str(rank)},
        **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
    }


def by_srun(rank: int, count: int, port: int) -> dict[str, str]:
    """What SLURM's srun sets for one of its tasks."""
    return {
        **{"SLURM_PROCID": str(rank), "SLURM_NTASKS": str(count), "SLURM_LOCALID": str(rank)},
        **{"SLURM_STEP_ID": "0", "SLURM_JOB_NODELIST": "localhost,other[1-3]", "MASTER_PORT": str(port)},
    }


def ranks(count: int, work: Callable[[int], Any], limit: float = LIMIT, launcher: Any = by_torchrun) -> list[Any]:
    """What `work(rank)` returns in each of so many processes that a launcher could have started."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:

        def kept(rank: int) -> None:
            Path(folder, str(rank)).write_bytes(pickle.dumps(work(rank)))

        forks = [Fork(lambda rank=rank: kept(rank), variables=launcher(rank, count, port)) for rank in range(count)]
        deadline = time.monotonic() + limit
        while any(fork.poll() is None for fork in forks) and not any(fork.returncode for fork in forks):
            if time.monotonic() > deadline:
                break
            time.sleep(0.005)
        for fork in forks:  # those that wait for one that failed
            fork.signal_all(signal.SIGKILL)
        done = [fork.finish() for fork in forks]
        assert [each.returncode for each in done] == [0] * count, "\n".join(each.stderr for each in done)
        return [pickle.loads(Path(folder, str(rank)).read_bytes()) for rank in range(count)]
