"""The fingerprint of a step: its inputs, parameters, code and libraries, as in a DVC stage.

The step's own code enters by its syntax tree, including nested functions. The modules it uses, and what they import
within `polarity` (or within the package of an external family), enter as a whole. Comments, docstrings and layout
are ignored.
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
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from polarity.config.settings import PROJECT
from polarity.inference.package import file_digest

# What cannot change a result: how steps are run and stored, options (relevant ones are parameters), errors, and the
# registry that looks up a family (the family's own module counts).
_IGNORED_PACKAGES = ("polarity.config", "polarity.pipeline")
_IGNORED_MODULES = frozenset({"polarity", "polarity.errors", "polarity.families.registry"})

# Two threads that parse concurrently share the interpreter's recursion counter: "SystemError: AST constructor
# recursion depth mismatch" (python/cpython#106905).
_parsing = threading.Lock()


@dataclass(frozen=True)
class Fingerprint:
    """A step's key and the parts it is computed from, so that a change can be explained."""

    step: str
    parts: Mapping[str, str]
    """`input:NAME`, `parameter:NAME`, `code:NAME`, `module:NAME`, `library:NAME`, `file:NAME` -> digest or value."""

    @property
    def key(self) -> str:
        """The first 32 hex digits of the sha256 of all parts."""
        return hashlib.sha256(json.dumps(dict(self.parts), sort_keys=True).encode()).hexdigest()[:32]

    def changes(self, before: Mapping[str, str]) -> list[str]:
        """Describe the differences from an earlier fingerprint of the same step."""
        found = []
        for part in sorted({*self.parts, *before}):
            kind, _, name = part.partition(":")
            if part not in before:
                found.append(f"new {kind} {name}")
            elif part not in self.parts:
                found.append(f"{kind} {name} was removed")
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
    """Compute the fingerprint of a step.

    Parameters
    ----------
    step : str
        Name of the step, which is also its folder in the store.
    inputs : mapping
        Digests of the data that the step reads.
    parameters : mapping
        Options that can change the result; values must be serialisable as JSON.
    code : type, optional
        The class that does the work. The modules it uses are found from its body; other steps are not followed,
        since their results are inputs (see `code_of`).
    modules : iterable of str
        Additional modules that do the work.
    libraries : iterable of str
        Distributions whose versions can change the result.
    files : iterable of Path
        Additional files that the step reads, such as an expectation suite.
    """
    body = code_of(code) if code else None
    roots = {*modules, *(body.modules if body else ())}
    parts = {f"input:{name}": digest for name, digest in inputs.items()}
    parts |= {f"parameter:{name}": json.dumps(value, sort_keys=True, default=str) for name, value in _flat(parameters)}
    parts |= {f"code:{body.name}": body.digest} if body else {}
    parts |= {f"module:{name}": module_digest(name) for name in sorted(closure(roots))}
    parts |= {f"library:{name}": importlib.metadata.version(name) for name in libraries}
    parts |= {f"file:{_file_name(path)}": file_digest(path) for path in files}
    return Fingerprint(step, dict(sorted(parts.items())))


def _file_name(path: Path) -> str:
    """A file's name within the project; several folders have a `topology.py`. Outside it, with its folder."""
    if path.is_relative_to(PROJECT):
        return path.relative_to(PROJECT).as_posix()
    return f"{path.parent.name}/{path.name}"


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


@dataclass(frozen=True)
class Code:
    """The code of a class: a digest of what it uses from its own module, and the modules it imports from."""

    name: str
    digest: str
    modules: frozenset[str]


