"""The signature of a Bento: which files it has, signed with a key of the team's.

The format is that of OpenSSF Model Signing 1.0, so its own `model_signing verify key` reads it, too: an in-toto
statement with the digest of each file, in a DSSE envelope, in a Sigstore bundle. Its library is not used, because
sixteen packages (TUF, Sigstore's client) would have to go into the image, to verify one signature with `cryptography`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from polarity.config.environment import read_options
from polarity.errors import ArtifactError, ConfigurationError
from polarity.inference.package import file_digest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

SIGNATURE = "model.sig"
# `bentoml containerize` writes the Dockerfile anew, from the signed bento.yaml.
_UNSIGNED = (SIGNATURE, "env/docker/Dockerfile")
_CACHE = "__pycache__"

_BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"
_HASHES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
_MAX_NAMED = 10


class KeyOptions(msgspec.Struct, frozen=True, kw_only=True):
    r"""The keys, from the environment variables POLARITY_<NAME>: a PEM file, or what it contains, also with `\n`.

    Attributes
    ----------
    signing_key : str
        Private key that Bentos are signed with. Default: none, nothing is signed.
    verify_key : str
        Public key that a Bento must be signed with to be started. Default: none, nothing is verified.
    """

    signing_key: str = ""
    verify_key: str = ""

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> KeyOptions:
        """Read the options set in `environment`."""
        return read_options(cls, environment)


class _Signature(msgspec.Struct):
    sig: bytes
    keyid: str = ""


class _Envelope(msgspec.Struct, rename="camel"):
    payload: bytes
    payload_type: str
    signatures: tuple[_Signature]


class _KeyHint(msgspec.Struct):
    hint: str


class _Material(msgspec.Struct, rename="camel"):
    public_key: _KeyHint
    tlog_entries: tuple[()] = ()


class _Bundle(msgspec.Struct, rename="camel"):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope


class _Resource(msgspec.Struct):
    name: str
    digest: str
    algorithm: Literal["sha256"] = "sha256"


class _Serialization(msgspec.Struct):
    method: Literal["files"] = "files"
    hash_type: Literal["sha256"] = "sha256"
    allow_symlinks: Literal[False] = False
    ignore_paths: tuple[str, ...] = _UNSIGNED


class _Predicate(msgspec.Struct):
    serialization: _Serialization
    resources: tuple[_Resource, ...]


class _Subject(msgspec.Struct):
    name: str
    digest: dict[str, str]


class _Statement(msgspec.Struct, rename="camel"):
    type: str = msgspec.field(name="_type")
    subject: tuple[_Subject]
    predicate_type: str
    predicate: _Predicate


def sign(folder: Path, key: str, *, name: str) -> None:
    """Sign a Bento's folder as it is; the signature becomes a file in it.

    Parameters
    ----------
    folder : Path
    key : str
        As in `KeyOptions.signing_key`.
    name : str
        What the signature calls it, e.g. its tag.

    Raises
    ------
    ConfigurationError
        If the key cannot be read, or is of another kind.
    ArtifactError
        If the folder has symbolic links.
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    private = _private_key(key)
    resources = tuple(_Resource(path, digest) for path, digest in sorted(_digests(folder).items()))
    root = hashlib.sha256(b"".join(bytes.fromhex(one.digest) for one in resources)).hexdigest()
    statement = _Statement(
        type=_STATEMENT,
        subject=(_Subject(name, {"sha256": root}),),
        predicate_type=_PREDICATE,
        predicate=_Predicate(_Serialization(), resources),
    )
    payload = msgspec.json.encode(statement)
    signature = private.sign(_signed_bytes(payload), ec.ECDSA(_hash_of(private.curve)))
    bundle = _Bundle(
        media_type=_BUNDLE,
        verification_material=_Material(_KeyHint(_fingerprint(private.public_key()))),
        dsse_envelope=_Envelope(payload, _PAYLOAD, (_Signature(signature),)),
    )
    draft = folder / f".{SIGNATURE}-{os.getpid()}"
    draft.write_bytes(msgspec.json.encode(bundle))
    draft.replace(folder / SIGNATURE)


def verify(folder: Path, key: str) -> None:
    """Hold a Bento's folder against its signature.

    What Python has compiled (`__pycache__`) is deleted first: it is not signed, and would be run in place of the
    sources that are.

    Parameters
    ----------
    folder : Path
    key : str
        As in `KeyOptions.verify_key`.

    Raises
    ------
    ConfigurationError
        If the key cannot be read, or is of another kind.
    ArtifactError
        If the Bento is not signed, or not with this key, or if a file was changed, added or removed since.
    """
    public = _public_key(key)
    signed = _signed_digests(folder / SIGNATURE, public)
    _delete_caches(folder)
    found = _digests(folder)
    differences = {
        "changed": [name for name in signed if name in found and found[name] != signed[name]],
        "added": [name for name in found if name not in signed],
        "missing": [name for name in signed if name not in found],
    }
    if any(differences.values()):
        named = "; ".join(f"{what}: {_named(names)}" for what, names in differences.items() if names)
        raise ArtifactError(f"'{folder}' is not what was signed ({named}). Get it again from where it was built.")


