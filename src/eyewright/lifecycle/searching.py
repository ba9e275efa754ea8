"""Index a folder of images by a model's embeddings, and search it by words or by image."""

__all__ = [
    "Embedder",
    "Indexed",
    "Labelled",
    "content_digest",
    "graph_if_large",
    "index_folder",
    "index_of",
    "indexed_name",
    "label_images",
    "need_inside",
    "nearest",
    "open_embedder",
    "search",
]

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eyewright.bundle.doubts import Doubt, doubt_image, doubt_words, label_notes
from eyewright.core.checkpoints import published_fix
from eyewright.core.errors import (
    BundleError,
    EyewrightError,
    InputError,
    RefusedError,
    UnreadableImageError,
    UsageError,
)
from eyewright.core.inputs import prepare
from eyewright.core.quoting import quoted
from eyewright.core.regular import digest_of, require_path
from eyewright.core.report import Finding
from eyewright.data.texts import is_text
from eyewright.imaging.headers import FORMATS, Limits
from eyewright.imaging.sources.files import iter_images, list_sources, read_named
from eyewright.lifecycle.datasets import Say, silent
from eyewright.lifecycle.loading import PathLike, bundle_folder, need_torch, unlearnt_of

if TYPE_CHECKING:
    from eyewright.bundle import Bundle
    from eyewright.retrieval import Hits, Index, Row

_COMMIT = 256
_AT_ONCE = 32
_AWAY = 0.5
UNFINISHED = "unfinished"
"""What an index says of itself until its run is done: how many images were found."""
# From so many lost images on an update that loses more than half is refused.
_MANY_GONE = 10


@dataclass(frozen=True)
class Embedder:
    """What makes vectors: of images, and where the model reads both, of texts; `published` is the digest of the
    checkpoint that a bundle was exported from as it is. `overlong` says what of a text is not read, "" if all is."""

    name: str
    digest: str
    images: Callable[[Iterable[NDArray[np.uint8]]], NDArray[np.float32]]
    texts: Callable[[Sequence[str]], NDArray[np.float32]] | None = None
    matching: Callable[[], tuple[float, float | None]] | None = None
    published: str | None = None
    overlong: Callable[[str], str] = lambda text: ""
    doubt_words: Callable[[str], Doubt] = lambda text: Doubt()
    doubt_image: Callable[[NDArray[np.uint8]], Doubt] = lambda image: Doubt()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Indexed:
    """What `index_folder` did: how many images were added, removed, moved (found elsewhere by their content) and left
    as they were; `findings` are the files that could not be read. `words` tells whether it is searched by words too;
    `notes` warn of a model whose training has not worked."""

    folder: Path
    n: int
    added: int
    removed: int
    moved: int
    unchanged: int
    findings: tuple[Finding, ...]
    graph: bool
    words: bool = False
    notes: tuple[str, ...] = ()


class Labelled(NamedTuple):
    """An image with the probability of each label."""

    path: str
    label: str
    probability: float
    probabilities: dict[str, float]


def index_folder(
    folder: PathLike,
    *,
    model: str,
    out: PathLike,
    update: bool = False,
    graph: bool | None = None,
    force: bool = False,
    say: Say = silent,
) -> Indexed:
    """Index all images below `folder` by the embeddings of a model; with `update` bring an index up to date.

    `model` is `hf:FOLDER` or `hf:OWNER/MODEL` (CLIP and SigLIP read words too), or a bundle. Images are found by path
    and content: one that moved keeps its vector, one that changed gets a new one, one that is gone is removed. A file
    that cannot be read is a finding. Every 256 images are committed: `update` continues where a killed run stopped.
    An update from a folder that has none of the index's images, or less than half of them with 10 or more gone, is
    refused without `force`. `graph` makes a graph for quick search; None: from 200,000 images on, where usearch is
    installed.

    Raises:
        UsageError: there is an index and no `update`; the model reads texts only.
        RefusedError: the index was made with another model, or `folder` lacks most of its images.
        CheckpointError, BundleError: the model cannot be used.
        InputError: no images.
    """
    from eyewright.retrieval import is_index, open_index

    place, root = Path(out), Path(folder)
    if not root.is_dir():
        raise InputError(f"expected a folder of images, found none at {quoted(root)}", fix="check the path")
    there = is_index(place)
    if (place / ".job" / "plan" / "plan.json").is_file():
        raise UsageError(f"the job in {quoted(place)} is not finished", fix="continue it with --on local --resume")
    if there and not update:
        raise UsageError(f"there is an index at {quoted(place)}", fix="add --update, or choose another --out")
    files = [Path(p) for p in list_sources(root)] if not there or _any_image(root) else []
    embedder = open_embedder(model)
    index = open_index(place) if there else None
    if index is not None:
        index.need_model(embedder.name, embedder.digest, embedder.published)
    work = _Work(root.resolve(), place, embedder, index, say)
    if index is not None and not force:
        work.check(files)
    work.look(files)
    done = work.finish()
    graph_if_large(done, graph, say)
    return Indexed(
        place,
        len(done),
        work.added,
        work.removed,
        work.moved,
        work.unchanged,
        tuple(work.findings),
        done.has_graph,
        embedder.texts is not None,
        embedder.notes,
    )


