"""The door to transformers: imported late, kept quiet, its errors in one line."""

__all__ = ["BGR", "first_line", "need_weights", "pixel_values", "quiet_transformers", "reading"]

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from eyewright.core.errors import CheckpointError, EyewrightError, MissingExtraError

BGR = "eyewright_bgr"
"""The entry in a checkpoint's configuration that says that blue comes first."""

# What transformers imports where it is installed, and what that says of itself.
_CHATTY = ("torchao", "torch.utils._pytree")


@contextmanager
def quiet_transformers() -> Iterator[Any]:
    """Import transformers without its progress bars and warnings: what matters is said by us, in one line."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    import transformers
    from transformers.utils import logging as its_logging

    said: Any = its_logging

    level = said.get_verbosity()
    bar = said.is_progress_bar_enabled()
    said.set_verbosity_error()
    said.disable_progress_bar()
    try:
        yield transformers
    finally:
        said.set_verbosity(level)
        if bar:
            said.enable_progress_bar()


def pixel_values(processor: Any, images: Any, *, kind: str, **options: Any) -> Any:
    """Return what a checkpoint's processor makes of images, uint8 (H, W, 3): a tensor ("pt") or array ("np") of (N, C,
    H, W).

    The place of the channels is said: a processor that has to infer it takes an image of 1, 3 or 4 rows for one whose
    channels come first.
    """
    return processor(images, return_tensors=kind, input_data_format="channels_last", **options)["pixel_values"]


def need_weights(name: str, missing: Iterable[str]) -> None:
    """Refuse a checkpoint that lacks weights, for which transformers would use random numbers.

    Raises:
        CheckpointError: something is missing.
    """
    lacking = sorted(missing)
    if lacking:
        raise CheckpointError(
            f"{name!r} lacks {len(lacking)} of its weights, such as {lacking[0]}", fix="download it again"
        )


@contextmanager
def reading(what: str, *, fix: str = "check the folder", missing: str = "install what it names") -> Iterator[None]:
    """Turn whatever transformers makes of somebody else's checkpoint into one line, such as "WHAT cannot be read: …".

    Raises:
        MissingExtraError: a package that the checkpoint needs is not installed.
        CheckpointError: anything else.
    """
    try:
        yield
    except (EyewrightError, MemoryError):
        raise
    except ImportError as error:
        # Such as a backbone that timm builds; its first line names what is not there.
        raise MissingExtraError(f"{what} cannot be built: {first_line(error)}", fix=missing) from error
    except Exception as error:
        # Its libraries raise what they like, a bare Exception out of Rust too.
        raise CheckpointError(f"{what} cannot be read: {first_line(error)[:300]}", fix=fix) from error


def first_line(error: BaseException) -> str:
    """Return the first line of an error that says anything."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
