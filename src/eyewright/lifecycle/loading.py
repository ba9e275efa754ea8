"""Open what a path names, a bundle or a target, with no more imports than that needs: a prediction starts here."""

__all__ = [
    "OF_WEIGHTS",
    "PathLike",
    "bundle_folder",
    "need_torch",
    "open_any",
    "open_kind",
    "sessions_of_weights",
    "unlearnt_of",
]

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.bundle.manifest import bundle_folder
from eyewright.core.errors import MissingExtraError

if TYPE_CHECKING:
    from eyewright.bundle.signature import PublicKey

PathLike = str | Path

OF_WEIGHTS = ("torch", "executorch")
"""The targets that hold weights, not an ONNX model."""


def open_any(path: PathLike, *, key: PathLike | None = None) -> Any:
    """Open a bundle or a target, checked and self-tested: what `verify` and `predict` take.

    With `key`, the file of a public key, it must be signed by that key.

    Raises:
        BundleError: neither is there, or it is not what was exported.
    """
    from eyewright.bundle import load_bundle
    from eyewright.bundle.signature import read_public_key
    from eyewright.delivery.target import read_sealed_target, target_in

    public = None if key is None else read_public_key(key)
    folder = Path(path)
    kind = target_in(folder)
    if kind in ("docker", "systemd"):
        stored, _, _ = read_sealed_target(folder, key=public)
        return load_bundle(folder / "bundle", digest=stored.bundle)
    if kind is None:
        return load_bundle(bundle_folder(folder), key=public)
    return open_kind(folder, kind, public)


def open_kind(folder: Path, kind: str, key: "PublicKey | None" = None) -> Any:
    """Open a target of a kind that has a model."""
    from eyewright.delivery.target import open_target

    if kind not in OF_WEIGHTS:
        return open_target(folder, key=key)
    check = "eyewright.lifecycle.delivering:check_target"
    return open_target(folder, others=sessions_of_weights(), check=check, key=key)


def sessions_of_weights() -> dict[str, Any]:
    """Return the functions that open `OF_WEIGHTS`, by their names.

    Raises:
        MissingExtraError: torch is not installed.
    """
    need_torch()
    from eyewright.exporting.executorch import executorch_session
    from eyewright.exporting.program import program_session

    return {"torch": program_session, "executorch": executorch_session}


def need_torch() -> None:
    if find_spec("torch") is None:
        raise MissingExtraError(
            "training, and reading a run, need torch, which is not installed", fix="pip install 'eyewright[train]'"
        )


def unlearnt_of(model: Any) -> tuple[str, ...]:
    """Return what warns of a run or bundle whose training has not worked, in words; empty where it has."""
    about = getattr(model, "about", None) or getattr(getattr(model, "manifest", None), "provenance", None) or {}
    said = (about.get("training") or {}).get("unlearnt")
    return (str(said),) if said else ()
