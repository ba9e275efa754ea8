"""One-to-one assignment of largest total score, exact and in numpy (docs/decisions/0013)."""

__all__ = ["assign", "assign_lists", "assign_pairs", "greedy_pairs"]

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]

_SMALL = 20


def assign(scores: NDArray[np.floating]) -> Pairs:
    """Return the rows and columns of the one-to-one assignment whose scores have the largest sum.

    `scores`, (n, m), must be finite. A pair whose score is not above 0 is never assigned. Pairs that no other pair can
    improve on are taken at once; what is left is solved by shortest augmenting paths (Jonker & Volgenant 1987). Rows
    ascend.

    >>> [x.tolist() for x in assign(np.array([[0.9, 0.8], [0.7, 0.0], [0.0, 0.1]]))]
    [[0, 1], [1, 0]]
    """
    rows, columns = (scores > 0).nonzero()
    return assign_pairs(rows, columns, scores)


def assign_pairs(rows: NDArray[np.int64], columns: NDArray[np.int64], scores: NDArray[np.floating]) -> Pairs:
    """Return what `assign` returns where only some pairs may be assigned: their rows and columns, both (k,), and the
    scores, which are above 0, as a matrix (n, m) or one a pair, (k,).

    >>> [x.tolist() for x in assign_pairs(np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([0.9, 0.8, 0.7]))]
    [[0, 1], [1, 0]]
    """
    if len(rows) < 2:
        return rows, columns
    row_list, column_list = rows.tolist(), columns.tolist()
    if len(set(row_list)) == len(row_list) == len(set(column_list)):
        return rows, columns
    found = assign_lists(row_list, column_list, (scores[rows, columns] if scores.ndim == 2 else scores).tolist())
    return np.array(found[0], np.int64), np.array(found[1], np.int64)


def assign_lists(rows: list[int], columns: list[int], scores: list[float]) -> tuple[list[int], list[int]]:
    """Return what `assign_pairs` returns, of lists and as lists: rows, columns and scores of the pairs, each (k,).

    >>> assign_lists([0, 0, 1], [0, 1, 0], [0.9, 0.8, 0.7])
    ([0, 1], [1, 0])
    """
    if len(set(rows)) == len(rows) == len(set(columns)):
        return rows, columns
    shared_rows, shared_columns = _repeated(rows), _repeated(columns)
    pairs, rivals = [], []
    for pair in zip(rows, columns, scores, strict=True):
        # Most pairs have no rival.
        if pair[0] in shared_rows or pair[1] in shared_columns:
            rivals.append(pair)
        else:
            pairs.append(pair[:2])
    sure, left = _dominant(rivals)
    pairs += sure
    if left:
        left_rows, left_columns = sorted({i for i, _, _ in left}), sorted({j for _, j, _ in left})
        at_row, at_column = ({k: n for n, k in enumerate(x)} for x in (left_rows, left_columns))
        turned = len(left_rows) > len(left_columns)
        n, m = sorted((len(left_rows), len(left_columns)))
        part = [[0.0] * m for _ in range(n)]
        for i, j, score in left:
            a, b = (at_column[j], at_row[i]) if turned else (at_row[i], at_column[j])
            part[a][b] = score
        own = _small_assignment(part) if m <= _SMALL else _large_assignment(np.array(part))
        for a, b in enumerate(own):
            if part[a][b] > 0:
                pairs.append((left_rows[b], left_columns[a]) if turned else (left_rows[a], left_columns[b]))
    pairs.sort()
    return [i for i, _ in pairs], [j for _, j in pairs]


def _repeated(values: list[int]) -> set[int]:
    """Return the values that are there more than once."""
    seen: set[int] = set()
    again: set[int] = set()
    for value in values:
        (again if value in seen else seen).add(value)
    return again


_Weighted = list[tuple[int, int, float]]