@cache
def code_of(cls: type) -> Code:
    """The code of a class: its body, its bases and helpers in the same module, and the modules of everything else.

    Classes with the same root base class (other steps) are not followed: their results are inputs.
    """
    module = sys.modules[cls.__module__]
    tree = module_tree(cls.__module__)
    nodes, origins = _definitions(tree), _origins(tree, cls.__module__)
    root = next((base for base in reversed(cls.__mro__) if base.__module__.startswith("polarity.pipeline")), cls)
    own = {base.__name__ for base in cls.__mro__ if base.__module__ == cls.__module__ and base is not root}

    def is_other_step(name: str) -> bool:
        found = getattr(module, name, None)
        return isinstance(found, type) and issubclass(found, root) and name not in own

    used, pending, modules = set[str](), sorted(own), set[str]()
    while pending:
        name = pending.pop()
        if name in used or is_other_step(name):
            continue
        if name in nodes:
            used.add(name)
            pending.extend(node.id for node in ast.walk(nodes[name]) if isinstance(node, ast.Name))
            modules |= _modules_imported(nodes[name], cls.__module__)
        elif name in origins:
            modules.add(origins[name])
    digest = hashlib.sha256(
        "\n".join(ast.dump(_without_docstrings(nodes[name])) for name in sorted(used)).encode()
    ).hexdigest()
    return Code(cls.__name__, digest, frozenset(modules))


def closure(modules: Iterable[str]) -> frozenset[str]:
    """The modules, and all modules of `polarity` or of their own package that they import, directly or indirectly."""
    found: set[str] = set()
    pending = list(modules)
    while pending:
        name = pending.pop()
        if name not in found and _can_change_a_result(name):
            found.add(name)
            pending.extend(_imports(name))
    return frozenset(found)


@cache
def module_digest(module: str) -> str:
    """The sha256 of a module's syntax tree without docstrings."""
    return _source_digest(_source(module))


@cache
def _source_digest(source: str) -> str:
    return hashlib.sha256(ast.dump(_without_docstrings(_parsed(source))).encode()).hexdigest()


def module_tree(module: str) -> ast.Module:
    """The syntax tree of a module.

    Raises
    ------
    ValueError
        If the module has no source file.
    """
    return _parsed(_source(module))


def _source(module: str) -> str:
    spec = _spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"The module {module} has no source file.")
    return Path(spec.origin).read_text(encoding="utf-8")


def _parsed(source: str) -> ast.Module:
    with _parsing:
        return ast.parse(source)


def _without_docstrings(tree: ast.AST) -> ast.AST:
    """Remove the docstrings from a tree, in place."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _definitions(tree: ast.Module) -> dict[str, ast.stmt]:
    """The top-level definitions of a module, by name."""
    found: dict[str, ast.stmt] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return found


def _origins(tree: ast.Module, module: str) -> dict[str, str]:
    """The first-party module behind each name imported at the top level."""
    found: dict[str, str] = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and _is_first_party(node.module, module):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found[alias.asname or alias.name] = inner if _is_module(inner) else node.module
    return found


@cache
def _imports(module: str) -> frozenset[str]:
    return _imports_of(_source(module), module)


@cache
def _imports_of(source: str, module: str) -> frozenset[str]:
    return frozenset(_modules_imported(_parsed(source), module))


def _modules_imported(tree: ast.AST, module: str) -> set[str]:
    """The first-party modules imported anywhere in a piece of code, at the top level or inside a function."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if _is_first_party(alias.name, module)}
        elif isinstance(node, ast.ImportFrom) and node.module and _is_first_party(node.module, module):
            names.add(node.module)
            # `from polarity.families import logistic` also imports a module
            names |= {inner for alias in node.names if _is_module(inner := f"{node.module}.{alias.name}")}
    return names


def _is_first_party(name: str, module: str) -> bool:
    """Whether `name` belongs to this project, or to the package that `module` belongs to."""
    return name.partition(".")[0] in ("polarity", module.partition(".")[0])


def _can_change_a_result(name: str) -> bool:
    return name not in _IGNORED_MODULES and not any(
        name == package or name.startswith(f"{package}.") for package in _IGNORED_PACKAGES
    )


@cache
def _is_module(name: str) -> bool:
    return _spec(name) is not None


def _spec(name: str) -> ModuleSpec | None:
    """The specification of a module; unlike `importlib.util.find_spec`, it does not import what the module is in."""
    parent = name.rpartition(".")[0]
    if not parent:
        return importlib.util.find_spec(name)
    above = _spec(parent)
    if above is None or above.submodule_search_locations is None:
        return None
    return PathFinder.find_spec(name, above.submodule_search_locations)
