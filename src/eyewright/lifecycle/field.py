"""In the field: serve bundles, look at what happened to them, choose which one is in use."""

__all__ = [
    "Selected",
    "challenge",
    "drift",
    "feedback_add",
    "feedback_export",
    "feedback_import",
    "history",
    "monitor_status",
    "promote",
    "rollback",
    "select",
    "serve",
]

import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from eyewright.core.errors import BundleError, DatasetError, InputError, UsageError
from eyewright.core.files import write_json
from eyewright.core.quoting import quoted
from eyewright.core.report import Finding
from eyewright.core.rng import generator
from eyewright.core.task import task_of
from eyewright.imaging.clips import iter_examples
from eyewright.lifecycle.datasets import known_images, part_of_path, scan_of, target_of
from eyewright.lifecycle.stages import compare

if TYPE_CHECKING:
    from eyewright.bundle.signature import PublicKey
    from eyewright.lifecycle.loading import PathLike
    from eyewright.monitoring import Drift, Event, RecorderSettings, Said
    from eyewright.serving.live import LiveSource
    from eyewright.serving.server import Server
    from eyewright.serving.settings import Settings

DEFAULT_HOME = "eyewright-monitor"


def serve(
    bundles: "Sequence[PathLike]" = (),
    *,
    settings: "Settings | None" = None,
    home: "PathLike | None" = DEFAULT_HOME,
    log: str | None = None,
    recording: "RecorderSettings | None" = None,
    policy: Mapping[str, float] | None = None,
    label_studio_files: "PathLike | None" = None,
    alert_webhook: str | None = None,
    alert_email: str | None = None,
    smtp: str = "localhost:25",
    require_signature: "PathLike | None" = None,
    sources: "Sequence[LiveSource]" = (),
    indexes: "Sequence[PathLike]" = (),
    ready: "Callable[[Server], None] | None" = None,
) -> None:
    """Serve bundles over HTTP, with a web page, until SIGTERM; blocks.

    Each of `bundles` is FOLDER or NAME=FOLDER; none means the champion of `home`, with its challenger if
    there is one. Predictions are logged in `home` and in the database `log` (SQLite there, or postgresql://…); with
    `home` None nothing is logged. `policy` is added to what the bundles ask for themselves. With `require_signature`,
    the file of a public key, only bundles signed by it are served, now and after every reload. Each of `sources` is
    followed by a process of its own and shown live. Each of `indexes`, DIR or NAME=DIR, is searched by words and by
    image with the served bundle that it was made with.

    Raises:
        BundleError, PolicyError: a bundle is refused.
        RefusedError: the model of an index is not served.
        UsageError: the port is in use, a token is missing, another server logs in this home.
    """
    from eyewright.bundle.signature import read_public_key
    from eyewright.lifecycle.live import COMMAND
    from eyewright.monitoring import Alerts, Recorder
    from eyewright.serving import run_server
    from eyewright.serving.live import LiveSources
    from eyewright.serving.models import Model, load_table

    key = None if require_signature is None else read_public_key(require_signature)
    place = None if home is None else Path(home)
    if label_studio_files is not None and not Path(label_studio_files).is_dir():
        raise UsageError(f"expected a folder, found {quoted(label_studio_files)}", fix="change --label-studio-files")
    # Replaced as a whole: the recorder's thread reads it at any time.
    current: list[dict[str, Model]] = [{}]

    def table() -> tuple[dict[str, Model], dict[str, str]]:
        found, beside = (load_table(bundles, policy, key=key), {}) if bundles else _aliased(place, policy, key)
        for one in found.values():
            task_of(one.manifest.task).require("serve")
            if settings is not None and "ambiguous" in settings.refuse:
                task_of(one.manifest.task).require("sets")
        current[0] = found
        return found, beside

    # Before a worker is started: what is wrong with a bundle is said at once.
    table()
    searcher = None
    if indexes:
        from eyewright.lifecycle.indexes import ServedIndexes

        searcher = ServedIndexes(indexes)
        searcher.check(current[0])
    recorder = None
    if place is not None:
        recorder = Recorder(
            place,
            address=log,
            settings=recording,
            references=lambda: {
                name: (m.digest, _reference(str(m.folder), m.digest), m.task) for name, m in current[0].items()
            },
            alerts=Alerts(alert_webhook, alert_email, smtp),
            classes=lambda: {m.digest: (m.task, m.manifest.labels.names) for m in current[0].values()},
        )
    live = LiveSources(sources, COMMAND, counted=None if recorder is None else recorder.note_crossing)
    try:
        run_server(
            settings=settings,
            table=table,
            recorder=recorder,
            live=live,
            searcher=searcher,
            files=None if label_studio_files is None else Path(label_studio_files),
            ready=ready,
        )
    finally:
        if recorder is not None:
            recorder.close()


