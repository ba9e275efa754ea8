"""The indexes of a server: opened once, opened again when they were changed, and searched by the bundles it serves."""

__all__ = ["ServedIndexes"]

import hashlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.core.errors import EyewrightError, InputError, RefusedError, UsageError
from eyewright.core.regular import read_regular
from eyewright.lifecycle.loading import PathLike
from eyewright.lifecycle.searching import nearest

if TYPE_CHECKING:
    from eyewright.retrieval import Index
    from eyewright.serving.models import Model
    from eyewright.serving.searching import Sought

_LETTERS = "-_."


class ServedIndexes:
    """A `serving.searching.Searcher` over folders of indexes, each `DIR` or `NAME=DIR`.

    Raises:
        UsageError: two of one name, or a name that is not allowed in an address.
        InputError: there is no index, or it is damaged.
    """

    def __init__(self, given: "Sequence[PathLike]") -> None:
        self._places: dict[str, Path] = {}
        for one in given:
            name, place = _named(one)
            if name in self._places:
                raise UsageError(f"two indexes are called {name!r}", fix="write one of them as OTHER=DIR")
            self._places[name] = place
        self._held: dict[str, tuple[tuple[int, int], Index]] = {}
        self._lock = threading.Lock()
        self._same: dict[str, str] = {}
        for name in self._places:
            self._open(name)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the indexes."""
        return tuple(self._places)

    def check(self, models: "Mapping[str, Model]") -> None:
        """Refuse an index whose model is not among `models`, or embeds images only with torch.

        Raises:
            RefusedError: it is so.
        """
        from eyewright.bundle.texts import has_texts

        self._same = {p: m.digest for m in models.values() if (p := m.manifest.published)}
        digests = {m.digest: m for m in models.values()}
        for name, (_, index) in self._held.items():
            model = digests.get(self._digest_of(index))
            if model is None:
                served = ", ".join(f"{n} ({m.digest[:12]})" for n, m in models.items())
                raise RefusedError(
                    f"the index {name!r} was made with {index.model['name']!r} ({index.model['digest'][:12]}), which "
                    f"is not served; served are {served}",
                    fix=_fix(index.model["name"]),
                    code="index_model",
                )
            if not has_texts(model.manifest.files):
                raise RefusedError(
                    f"searching over HTTP is not supported for {model.manifest.task} bundles such as {model.name!r}",
                    fix="index with a bundle of train --task embed",
                    code="index_model",
                )

    def digest(self, name: str) -> str:
        """Return the digest of the bundle whose embeddings the index holds now, or that gives the same as the published
        model that it was made with.

        Raises:
            InputError: the index was removed, or is damaged.
        """
        return self._digest_of(self._now(name))

    def shown(self, name: str) -> dict[str, Any]:
        """Return what clients may know of an index."""
        index = self._now(name)
        return {
            "digest": index.model["digest"], "images": len(index), "dimensions": index.dim,
            "exact": not index.has_graph,
        }  # fmt: skip

    def find(self, name: str, sought: "Sought") -> dict[str, Any]:
        """Return the hits.

        Raises:
            UsageError: an id that is not in the index.
            InputError: no images below the folder; the index was removed.
            RefusedError: it is another bundle's by now.
        """
        index = self._now(name)
        if sought.digest and self._digest_of(index) != sought.digest:
            raise RefusedError(
                f"the index {name!r} was replaced by one of another model", fix="try again", code="index_model"
            )
        for id in (*sought.like, *sought.unlike):
            index.row(id)
        wanted = [*sought.vectors, *index.vectors(sought.like)]
        away = [*sought.away, *index.vectors(sought.unlike)]
        found = nearest(
            index, wanted, away, n=sought.n, folder=sought.folder, max_p=sought.max_p, without=sought.unlike
        )
        hits = [
            {
                "id": h.id, "path": h.row.path, "score": round(h.score, 6), "p": h.p,
                "width": h.row.width, "height": h.row.height,
            }
            for h in found.hits
        ]  # fmt: skip
        return {"searched": found.searched, "fits": found.fits, "hits": hits, "notes": list(found.notes)}

    def file(self, name: str, id: int) -> bytes:
        """Return the encoded image of an id: only what was indexed, whatever lies at its path now.

        Raises:
            UsageError: the id is not in the index.
            InputError: the file is gone, or has been changed.
        """
        index = self._now(name)
        row = index.row(id)
        changed = InputError(
            "the image was moved or changed since it was indexed", fix="run eyewright index --update", code="image_gone"
        )
        if row.path.startswith("/") or ".." in Path(row.path).parts:
            # Such as an index that was changed by hand.
            raise changed
        try:
            data = read_regular(Path(str(index.about.get("root", "."))) / row.path, most=row.bytes, follow=True)
        except InputError:
            raise changed from None
        if hashlib.sha256(data).hexdigest() != row.digest:
            raise changed
        return data

    def _digest_of(self, index: "Index") -> str:
        found = str(index.model["digest"])
        return self._same.get(found, found)

    def _now(self, name: str) -> "Index":
        """Return the index as it is now, for clients, who are not told where it lies.

        Raises:
            InputError: it was removed, or is damaged.
        """
        try:
            return self._open(name)
        except EyewrightError as error:
            raise InputError(
                f"the index {name!r} was removed, or is damaged", fix="ask the operator", code="index_gone"
            ) from error

    def _open(self, name: str) -> "Index":
        """Return the index as it is now: another process may have added to it."""
        from eyewright.retrieval import open_index
        from eyewright.retrieval.manifest import MANIFEST

        place = self._places[name]
        try:
            status = (place / MANIFEST).stat()
            stamp = (status.st_mtime_ns, status.st_ino)
        except OSError:
            stamp = (0, 0)
        with self._lock:
            held = self._held.get(name)
            if held is None or held[0] != stamp:
                held = self._held[name] = (stamp, open_index(place))
            return held[1]


def _fix(model: str) -> str:
    if model.startswith("hf:"):
        return f"make a bundle of it and serve that: eyewright export {model} --out BUNDLE"
    return "serve that bundle, or index again with one that is served"


def _named(given: "PathLike") -> tuple[str, Path]:
    text = str(given)
    name, mark, rest = text.partition("=")
    if Path(text).exists() or not mark:
        name, rest = Path(text).resolve().name.removesuffix(".index"), text
    plain = "".join(c if c.isascii() and (c.isalnum() or c in _LETTERS) else "-" for c in name).strip("-.")[:64]
    if not plain or (mark and rest != text and plain != name):
        raise UsageError(f"expected an index name of letters, digits, - and _, found {name!r}", fix="change it")
    return plain, Path(rest)
