"""How embeddings are measured and reported: recall both ways, the worst queries with what they found."""

__all__ = ["REPORTING"]

import posixpath
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import DatasetError
from eyewright.core.inputs import prepare
from eyewright.core.predictor import Predictor, decode_everything, inputs_of, texts_of
from eyewright.core.report import Finding, Metric, Report
from eyewright.core.rng import generator
from eyewright.core.task import metric_named, task_of
from eyewright.data.dataset import Dataset
from eyewright.data.targets.captions import Captions
from eyewright.evaluation.blocks import Block, Cell, Gallery, Page, Shot, Span, Table
from eyewright.evaluation.comparison import Comparison, compare_numbers
from eyewright.evaluation.novelty import Novelty, measure_novelty
from eyewright.evaluation.reporting import AuditView, Batch, Explain, Pictures, Reporting
from eyewright.evaluation.together import count_groups, group_names
from eyewright.evaluation.units import say_metric, show_interval, show_number
from eyewright.imaging.encode import data_uri
from eyewright.imaging.overlay import shrink
from eyewright.imaging.reduction import Prepared
from eyewright.metrics.retrieval import retrieval_metrics
from eyewright.tasks.embed_ranks import DEFINITION, other_views
from eyewright.tasks.embed_results import EmbedResults
from eyewright.tasks.item_scores import item_scores

_SHOWN, _HITS = 12, 4
_SIDE, _CELL = 320, 160
_TEXT = 80
_NOISE = 1e-4


def gather(predictor: Predictor, batch: Batch) -> EmbedResults:
    """Return the vectors of a batch of images and of their captions, or of another view where there are none.

    Raises:
        UsageError: the images have captions, and the model reads images only.
    """

    def embedded(images: Sequence[NDArray[np.uint8] | Prepared]) -> list[Any]:
        given, placements = prepare(inputs_of(predictor), images)
        return list(decode_everything(predictor, predictor.raw(given), placements))

    found = embedded(batch.images)
    captions = [s.marked(Captions).plain for s in batch.part.samples]
    texts = [t for own in captions for t in own]
    if any(s.marked(Captions).texts for s in batch.dataset.samples):
        items = np.repeat(np.arange(len(captions)), [len(own) for own in captions])
        width = len(found[0].embedding)
        queries = texts_of(predictor, texts) if texts else np.zeros((0, width), np.float32)
    else:
        items, texts = np.arange(len(captions)), [""] * len(captions)
        queries = np.stack([p.embedding for p in embedded(other_views(list(batch.dataset.images(batch.rows))))])
    return EmbedResults(
        batch.part,
        np.stack([p.embedding for p in found]),
        np.stack([p.typicality for p in found]),
        queries,
        items.astype(np.int64),
        tuple(texts),
        np.zeros(len(found), np.int64),
    )


def together(parts: Sequence[EmbedResults], folds: int, dataset: Dataset) -> EmbedResults:
    """Return the images of the first cut in the dataset's order; each net's vectors are compared among themselves."""
    cut = [replace(p, spaces=np.full(len(p.dataset), k)) for k, p in enumerate(parts[:folds])]
    whole = cut[0].joined(*cut[1:])
    place = {s.id: i for i, s in enumerate(whole.dataset.samples)}
    order = np.array([place[s.id] for s in dataset.samples], np.int64)
    back = np.empty(len(order), np.int64)
    back[order] = np.arange(len(order))
    return replace(
        whole,
        dataset=dataset,
        vectors=whole.vectors[order],
        typicality=whole.typicality[order],
        items=back[whole.items],
        spaces=whole.spaces[order],
    )


def measure(results: EmbedResults, seed: int) -> dict[str, Metric]:
    """Return every metric with its interval.

    Raises:
        DatasetError: no image of this part has a caption, though others have.
    """
    if not len(results.items):
        raise DatasetError("expected images with captions to measure on, found none", fix="use another part")
    found = retrieval_metrics(results.ranks, rng=generator(seed, "bootstrap"), groups=group_names(results.dataset))
    return {m.name: found[m.name] for m in task_of(results.dataset.task).metrics}


