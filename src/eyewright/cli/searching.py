"""The verbs that find images by their embeddings: index and search."""

__all__ = ["add_search", "index", "search"]

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eyewright.cli.found_files import check_found_file, write_found
from eyewright.cli.numbers import Number
from eyewright.cli.scaling import add_job, engine_of, is_job, planned_job
from eyewright.cli.terminal import (
    Result,
    finding,
    finding_line,
    is_quiet,
    printable,
    shown_path,
    shown_program,
    talk,
    warn,
)
from eyewright.core.errors import UsageError

if TYPE_CHECKING:
    from eyewright.lifecycle.searching import Indexed

_P = Number(0, 1, whole=False)


def add_search(verb: Callable[[str], argparse.ArgumentParser]) -> None:
    """Add the options of index and search."""
    p = verb("index")
    p.add_argument("folder", metavar="FOLDER", help="folder of images, searched recursively; with --export an index")
    p.add_argument("--model", metavar="MODEL", help="hf:FOLDER (CLIP and SigLIP also search by words), or a bundle")
    p.add_argument("--out", metavar="INDEX", help="folder of the index, such as photos.index")
    p.add_argument("--update", action="store_true", help="update an index: new, changed, moved and removed files")
    p.add_argument(
        "--force", action="store_true", help="with --update: also from a folder that lacks most of the index's images"
    )
    p.add_argument("--resume", action="store_true", help="continue an interrupted run; the same as --update")
    p.add_argument(
        "--graph",
        choices=("auto", "always", "never"),
        default="auto",
        help="approximate search for large indexes, rescored exactly (auto: for 200,000 images or more; needs usearch)",
    )
    p.add_argument(
        "--vectors",
        metavar="FILE",
        help="take the vectors of the images from FILE.npy or FILE.parquet instead of embedding them; --model is what "
        "made them",
    )
    p.add_argument(
        "--names",
        metavar="FILE",
        help="with --vectors FILE.npy: paths of the images in FOLDER, one per line (default: the .json, .csv or .txt "
        "of the same name)",
    )
    p.add_argument(
        "--export", metavar="FILE", help="write the vectors of an index to FILE.npy (paths: FILE.json) or FILE.parquet"
    )
    add_job(p, resume=False, verify=False, format=False)

    p = verb("search")
    p.add_argument("index", metavar="INDEX", help="index written by eyewright index")
    p.add_argument("query", metavar='"WORDS"|IMAGE', nargs="?", help="query: words, or the path of an image")
    p.add_argument("-n", type=Number(1, 100_000), metavar="N", help="number of hits (default 20)")
    p.add_argument(
        "--like", action="append", default=[], metavar="IMAGE", help="also similar to this image (repeatable)"
    )
    p.add_argument(
        "--not",
        action="append",
        default=[],
        dest="unlike",
        metavar='"WORDS"|IMAGE',
        help="but not similar to these words or this image (repeatable)",
    )
    p.add_argument("--max-p", type=_P, metavar="P", help="only hits with a p-value of at most P, such as 0.05")
    p.add_argument("--folder", metavar="SUB", help="only images in this subfolder")
    p.add_argument("--model", metavar="MODEL", help="path of the model, if it has moved since indexing")
    p.add_argument("--exact", action="store_true", help="exact search, without the graph")
    p.add_argument(
        "--duplicates",
        nargs="?",
        const="pixels",
        choices=("pixels", "embedding"),
        help="list groups of near-duplicates and which image to keep: by aligned pixels (default) or by embedding",
    )
    p.add_argument("--min", type=_P, metavar="S", help="with --duplicates: minimum similarity (default 0.97)")
    p.add_argument("--labels", metavar='"A,B"', help="zero-shot: label every image with one of these")
    p.add_argument("--out", metavar="FILE", help="also write what was found: FILE.csv, FILE.jsonl or FILE.parquet")