def graph_if_large(index: "Index", graph: bool | None, say: Say) -> None:
    """Make the graph of an index if it is asked for, or with None where the index is large and usearch is installed."""
    from eyewright.retrieval import GRAPH_FROM

    if graph or (graph is None and len(index) >= GRAPH_FROM and _has_usearch()):
        say("making a graph")
        index.build_graph()


def indexed_name(path: Path, root: Path) -> str:
    """Return what an image is called in an index of the folder `root`, which is resolved."""
    return os.path.relpath(path.resolve() if not path.is_symlink() else path.absolute(), root)


def need_inside(path: Path, root: Path) -> None:
    """Refuse an image that only a linked folder brings into the folder `root`, which is resolved; a link to one image
    is that image.

    Raises:
        InputError: it lies outside.
    """
    if indexed_name(path, root).split(os.sep, 1)[0] == os.pardir:
        raise InputError(
            f"a linked folder leads out of the indexed one, to {quoted(path.resolve().parent)}", fix="index that folder"
        )


def _any_image(root: Path) -> bool:
    try:
        return bool(list_sources(root))
    except InputError:
        return False


def _has_usearch() -> bool:
    from importlib.util import find_spec

    return find_spec("usearch") is not None


class _Work:
    """One pass over the files of an index."""

    def __init__(self, root: Path, place: Path, embedder: Embedder, index: "Index | None", say: Say) -> None:
        self.root, self.place, self.embedder, self.index, self.say = root, place, embedder, index, say
        self.added = self.removed = self.moved = self.unchanged = 0
        self.findings: list[Finding] = []
        self._known: dict[str, tuple[int, Row]] = {}
        self._gone: list[int] = []
        for id, row in index.rows() if index is not None else ():
            if row.path in self._known:
                # A run that was killed had added the new content and not yet deleted the old.
                self._gone.append(min(id, self._known[row.path][0]))
            if row.path not in self._known or id > self._known[row.path][0]:
                self._known[row.path] = (id, row)
        self._path_of = {id: name for name, (id, _) in self._known.items()}
        self._by_digest: dict[str, int] = {row.digest: id for id, row in self._known.values()}
        self._images: list[NDArray[np.uint8]] = []
        self._rows: list[Row] = []

    def check(self, files: Sequence[Path]) -> None:
        """Refuse a folder that lacks most images of the index: a disk that is not mounted, or another folder.

        Raises:
            RefusedError: none of the index's images is here, by name or content, or more than half of them are gone.
        """
        here = {indexed_name(path, self.root): path for path in files}
        missing = {name: row for name, (_, row) in self._known.items() if name not in here}
        if 2 * len(missing) <= len(self._known):
            return
        sizes, digests = {row.bytes for row in missing.values()}, {row.digest for row in missing.values()}
        moved = set()
        for name in here.keys() - self._known.keys():
            with contextlib.suppress(EyewrightError, OSError):
                if here[name].stat().st_size in sizes:
                    moved.add(content_digest(here[name]))
        gone = sum(row.digest not in moved & digests for row in missing.values())
        if gone < len(self._known) and (2 * gone <= len(self._known) or gone < _MANY_GONE):
            return
        found = f"{len(self._known) - gone:,}" if gone < len(self._known) else "none"
        raise RefusedError(
            f"expected images of the index in {quoted(self.root)}, found {found} of its {len(self._known):,}",
            fix="check the path, and that its disk is mounted; to remove those that are gone, add --force",
            code="no_indexed_image",
        )

    def look(self, files: Sequence[Path]) -> None:
        """Compare each file with what is known of it, and embed what is new."""
        from eyewright.retrieval import Row

        carried: list[tuple[int, Row]] = []
        seen = set()
        for count, path in enumerate(files, 1):
            name = indexed_name(path, self.root)
            seen.add(name)
            try:
                need_inside(path, self.root)
                status = path.stat()
                id, row = self._known.get(name, (-1, None))
                if row is not None and (row.bytes, row.mtime_ns) == (status.st_size, status.st_mtime_ns):
                    self.unchanged += 1
                    continue
                digest = content_digest(path)
                if row is not None and row.digest == digest:
                    self.unchanged += 1
                    continue
                if row is not None:
                    self._gone.append(id)
                before = self._by_digest.get(digest)
                image = None if before is not None else read_named(path)
            except (UnreadableImageError, InputError, OSError) as error:
                message = error.message if isinstance(error, EyewrightError) else str(error.strerror)
                self.findings.append(
                    Finding("unreadable", message, "restore the file, or remove it; it is not indexed", name)
                )
                if name in self._known:
                    self._gone.append(self._known[name][0])
                continue
            about = Row(name, digest, status.st_size, status.st_mtime_ns)
            if image is None:
                carried.append((self._by_digest[digest], about))
                continue
            self._images.append(image)
            self._rows.append(Row(name, digest, status.st_size, status.st_mtime_ns, *image.shape[:2]))
            if len(self._images) == _COMMIT:
                self._commit(len(files) if count < len(files) else 0)
                self.say(f"{count:,} of {len(files):,}")
        self._commit()
        self._carry(carried)
        lost = {name: id for name, (id, _) in self._known.items() if name not in seen}
        self.moved = len(lost.keys() & {self._path_of[id] for id, _ in carried})
        self._gone += lost.values()
        self.added += len(carried) - self.moved
        self.removed = len(lost) - self.moved

    def _carry(self, carried: "Sequence[tuple[int, Row]]") -> None:
        """Return a file whose content is known the vector of that content."""
        if not carried or self.index is None:
            return
        known = dict(self._known.values())
        rows = [replace(row, height=known[id].height, width=known[id].width) for id, row in carried]
        self.index.add(self.index.vectors([id for id, _ in carried]), rows)

    def _commit(self, unfinished: int = 0) -> None:
        """Embed the images that were read and commit them; `unfinished` is of how many images these are a part."""
        from eyewright.retrieval import create_index

        if not self._images:
            return
        vectors = self.embedder.images(iter(self._images))
        sound = np.asarray(np.isfinite(vectors).all(1) & (np.abs(vectors) > 0).any(1))
        rows = []
        for row, fine in zip(self._rows, sound.tolist(), strict=True):
            if fine:
                rows.append(row)
            else:
                message = "its embedding is not finite"
                self.findings.append(Finding("no_embedding", message, "check the image", row.path))
        if self.index is None:
            self.index = create_index(
                self.place, model=self.embedder.name, digest=self.embedder.digest, dim=vectors.shape[1],
                about={"root": str(self.root), UNFINISHED: unfinished},
            )  # fmt: skip
        elif unfinished and self.index.about.get(UNFINISHED) != unfinished:
            self.index.note(**{UNFINISHED: unfinished})
        self.index.add(vectors[sound], rows)
        self.added += len(rows)
        self._images, self._rows = [], []

    def finish(self) -> "Index":
        """Delete what is no longer, and return the index."""
        if self.index is None:
            raise InputError("expected images that can be read, found none", fix="check the folder", code="no_images")
        if self._gone:
            self.index.delete(self._gone)
        if self.index.about.get("root") != str(self.root) or self.index.about.get(UNFINISHED):
            self.index.note(root=str(self.root), **{UNFINISHED: 0})
        return self.index


