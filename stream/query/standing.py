"""Who may not ask for a while: somebody whose queries did not end and had to be ended with the engine."""

import time
from collections import defaultdict, deque
from collections.abc import Callable

ENDED_MAX = 2  # within PERIOD_S: each kept the archive waiting for ten seconds
PERIOD_S = 600.0


class Standing:
    """Counts queries that did not end, by who asked them. `now_s` only grows."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._ended: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=ENDED_MAX))

    def ended(self, name: str) -> None:
        """A query of `name` had to be ended with the engine."""
        self._ended[name].append(self._now_s())

    def refused_for_s(self, name: str) -> float:
        """How long `name` is still refused; 0 if not at all."""
        ended = self._ended.get(name)
        if ended is None or len(ended) < ENDED_MAX or ended[-1] - ended[0] > PERIOD_S:
            return 0.0
        return max(0.0, ended[-1] + PERIOD_S - self._now_s())