def report(
    results: EmbedResults, *, seed: int = 0, novelty: Novelty | None = None, temperature: float | None = None
) -> Report:
    """Return the report."""
    dataset = results.dataset
    captioned = any(results.texts)
    n = len(dataset) / max(1, len(np.unique(results.spaces)))
    queries = len(set(results.texts)) if captioned else len(results.items)
    what = ("captions", "caption") if captioned else ("other views (mirrored, without the border)", "view")
    chance = min(1.0, 10 / max(n, 1))
    return Report(
        task=dataset.task,
        labels=dataset.labels.names,
        n=len(dataset),
        metrics=measure(results, seed),
        per_class=(),
        tables={
            "definition": DEFINITION.format(
                n=f"{n:,.0f}", queries=f"{queries:,}", what=what[0], one=what[1], chance=f"about {chance:.1%}"
            ),
            "queries": what[1],
            "worst": _worst(results),
            "examples": _worst(results, best=True),
            "together": count_groups(dataset, results.each),
            "novelty": measure_novelty(novelty, results, seed=seed),
        },
        items=tuple(list_items(results)),
    )


def _worst(results: EmbedResults, *, best: bool = False) -> list[dict[str, Any]]:
    """Return queries with what they found: the worst, or with `best` some evenly chosen, each with its first hits."""
    there = results.ranks[0]
    first = {int(i): k for k, i in reversed(list(enumerate(there.items)))}
    shown = sorted(first, key=lambda i: (-int(there.ranks[first[i]]), i))
    if best:
        shown = [shown[int(k)] for k in np.unique(np.linspace(0, len(shown) - 1, min(_SHOWN, len(shown))).round())]
    rows = []
    for i in shown[:_SHOWN]:
        query = int(np.flatnonzero(results.items == i)[0])
        same = np.flatnonzero(results.spaces == results.spaces[i])
        scores = results.vectors[same].astype(np.float64) @ results.queries[query].astype(np.float64)
        hits = same[np.argsort(-scores, kind="stable")[:_HITS]]
        rows.append(
            {
                "text": results.texts[query],
                "rank": int(there.ranks[first[i]]),
                "index": i,
                "id": results.dataset.samples[i].id,
                "hits": [{"index": int(h), "id": results.dataset.samples[h].id} for h in hits],
            }
        )
    return rows


def list_items(results: EmbedResults) -> list[dict[str, Any]]:
    """Return a row per image, the one that is found worst first."""
    dataset, each = results.dataset, results.each
    there = results.ranks[0]
    best = np.full(len(dataset), 0)
    for i, rank in zip(there.items.tolist(), there.ranks.tolist(), strict=True):
        best[i] = rank if not best[i] else min(best[i], rank)
    return [
        {
            "id": dataset.samples[i].id,
            "name": posixpath.basename(dataset.samples[i].id),
            "index": int(i),
            "true": "; ".join(dataset.samples[i].marked(Captions).texts)[:_TEXT],
            "predicted": f"rank {best[i]}" if best[i] else "no caption",
            "score": float(each[i]),
        }
        for i in np.argsort(each, kind="stable")
    ]


def compare(a: EmbedResults, b: EmbedResults, seed: int) -> Comparison:
    """Compare two models on the same images and queries."""
    first, second = a.each, b.each
    # Two runtimes of one model may tip a tie, which is no difference of models.
    second = np.where(np.abs(second - first) <= _NOISE, first, second)
    return compare_numbers(a, b, first, second, seed=seed)


def changed(before: EmbedResults, after: EmbedResults) -> list[dict[str, Any]]:
    """Return the images whose best rank differs."""
    rows = [{i["id"]: i for i in list_items(r)} for r in (before, after)]
    return [
        {"id": name, "before": one["predicted"], "after": rows[1][name]["predicted"], "true": one["true"]}
        for name, one in rows[0].items()
        if one["predicted"] != rows[1][name]["predicted"]
    ]