def search(
    index: "Index | PathLike",
    query: "str | Path | NDArray[np.uint8] | None" = None,
    *,
    n: int = 20,
    like: Sequence[Any] = (),
    unlike: Sequence[Any] = (),
    model: str | None = None,
    folder: str | None = None,
    max_p: float | None = None,
    exact: bool = False,
) -> "Hits":
    """Return the images of an index nearest to words or an image, with a p-value each.

    `query`, and each of `like` and `unlike`, is the path or array of an image, or a text where the model reads both. Of
    several the mean is sought, away from those of `unlike`. `model` says where the index's model lies now. `folder`
    keeps to images below it, and p-values are then measured against these. With `max_p` only hits with at most this
    p-value are returned; none means that nothing fits. Where the model reads only the beginning of a text, `notes` of
    the result say so.

    Raises:
        UsageError: nothing to look for, words for a model that reads images only, or a `max_p` below every p-value.
        RefusedError: the model is not the index's.
        InputError: no index, or it is damaged; an image that cannot be read.
    """
    opened = index_of(index)
    wanted = [q for q in (query, *like) if q is not None]
    if not wanted:
        raise UsageError("expected words or an image to look for, found neither", fix="pass one")
    embedder = open_embedder(model or opened.model["name"])
    opened.need_model(embedder.name, embedder.digest, embedder.published)
    doubts: list[Doubt] = []
    vectors = [_vector(embedder, q, doubts) for q in (*wanted, *unlike)]
    found = nearest(
        opened, vectors[: len(wanted)], vectors[len(wanted) :], n=n, folder=folder, max_p=max_p, exact=exact
    )
    notes = [*(d.note for d in doubts if d.note), *found.notes]
    return replace(found, notes=tuple(dict.fromkeys(notes)), familiar=all(d.familiar for d in doubts))


