"""Kafka's jars: downloaded once per user by jgo, checked against the locked checksums at every start."""

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from stream import folder
from stream.errors import OperatorError

LOCK_FILE = Path(__file__).with_name("kafka.lock.toml")
DOWNLOADS_AT_ONCE = 6


def class_path(home: Path, progress: Callable[[str], None]) -> str:
    """The class path of the broker, after downloading what is missing or damaged.

    Raises OperatorError if a jar cannot be had, or has not the checksum it had when it was locked.
    """
    cache = cache_folder(home)
    with folder.locked(cache / ".lock"):
        jars = _locked_jars(cache)
        if missing := [jar for jar in jars if not _is_intact(jar, cache)]:
            _download(missing, cache, progress)
    return os.pathsep.join(str(artifact.cached_path) for _, artifact in jars)


def missing_jars(home: Path) -> int:
    """How many of Kafka's jars the next start will have to download."""
    cache = cache_folder(home)
    return sum(not _is_intact(jar, cache) for jar in _locked_jars(cache))


def cache_folder(home: Path) -> Path:
    """One folder per user, so that a second data folder downloads nothing; without HOME, in `home`."""
    user_cache = os.environ.get("XDG_CACHE_HOME")
    if not user_cache and os.environ.get("HOME"):
        user_cache = str(Path(os.environ["HOME"]) / ".cache")
    candidates = [Path(user_cache) / "points" / "jars"] if user_cache else []
    for cache in candidates:
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(cache, os.W_OK):
            return cache
    cache = home / "jars"
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _locked_jars(cache: Path) -> list[tuple]:
    """(lock entry, artifact) of every jar.

    Not by `jgo.build`: to sort jars into modules it would fetch a whole JDK, and nobody needs them sorted.
    """
    from jgo.env import LockFile
    from jgo.maven import MavenContext

    maven = MavenContext(repo_cache=cache)
    return [
        (
            entry,
            maven.project(entry.groupId, entry.artifactId).at_version(entry.version).artifact(),
        )
        for entry in LockFile.load(LOCK_FILE).dependencies
    ]


def _is_intact(jar: tuple, cache: Path) -> bool:
    from jgo.env import LockFile

    return not LockFile([jar[0]]).verify_checksums(cache)


def _download(missing: list[tuple], cache: Path, progress: Callable[[str], None]) -> None:
    progress(f"downloading Kafka: {len(missing)} files to {cache}")
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        downloads = {pool.submit(_download_one, jar, cache): jar for jar in missing}
        for done, download in enumerate(as_completed(downloads), start=1):
            try:
                download.result()
            except Exception as error:
                pool.shutdown(cancel_futures=True)
                raise _download_error(downloads[download][1], cache, error) from error
            progress(f"downloading Kafka: {done} of {len(missing)} files")


def _download_one(jar: tuple, cache: Path) -> None:
    _, artifact = jar
    artifact.cached_path.unlink(missing_ok=True)  # a download that was cut off
    artifact.resolve()
    if not _is_intact(jar, cache):
        artifact.cached_path.unlink()
        raise ValueError("its checksum is not the locked one")


def _download_error(artifact, cache: Path, error: Exception) -> OperatorError:
    """jgo raises whatever its HTTP library does, and all of that is an OSError without a number."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES):
        return folder.folder_error(cache, error)
    reason = str(error)
    if isinstance(error, OSError):
        reason = f"Maven Central cannot be reached ({type(error).__name__})"
    return OperatorError(
        f"Kafka's {artifact.filename} cannot be downloaded: {reason}.",
        "let it reach Maven Central (HTTPS_PROXY and REQUESTS_CA_BUNDLE are honoured) and run `points up`, "
        f"or copy {cache} from a machine where it ran once. What was downloaded already is kept.",
    )
