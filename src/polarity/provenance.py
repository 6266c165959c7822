"""What a step depends on, as one fingerprint: inputs, parameters, code and libraries.

The idea of a DVC stage. The code is found by following the imports of the step's
modules inside `polarity`, so a helper counts for the steps that use it and for no
other; comments, docstrings and layout do not count.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

# Modules that cannot change a result: names, places, options (one that matters is a parameter), and the
# switchboard that picks a family (the family's own module counts).
CANNOT_CHANGE_A_RESULT = frozenset(
    {"polarity", "polarity.errors", "polarity.config", "polarity.sections", "polarity.settings", "polarity.models"}
)


@dataclass(frozen=True)
class Step:
    """What one step of a flow is made of, besides its inputs and parameters.

    Parameters
    ----------
    name : str
        The step's name, and its folder in the store.
    modules : tuple of str
        The `polarity` modules that do the work; what they import is found from there.
    libraries : tuple of str
        Distributions whose version can change the result.
    files : tuple of Path
        Further files that it reads, such as a suite of expectations.
    """

    name: str
    modules: tuple[str, ...]
    libraries: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Fingerprint:
    """A step's key, with the parts it was made of, so that a change can be told in words."""

    step: str
    parts: Mapping[str, str]
    """`input:NAME`, `parameter:NAME`, `module:NAME`, `library:NAME`, `file:NAME` -> digest or value."""

    @property
    def key(self) -> str:
        """The sha256 of all parts, 32 hex digits of it."""
        return hashlib.sha256(json.dumps(dict(self.parts), sort_keys=True).encode()).hexdigest()[:32]

    def changes(self, before: Mapping[str, str]) -> list[str]:
        """What is different from an earlier fingerprint of the same step, in words."""
        told = []
        for part in sorted({*self.parts, *before}):
            kind, _, name = part.partition(":")
            if part not in before:
                told.append(f"new {kind} {name}")
            elif part not in self.parts:
                told.append(f"{kind} {name} is gone")
            elif self.parts[part] != before[part]:
                values = f": {before[part]} -> {self.parts[part]}" if kind in ("parameter", "library") else ""
                told.append(f"{kind} {name} changed{values}")
        return told


def fingerprint(step: Step, *, inputs: Mapping[str, str], parameters: Mapping[str, Any]) -> Fingerprint:
    """The fingerprint of `step` on these inputs (by digest) with these parameters (anything JSON can write)."""
    parts = {f"input:{name}": digest for name, digest in inputs.items()}
    parts |= {f"parameter:{name}": json.dumps(value, sort_keys=True, default=str) for name, value in _flat(parameters)}
    parts |= {f"module:{name}": code_digest(name) for name in sorted(closure(step.modules))}
    parts |= {f"library:{name}": importlib.metadata.version(name) for name in step.libraries}
    parts |= {f"file:{path.name}": file_digest(path) for path in step.files}
    return Fingerprint(step.name, dict(sorted(parts.items())))


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def file_digest(path: Path) -> str:
    """The sha256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def closure(modules: Iterable[str]) -> frozenset[str]:
    """The modules and every `polarity` module that they import, directly or not, at the top or inside a function."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found and name not in CANNOT_CHANGE_A_RESULT:
            found.add(name)
            waiting.extend(_imports(name))
    return frozenset(found)


@cache
def code_digest(module: str) -> str:
    """The sha256 of a module's syntax tree without docstrings."""
    tree = _tree(module)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


def _tree(module: str) -> ast.Module:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"{module} is no module with a source file.")
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


@cache
def _imports(module: str) -> frozenset[str]:
    names: set[str] = set()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            # `from polarity.models import bilstm` names a module, too
            names |= {
                f"{node.module}.{alias.name}" for alias in node.names if _is_module(f"{node.module}.{alias.name}")
            }
    return frozenset(name for name in names if name == "polarity" or name.startswith("polarity."))


@cache
def _is_module(name: str) -> bool:
    if not name.startswith("polarity."):
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
