"""What a step depends on, as one fingerprint: inputs, parameters, code and libraries.

The idea of a DVC stage. A step's own code counts by its syntax tree, its closures included; the modules it uses, and
what they import inside `polarity` (or inside the package of somebody else's family), count whole. Comments,
docstrings and layout do not count.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import json
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from polarity.inference.package import file_digest

# What cannot change a result: how steps are run and stored, options (one that matters is a parameter), errors, and
# the switchboard that picks a family (the family's own module counts).
_CANNOT_CHANGE_A_RESULT = ("polarity.config", "polarity.pipeline")
_SWITCHBOARDS = frozenset({"polarity", "polarity.errors", "polarity.families.registry"})

# Two threads that parse at once can meet in the interpreter's one recursion counter: "SystemError: AST constructor
# recursion depth mismatch" (python/cpython#106905).
_PARSING = threading.Lock()


@dataclass(frozen=True)
class Fingerprint:
    """A step's key, with the parts it was made of, so that a change can be put in words."""

    step: str
    parts: Mapping[str, str]
    """`input:NAME`, `parameter:NAME`, `code:NAME`, `module:NAME`, `library:NAME`, `file:NAME` -> digest or value."""

    @property
    def key(self) -> str:
        """The sha256 of all parts, 32 hex digits of it."""
        return hashlib.sha256(json.dumps(dict(self.parts), sort_keys=True).encode()).hexdigest()[:32]

    def changes(self, before: Mapping[str, str]) -> list[str]:
        """What is different from an earlier fingerprint of the same step, in words."""
        found = []
        for part in sorted({*self.parts, *before}):
            kind, _, name = part.partition(":")
            if part not in before:
                found.append(f"new {kind} {name}")
            elif part not in self.parts:
                found.append(f"{kind} {name} is gone")
            elif self.parts[part] != before[part]:
                values = f": {before[part]} -> {self.parts[part]}" if kind in ("parameter", "library") else ""
                found.append(f"{kind} {name} changed{values}")
        return found


def fingerprint(
    step: str,
    *,
    inputs: Mapping[str, str],
    parameters: Mapping[str, Any],
    code: type | None = None,
    modules: Iterable[str] = (),
    libraries: Iterable[str] = (),
    files: Iterable[Path] = (),
) -> Fingerprint:
    """The fingerprint of a step.

    Parameters
    ----------
    step : str
        Its name, and its folder in the store.
    inputs : mapping
        Digests of what it reads.
    parameters : mapping
        Options that can change its result; anything JSON can write.
    code : type, optional
        The class whose body does the work; the modules that it uses are found from there. Other classes of the same
        kind (its own base beyond its module) are not followed: what they make is an input.
    modules : iterable of str
        Further modules that do the work.
    libraries : iterable of str
        Distributions whose version can change the result.
    files : iterable of Path
        Further files that it reads, such as a suite of expectations.
    """
    body = code_of(code) if code else None
    roots = {*modules, *(body.modules if body else ())}
    parts = {f"input:{name}": digest for name, digest in inputs.items()}
    parts |= {f"parameter:{name}": json.dumps(value, sort_keys=True, default=str) for name, value in _flat(parameters)}
    parts |= {f"code:{body.name}": body.digest} if body else {}
    parts |= {f"module:{name}": module_digest(name) for name in sorted(closure(roots))}
    parts |= {f"library:{name}": importlib.metadata.version(name) for name in libraries}
    parts |= {f"file:{path.name}": file_digest(path) for path in files}
    return Fingerprint(step, dict(sorted(parts.items())))


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


@dataclass(frozen=True)
class Code:
    """A class with what it uses of its own module, and the modules from which it uses something."""

    name: str
    digest: str
    modules: frozenset[str]


@cache
def code_of(cls: type) -> Code:
    """The code of a class: its body, its bases and helpers in the same module, and where the rest comes from.

    Classes with the same furthest base (a step that this one needs) are not followed: what they make is an input.
    """
    module = sys.modules[cls.__module__]
    tree = module_tree(cls.__module__)
    nodes, origins = _definitions(tree), _origins(tree, cls.__module__)
    kind = next((base for base in reversed(cls.__mro__) if base.__module__.startswith("polarity.pipeline")), cls)
    own = {base.__name__ for base in cls.__mro__ if base.__module__ == cls.__module__ and base is not kind}

    def is_of_the_kind(name: str) -> bool:
        found = getattr(module, name, None)
        return isinstance(found, type) and issubclass(found, kind) and name not in own

    used, waiting, modules = set[str](), sorted(own), set[str]()
    while waiting:
        name = waiting.pop()
        if name in used or is_of_the_kind(name):
            continue
        if name in nodes:
            used.add(name)
            waiting.extend(node.id for node in ast.walk(nodes[name]) if isinstance(node, ast.Name))
            modules |= _modules_imported(nodes[name], cls.__module__)
        elif name in origins:
            modules.add(origins[name])
    digest = hashlib.sha256("\n".join(ast.dump(_bare(nodes[name])) for name in sorted(used)).encode()).hexdigest()
    return Code(cls.__name__, digest, frozenset(modules))


def closure(modules: Iterable[str]) -> frozenset[str]:
    """The modules and all modules of the same package, or of `polarity`, that they import, directly or not."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in found and _can_change_a_result(name):
            found.add(name)
            waiting.extend(_imports(name))
    return frozenset(found)


@cache
def module_digest(module: str) -> str:
    """The sha256 of a module's syntax tree without docstrings."""
    return hashlib.sha256(ast.dump(_bare(module_tree(module))).encode()).hexdigest()


def module_tree(module: str) -> ast.Module:
    """The syntax tree of a module.

    Raises
    ------
    ValueError
        If the module has no source file.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"{module} is no module with a source file.")
    source = Path(spec.origin).read_text(encoding="utf-8")
    with _PARSING:
        return ast.parse(source)


def _bare(tree: ast.AST) -> ast.AST:
    """The same tree, with its docstrings taken out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _definitions(tree: ast.Module) -> dict[str, ast.stmt]:
    """What a module defines at its top level, by name."""
    found: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return found


def _origins(tree: ast.Module, module: str) -> dict[str, str]:
    """The module of ours behind each name that is imported at the top level."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and _is_ours(node.module, module):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found[alias.asname or alias.name] = inner if _is_module(inner) else node.module
    return found


@cache
def _imports(module: str) -> frozenset[str]:
    return frozenset(_modules_imported(module_tree(module), module))


def _modules_imported(tree: ast.AST, module: str) -> set[str]:
    """The modules of ours that are imported somewhere in a piece of code, at the top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if _is_ours(alias.name, module)}
        elif isinstance(node, ast.ImportFrom) and node.module and _is_ours(node.module, module):
            names.add(node.module)
            # `from polarity.families import logistic` names a module, too
            names |= {inner for alias in node.names if _is_module(inner := f"{node.module}.{alias.name}")}
    return names


def _is_ours(name: str, module: str) -> bool:
    """Whether `name` is part of this project, or of the package that `module` is part of."""
    return name.partition(".")[0] in ("polarity", module.partition(".")[0])


def _can_change_a_result(name: str) -> bool:
    return name not in _SWITCHBOARDS and not any(
        name == room or name.startswith(f"{room}.") for room in _CANNOT_CHANGE_A_RESULT
    )


@cache
def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