def summarise(report: Report) -> str:
    """Say how often the right image is found."""

    def said(name: str) -> str:
        m = report.metrics[name]
        if m.value is None or m.low is None or m.high is None:
            return "not known"
        return say_metric(name, m.value, m.low, m.high)

    what = report.tables.get("queries", "caption")
    found = (
        f"Of the {what}s {said('recall_at_1')} find their image first and {said('recall_at_10')} among the first ten; "
        f"of the images {said('back_recall_at_10')} find a right {what} among the first ten."
    )
    return f"{found} {say_floor(report.tables.get('baseline'))}".strip()


def say_floor(compared: Mapping[str, Any] | None) -> str:
    """Say whether the model is above the ridge alone on the images that were measured.

    >>> one = {"value": 0.04, "low": 0.01, "high": 0.07}
    >>> say_floor({"baseline": "pair_ridge", "better": "b", "value": {"baseline": 0.3, "model": 0.34}, "n": 90,
    ...     "metric": "recall_at_10", "differences": {"recall_at_10": one}})[:76]
    'pair_ridge, the floor of fixed features, reaches 30.0% on the same images: a'
    """
    if not compared:
        return ""
    name = compared["baseline"]
    difference = compared["differences"][compared["metric"]]
    bounds = f"{100 * difference['low']:+.1f}, {100 * difference['high']:+.1f}"
    seen = (
        f"{name}, the floor of fixed features, reaches {compared['value']['baseline']:.1%} on the same images: "
        f"a difference of {100 * difference['value']:+.1f} points [{bounds}]"
    )
    verdict = {
        "a": f". The model is below it: use --model {name}.",
        "b": ". The model is above it.",
        "neither": f", which is not significant: the model is not shown to be better than --model {name}.",
    }
    return seen + verdict[compared["better"]]


def find_faults(report: Report) -> list[Finding]:
    """Return a warning where the model is significantly below the floor."""
    compared = report.tables.get("baseline")
    if not compared or compared["better"] != "a":
        return []
    difference = compared["differences"][compared["metric"]]
    text = (
        f"the net is significantly below the floor {compared['baseline']}: a difference of "
        f"{100 * difference['value']:+.1f} points [{100 * difference['low']:+.1f}, {100 * difference['high']:+.1f}]"
    )
    fix = f"use --model {compared['baseline']}, train longer, or on more pairs"
    return [Finding("loses_to_baseline", text, fix, severity="warning")]


def lay_out(report: Report, pictures: Pictures) -> Page:
    """Return the blocks of the page: the table of recall, the worst queries with what they found, examples."""
    blocks: list[Block] = [_table(report)]
    if compared := report.tables.get("baseline"):
        blocks.append(_floor_table(compared))
    for key, title, lead in (
        (
            "worst",
            "Worst queries",
            "The image that the query was written of, and next to it the four images that were found first.",
        ),
        ("examples", "Examples", "Queries from the worst to the best, evenly chosen."),
    ):
        shots = [shot for row in report.tables.get(key, ()) if (shot := _shot(row, pictures)) is not None]
        blocks.append(Gallery(title, lead, shots, empty="No pictures."))
    return Page(blocks)


def _shot(row: Mapping[str, Any], pictures: Pictures) -> Shot | None:
    """Return the image of a query and, in one picture, what it found first."""
    found = _found_name(row)
    if row["id"] not in pictures or found not in pictures:
        return None
    hits = ", ".join(posixpath.basename(one["id"]) for one in row["hits"])
    images = [(pictures[row["id"]]["image"], posixpath.basename(row["id"])), (pictures[found]["image"], hits)]
    style = "good" if row["rank"] == 1 else "soft" if row["rank"] <= 10 else "bad"
    text = row["text"][:_TEXT] or "another view of the first image"
    return Shot(images, [[Span(text)], [Span(f"rank {row['rank']:,}", style)]])


