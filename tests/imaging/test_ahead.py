"""Reading ahead: the order is kept, little is held, and an end in the middle leaves nothing behind."""

import threading
from collections.abc import Sequence

import numpy as np
import pytest

from eyewright.core.errors import UnreadableImageError
from eyewright.imaging import ahead
from eyewright.imaging.ahead import read_ahead


def image(k: int) -> np.ndarray:
    return np.full((1, 1, 3), k, np.uint8)


@pytest.mark.parametrize("threads", [1, 3])
def test_every_item_comes_in_order_with_its_error_in_its_place(threads: int) -> None:
    def read(part: Sequence[int]) -> list:
        return [UnreadableImageError(str(k)) if k % 7 == 3 else image(k) for k in part]

    found = list(read_ahead(range(200), read, size_of=lambda k: 9_000 * (k % 11), threads=threads))
    assert [int(f.message) if isinstance(f, UnreadableImageError) else int(f[0, 0, 0]) for f in found] == list(
        range(200)
    )


def test_small_files_are_read_together_and_large_ones_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_MOST_FILES", 4)
    monkeypatch.setattr(ahead, "_MOST_BYTES", 100)
    sizes = [10, 10, 10, 10, 10, 95, 10, 300, 300, 50, 50, 1]
    parts = [list(p) for p in ahead._parts(range(len(sizes)), sizes.__getitem__)]
    assert parts == [[0, 1, 2, 3], [4], [5], [6], [7], [8], [9, 10], [11]]


def test_no_more_is_read_than_a_part_beyond_the_threads() -> None:
    lock, begun = threading.Lock(), [0]

    def read(part: Sequence[int]) -> list:
        with lock:
            begun[0] += len(part)
        return [image(k) for k in part]

    found = read_ahead(range(50), read, size_of=lambda _: 10**9, threads=2)
    for used in range(1, 20):
        next(found)
        assert begun[0] <= used + 3
    found.close()
    assert begun[0] <= 22


def test_nothing_is_nothing() -> None:
    assert list(read_ahead([], lambda part: [], size_of=lambda _: 1)) == []


def test_what_is_dropped_waits_for_no_thread() -> None:
    """The garbage collector may end it in the thread that it would wait for."""
    begun, goes_on = threading.Event(), threading.Event()

    def read(part: Sequence[int]) -> list[int]:
        begun.set()
        assert goes_on.wait(20) or part
        return list(part)

    images = read_ahead([1, 2, 3, 4], lambda part: [1] if part[0] == 1 else read(part), size_of=lambda _: 2**30)
    assert next(images) == 1
    assert begun.wait(20)
    done = threading.Event()

    def drop() -> None:
        images.close()  # type: ignore[attr-defined]
        done.set()

    thread = threading.Thread(target=drop)
    thread.start()
    dropped = done.wait(5)
    goes_on.set()
    thread.join()
    assert dropped
