"""Many models in one worker: checked when it starts, opened when they are first asked."""

__all__ = ["LazyModels"]

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from eyewright.bundle import trial
from eyewright.bundle.manifest import read_sealed_manifest
from eyewright.bundle.texts import has_texts
from eyewright.bundle.verify import read_sealed
from eyewright.core.errors import BundleError
from eyewright.core.quoting import quoted
from eyewright.serving.messages import ModelPlace

_OPENED_AT_ONCE = 8
# A larger model is opened at the start, however many there are: nobody waits seconds for the first answer.
_MOST_BYTES = 16 * 2**20
_OPEN_BYTES = 64 * 2**20
_TIMES_ITS_FILE = 8

T = TypeVar("T")


class LazyModels(Generic[T]):
    """Models by name. Up to eight are opened at once, as `load` does.

    Of more, all but the first wait for a request where this machine has run their self-test before with the same files
    and versions, and where the model has at most 16 MB. Their digests are checked at the start all the same (`checked`
    says that another worker has done so), and `load` runs the self-test again before the first answer.

    Raises:
        BundleError: as `load`; or a file of a model that waits is damaged.
    """

    def __init__(
        self,
        places: Sequence[ModelPlace],
        load: Callable[[ModelPlace], T],
        *,
        all_at_once: bool,
        checked: bool = False,
    ) -> None:
        self._load = load
        self._opened: dict[str, T] = {}
        self._waiting: dict[str, ModelPlace] = {}
        self.reserved = 0
        """Bytes of memory that the models which wait may take."""
        many = len(places) > _OPENED_AT_ONCE and not all_at_once
        for k, place in enumerate(places):
            # The first is the one that is meant where none is named.
            needed = _needed(place, checked=checked) if many and k else None
            if needed is None:
                self._opened[place.name] = load(place)
            else:
                self._waiting[place.name] = place
                self.reserved += needed

    def waits(self, name: str) -> bool:
        """Return whether a model has not been opened yet."""
        return name in self._waiting

    def __getitem__(self, name: str) -> T:
        """Return a model, which is opened now if it has waited.

        Raises:
            BundleError: it cannot be opened any more; it is tried again at the next request.
        """
        if name in self._waiting:
            self._opened[name] = self._load(self._waiting[name])
            del self._waiting[name]
        return self._opened[name]


def _needed(place: ModelPlace, *, checked: bool) -> int | None:
    """Return how much memory a model may take that can wait; None for one that is opened at once."""
    folder = Path(place.folder)
    if checked:
        manifest, digest = read_sealed_manifest(folder)
    else:
        manifest, _, digest = read_sealed(folder)
    if digest != place.digest:
        raise BundleError(
            f"the bundle at {quoted(place.folder)} has been replaced since it was checked", fix="try again"
        )
    size = (folder / manifest.model).stat().st_size
    if size > _MOST_BYTES or has_texts(manifest.files) or not trial.is_known(digest):
        return None
    return _OPEN_BYTES + _TIMES_ITS_FILE * size
