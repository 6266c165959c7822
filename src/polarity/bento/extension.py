"""The package of an external family, included in the Bento so that its image can load the family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from polarity.errors import ArtifactError
from polarity.families.registry import GROUP, AnyFamily, distribution_of


@dataclass(frozen=True)
class Extension:
    """Files added to a Bento beside the project's own.

    Attributes
    ----------
    files : mapping
        Path inside the Bento's sources -> content.
    requirements : tuple of str
        Lines for the image's requirements, with hashes.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()


def extension_of(family: AnyFamily) -> Extension:
    """The package that provides a family, with its entry-point metadata; empty for a built-in family.

    Raises
    ------
    ArtifactError
        If its source files cannot be found.
    """
    entry = distribution_of(family)
    if entry is None:
        return Extension()
    package = entry.module.partition(".")[0]
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ArtifactError(f"The source of {entry.module} (family {family.name!r}) cannot be found.")
    origin = Path(spec.origin)
    if spec.submodule_search_locations:
        found = [path for path in sorted(origin.parent.rglob("*")) if path.is_file() and path.suffix != ".pyc"]
        files = {f"src/{package}/{path.relative_to(origin.parent).as_posix()}": path.read_bytes() for path in found}
    else:
        files = {f"src/{origin.name}": origin.read_bytes()}
    name, version = (entry.dist.name, entry.dist.version) if entry.dist else (package, "0")
    metadata = f"src/{name.replace('-', '_')}-{version}.dist-info"
    files[f"{metadata}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    files[f"{metadata}/entry_points.txt"] = f"[{GROUP}]\n{entry.name} = {entry.value}\n".encode()
    return Extension(files, family.requirements)
