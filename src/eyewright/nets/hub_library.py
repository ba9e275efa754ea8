"""The door to transformers: imported late, kept quiet, its errors in one line."""

__all__ = ["BGR", "first_line", "quiet_transformers"]

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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


def first_line(error: BaseException) -> str:
    """Return the first line of an error that says anything."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
