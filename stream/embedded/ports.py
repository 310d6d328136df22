"""Ports on loopback: chosen free, remembered, and chosen anew when somebody else took them."""

import random
import socket

from stream.errors import OperatorError

# Below the range from which Linux and macOS take the ports of outgoing connections.
CANDIDATES = range(20_000, 30_000)


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        # As Kafka and Redis do: a connection in TIME_WAIT does not hold the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
    return True


def choose(taken: set[int]) -> int:
    """A free port outside `taken`; OperatorError if a hundred tries find none."""
    for _ in range(100):
        port = random.choice(CANDIDATES)  # noqa: S311 - no secret
        if port not in taken and is_free(port):
            return port
    raise OperatorError(
        f"No free port on 127.0.0.1 between {CANDIDATES.start} and {CANDIDATES.stop}.",
        "stop programs that listen there; `points status` shows what this folder runs.",
    )


def keep_or_choose(ports: dict[str, int], names: tuple[str, ...]) -> dict[str, int]:
    """`ports` with every one of `names` free to listen on: the remembered port where possible."""
    chosen = dict(ports)
    for name in names:
        if name not in chosen or not is_free(chosen[name]):
            chosen[name] = choose(set(chosen.values()))
    return chosen
