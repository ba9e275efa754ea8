"""How texts that were read are measured and reported: error rates, lengths, confused characters, the worst lines."""

__all__ = ["REPORTING", "TextResults"]

import posixpath
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import UsageError
from eyewright.core.predictor import Predictor, decode_everything
from eyewright.core.report import Metric, Report
from eyewright.core.rng import generator
from eyewright.data.dataset import Dataset
from eyewright.data.targets.text import Text
from eyewright.evaluation.comparison import Comparison, compare_numbers
from eyewright.evaluation.novelty import Followed, Novelty, measure_novelty
from eyewright.evaluation.reporting import AuditView, Batch, Numbers, Reporting
from eyewright.evaluation.together import count_groups, group_names
from eyewright.evaluation.units import say_metric
from eyewright.metrics.bootstrap import Resampling
from eyewright.metrics.reading import TextErrors, align_texts, measure_texts, plain_text
from eyewright.tasks.item_scores import item_scores
from eyewright.tasks.read_page import explain_errors, lay_out, take_pictures

if TYPE_CHECKING:
    from eyewright.tasks.read import TextPrediction

_LENGTHS = ((1, 3), (4, 8), (9, 16), (17, 32), (33, None))
_MOST_PAIRS = 40
_MOST_GROUPS = 60


@dataclass(frozen=True, eq=False)
class TextResults:
    """Texts that were read, N of them, their probabilities (N,), and how often each character was, (N, C)."""

    dataset: Dataset
    texts: tuple[str, ...]
    probabilities: NDArray[np.float64]
    characters: NDArray[np.float32]

    @property
    def true(self) -> tuple[str, ...]:
        """The true texts."""
        return tuple(s.marked(Text).written for s in self.dataset.samples)

    @cached_property
    def errors(self) -> TextErrors:
        """The edits of every line."""
        return TextErrors(self.true, self.texts)

    @property
    def each(self) -> NDArray[np.float64]:
        """How well each line went, (N,): 1 without an error, 0 where there are as many as characters or more."""
        found: NDArray[np.float64] = 1 - np.minimum(self.errors.edits / np.maximum(self.errors.characters, 1), 1)
        return found

    def joined(self, *others: "TextResults") -> "TextResults":
        """Return the results of the lines of all of them, one after the other."""
        every = (self, *others)
        return TextResults(
            self.dataset.with_samples(s for r in every for s in r.dataset.samples),
            tuple(t for r in every for t in r.texts),
            np.concatenate([r.probabilities for r in every]),
            np.concatenate([r.characters for r in every]),
        )

    def numbers(self) -> Numbers:
        """Return the metrics that two models are compared by."""
        return lambda weights: self.errors(weights)

    def followed(self) -> Followed:
        """Return the character error rate under weights of the lines."""

        def interval(plan: Resampling, value: float, samples: NDArray[np.float64]) -> tuple[float, float]:
            return plan.interval(value, samples, kind="plain", bounds=(0.0, float("inf")))

        return Followed(lambda weights: self.errors(weights)["cer"], interval)

    def answers(self) -> NDArray[np.float64]:
        """Return how often each character was read, weighted by its score, (N, C)."""
        return self.characters.astype(np.float64)

    def asked(self, metric: str) -> NDArray[np.bool_]:
        """Every line moves every metric."""
        return np.ones(len(self.dataset), bool)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield the true text of each line and what was read."""
        yield ("id", "true", "read", "edits", "probability")
        for sample, true, text, edits, p in zip(
            self.dataset.samples, self.true, self.texts, self.errors.edits, self.probabilities, strict=True
        ):
            yield (sample.id, true, text, f"{edits:.0f}", f"{p:.6g}")


def gather(predictor: Predictor, batch: Batch) -> TextResults:
    """Return what is read on a batch of lines."""
    pixels, placements = predictor.preparation.batch(batch.images)
    found = cast("Sequence[TextPrediction]", decode_everything(predictor, predictor.raw(pixels), placements))
    return TextResults(
        batch.part,
        tuple(p.text for p in found),
        np.array([p.probability for p in found], np.float64),
        np.stack([p.numbers() for p in found]),
    )


def together(parts: Sequence[TextResults], folds: int, dataset: Dataset) -> TextResults:
    """Return the texts of the nets that have not seen each line, in the dataset's order; of several nets the text with
    the highest probability, since texts have no mean."""
    best: dict[str, tuple[float, str, NDArray[np.float32]]] = {}
    for part in parts:
        for sample, text, p, row in zip(
            part.dataset.samples, part.texts, part.probabilities, part.characters, strict=True
        ):
            if sample.id not in best or p > best[sample.id][0]:
                best[sample.id] = float(p), text, row
    lacking = [s.id for s in dataset.samples if s.id not in best]
    if lacking:
        raise UsageError(f"expected a text for every line, found none for {lacking[0]!r}", fix="run all folds")
    rows = [best[s.id] for s in dataset.samples]
    return TextResults(
        dataset.relabelled(parts[0].dataset.labels),
        tuple(r[1] for r in rows),
        np.array([r[0] for r in rows], np.float64),
        np.stack([r[2] for r in rows]),
    )


def measure(results: TextResults, seed: int) -> dict[str, Metric]:
    """Return every metric with its interval."""
    groups = group_names(results.dataset)
    return measure_texts(results.true, results.texts, rng=generator(seed, "bootstrap"), groups=groups)


def report(
    results: TextResults, *, seed: int = 0, novelty: Novelty | None = None, temperature: float | None = None
) -> Report:
    """Return the report."""
    dataset = results.dataset
    pairs, right, there, said = _pairs(results)
    rows = [
        {
            "label": c,
            "n": there[c],
            "recall": _share(right[c], there[c]),
            "precision": _share(right[c], said[c]),
            "found": said[c],
        }
        for c in sorted(there)
    ]
    return Report(
        task=dataset.task,
        labels=dataset.labels.names,
        n=len(dataset),
        metrics=measure(results, seed),
        per_class=tuple(rows),
        tables={
            "lengths": _by_length(results, seed),
            "pairs": pairs,
            "groups": _by_group(results),
            "totals": {
                "characters": int(results.errors.characters.sum()),
                "edits": int(results.errors.edits.sum()),
                "empty": sum(not t for t in results.texts),
                "unknown": _unknown(results),
            },
            "confidence": _by_confidence(results),
            "together": count_groups(dataset, results.each),
            "novelty": measure_novelty(novelty, results, seed=seed),
        },
        items=tuple(list_items(results)),
    )


def _share(part: int, whole: int) -> dict[str, float | None]:
    return {"value": part / whole if whole else None, "low": None, "high": None}


def _pairs(results: TextResults) -> tuple[list[dict[str, Any]], Counter[str], Counter[str], Counter[str]]:
    """Return which characters were taken for which others, the most frequent first, and how often each was read
    rightly, was there, and was read."""
    wrong: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], str] = {}
    right: Counter[str] = Counter()
    there: Counter[str] = Counter()
    said: Counter[str] = Counter()
    for sample, true, text in zip(results.dataset.samples, results.true, results.texts, strict=True):
        for a, b in align_texts(plain_text(true), plain_text(text)):
            if a:
                there[a] += 1
            if b:
                said[b] += 1
            if a == b:
                right[a] += 1
            else:
                wrong[a, b] += 1
                examples.setdefault((a, b), sample.id)
    rows = [
        {"true": a, "read": b, "n": n, "of": there[a] if a else None, "example": examples[a, b]}
        for (a, b), n in sorted(wrong.items(), key=lambda item: (-item[1], item[0]))[:_MOST_PAIRS]
    ]
    return rows, right, there, said


def _by_length(results: TextResults, seed: int) -> list[dict[str, Any]]:
    """Return CER and exact lines by the length of the true text."""
    lengths, groups = results.errors.characters, group_names(results.dataset)
    rows = []
    for low, high in _LENGTHS:
        own = np.flatnonzero((lengths >= low) & (lengths <= (np.inf if high is None else high)))
        if not len(own):
            continue
        found = measure_texts(
            [results.true[i] for i in own],
            [results.texts[i] for i in own],
            rng=generator(seed, "lengths", low),
            groups=None if groups is None else groups[own],
        )
        shown = {k: {"value": m.value, "low": m.low, "high": m.high} for k, m in found.items()}
        rows.append({"from": low, "to": high, "n": len(own), **shown})
    return rows


def _by_group(results: TextResults) -> list[dict[str, Any]]:
    """Return the error rate of every group, such as a page, the worst first."""
    groups = group_names(results.dataset)
    if groups is None:
        return []
    rows: list[dict[str, Any]] = []
    for name in np.unique(groups):
        own = groups == name
        edits, characters = results.errors.edits[own].sum(), results.errors.characters[own].sum()
        rows.append(
            {
                "group": str(name)[2:],
                "n": int(own.sum()),
                "cer": float(edits / characters) if characters else None,
                "exact": float(results.errors.exact[own].mean()),
            }
        )
    return sorted(rows, key=lambda r: -(r["cer"] or 0.0))[:_MOST_GROUPS]


def _by_confidence(results: TextResults) -> list[dict[str, Any]]:
    """Return how many lines are exact in fifths of their probability."""
    p, exact, n = results.probabilities, results.errors.exact, len(results.texts)
    rows = []
    for part in np.array_split(np.argsort(p, kind="stable"), min(5, n)):
        own = {"from": float(p[part].min()), "to": float(p[part].max()), "n": len(part)}
        rows.append({**own, "probability": float(p[part].mean()), "exact": float(exact[part].mean())})
    return rows


def _unknown(results: TextResults) -> dict[str, int]:
    """Return the characters of the true texts that the model does not know, with how often they are there."""
    known = set(results.dataset.labels.names)
    return dict(Counter(c for t in results.true for c in t if c not in known).most_common(20))


def list_items(results: TextResults) -> list[dict[str, Any]]:
    """Return a row per line, the one with most edits first."""
    dataset, edits, each, true = results.dataset, results.errors.edits, results.each, results.true
    order = sorted(range(len(dataset)), key=lambda i: (-edits[i], each[i], dataset.samples[i].id))
    return [
        {
            "id": dataset.samples[i].id,
            "name": posixpath.basename(dataset.samples[i].id),
            "index": i,
            "true": true[i],
            "predicted": results.texts[i],
            "edits": int(edits[i]),
            "probability": float(results.probabilities[i]),
            "score": float(each[i]),
        }
        for i in order
    ]


def compare(a: TextResults, b: TextResults, seed: int) -> Comparison:
    """Compare two models on the same lines."""
    return compare_numbers(a, b, a.each, b.each, seed=seed)


def changed(before: TextResults, after: TextResults) -> list[dict[str, Any]]:
    """Return the lines that are read otherwise."""
    return [
        {"id": sample.id, "before": a, "after": b, "true": sample.marked(Text).written}
        for sample, a, b in zip(before.dataset.samples, before.texts, after.texts, strict=True)
        if a != b
    ]


def summarise(report: Report) -> str:
    """Say how many characters are wrong, and what is confused most."""
    cer, exact, totals = report.metrics["cer"], report.metrics["exact"], report.tables["totals"]
    parts = [
        f"The character error rate is {say_metric('cer', cer.value, cer.low, cer.high)}: {totals['edits']:,} edits for "
        f"{totals['characters']:,} characters.",
        f"{say_metric('exact', exact.value, exact.low, exact.high)} of the lines are read without an error.",
    ]
    if totals["empty"]:
        parts.append(f"On {totals['empty']:,} line{'s' * (totals['empty'] != 1)} nothing was read.")
    pair = next((p for p in report.tables["pairs"] if p["true"] and p["read"] and p["n"] > 1), None)
    if pair is not None:
        parts.append(f"{pair['true']!r} is read as {pair['read']!r} most often ({pair['n']} times).")
    if totals["unknown"]:
        shown = " ".join(list(totals["unknown"])[:10])
        parts.append(f"The true texts hold characters that the model does not know, and always gets wrong: {shown}")
    return " ".join(parts)


REPORTING = Reporting(
    gather=gather,
    stored=TextResults,
    at_once=64,
    together=together,
    metrics=measure,
    report=report,
    items=list_items,
    image_scores=item_scores,
    compare=compare,
    changed=changed,
    replicates=1000,
    spread=("cer", "wer", "exact", "char_accuracy"),
    summary=summarise,
    page=lay_out,
    pictures=take_pictures,
    explained=explain_errors,
    audit=AuditView(
        caption=lambda dataset, index: dataset.samples[index].marked(Text).written,
        drawn=lambda dataset, index, size_hw, small: small,
        tiles=lambda dataset: (
            ("characters", f"{len(dataset.labels):,}", "in the alphabet, of all texts"),
            ("longest text", f"{max((len(s.marked(Text)) for s in dataset.samples), default=0):,}", "characters"),
        ),
        charts=lambda dataset, scan: (),
    ),
)
"""How a model of lines is measured and reported."""