def index(o: argparse.Namespace) -> Result:
    """Index the images of a folder, or take vectors out of an index."""
    if o.export is not None:
        return _export(o)
    for name in ("model", "out"):
        if getattr(o, name) is None:
            raise UsageError(f"expected --{name}, found none", fix=f"pass --{name} {name.upper()}")
    if o.names is not None and o.vectors is None:
        raise UsageError("--names is not supported without --vectors", fix="leave it out")
    if o.vectors is not None:
        _refuse_with(o, "--vectors", ("update", "force", "resume", "on", "plan", "workers", "shard_size"))
    if o.force and not (o.update or o.resume):
        raise UsageError("--force is not supported without --update", fix="leave it out")
    if o.plan:
        return _plan_index(o)
    done = _imported(o) if o.vectors is not None else _index_job(o) if is_job(o) else _index_folder(o)
    counts = {"images": done.n, "added": done.added, "removed": done.removed, "moved": done.moved}
    counts |= {"unchanged": done.unchanged, "unreadable": len(done.findings)}
    text = ["indexed  " + ", ".join(f"{n:,} {name}" for name, n in counts.items())]
    text += [f"left out {finding_line(f)}" for f in done.findings[:20]]
    query = 'IMAGE or "WORDS"' if done.words else "IMAGE"
    for note in done.notes:
        if not o.json:
            warn(note)
    text += [f"search   {shown_program('eyewright')} search {shown_path(done.folder)} {query}"]
    return {
        "out": {"index": done.folder.resolve()},
        "counts": counts,
        "graph": done.graph,
        "notes": list(done.notes),
        "findings": [finding(f) for f in done.findings],
        "text": text,
        "exit": int(bool(done.findings)),
    }


def _refuse_with(o: argparse.Namespace, asked: str, names: tuple[str, ...]) -> None:
    """Refuse options that do nothing next to another.

    Raises:
        UsageError: one was given.
    """
    for name in names:
        if getattr(o, name, None) not in (None, False):
            raise UsageError(f"--{name.replace('_', '-')} is not supported with {asked}", fix="leave it out")


def _export(o: argparse.Namespace) -> Result:
    from eyewright import lifecycle

    given = ("vectors", "names", "model", "out", "update", "force", "resume", "on", "plan", "workers", "shard_size")
    _refuse_with(o, "--export", given)
    files = lifecycle.export_vectors(o.folder, o.export)
    out = {"vectors": files[0].resolve()} | ({"names": files[1].resolve()} if len(files) > 1 else {})
    return {"out": out, "text": [f"wrote    {shown_path(path)}" for path in files]}


def _imported(o: argparse.Namespace) -> "Indexed":
    from eyewright import lifecycle

    return lifecycle.import_vectors(
        o.folder, vectors=o.vectors, names=o.names, model=o.model, out=o.out, graph=_GRAPH[o.graph], say=talk(o)["say"]
    )


_GRAPH = {"auto": None, "always": True, "never": False}


def _index_folder(o: argparse.Namespace) -> "Indexed":
    from eyewright import lifecycle

    return lifecycle.index_folder(
        o.folder, model=o.model, out=o.out, update=o.update or o.resume, graph=_GRAPH[o.graph], force=o.force,
        say=talk(o)["say"],
    )  # fmt: skip


def _plan_index(o: argparse.Namespace) -> Result:
    from eyewright.lifecycle.index_jobs import plan_index

    _refuse_update(o)
    plan = plan_index(o.folder, model=o.model, out=o.out, shard_size=o.shard_size, resume=o.resume)
    again = ["index", o.folder, "--model", o.model]
    for name, usual in (("shard_size", None), ("graph", "auto")):
        if getattr(o, name) != usual:
            again += [f"--{name.replace('_', '-')}", str(getattr(o, name))]
    return planned_job(o, plan, shlex.join(again), o.out)


def _refuse_update(o: argparse.Namespace) -> None:
    if o.update:
        raise UsageError("--update is not supported with --on", fix="leave --on out: only new images are read")


def _index_job(o: argparse.Namespace) -> "Indexed":
    from eyewright.lifecycle.index_jobs import index_as_job

    _refuse_update(o)
    return index_as_job(
        o.folder, model=o.model, out=o.out, workers=o.workers, shard_size=o.shard_size, resume=o.resume,
        graph=_GRAPH[o.graph], quiet=is_quiet(o), say=talk(o)["say"], on=engine_of(o),
    )  # fmt: skip


def search(o: argparse.Namespace) -> Result:
    """Find images, near copies or labels in an index."""
    sought = o.query is not None or bool(o.like)
    asked = [sought, o.duplicates is not None, o.labels is not None]
    if sum(asked) != 1:
        found = "none of them" if not any(asked) else f"{sum(asked)} of them"
        raise UsageError(
            f"expected one of: what to look for, --duplicates, --labels; found {found}",
            fix="see eyewright search --help",
        )
    mode = ("hits", "duplicates", "labels")[asked.index(True)]
    _refuse_unused(o, mode)
    out = None if o.out is None else Path(o.out)
    if out is not None:
        check_found_file(out, Path(o.index), [Path(p) for p in (o.query, *o.like, *o.unlike) if p is not None])
    result, rows, columns = {"hits": _hits, "duplicates": _duplicates, "labels": _labels}[mode](o)
    if out is not None:
        write_found(out, rows, columns)
        result["out"] = {mode: out.resolve()}
        result["text"] = [*result["text"], f"wrote {shown_path(out)}"]
    return result


