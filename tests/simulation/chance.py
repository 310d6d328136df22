"""All that is random in a run: every draw has a name and a number, so one can be left out without moving
others."""

from collections import Counter
from typing import Any
from zlib import crc32


class Chance:
    """Draws of one seed. `only`: the faults allowed to happen (all, if None); `fired`: those that did."""

    def __init__(self, seed: int, only: frozenset[str] | None = None) -> None:
        self._seed, self._only = seed, only
        self._drawn: Counter[str] = Counter()
        self.fired: list[str] = []
        self.healing = False

    def uniform(self, name: str) -> float:
        """A number in [0, 1)."""
        self._drawn[name] += 1
        return _mixed(crc32(f"{self._seed}/{name}/{self._drawn[name]}".encode())) / 2**32

    def below(self, name: str, bound: int) -> int:
        """An integer in [0, bound)."""
        return int(self.uniform(name) * bound)

    def choose(self, name: str, among: list) -> Any:
        """One of them."""
        return among[self.below(name, len(among))]

    def fault(self, name: str, probability: float) -> bool:
        """Whether this fault happens now; none does once the run heals."""
        hit = self.uniform(name) < probability and not self.healing
        fault = f"{name}#{self._drawn[name]}"
        if not hit or (self._only is not None and fault not in self._only):
            return False
        self.fired.append(fault)
        return True


def _mixed(number: int) -> int:
    """A checksum is linear: of two names it alone gives draws that go together, so that some never meet.

    The finalizer of MurmurHash3 (Appleby 2011), a bijection of 32 bits.
    """
    number = (number ^ number >> 16) * 0x85EBCA6B & 0xFFFF_FFFF
    number = (number ^ number >> 13) * 0xC2B2AE35 & 0xFFFF_FFFF
    return number ^ number >> 16