def _signed_digests(path: Path, public: ec.EllipticCurvePublicKey) -> dict[str, str]:
    """The digest of each signed file, after the signature has been verified."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        bundle = msgspec.json.decode(path.read_bytes(), type=_Bundle)
    except OSError as error:
        raise ArtifactError(
            f"'{path.parent}' is not signed: {SIGNATURE} cannot be read ({error.strerror}). Sign it where it was built "
            "(`python -m polarity sign`), or unset POLARITY_VERIFY_KEY."
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactError(f"'{path}' is not the signature of a Bento: {error}.") from error
    given, expected = bundle.verification_material.public_key.hint, _fingerprint(public)
    if given != expected:
        raise ArtifactError(
            f"'{path}' was made with another key ({given[:16]}) than POLARITY_VERIFY_KEY ({expected[:16]})."
        )
    envelope = bundle.dsse_envelope
    try:
        public.verify(envelope.signatures[0].sig, _signed_bytes(envelope.payload), ec.ECDSA(_hash_of(public.curve)))
    except InvalidSignature:
        raise ArtifactError(f"'{path}' was changed, or not made with the key of POLARITY_VERIFY_KEY.") from None
    try:
        statement = msgspec.json.decode(envelope.payload, type=_Statement)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactError(f"'{path}' signs something other than the files of a Bento: {error}.") from error
    kinds = (bundle.media_type, envelope.payload_type, statement.type, statement.predicate_type)
    if kinds != (_BUNDLE, _PAYLOAD, _STATEMENT, _PREDICATE):
        raise ArtifactError(f"'{path}' signs something other than the files of a Bento: it is of the kinds {kinds}.")
    return {one.name: one.digest for one in statement.predicate.resources}


def _digests(folder: Path) -> dict[str, str]:
    """The sha256 of each file of a Bento that is to be signed."""
    return {name: file_digest(folder / name) for name in _names(folder)}


def _names(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise ArtifactError(f"'{path}' is a symbolic link; a Bento that is signed may have none.")
        if path.is_file() and name not in _UNSIGNED and _CACHE not in path.parts:
            yield name


def _delete_caches(folder: Path) -> None:
    for path in [*folder.rglob(_CACHE)]:
        try:
            path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)
        except FileNotFoundError:
            continue  # another process of the server was faster
        except OSError as error:
            raise ArtifactError(
                f"'{path}' is not signed, and cannot be deleted ({error.strerror}): Python would run what is in it."
            ) from error


def _private_key(key: str) -> ec.EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    pem = _pem(key, "POLARITY_SIGNING_KEY")
    try:
        loaded = load_pem_private_key(pem, None)
    except (ValueError, TypeError):
        loaded = None
    if not isinstance(loaded, ec.EllipticCurvePrivateKey) or loaded.curve.name not in _HASHES:
        raise ConfigurationError(
            "POLARITY_SIGNING_KEY is not a private key of the curve P-256, P-384 or P-521 without a password; make one "
            "with `openssl ecparam -name prime256v1 -genkey -noout`."
        )
    return loaded


def _public_key(key: str) -> ec.EllipticCurvePublicKey:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    pem = _pem(key, "POLARITY_VERIFY_KEY")
    try:
        loaded = load_pem_public_key(pem)
    except ValueError:
        loaded = None
    if not isinstance(loaded, ec.EllipticCurvePublicKey) or loaded.curve.name not in _HASHES:
        raise ConfigurationError(
            "POLARITY_VERIFY_KEY is not a public key of the curve P-256, P-384 or P-521; `openssl ec -in KEY -pubout` "
            "prints that of a private key."
        )
    return loaded


def _pem(key: str, variable: str) -> bytes:
    if key.lstrip().startswith("-----BEGIN"):
        return key.replace("\\n", "\n").encode()  # files of variables have one line for each
    try:
        return Path(key).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{variable} is {key!r}, which cannot be read: {error.strerror}.") from error


def _fingerprint(public: ec.EllipticCurvePublicKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _hash_of(curve: ec.EllipticCurve) -> HashAlgorithm:
    from cryptography.hazmat.primitives import hashes

    algorithm: HashAlgorithm = getattr(hashes, _HASHES[curve.name])()
    return algorithm


def _signed_bytes(payload: bytes) -> bytes:
    """What is signed of a payload: DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD), _PAYLOAD.encode(), len(payload), payload)


def _named(names: list[str]) -> str:
    shown = sorted(names)[:_MAX_NAMED]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