def _refuse_unused(o: argparse.Namespace, mode: str) -> None:
    """Refuse an option that does nothing here.

    Raises:
        UsageError: one was given.
    """
    own = {"hits": ("n", "max_p", "folder", "exact", "model", "unlike"), "duplicates": ("min",), "labels": ("model",)}
    shown = {"n": "-n", "max_p": "--max-p", "unlike": "--not"}
    for name in dict.fromkeys(one for several in own.values() for one in several):
        if name not in own[mode] and getattr(o, name) not in (None, False, []):
            where = "in a search for images" if mode == "hits" else f"with --{mode}"
            raise UsageError(f"{shown.get(name, f'--{name}')} is not supported {where}", fix="leave it out")


_Found = tuple[Result, list[dict[str, Any]], tuple[str, ...]]


def _hits(o: argparse.Namespace) -> _Found:
    from eyewright import lifecycle

    hits = lifecycle.search(
        o.index, o.query, n=20 if o.n is None else o.n, like=[Path(p) for p in o.like], unlike=o.unlike, model=o.model,
        folder=o.folder, max_p=o.max_p, exact=o.exact,
    )  # fmt: skip
    text = [f"{h.score:.3f}  p {_chance(h.p):>8}  {printable(h.row.path)}" for h in hits.hits]
    if hits.fits is False:
        text.insert(0, f"nothing fits: of {hits.searched:,} images none scores above chance (p ≤ {hits.alpha:g})")
    if hits.fits is None and hits.above:
        share = f"about {hits.above:.0%} of the {hits.searched:,} images score far above all others"
        text.insert(0, f"{share}: they may all fit, and no single one stands out")
    if not hits.familiar and hits.fits is None:
        text.insert(0, "whether these fit is not known: the model was not trained on queries like this one")
    if o.folder is not None:
        text.append(f"p-values are measured against {hits.reference:,} images below {printable(o.folder)}")
    for note in hits.notes:
        if not o.json:
            warn(note)
    rows = [{"rank": k, "id": h.id, "path": h.row.path, "score": h.score, "p": h.p} for k, h in enumerate(hits.hits, 1)]
    return {
        "searched": hits.searched,
        "reference": hits.reference,
        "fits": "unknown" if hits.fits is None else hits.fits,
        "familiar": hits.familiar,
        "hits": [{k: v for k, v in row.items() if k != "rank"} for row in rows],
        "notes": list(hits.notes),
        "text": text,
    }, rows, ("rank", "id", "path", "score", "p")  # fmt: skip


def _duplicates(o: argparse.Namespace) -> _Found:
    from eyewright import lifecycle

    groups, left_out = lifecycle.find_duplicates(o.index, by=o.duplicates, least=0.97 if o.min is None else o.min)
    text = [f"{len(groups):,} group{'s' * (len(groups) != 1)} of near copies"]
    for g in groups[:50]:
        text.append(f"{len(g.members)} similar, {g.least:.3f} at least:")
        text += [f"  {'keep' if id == g.best else '    '} {printable(row.path)}" for id, row in g.members]
    told: list[dict[str, Any]] = [
        {
            "paths": [row.path for _, row in g.members],
            "keep": next(row.path for id, row in g.members if id == g.best),
            "similarity": g.least,
        }
        for g in groups
    ]
    rows = [
        {"group": k, "path": path, "keep": path == group["keep"], "similarity": group["similarity"]}
        for k, group in enumerate(told, 1)
        for path in group["paths"]
    ]
    return {
        "groups": told,
        "counts": {"groups": len(groups), "unreadable": len(left_out)},
        "findings": [finding(f) for f in left_out],
        "text": [*text, *(f"left out {finding_line(f)}" for f in left_out[:20])],
        "exit": int(bool(left_out)),
    }, rows, ("group", "path", "keep", "similarity")  # fmt: skip


def _labels(o: argparse.Namespace) -> _Found:
    from eyewright import lifecycle

    notes: list[str] = []
    found = lifecycle.label_images(o.index, o.labels.split(","), model=o.model, say=notes.append)
    for note in notes:
        if not o.json:
            warn(note)
    text = [f"{one.probability:6.1%}  {one.label}  {printable(one.path)}" for one in found]
    rows = [one._asdict() for one in found]
    return {"labels": rows, "notes": notes, "text": text}, rows, ("path", "label", "probability")


def _chance(p: float | None) -> str:
    """Return a p-value as it is printed."""
    return "–" if p is None else f"{p:.2g}"