def _found_name(row: Mapping[str, Any]) -> str:
    """Return what the picture of a query's hits is called; no image is called so."""
    return f"{row['id']}\0found"


def _table(report: Report) -> Table:
    def cell(name: str) -> Cell:
        m = report.metrics[name]
        if m.value is None:
            return Cell("–", "n")
        return Cell(show_number(name, m.value), "n", show_interval(name, m.low, m.high))

    what = report.tables.get("queries", "caption")
    names = ("recall_at_1", "recall_at_5", "recall_at_10", "median_rank")
    header = [Cell("direction"), *(Cell(t, "n") for t in ("R@1", "R@5", "R@10", "median rank"))]
    rows = [
        [Cell(f"{what} → image"), *(cell(n) for n in names)],
        [Cell(f"image → {what}"), *(cell(f"back_{n}") for n in names)],
    ]
    return Table("Recall", header, rows, note=report.tables.get("definition", ""))


def _floor_table(compared: Mapping[str, Any]) -> Table:
    metric, difference = compared["metric"], compared["differences"][compared["metric"]]
    rows = [
        [Cell(compared[who]), Cell(show_number(metric, compared["value"][who]), "n"), Cell(f"{compared[alone]:,}", "n")]
        for who, alone in (("model", "only_b"), ("baseline", "only_a"))
    ]
    change = Cell(
        f"{100 * difference['value']:+.1f} points",
        "n",
        f"[{100 * difference['low']:+.1f}, {100 * difference['high']:+.1f}]",
    )
    rows.append([Cell("difference"), change, Cell(f"p = {compared['p_value']:.2g}", "n")])
    return Table(
        "Floor of fixed features",
        [Cell("model"), Cell(metric_named(metric).title, "n"), Cell("found better alone", "n")],
        rows,
        lead=f"{say_floor(compared)} The difference is paired, over the same images.",
    )


def take_pictures(
    report: Report, dataset: Dataset, predictor_of: Callable[[str], Predictor]
) -> dict[str, dict[str, Any]]:
    """Return pictures of the images of the worst queries and examples, and of what each found, two by two."""
    found = {}
    for row in (*report.tables.get("worst", ()), *report.tables.get("examples", ())):
        found[row["id"]] = {"image": data_uri(shrink(dataset.image(row["index"]), _SIDE)), "heat": ""}
        sheet = np.full((2 * _CELL, 2 * _CELL, 3), 255, np.uint8)
        for k, one in enumerate(row["hits"][:4]):
            small = shrink(dataset.image(one["index"]), _CELL)[:_CELL, :_CELL]
            top, left = (k // 2) * _CELL, (k % 2) * _CELL
            sheet[top : top + small.shape[0], left : left + small.shape[1]] = small
        found[_found_name(row)] = {"image": data_uri(sheet), "heat": ""}
    return found


def explain_errors(report: Report, dataset: Dataset, pictures: Pictures, explain: Explain) -> Pictures:
    """Return the pictures as they are: a vector has no class to point at; `explain` shows what it rests on."""
    return pictures


def _caption_of(dataset: Dataset, index: int) -> str:
    texts = dataset.samples[index].marked(Captions).texts
    return texts[0][:_TEXT] if texts else "no caption"


REPORTING = Reporting(
    gather=gather,
    stored=EmbedResults,
    at_once=64,
    together=together,
    metrics=measure,
    report=report,
    items=list_items,
    image_scores=item_scores,
    compare=compare,
    changed=changed,
    replicates=400,
    spread=("recall_at_10", "recall_at_1", "back_recall_at_10"),
    summary=summarise,
    page=lay_out,
    findings=find_faults,
    pictures=take_pictures,
    explained=explain_errors,
    audit=AuditView(
        caption=_caption_of,
        drawn=lambda dataset, index, size_hw, small: small,
        tiles=lambda dataset: (),
        charts=lambda dataset, scan: (),
    ),
)
"""How embeddings are measured and reported."""