def nearest(
    index: "Index",
    wanted: Sequence[NDArray[np.float32]],
    away: Sequence[NDArray[np.float32]] = (),
    *,
    n: int = 20,
    folder: str | None = None,
    max_p: float | None = None,
    without: Iterable[int] = (),
    exact: bool = False,
) -> "Hits":
    """Return what is near the mean of vectors (D,) of length 1, and away from that of others; see `search`.

    Raises:
        UsageError: `max_p` is smaller than any p-value here.
        InputError: the index has no images below `folder`.
    """
    vector = np.mean(wanted, 0)
    if len(away):
        vector = vector - _AWAY * np.mean(away, 0)
    only = None
    if folder is not None:
        start = folder.rstrip("/") + "/"
        only = [id for id, row in index.rows() if row.path.startswith(start)]
        if not only:
            raise InputError(f"the index has no images below {folder[:200]!r}", fix="check the folder")
    found = index.search(vector, n, only=only, without=without, exact=exact, alpha=0.05 if max_p is None else max_p)
    if unfinished := index.about.get(UNFINISHED):
        said = f"the index is not finished: it has {len(index):,} images, of {unfinished:,} that were found"
        found = replace(found, notes=(f"{said}; continue with eyewright index --resume",))
    told = bool(found.hits) and found.hits[0].p is not None
    if max_p is not None and told and max_p < 1 / (found.reference + 1):
        raise UsageError(
            f"expected a p-value of at least {1 / (found.reference + 1):.2g}, the smallest against {found.reference:,} "
            f"images, found {max_p:g}",
            fix="use a larger one",
        )
    if max_p is not None:
        found = replace(found, hits=tuple(h for h in found.hits if h.p is not None and h.p <= max_p))
    return found


def label_images(
    index: "Index | PathLike", labels: Sequence[str], *, model: str | None = None, say: Say = silent
) -> list[Labelled]:
    """Return the most probable of some labels for each image of an index, without training (CLIP, SigLIP).

    A label is its words, such as "a photo of a cat"; one that says "something else" is a label like the others. `say`
    gets a line for each label that is read in part only, or has words that the model was not trained on.

    Raises:
        UsageError: fewer than two labels, two similar, or a model that does not match texts with images.
        RefusedError, InputError: as `search`.
    """
    from eyewright.retrieval.coding import unit_vectors
    from eyewright.retrieval.labels import label_probabilities

    names = [label.strip() for label in labels]
    if len(names) < 2 or len(set(names)) < len(names) or not all(names):
        raise UsageError(f"expected two or more different labels, found {', '.join(map(repr, names))}", fix="add some")
    opened = index_of(index)
    embedder = open_embedder(model or opened.model["name"])
    opened.need_model(embedder.name, embedder.digest, embedder.published)
    if embedder.texts is None or embedder.matching is None:
        raise UsageError(f"{embedder.name!r} reads images only, found labels", fix="index with a CLIP or SigLIP folder")
    for note in label_notes(names, embedder.overlong, embedder.doubt_words):
        say(note)
    scale, bias = embedder.matching()
    ids, vectors = opened.live()
    odds = label_probabilities(vectors, unit_vectors(embedder.texts(names)), scale, bias)
    rows = dict(opened.rows())
    return [
        Labelled(rows[id].path, names[int(row.argmax())], float(row.max()), dict(zip(names, row.tolist(), strict=True)))
        for id, row in zip(ids.tolist(), odds, strict=True)
    ]


def index_of(index: "Index | PathLike") -> "Index":
    """Return an index, opened if it is a path."""
    from eyewright.retrieval import open_index

    return open_index(Path(index)) if isinstance(index, str | Path) else index


