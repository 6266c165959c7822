"""The extras of the package, by the libraries that the light package does without."""

from __future__ import annotations

_EXTRAS = {
    "onnxruntime": "onnx",
    "tokenizers": "onnx",
    "icu4py": "icu",
    "cryptography": "serve",
    "prefect_dask": "dask",
    "s3fs": "s3",
}


def extra_of(error: ModuleNotFoundError) -> str | None:
    """The extra that installs the missing library, or None if what is missing is a module of the project.

    Examples
    --------
    >>> extra_of(ModuleNotFoundError(name="onnxruntime.capi"))
    'onnx'
    """
    library = (error.name or "polarity").partition(".")[0]
    return None if library == "polarity" else _EXTRAS.get(library, "train")
