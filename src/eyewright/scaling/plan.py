"""The plan of a job: which images are in which shard, written once and never changed, so that a job can be resumed.

`plan/` of a job's folder has `plan.json`, `shards.jsonl` (a line per shard, with the SHA-256 of its list of images) and
`items.jsonl` (a line per image). The digest in `plan.json` covers all of it, the model and the options.
"""

__all__ = ["absolute_source", "OUTPUTS", "Plan", "Shard", "found_plan", "has_plan", "open_plan", "write_plan"]

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO, TypeAlias

from eyewright.core.errors import InputError, RefusedError
from eyewright.core.files import checked_output, staged_folder
from eyewright.core.quoting import quoted
from eyewright.scaling.addresses import is_address
from eyewright.scaling.fetching import holds_references, is_reference, list_references, no_images
from eyewright.scaling.listing import Item, list_items, source_root
from eyewright.scaling.places import Place, fetch_plan, new_work, place_of, shown_place

Value: TypeAlias = str | int | float | bool | None

OUTPUTS = "images"
"""The folder of a job for files that its verb writes, such as processed images."""

_FORMAT = 1
_MOST_ABOUT = 2**20
# Made once: json.dumps makes one for each call that has separators.
_encode = json.JSONEncoder(separators=(",", ":")).encode


@dataclass(frozen=True)
class Shard:
    """A part of a plan: its number, its first image's number, how many images and bytes it has, and where its lines
    are in `items.jsonl` (`at`, `length` in bytes, and their SHA-256)."""

    shard: int
    first: int
    images: int
    bytes: int
    at: int
    length: int
    sha256: str


@dataclass(frozen=True)
class Plan:
    """A plan that was written: `digest` names it. `model` and `model_digest` are those of the bundle ("" without).
    `folder` has the plan and what is not committed; of a job in a store it is this process's own (`place`, `shown`).
    `left_out` is how many members of archives are no images to work on, by kind (`mask`, `link`, `other file`, …)."""

    folder: Path
    digest: str
    verb: str
    source: str
    root: Path
    model: str
    model_digest: str
    options: Mapping[str, Value]
    n_images: int
    n_bytes: int
    n_shards: int
    shard_images: int
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        """Where commit records, leases and results are."""
        return place_of(self.folder)

    @property
    def shown(self) -> str:
        """The folder or address of the job, as it was given."""
        return shown_place(self.folder)

    def shards(self) -> Iterator[Shard]:
        """Yield the shards in order; one is in memory at a time."""
        with open(self.folder / "plan" / "shards.jsonl", "rb") as file:
            for line in file:
                yield Shard(**json.loads(line))

    def items(self, shard: Shard) -> list[Item]:
        """Return the images of a shard, with absolute paths.

        Raises:
            RefusedError: the list was changed after it was planned.
        """
        with open(self.folder / "plan" / "items.jsonl", "rb") as file:
            file.seek(shard.at)
            data = file.read(shard.length)
        if hashlib.sha256(data).hexdigest() != shard.sha256:
            raise _changed(self.folder, f"the list of shard {shard.shard}")
        found = (json.loads(line) for line in data.splitlines())
        return [
            Item(path if is_reference(path) else os.path.join(self.root, path), size, mtime_ns)
            for path, size, mtime_ns in found
        ]


def write_plan(
    folder: Path,
    source: str,
    *,
    verb: str,
    options: Mapping[str, Value],
    model: str = "",
    model_digest: str = "",
    shard_images: int = 512,
    shard_bytes: int = 256 * 2**20,
    items: Iterable[Item] | None = None,
) -> Plan:
    """List a source and write the plan of a job into `folder`; a shard has at most `shard_images` images, and at most
    `shard_bytes` unless one image is larger. Memory does not grow with the number of images. `items` are images that
    were listed already, such as those of a dataset, with absolute paths.

    Raises:
        InputError: there are no images, or a folder or list cannot be read.
        UsageError: a source without files.
        OutputError: the folder cannot be written.
    """
    with checked_output(folder), staged_folder(folder / "plan") as stage:
        n_bytes = n_images = n_shards = 0
        listing = hashlib.sha256()
        left_out: Counter[str] = Counter()
        with open(stage / "items.jsonl", "xb") as lines, open(stage / "shards.jsonl", "xb") as shards:
            if items is None:
                listed = list_references(source, left_out) if holds_references(source) else list_items(source, stage)
            else:
                listed = iter(items)
            for shard in _cut(listed, lines, shard_images, shard_bytes):
                line = json.dumps(asdict(shard)).encode() + b"\n"
                listing.update(line)
                shards.write(line)
                n_images, n_bytes, n_shards = n_images + shard.images, n_bytes + shard.bytes, n_shards + 1
        if not n_images:
            raise no_images(source, left_out)
        about = {
            "format": _FORMAT,
            "verb": verb,
            "source": absolute_source(source),
            "root": str(source_root(source)) if items is None else "/",
            "model_digest": model_digest,
            "options": dict(options),
            "images": n_images,
            "bytes": n_bytes,
            "shards": n_shards,
            "shard_images": shard_images,
            "listing": listing.hexdigest(),
        }
        if found := {kind: n for kind, n in sorted(left_out.items()) if n}:
            about["left_out"] = found
        # Where the bundle lies may differ between machines; what it is may not.
        text = json.dumps({**about, "digest": _digest(about), "model": model}, indent=1, allow_nan=False)
        (stage / "plan.json").write_text(text + "\n", "ascii")
    return open_plan(folder)


