"""Imports Gradio without what it does for editors alone.

Whenever it is imported, Gradio parses the source of each of its components to write a stub file (.pyi) beside it: about
half of the import's time, and nothing runs by those files.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

WRITER, FUNCTION = "gradio.component_meta", "create_or_modify_pyi"


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        setattr(module, FUNCTION, lambda *arguments: None)


class _Finder(MetaPathFinder):
    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != WRITER:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path)
        if spec and spec.origin and type(spec.loader) is SourceFileLoader:
            spec.loader = _Loader(name, spec.origin)
        return spec


def without_stubs() -> None:
    """Lets the next import of Gradio write no stub files; does nothing where it is imported already."""
    if WRITER not in sys.modules:
        sys.meta_path.insert(0, _Finder())
