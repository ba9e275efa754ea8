"""Optional dependencies: imported when they are used, and named with their install line when they are not there."""

__all__ = ["import_extra", "raise_if_only_missing"]

import importlib
from collections.abc import Sequence
from typing import Any

from eyewright.core.errors import MissingExtraError
from eyewright.core.report import Finding


def import_extra(module: str, *, extra: str, what: str) -> Any:
    """Import an optional module; `what` it is needed for and the `extra` that brings it are said where it is missing.

    >>> import_extra("no_such_module", extra="pixels", what="image processing")
    Traceback (most recent call last):
    eyewright.core.errors.MissingExtraError: image processing needs no_such_module, which is not installed; ...

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise MissingExtraError(
            f"{what} needs {name}, which is not installed", fix=f"pip install 'eyewright[{extra}]'"
        ) from error


def raise_if_only_missing(findings: Sequence[Finding], n_done: int) -> None:
    """Tell a batch that could do nothing for want of an extra from one that met a few files it cannot read.

    Raises:
        MissingExtraError: nothing was done, and every finding is a missing extra.
    """
    if n_done == 0 and findings and all(f.code == MissingExtraError.code for f in findings):
        raise MissingExtraError(findings[0].message, fix=findings[0].fix)
