"""Redis servers of a test's own: on a socket in a temporary folder, ended with the test."""

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from stream.embedded.redis import WORKER_COMMANDS, WORKER_KEYS, executable

DEBIAN = "redis-server"  # whatever is on PATH: `.ci/run` installs Debian's 7.0
RIGHTS = " ".join([*(f"~{keys}" for keys in WORKER_KEYS), *(f"+{command}" for command in WORKER_COMMANDS)])
CONFIGURATION = f"""\
port 0
unixsocket redis.sock
user worker on >secret resetchannels -@all {RIGHTS}
dir .
appendonly yes
appendfsync always
save ""
set-max-intset-entries 8192
enable-protected-configs yes
"""


class Server:
    """One server; `admin` is a client without limits, `url` what a worker is given."""

    def __init__(self, program: str, folder: Path, configuration: str, login: str = "") -> None:
        self.program, self.folder, self._login = program, folder, login
        self.url = f"unix://worker:secret@{folder / 'redis.sock'}"
        self.admin = self.another_admin()
        (folder / "redis.conf").write_text(configuration)
        self._process: subprocess.Popen | None = None

    def another_admin(self) -> redis.Redis:
        """A client that asks once: a refusal is what a test waits for."""
        url = f"unix://{self._login}{self.folder / 'redis.sock'}"
        return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0))

    def start(self, wait: bool = True) -> None:
        """Returns once it answers, or, without `wait`, once it is there. Raises if it died."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.program, "redis.conf"], cwd=self.folder, stdout=log, stderr=log
            )
        deadline_s = time.monotonic() + 30
        while self._process.poll() is None and time.monotonic() < deadline_s:
            if self._answers(loads_too=not wait):
                return
            time.sleep(0.01)
        raise AssertionError((self.folder / "log").read_text()[-2_000:])

    def _answers(self, loads_too: bool) -> bool:
        try:
            return bool(self.admin.ping())
        except redis.BusyLoadingError:
            return loads_too
        except redis.RedisError:
            return False

    def kill(self) -> None:
        """As SIGKILL does."""
        if self._process:
            self._process.kill()
            self._process.wait(20)
        self.admin.connection_pool.disconnect()

    def freeze(self) -> None:
        """It lives, and does nothing, until `thaw`."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def restart(self, wait: bool = True, more: str = "") -> None:
        """Killed, and started on what it left, with `more` lines of configuration."""
        self.kill()
        with (self.folder / "redis.conf").open("a") as file:
            file.write(more)
        self.start(wait)

    def append_only_file(self) -> Path:
        """The file that grows."""
        return max(self.folder.rglob("*.aof"), key=lambda path: path.stat().st_mtime_ns)


@contextlib.contextmanager
def server(kind: str, configuration: str = CONFIGURATION, login: str = "") -> Iterator[Server]:
    """A running server: the embedded one (`valkey`), or the one on PATH. Nothing of it is left."""
    program = str(executable()) if kind == "valkey" else shutil.which(DEBIAN)
    folder = Path(tempfile.mkdtemp(prefix="points-redis-"))  # short: a socket's path has its limit
    made = Server(program, folder, configuration, login)
    try:
        made.start()
        yield made
    finally:
        made.kill()
        shutil.rmtree(folder)