def _aliased(
    home: Path | None, policy: Mapping[str, float] | None, key: "PublicKey | None"
) -> tuple[dict[str, Any], dict[str, str]]:
    from eyewright.monitoring import History
    from eyewright.serving.models import load_table

    event = None if home is None else History(home).current("champion")
    if event is None or home is None:
        raise UsageError("expected bundles to serve, or a champion, found neither", fix="pass a bundle folder")
    other = History(home).current("challenger")
    found: dict[str, Any] = {}
    for one in (event, other):
        if one is not None:
            found |= load_table([f"{one.alias}={one.folder}"], policy, key=key)
            if found[one.alias].digest != one.digest:
                raise BundleError(
                    f"the bundle at {quoted(one.folder)} is not the one that became {one.alias}",
                    fix="restore it, or choose again",
                )
    return found, {} if other is None else {"champion": "challenger"}


@lru_cache(maxsize=32)
def _reference(folder: str, digest: str) -> Mapping[str, Any]:
    from eyewright.bundle import read_reference

    return read_reference(Path(folder))


def monitor_status(home: "PathLike" = DEFAULT_HOME, *, log: str | None = None) -> dict[str, Any]:
    """Return what the log says of every model in it: counts, labels, latency, feedback, drift; of live sources what was
    counted in the last 24 hours; and the aliases."""
    from eyewright.monitoring import History
    from eyewright.monitoring.counts import summarise_counts
    from eyewright.monitoring.summary import summarise_model

    store = _store(home, log)
    try:
        counts = store.counts()
        models = {name: summarise_model(store, name, "", {}, "") for name in counts}
        now = time.time()
        sources = summarise_counts(store.crossings(since_hour=int(now // 3600) - 24), now=now)
    finally:
        store.close()
    events = History(Path(home))
    aliases = {}
    for alias in ("champion", "challenger"):
        event = events.current(alias)
        if event is not None:
            aliases[alias] = {"folder": event.folder, "digest": event.digest, "since": event.time}
    return {"models": models, "sources": sources, "aliases": aliases}


def drift(
    bundle: "PathLike",
    *,
    source: "PathLike | None" = None,
    home: "PathLike" = DEFAULT_HOME,
    log: str | None = None,
    model: str | None = None,
    window: int = 200,
    seed: int = 0,
) -> "Drift":
    """Test whether the last `window` logged predictions, or the images of `source`, are like those the bundle was
    validated on.

    Raises:
        InputError: too few of them, or a bundle from before appearance was stored.
    """
    from eyewright.bundle import bundle_digest, load_bundle
    from eyewright.monitoring import Sample, drift_between

    loaded = load_bundle(bundle)
    known = Sample.of_reference(loaded.reference, loaded.task_name)
    if known is None:
        raise InputError("the bundle's reference holds too little to test drift against", fix="export the run again")
    if source is not None:
        found = sample_of(loaded, source)
    else:
        digest = bundle_digest(Path(bundle))
        store = _store(home, log)
        try:
            names = [model] if model is not None else sorted(store.counts())
            rows = [r for n in names for r in store.recent(model=n, n=window) if r.digest == digest]
        finally:
            store.close()
        rows = sorted(rows, key=lambda r: r.time)[-window:]
        looks = np.array([r.look for r in rows], np.float32).reshape(len(rows), -1)
        found = Sample(looks, np.array([r.answer for r in rows], np.float32), loaded.task_name, loaded.labels.names)
    if len(found) < 20:
        raise InputError(f"expected at least 20 images to test, found {len(found)}", fix="wait for more")
    return drift_between(known, found, rng=generator(seed, "drift"))


def sample_of(bundle: Any, source: "PathLike | Sequence[Any]") -> Any:
    """Return images as the numbers that drift is tested on."""
    from eyewright.imaging.appearance import appearance
    from eyewright.monitoring import Sample

    looks, answers = [], []
    listed = isinstance(source, Sequence) and not isinstance(source, str)
    images = source if listed else (frame.image for frame in iter_examples(source, bundle.preparation.clip))
    for image in cast(Any, images):
        pixels, placement = bundle.preparation(image)
        (shown,) = bundle.read(bundle.raw(pixels[None]), [placement])
        looks.append(appearance(pixels, placement))
        answers.append(shown.numbers())
    n_classes = len(bundle.labels)
    return Sample(
        np.array(looks, np.float32).reshape(len(looks), -1),
        np.array(answers, np.float32).reshape(len(looks), n_classes),
        bundle.task_name,
        bundle.labels.names,
    )


def feedback_import(
    path: "PathLike",
    *,
    home: "PathLike" = DEFAULT_HOME,
    log: str | None = None,
    new_classes: Sequence[str] = (),
    bundle: "PathLike | None" = None,
) -> tuple[int, list[Finding]]:
    """Read feedback on logged predictions from CSV or JSON lines; return how many were stored, and what was not.

    Labels must be those of the prediction's model, or be declared in `new_classes`. The classes of the model are in
    the log; for a log that was written before it held them they are those of `bundle`, or of a bundle in the history.
    Where they are known from nowhere a finding of severity "note" says that labels could not be checked.
    """
    from eyewright.monitoring import import_feedback

    known = _Classes(home, bundle)
    store = _store(home, log)
    try:
        stored, findings = import_feedback(store, Path(path), new_classes=new_classes, known=known)
    finally:
        store.close()
    if known.missing and stored:
        text = f"the labels of {known.missing} predictions were not checked: the log holds no classes of their model"
        findings.append(Finding("feedback_unchecked", text, "pass --bundle", str(path), severity="note"))
    return stored, findings


def feedback_add(
    prediction_id: str,
    content: Mapping[str, Any],
    *,
    home: "PathLike" = DEFAULT_HOME,
    log: str | None = None,
    new_classes: Sequence[str] = (),
    bundle: "PathLike | None" = None,
) -> None:
    """Store feedback on one logged prediction: `{"label": "cat"}`, `{"correct": True}`, `{"objects": […]}`.

    `content` is what `POST /v1/feedback` takes; labels are checked as in `feedback_import`.

    Raises:
        InputError: no such prediction is in the log.
        UsageError: a label that the model does not know, or other invalid content.
    """
    from eyewright.tasks.feedback import check_feedback

    store = _store(home, log)
    try:
        said = store.prediction(prediction_id)
        if said is None:
            raise InputError(f"no prediction {prediction_id[:80]!r} is in the log", fix="check the id, and --home")
        said = _Classes(home, bundle)(said)
        kept = check_feedback(
            content,
            task=said.task,
            labels=said.labels,
            predicted=said.label or None,
            size_hw=said.size_hw,
            new_classes=new_classes,
        )
        store.add([], [(secrets.token_hex(12), prediction_id, time.time(), kept)])
    finally:
        store.close()


class _Classes:
    """The classes of models that the log does not hold: from a bundle, or from those that the history names."""

    def __init__(self, home: "PathLike", bundle: "PathLike | None") -> None:
        from eyewright.bundle.manifest import read_manifest
        from eyewright.bundle.verify import bundle_digest
        from eyewright.monitoring import History

        self.missing = 0
        self._of: dict[str, tuple[str, tuple[str, ...]]] = {}
        folders = [] if bundle is None else [Path(bundle)]
        folders += [Path(e.folder) for e in History(Path(home)).events() if e.digest]
        for folder in dict.fromkeys(folders):
            if (folder / "bundle.json").exists() or (bundle is not None and folder == folders[0]):
                manifest = read_manifest(folder)
                self._of[bundle_digest(folder)] = (manifest.task, manifest.labels.names)
        self._given = next(iter(self._of.values())) if bundle is not None else None

    def __call__(self, said: "Said") -> "Said":
        if said.labels is not None:
            return said
        found = self._of.get(said.digest, self._given)
        if found is None:
            self.missing += 1
            return said
        return replace(said, task=found[0], labels=found[1])


def feedback_export(
    path: "PathLike", *, home: "PathLike" = DEFAULT_HOME, log: str | None = None, model: str | None = None
) -> int:
    """Write all feedback as CSV or JSON lines; return how many."""
    from eyewright.monitoring import export_feedback

    store = _store(home, log)
    try:
        return export_feedback(store, Path(path), model=model)
    finally:
        store.close()


def feedback_list(
    *, home: "PathLike" = DEFAULT_HOME, log: str | None = None, model: str | None = None
) -> dict[str, Any]:
    """Return what feedback says, with the classes that it declares as new: see `monitoring.feedback_summary`."""
    from eyewright.monitoring import feedback_summary

    store = _store(home, log)
    try:
        return feedback_summary(store, model=model)
    finally:
        store.close()


@dataclass(frozen=True)
class Selected:
    """A logged prediction whose image is to be labelled; `score` is None where the prediction is of numbers, which have
    no confidence. `image` is the kept image's name."""

    prediction_id: str
    label: str
    score: float | None
    image: str


def select(
    n: int = 50,
    *,
    home: "PathLike" = DEFAULT_HOME,
    log: str | None = None,
    model: str | None = None,
    out: "PathLike | None" = None,
) -> "list[Selected]":
    """Choose which kept images to label next: where confidence is lowest, and no two similar; with `out` they are
    copied there, next to `tasks.json` for Label Studio. Of numbers, which have no confidence, unlike images."""
    from eyewright.monitoring import choose_next, gives_numbers, image_path

    place = Path(home)
    store = _store(home, log)
    try:
        names = [model] if model is not None else sorted(store.counts())
        said = {row.id for row, _, _ in store.feedback()}
        rows = [r for name in names for r in store.recent(model=name, n=20_000)]
        numeric = {digest for digest, (task, _) in store.models().items() if gives_numbers(task)}
    finally:
        store.close()
    open_rows = [r for r in rows if r.image and r.id not in said and image_path(place, r.image).exists()]
    if not open_rows:
        raise InputError("no kept image needs a label", fix="serve with --keep images=5% for a while")
    chosen = [
        Selected(r.id, r.label, None if r.digest in numeric else r.score, r.image)
        for r in choose_next(open_rows, n, numeric=lambda row: row.digest in numeric)
    ]
    if out is not None:
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        tasks = []
        for row in chosen:
            kept = image_path(place, row.image)
            name = f"{row.prediction_id}{kept.suffix}"
            shutil.copyfile(kept, folder / name)
            meta = {"prediction_id": row.prediction_id, "label": row.label, "score": row.score}
            tasks.append({"data": {"image": f"/data/local-files/?d={name}"}, "meta": meta})
        write_json(folder / "tasks.json", tasks)
    return chosen


def promote(
    bundle: "PathLike",
    *,
    home: "PathLike" = DEFAULT_HOME,
    data: "PathLike | None" = None,
    force: bool = False,
    reason: Mapping[str, Any] | None = None,
    require_signature: "PathLike | None" = None,
) -> "Event":
    """Make a bundle the champion: verified, by its own policy, and with `data` only if it is no worse than the one
    before it on these images. `force` leaves the comparison out, and the history says so. With `require_signature`,
    the file of a public key, the bundle must be signed by it.

    Raises:
        BundleError, PolicyError: it is refused.
        UsageError: there is a champion, and neither data to compare on nor `force`.
        DatasetError: it is worse.
    """
    from eyewright.bundle import bundle_digest, check_policy, load_bundle
    from eyewright.monitoring import History

    digest = bundle_digest(Path(bundle))
    loaded = load_bundle(bundle, key=require_signature, digest=digest)
    check_policy(loaded.folder, loaded.manifest)
    events = History(Path(home))
    before = events.current("champion")
    why: dict[str, Any] = dict(reason or {})
    if before is not None and not force:
        if data is None:
            raise UsageError("expected data to compare with the champion on, found none", fix="pass --data, or --force")
        images, left_out = _unseen_of(data, before.folder, loaded)
        if left_out:
            why["left_out"] = f"{left_out} images that one of the two was trained on"
        found = compare(before.folder, loaded.folder, images)
        if found.better == "a":
            raise DatasetError(f"the bundle is worse than the champion: {found}", fix="keep the champion", code="worse")
        why["comparison"] = found.to_json()
    elif force and "comparison" not in why:
        why["forced"] = True
    return events.add("promote", "champion", loaded.folder, digest, why)


def _unseen_of(data: "PathLike", before: str, loaded: Any) -> "tuple[Any, int]":
    """Return the images that neither model was trained on, and how many are left out."""
    from eyewright.bundle import load_bundle

    dataset = part_of_path(data, None, None, loaded.task_name, target=target_of(loaded.task_name, loaded.labels))
    known = known_images(load_bundle(before)) | known_images(loaded)
    records = scan_of(dataset).records
    kept = [s for s, r in zip(dataset.samples, records, strict=True) if r.digest not in known]
    if not kept:
        raise DatasetError(
            f"expected images that neither model was trained on, found none among {len(dataset)}",
            fix="pass other images with --data",
        )
    return dataset.with_samples(kept), len(dataset) - len(kept)


def challenge(
    bundle: "PathLike | None", *, home: "PathLike" = DEFAULT_HOME, require_signature: "PathLike | None" = None
) -> "Event":
    """Let a bundle predict in parallel with the champion, with results only in the log; None ends that.

    With `require_signature`, the file of a public key, the bundle must be signed by it.
    """
    from eyewright.bundle import bundle_digest, load_bundle
    from eyewright.monitoring import History

    events = History(Path(home))
    if bundle is None:
        return events.add("clear", "challenger", Path("."), "", {})
    digest = bundle_digest(Path(bundle))
    folder = load_bundle(bundle, key=require_signature, digest=digest).folder
    return events.add("challenge", "challenger", folder, digest, {})


def rollback(*, home: "PathLike" = DEFAULT_HOME, require_signature: "PathLike | None" = None) -> "Event":
    """Make the champion what it was before.

    With `require_signature`, the file of a public key, that bundle must be signed by it.

    Raises:
        UsageError: there was none before.
        BundleError: it is no longer there, or changed.
    """
    from eyewright.bundle import bundle_digest, load_bundle
    from eyewright.monitoring import History

    events = History(Path(home))
    _, wanted = events.before()
    if bundle_digest(Path(wanted.folder)) != wanted.digest:
        raise BundleError(f"the bundle at {quoted(wanted.folder)} is not the one that was promoted", fix="restore it")
    load_bundle(wanted.folder, key=require_signature, digest=wanted.digest)
    return events.rollback()


def history(*, home: "PathLike" = DEFAULT_HOME) -> "list[Event]":
    """Return every change of champion and challenger, oldest first; a history that was changed is refused."""
    from eyewright.monitoring import History

    return History(Path(home)).events()


def _store(home: "PathLike", log: str | None) -> Any:
    from eyewright.monitoring import open_store

    address = log or str(Path(home) / "monitor.db")
    if "://" not in address and not Path(address).exists():
        raise InputError(f"expected a log at {quoted(address)}, found none", fix="check --home, or serve a model first")
    return open_store(address)


def shown_time(seconds: float) -> str:
    """Return a time as people read it, UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
