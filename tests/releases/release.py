"""One release's code: its modules by name, so that what is tested can be asked of another release as well."""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import msgspec


class Release:
    """`release["schemas.block"]` is the module of that name as this release has it."""

    def __init__(self, module: Callable[[str], ModuleType]) -> None:
        self._module = module

    def __getitem__(self, name: str) -> ModuleType:
        return self._module(name)

    @property
    def name(self) -> str:
        """As it stands in the blocks that it writes."""
        return self["schemas.block"].RELEASE

    def head(self, head: Any) -> Any:
        """A head that any release stored, as this one reads it."""
        own = self["schemas.state"].Head
        if head is None or isinstance(head, own):
            return head
        return msgspec.msgpack.decode(msgspec.msgpack.encode(head), type=own)


PRESENT = Release(importlib.import_module)
