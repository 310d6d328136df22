"""The platform of the broker's tests: a fresh stack, and workers as real processes."""

from tests.broker.conftest import platform

__all__ = ["platform"]
