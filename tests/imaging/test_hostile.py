"""The hostile corpus through the killable worker: every file gets what is owed to it, in time, and nothing crashes."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from eyewright.core.errors import LimitError, UnreadableImageError
from eyewright.imaging import Limits, encode_image, read_image
from eyewright.imaging.workers import Bounds, DecodePool, Worker
from eyewright.testing.hostile import check_hostile, hostile_files, odd_files

# Longer than the product's own two seconds: a busy machine must not fail a test of what is decoded.
_BOUNDS = Bounds(wall_s=30.0, cpu_s=20)


@pytest.fixture(scope="module")
def pool():
    with DecodePool(1, bounds=_BOUNDS) as pool:
        yield pool


def test_two_thousand_hostile_files_get_what_is_owed_to_them(pool) -> None:
    pytest.importorskip("cv2")
    n = int(os.environ.get("EYEWRIGHT_HOSTILE_FILES", "2000"))
    done = 0
    for file in hostile_files(n):
        check_hostile(file, pool.read)
        done += 1
    assert done == n
    assert pool.replaced == 0, "a file killed or crashed the decoder"


def test_the_corpus_holds_every_kind_and_is_the_same_twice() -> None:
    first, second = (list(hostile_files(1500, seed=3)) for _ in range(2))
    assert [f.data for f in first] == [f.data for f in second]
    owed = {kind: sum(f.owed == kind for f in first) for kind in ("image", "refusal", "either")}
    assert owed["image"] >= 80
    assert owed["refusal"] >= 30
    assert owed["either"] >= 1000
    assert sum("cut-at" in f.name for f in first) >= 50 * 8


def test_the_check_can_fail() -> None:
    good = next(f for f in odd_files() if f.name == "png-rgb")
    with pytest.raises(AssertionError, match="colours are off"):
        check_hostile(good, lambda data, depth: read_image(data)[::-1])
    with pytest.raises(AssertionError, match="expected"):
        check_hostile(good, lambda data, depth: read_image(data)[:-1])
    bomb = next(f for f in hostile_files() if f.owed == "refusal")
    with pytest.raises(AssertionError, match="had to be refused"):
        check_hostile(bomb, lambda data, depth: np.zeros((2, 2, 3), np.uint8))


def test_a_worker_gives_the_same_pixels_as_reading_in_process(pool) -> None:
    image = np.arange(40 * 30 * 3, dtype=np.uint8).reshape(40, 30, 3)
    for format in ("PNG", "JPEG", "WEBP"):
        data = encode_image(image, format=format)
        assert np.array_equal(pool.read(data), read_image(data))
    deep = (np.arange(600, dtype=np.uint16) * 100).reshape(20, 30)
    assert np.array_equal(pool.read(encode_image(deep), depth="native")[..., 0], deep)


def test_what_takes_too_long_is_killed_named_and_replaced() -> None:
    worker = Worker("tests_jobs:sleep", Bounds(wall_s=0.3))
    os.environ["PYTHONPATH"] = os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
    try:
        with pytest.raises(LimitError, match="longer than") as found:
            worker.ask({"seconds": 60})
        assert found.value.code == "decode_timeout"
        assert worker.replaced == 1
        assert worker.ask({"seconds": 0})[0]["slept"] == 0
    finally:
        worker.close()


def test_what_takes_too_much_memory_or_crashes_has_a_name() -> None:
    os.environ["PYTHONPATH"] = os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
    worker = Worker("tests_jobs:grow", Bounds(memory=64 * 2**20, wall_s=30.0))
    crasher = Worker("tests_jobs:crash", Bounds(wall_s=30.0))
    spinner = Worker("tests_jobs:spin", Bounds(wall_s=60.0, cpu_s=1))
    try:
        with pytest.raises(LimitError, match="more memory") as found:
            worker.ask({"bytes": 512 * 2**20})
        assert found.value.code == "decode_memory"
        assert worker.ask({"bytes": 2**20})[0]["grown"] == 2**20
        with pytest.raises(UnreadableImageError, match="SIGSEGV"):
            crasher.ask({})
        with pytest.raises(LimitError, match="CPU time"):
            spinner.ask({})
    finally:
        for each in (worker, crasher, spinner):
            each.close()


def test_a_worker_that_is_killed_costs_its_own_request_only() -> None:
    data = encode_image(np.zeros((8, 8, 3), np.uint8))
    with DecodePool(2, bounds=_BOUNDS) as pool:
        for _ in range(4):
            pool.read(data)
        for pid in pool.processes:
            os.kill(pid, signal.SIGKILL)
        outcomes = []
        for _ in range(6):
            try:
                outcomes.append(pool.read(data).shape)
            except UnreadableImageError as error:
                outcomes.append(error.code)
        assert outcomes[-2:] == [(8, 8, 3)] * 2
        assert sum(isinstance(o, str) for o in outcomes) <= 2


def test_many_threads_share_a_pool_and_no_answer_is_crossed() -> None:
    images = [np.full((9 + k, 7, 3), k, np.uint8) for k in range(12)]
    wrong = []
    with DecodePool(2, bounds=_BOUNDS) as pool:

        def ask(k: int) -> None:
            for _ in range(5):
                if not np.array_equal(pool.read(encode_image(images[k])), images[k]):
                    wrong.append(k)

        threads = [threading.Thread(target=ask, args=(k,)) for k in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_limits_of_the_caller_reach_the_worker() -> None:
    with (
        DecodePool(1, limits=Limits(pixels=100), bounds=_BOUNDS) as pool,
        pytest.raises(LimitError, match="over the limit of 100"),
    ):
        pool.read(encode_image(np.zeros((20, 20, 3), np.uint8)))


def test_a_closed_pool_leaves_no_process() -> None:
    pool = DecodePool(1, bounds=_BOUNDS)
    pool.read(encode_image(np.zeros((8, 8, 3), np.uint8)))
    pid = pool.processes[0]
    pool.close()
    for _ in range(100):
        if not os.path.exists(f"/proc/{pid}"):
            return
        time.sleep(0.05)
    raise AssertionError("the worker still runs")