def _dominant(left: _Weighted) -> tuple[list[tuple[int, int]], _Weighted]:
    """Return pairs that some best assignment holds, and the pairs among which the others are still to be chosen.

    A pair whose score is at least that of the best other pair of its row and of its column together belongs to a best
    assignment: whatever is in their place can be exchanged for it.
    """
    pairs: list[tuple[int, int]] = []
    while left:
        row_best: dict[int, float] = {}
        row_next: dict[int, float] = {}
        column_best: dict[int, float] = {}
        column_next: dict[int, float] = {}
        for i, j, score in left:
            best = row_best.get(i, 0.0)
            if score > best:
                row_best[i], row_next[i] = score, best
            elif score > row_next[i]:
                row_next[i] = score
            best = column_best.get(j, 0.0)
            if score > best:
                column_best[j], column_next[j] = score, best
            elif score > column_next[j]:
                column_next[j] = score
        taken_rows, taken_columns = set(), set()
        for i, j, score in left:
            if (
                score == row_best[i]
                and score == column_best[j]
                and score >= row_next[i] + column_next[j]
                and i not in taken_rows
                and j not in taken_columns
            ):
                pairs.append((i, j))
                taken_rows.add(i)
                taken_columns.add(j)
        if not taken_rows:
            break
        left = [x for x in left if x[0] not in taken_rows and x[1] not in taken_columns]
    return pairs, left


def greedy_pairs(rows: NDArray[np.int64], columns: NDArray[np.int64], scores: NDArray[np.floating]) -> Pairs:
    """Return pairs taken in descending order of their scores, each row and column once; for sets too large to solve.

    >>> [x.tolist() for x in greedy_pairs(np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([0.9, 0.8, 0.85]))]
    [[0], [0]]
    """
    taken_rows: set[int] = set()
    taken_columns: set[int] = set()
    kept = []
    for k in np.argsort(-scores, kind="stable").tolist():
        i, j = int(rows[k]), int(columns[k])
        if i not in taken_rows and j not in taken_columns:
            taken_rows.add(i)
            taken_columns.add(j)
            kept.append(k)
    return rows[kept], columns[kept]


def _small_assignment(scores: Sequence[Sequence[float]]) -> list[int]:
    """Return the column of every row, n rows <= m columns, for scores of at least 0, in plain Python."""
    n, m = len(scores), len(scores[0]) if scores else 0
    row_price, column_price = [0.0] * (n + 1), [0.0] * (m + 1)
    owner, way = [0] * (m + 1), [0] * (m + 1)
    for i in range(1, n + 1):
        owner[0], at = i, 0
        distance, used = [math.inf] * (m + 1), [False] * (m + 1)
        while True:
            used[at] = True
            row, step, nearest = owner[at], math.inf, 0
            own, price = scores[row - 1], row_price[row]
            for j in range(1, m + 1):
                if used[j]:
                    continue
                cost = -own[j - 1] - price - column_price[j]
                if cost < distance[j]:
                    distance[j], way[j] = cost, at
                if distance[j] < step:
                    step, nearest = distance[j], j
            for j in range(m + 1):
                if used[j]:
                    row_price[owner[j]] += step
                    column_price[j] -= step
                else:
                    distance[j] -= step
            at = nearest
            if owner[at] == 0:
                break
        while at:
            owner[at] = owner[way[at]]
            at = way[at]
    columns = [0] * n
    for j in range(1, m + 1):
        if owner[j]:
            columns[owner[j] - 1] = j - 1
    return columns


def _large_assignment(scores: NDArray[np.floating]) -> list[int]:
    """Return what `_small_assignment` returns, with the work along columns in numpy."""
    cost = -np.asarray(scores, np.float64)
    n, m = cost.shape
    row_price, column_price = cost.min(1), np.zeros(m)
    owner, column_of = np.full(m, -1), np.full(n, -1)
    for i, j in enumerate(cost.argmin(1).tolist()):
        if owner[j] < 0:
            owner[j], column_of[i] = i, j
    for start in np.flatnonzero(column_of < 0).tolist():
        distance, way = np.full(m, np.inf), np.full(m, -1)
        open_columns = np.ones(m, bool)
        row, reached, rows = start, 0.0, [start]
        while True:
            step = cost[row] - row_price[row] - column_price + reached
            nearer = open_columns & (step < distance)
            distance[nearer] = step[nearer]
            way[nearer] = row
            at = int(np.where(open_columns, distance, np.inf).argmin())
            reached = float(distance[at])
            if owner[at] < 0:
                break
            open_columns[at] = False
            row = int(owner[at])
            rows.append(row)
        closed = ~open_columns
        row_price[start] += reached
        column_price[closed] += distance[closed] - reached
        inner = np.array(rows[1:], np.int64)
        row_price[inner] += reached - distance[column_of[inner]]
        while True:
            row = int(way[at])
            owner[at] = row
            before = int(column_of[row])
            column_of[row] = at
            if row == start:
                break
            at = before
    result: list[int] = column_of.tolist()
    return result
