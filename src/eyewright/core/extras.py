"""Optional dependencies: imported when they are used, and named with their install line when they are not there."""

__all__ = ["import_extra", "installed_extras", "raise_if_only_missing"]

import importlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from eyewright.core.errors import MissingExtraError

if TYPE_CHECKING:
    from eyewright.core.report import Finding

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"""extra == ["']([^"']+)["']""")


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


def installed_extras() -> dict[str, bool]:
    """Return the extras of this installation, and whether all that each needs is installed.

    Versions are not compared, and the extra for developing Eyewright is left out. Empty where Eyewright runs from its
    sources without being installed.
    """
    from importlib import metadata

    try:
        needs = metadata.requires("eyewright") or []
    except metadata.PackageNotFoundError:
        return {}
    found: dict[str, bool] = {}
    for need in needs:
        name, extra = _NAME.match(need), _EXTRA.search(need)
        if name is None or extra is None or extra[1] == "dev" or name[0] == "eyewright":
            continue
        found[extra[1]] = found.get(extra[1], True) and _is_installed(name[0])
    return dict(sorted(found.items()))


def _is_installed(package: str) -> bool:
    from importlib import metadata

    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def raise_if_only_missing(findings: "Sequence[Finding]", n_done: int) -> None:
    """Tell a batch that could do nothing for want of an extra from one that met a few files it cannot read.

    Raises:
        MissingExtraError: nothing was done, and every finding is a missing extra.
    """
    if n_done == 0 and findings and all(f.code == MissingExtraError.code for f in findings):
        raise MissingExtraError(findings[0].message, fix=findings[0].fix)