def _vector(embedder: Embedder, query: Any, doubts: list[Doubt]) -> NDArray[np.float32]:
    """Return the unit vector of words or an image, and add to the list what is not read or not known to the model."""
    from eyewright.retrieval.coding import unit_vectors

    if isinstance(query, np.ndarray | Path) or _names_a_file(query):
        if isinstance(query, str | Path) and os.path.isdir(query):
            raise InputError(f"expected an image, found a folder at {quoted(query)}", fix="pass one image")
        frame = next(iter(iter_images(query)))
        (vector,) = unit_vectors(embedder.images([frame.image]))
        doubts.append(embedder.doubt_image(frame.image))
        return np.asarray(vector)
    if embedder.texts is None:
        raise UsageError(
            f"{embedder.name!r} reads images only, and there is no file {query[:60]!r}",
            fix="pass the path of an image, or index with a CLIP or SigLIP folder",
        )
    if not is_text(query):
        raise InputError(f"expected words in UTF-8, found other bytes in {query[:40]!r}", fix="write them in UTF-8")
    (vector,) = unit_vectors(embedder.texts([query]))
    doubts += [Doubt(embedder.overlong(query)), embedder.doubt_words(query)]
    return np.asarray(vector)


def _names_a_file(text: str) -> bool:
    """Return whether a query is a path: something is there, or it ends as images do; a typing error is not words."""
    endings = tuple(e for several in FORMATS.values() for e in several)
    try:
        return os.path.lexists(text) or (" " not in text and text.lower().endswith(endings))
    except ValueError:
        return False


def _embedded(bundle: "Bundle", images: Iterable[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return the embeddings of images by a bundle that embeds texts too, float32 (N, D)."""
    parts: list[NDArray[np.float32]] = []
    left = iter(images)
    while chunk := list(islice(left, _AT_ONCE)):
        parts.append(bundle.raw(prepare(bundle.inputs, chunk)[0])["embedding"])
    return np.concatenate(parts)


def open_embedder(model: str) -> Embedder:
    """Open what makes vectors: `hf:FOLDER`, or a bundle.

    Raises:
        CheckpointError, BundleError: it cannot be used.
        UsageError: it reads texts only.
        MissingExtraError: it needs torch, which is not installed.
    """
    if model.startswith("hf:"):
        need_torch()
        from eyewright.nets.hub_files import digest_of_checkpoint
        from eyewright.nets.texts import open_published

        net = open_published(model)
        # Its configuration is read, and its files looked over, before any of them is hashed.
        if not net.takes_images:
            raise UsageError(f"{model!r} reads texts only", fix="use CLIP, SigLIP, or a vision model")
        both = net.kind == "pair"
        return Embedder(
            model, digest_of_checkpoint(net.folder), net.image_features, net.text_features if both else None,
            (lambda: net.matching) if both else None, overlong=net.overlong,
        )  # fmt: skip
    from PIL import Image

    from eyewright.bundle import load_bundle
    from eyewright.bundle.texts import has_texts
    from eyewright.bundle.verify import bundle_digest

    folder = bundle_folder(Path(model))
    require_path(folder, "a bundle or hf:FOLDER")
    if not (folder / "bundle.json").exists():
        raise BundleError(
            f"expected a bundle or hf:FOLDER, found neither at {model!r}", fix=published_fix(folder, "check --model")
        )
    bundle = load_bundle(folder)
    if bundle.preparation.clip is not None:
        raise BundleError(f"{model!r} takes videos, and an index is of images", fix="use a model of images")
    name, digest = str(Path(model).resolve()), bundle_digest(folder)
    if has_texts(bundle.manifest.files):
        return Embedder(
            name, digest, lambda images: _embedded(bundle, images), bundle.embed_texts,
            lambda: (bundle.texts.scale, bundle.texts.bias or None), bundle.manifest.published,
            lambda text: bundle.texts.preparation.overlong(text),
            lambda text: doubt_words(bundle.texts.preparation, text),
            lambda image: doubt_image(bundle.reference, bundle.raw(prepare(bundle.inputs, [image])[0])),
            unlearnt_of(bundle),
        )  # fmt: skip
    need_torch()
    from eyewright.exporting.features import bundle_features

    return Embedder(
        name,
        digest,
        lambda images: bundle_features(bundle, (Image.fromarray(i) for i in images)),
        notes=unlearnt_of(bundle),
    )


def content_digest(path: Path) -> str:
    """Return the SHA-256 of an image file.

    Raises:
        InputError: it cannot be read, or is larger than any image.
    """
    # What no image is read of is not hashed either: a sparse file has any size.
    return digest_of(path, most=Limits().bytes, fix="shrink the image", follow=True)[0]
