"""Public names of a package that are imported when they are first used, from one list that type checkers read too."""

from __future__ import annotations

import ast
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def lazy_names(package: str, file: str) -> Callable[[str], Any]:
    """The `__getattr__` (PEP 562) of a package, for the names that its `file` imports under `if TYPE_CHECKING`.

    Python skips that block, so it is read from the file, which has no other `if TYPE_CHECKING`.
    """
    tree = ast.parse(Path(file).read_text("utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    source_of = {alias.asname or alias.name: (each.module, alias.name) for each in imports for alias in each.names}

    def imported(name: str) -> Any:
        if name not in source_of:
            raise AttributeError(f"module {package} has no attribute {name}")
        module, name_there = source_of[name]
        if module is None:  # `from . import name`: a module of the package
            return import_module(f".{name_there}", package)
        return getattr(import_module(f".{module}", package), name_there)

    return imported
