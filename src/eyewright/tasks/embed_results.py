"""What is kept of a model's vectors of a dataset, and the ranks that come of them."""

__all__ = ["EmbedResults"]

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from eyewright.core.task import task_of
from eyewright.data.dataset import Dataset
from eyewright.evaluation.novelty import Followed
from eyewright.evaluation.reporting import Numbers
from eyewright.metrics.bootstrap import Resampling
from eyewright.metrics.retrieval import Ranks
from eyewright.tasks.embed_ranks import both_ways


@dataclass(frozen=True, eq=False)
class EmbedResults:
    """Vectors of N images, float32 (N, D), and of what each should be found by: `queries` (Q, D), the image of each,
    `items` (Q,), and its text, empty where it is another view. Only images of one of the `spaces` (N,) are compared:
    each net of a cross-validation has its own."""

    dataset: Dataset
    vectors: NDArray[np.float32]
    typicality: NDArray[np.float32]
    queries: NDArray[np.float32]
    items: NDArray[np.int64]
    texts: tuple[str, ...]
    spaces: NDArray[np.int64]

    @cached_property
    def ranks(self) -> tuple[Ranks, Ranks]:
        """The ranks both ways; an image that is there twice is one candidate."""
        n = len(self.dataset)
        place: dict[tuple[str, int], int] = {}
        first = np.array(
            [
                place.setdefault((s.id, int(k)), i)
                for i, (s, k) in enumerate(zip(self.dataset.samples, self.spaces, strict=True))
            ],
            np.int64,
        )
        found: list[list[tuple[NDArray[np.int64], NDArray[np.int64]]]] = [[], []]
        for space in np.unique(self.spaces):
            rows = np.unique(first[self.spaces == space])
            within = np.full(n, -1)
            within[rows] = np.arange(len(rows))
            asked = np.flatnonzero(np.isin(self.items, rows))
            # Of an image that is there twice the queries of the first are those of both.
            items = within[self.items[asked]]
            names = [self.texts[q] or f"view of {rows[i]}" for q, i in zip(asked, items, strict=True)]
            ways = both_ways(self.vectors[rows], self.queries[asked], items, names)
            for way, own in zip(ways, found, strict=True):
                for copy in np.flatnonzero(self.spaces == space):
                    mine = way.items == within[first[copy]]
                    own.append((way.ranks[mine], np.full(int(mine.sum()), copy)))
        there, back = (
            Ranks(np.concatenate([r for r, _ in own]), np.concatenate([i for _, i in own]), n, prefix=prefix)
            for own, prefix in zip(found, ("", "back_"), strict=True)
        )
        return there, back

    @property
    def each(self) -> NDArray[np.float64]:
        """How well each image is found, (N,) in [0, 1]: the mean of 1 over the rank; 0 where nothing asks for it."""
        return np.nan_to_num(self.ranks[0].each)

    def joined(self, *others: "EmbedResults") -> "EmbedResults":
        """Return the results of the images of all of them, one after the other."""
        every = (self, *others)
        starts = np.cumsum([0, *(len(r.dataset) for r in every[:-1])])
        return EmbedResults(
            self.dataset.with_samples(s for r in every for s in r.dataset.samples),
            np.concatenate([r.vectors for r in every]),
            np.concatenate([r.typicality for r in every]),
            np.concatenate([r.queries for r in every]),
            np.concatenate([r.items + start for r, start in zip(every, starts, strict=True)]),
            tuple(t for r in every for t in r.texts),
            np.concatenate([r.spaces for r in every]),
        )

    def numbers(self) -> Numbers:
        """Return the metrics that two models are compared by."""
        order = [m.name for m in task_of(self.dataset.task).metrics]

        def measured(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
            found = {name: values for way in self.ranks for name, values in way(weights).items()}
            return {name: found[name] for name in order}

        return measured

    def followed(self) -> Followed:
        """Return the recall among the first ten under weights of the images."""

        def interval(plan: Resampling, value: float, samples: NDArray[np.float64]) -> tuple[float, float]:
            return plan.interval(value, samples, kind="share", bounds=(0.0, 1.0))

        return Followed(lambda weights: self.ranks[0](weights)["recall_at_10"], interval)

    def answers(self) -> NDArray[np.float64]:
        """Return the typicality, (N, C)."""
        return self.typicality.astype(np.float64)

    def asked(self, metric: str) -> NDArray[np.bool_]:
        """Every image moves every metric: without a query of its own as a wrong answer."""
        return np.ones(len(self.dataset), bool)

    def rows(self) -> Iterator[tuple[str, ...]]:
        """Yield of each image the ranks of its queries, and the rank of the best right query."""
        yield ("id", "ranks", "rank back")
        there, back = self.ranks
        for i, sample in enumerate(self.dataset.samples):
            own = [str(r) for r in there.ranks[there.items == i]]
            yield (sample.id, " ".join(own), " ".join(str(r) for r in back.ranks[back.items == i]))
