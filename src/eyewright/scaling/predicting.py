"""Predict the images of a shard with a bundle."""

__all__ = ["open_predict"]

from collections.abc import Iterator, Sequence
from pathlib import Path

from eyewright.bundle.load import Bundle, load_bundle
from eyewright.core.errors import UnreadableImageError
from eyewright.core.prediction import Prediction
from eyewright.imaging.sources.files import read_files
from eyewright.scaling.listing import Item, has_changed
from eyewright.scaling.plan import Plan
from eyewright.scaling.predict_options import PREDICT_OPTIONS
from eyewright.scaling.rows import Row, changed_row, error_row


def open_predict(plan: Plan, threads: int) -> "_Predict":
    """Load the planned bundle.

    Raises:
        BundleError: it is damaged, or not the planned one.
    """
    bundle = load_bundle(plan.model, threads=threads, digest=plan.model_digest)
    given = {k: plan.options.get(k) for k in PREDICT_OPTIONS}
    conf, iou, top = given["conf"], given["iou"], given["top"]
    return _Predict(
        bundle,
        conf=float(conf) if isinstance(conf, int | float) else None,
        iou=float(iou) if isinstance(iou, int | float) else None,
        top=int(top) if isinstance(top, int) else None,
    )


class _Predict:
    def __init__(self, bundle: Bundle, *, conf: float | None, iou: float | None, top: int | None) -> None:
        self._bundle, self._conf, self._iou, self._top = bundle, conf, iou, top

    def rows(self, items: Sequence[Item], first: int, shard: int) -> Iterator[Row]:
        sound = [k for k, item in enumerate(items) if not has_changed(item)]
        found = self._found([Path(items[k].path) for k in sound])
        wanted = set(sound)
        for k, item in enumerate(items):
            if k not in wanted:
                yield changed_row(first + k, item.path)
                continue
            one = next(found)
            if isinstance(one, UnreadableImageError):
                yield error_row(first + k, item.path, one.code, one.message)
            else:
                yield self._row(first + k, item.path, one)

    def _found(self, paths: Sequence[Path]) -> Iterator[Prediction | UnreadableImageError]:
        if self._bundle.reads_prepared:
            for _, one in self._bundle.predict_files(paths, conf=self._conf, iou=self._iou):
                yield one
            return
        for _, image in read_files(paths):
            if isinstance(image, UnreadableImageError):
                yield image
            else:
                yield self._bundle.predict_images([image], conf=self._conf, iou=self._iou)[0]

    def _row(self, number: int, source: str, found: Prediction) -> Row:
        told = found.to_json() if self._top is None else found.to_json(top=self._top)
        result = {k: v for k, v in told.items() if k not in ("source", "index", "time_s")}
        label, score = found.headline()
        about = {"ok": True, "error": None, "message": None, "label": label, "score": float(score)}
        return {"id": number, "source": source, **about, "result": result}