def has_plan(folder: Path) -> bool:
    """Return whether a folder is that of a job."""
    return (folder / "plan" / "plan.json").is_file()


def found_plan(out: str | Path) -> Plan:
    """Return the plan of the job in a folder or at an address.

    Raises:
        InputError: there is none, or the store cannot be read.
        RefusedError: it was changed, or a newer version wrote it.
    """
    work = new_work(out)
    fetch_plan(work)
    return open_plan(work)


def open_plan(folder: Path, *, check: bool = True) -> Plan:
    """Return the plan of a job; with `check` the digest of the list of shards is compared too.

    Raises:
        InputError: there is none.
        RefusedError: it was changed, or a newer version wrote it.
    """
    place = folder / "plan" / "plan.json"
    try:
        with open(place, "rb") as file:
            about = json.loads(file.read(_MOST_ABOUT))
        digest, model = str(about.pop("digest")), str(about.pop("model"))
        written = int(about["format"])
    except FileNotFoundError:
        raise InputError(
            f"expected the plan of a job in {quoted(shown_place(folder))}, found none",
            fix="check the folder or address of the job",
            code="not_found",
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise _changed(folder, "plan.json") from None
    if written != _FORMAT:
        raise RefusedError(
            f"the plan in {quoted(shown_place(folder))} has format {written}, this version reads {_FORMAT}",
            fix="use the version of Eyewright that wrote it",
            code="job",
        )
    if _digest(about) != digest:
        raise _changed(folder, "plan.json")
    if check:
        try:
            with open(folder / "plan" / "shards.jsonl", "rb") as shards:
                listing = hashlib.file_digest(shards, "sha256").hexdigest()
        except OSError:
            listing = ""
        if listing != about["listing"]:
            raise _changed(folder, "the list of shards")
    return Plan(
        folder=folder,
        digest=digest,
        verb=about["verb"],
        source=about["source"],
        root=Path(about["root"]),
        model=model,
        model_digest=about["model_digest"],
        options=about["options"],
        n_images=about["images"],
        n_bytes=about["bytes"],
        n_shards=about["shards"],
        shard_images=about["shard_images"],
        left_out=about.get("left_out", {}),
    )


def _cut(found: Iterable[Item], file: BinaryIO, most_images: int, most_bytes: int) -> Iterator[Shard]:
    number = first = at = held = 0
    lines: list[bytes] = []

    def end() -> Shard:
        nonlocal number, first, at, held, lines
        data = b"".join(lines)
        file.write(data)
        shard = Shard(number, first, len(lines), held, at, len(data), hashlib.sha256(data).hexdigest())
        number, first, at, held, lines = number + 1, first + len(lines), at + len(data), 0, []
        return shard

    for item in found:
        size = max(0, item.size)
        if lines and (len(lines) == most_images or held + size > most_bytes):
            yield end()
        # ASCII with escapes: a name that is not UTF-8 comes back as it was.
        lines.append(_encode(item[:3]).encode() + b"\n")
        held += size
    if lines:
        yield end()


def absolute_source(source: str) -> str:
    """Return a source as a plan names it: with an absolute path, or the address that it is."""
    if is_address(source):
        return source
    if source.startswith("@"):
        return source if source == "@-" else "@" + os.path.abspath(source[1:])
    return os.path.abspath(source)


def _digest(about: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _changed(folder: Path, what: str) -> RefusedError:
    return RefusedError(
        f"{what} of the job in {quoted(shown_place(folder))} is damaged or was changed",
        fix="plan again in another --out",
        code="job",
    )
