"""One release's code: its modules by name, so that what is tested can be asked of another release as well."""

import importlib
from collections.abc import Callable
from types import ModuleType


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


PRESENT = Release(importlib.import_module)
