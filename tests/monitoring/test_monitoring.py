"""The log, drift and the loop: against SciPy, PostgreSQL, power cuts and full disks."""

import contextlib
import json
import os
import pwd
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from eyewright.core.errors import InputError, RefusedError, UsageError
from eyewright.imaging.appearance import LOOK, TRAITS
from eyewright.monitoring import (
    Alerts,
    ChangeDetector,
    History,
    Recorder,
    RecorderSettings,
    Row,
    Sample,
    choose_next,
    drift_between,
    export_feedback,
    image_path,
    import_feedback,
    open_store,
)
from eyewright.monitoring.dashboard import dashboard
from eyewright.monitoring.journal import Journal
from eyewright.monitoring.summary import quality

# After every retention that a test may meet.
BASE = 2_000_000_000.0

POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


@pytest.fixture(scope="module")
def postgres() -> Iterator[SimpleNamespace]:
    """A PostgreSQL of our own on a free port, that can be stopped and started."""
    if not POSTGRES:
        pytest.skip("Debian's postgresql is not installed")
    # Not below pytest's own folder, which only its owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="eyewright-pg-"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data, tools = folder / "data", POSTGRES[-1].parent
    as_user = {}
    if os.getuid() == 0:
        # It refuses to run as root.
        with contextlib.suppress(KeyError):
            owner = pwd.getpwnam("postgres")
            as_user = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
            os.chown(folder, owner.pw_uid, owner.pw_gid)

    def tool(name: str, *arguments: str) -> None:
        done = subprocess.run((str(tools / name), *arguments), cwd=folder, capture_output=True, timeout=60, **as_user)
        assert done.returncode == 0, done.stderr.decode()

    tool("initdb", "-D", str(data), "-A", "trust", "-U", "eye", "--no-sync")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"

    def start() -> None:
        tool("pg_ctl", "-D", str(data), "-w", "-o", options, "-l", str(folder / "log"), "start")

    def stop() -> None:
        tool("pg_ctl", "-D", str(data), "-m", "immediate", "-w", "stop")

    start()
    yield SimpleNamespace(address=f"postgresql://eye@127.0.0.1:{port}/postgres", start=start, stop=stop)
    with contextlib.suppress(AssertionError):
        stop()
    shutil.rmtree(folder, ignore_errors=True)


def row(k: int, *, model: str = "m", label: str = "cat", look: np.ndarray | None = None, **more: object) -> Row:
    values = np.zeros(LOOK, np.float32) if look is None else look.astype(np.float32)
    fields = {
        "id": f"p{k:05d}", "time": BASE + k, "model": model, "digest": "d", "label": label, "score": 0.9,
        "unfamiliar": None, "size_hw": (10, 20), "ms": 1.5, "look": values,
        "answer": np.array([0.9, 0.1], np.float32), **more,
    }  # fmt: skip
    return Row(**fields)  # type: ignore[arg-type]


def entry(k: int, **more: object) -> SimpleNamespace:
    """What a server notes."""
    one = row(k, **more)
    seen = SimpleNamespace(
        look=one.look.tobytes(), answer=one.answer.tobytes(), size_hw=one.size_hw, label=one.label, score=one.score,
        unfamiliar=None,
    )  # fmt: skip
    return SimpleNamespace(
        id=one.id, time=one.time, model=one.model, digest=one.digest, seen=seen, total_ms=1.5, picture=b"", shadow_of=""
    )


@pytest.fixture(params=["sqlite", "postgres"])
def address(request, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "log.db")
    server = request.getfixturevalue("postgres")
    store = open_store(server.address)
    with contextlib.suppress(InputError):
        store.prune(before=1e18, most=0)
        with store._transaction() as cursor:
            for table in ("feedback", "predictions", "windows", "tallies"):
                cursor.execute(f"DELETE FROM {table}")
    store.close()
    return server.address


def test_what_is_stored_comes_back_the_same(address: str) -> None:
    store = open_store(address)
    rng = np.random.default_rng(0)
    rows = [row(k, look=rng.normal(size=LOOK), label="ca't; DROP TABLE", unfamiliar=0.25) for k in range(5)]
    store.add(rows, [("f1", "p00002", 5.0, {"label": "dog"}), ("f2", "p00002", 6.0, {"label": "hén"})])
    store.add(rows[:2])
    found = store.recent(model="m", n=3)
    assert [r.id for r in found] == ["p00002", "p00003", "p00004"]
    np.testing.assert_array_equal(found[0].look, rows[2].look)
    np.testing.assert_array_equal(found[0].answer, rows[2].answer)
    assert (found[0].size_hw, found[0].label, found[0].unfamiliar) == ((10, 20), "ca't; DROP TABLE", 0.25)
    ((said_row, content, at),) = store.feedback(model="m")
    assert (said_row.id, content, at) == ("p00002", {"label": "hén"}, 6.0)
    assert store.counts() == {"m": {"n": 5, "first": BASE, "last": BASE + 4}}
    assert (store.knows("p00001"), store.knows("x' OR '1'='1")) == (True, False)
    store.close()


def test_old_predictions_go_and_those_with_feedback_stay(address: str) -> None:
    store = open_store(address)
    images = [{"image": "a" * 64} if k == 1 else {} for k in range(10)]
    store.add([row(k, **more) for k, more in enumerate(images)], [("f", "p00000", 1.0, {"correct": True})])
    removed, names = store.prune(before=0.0, most=4)
    assert removed == 5
    assert names == ["a" * 64]
    assert [r.id for r in store.recent(model="m", n=99)] == ["p00000", "p00006", "p00007", "p00008", "p00009"]
    store.close()


def test_a_hundred_writes_go_through_the_recorder_into_either_database(address: str, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "home", address=address)
    for k in range(100):
        recorder.note(entry(k))
    assert recorder.feedback("p00099", {"correct": True})
    assert not recorder.feedback("nobody", {"correct": True})
    recorder.close()
    store = open_store(address)
    assert store.counts()["m"]["n"] == 100
    assert len(store.feedback()) == 1
    store.close()
    assert not list((tmp_path / "home" / "journal").iterdir())


def test_a_database_that_goes_away_finds_everything_when_it_is_back(postgres, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "home", address=postgres.address)
    recorder.note(entry(50_001, model="away"))
    assert _until(lambda: _count(postgres.address, "away") == 1)
    postgres.stop()
    for k in range(50_002, 50_030):
        recorder.note(entry(k, model="away"))
    assert recorder.feedback("p50029", {"correct": True})
    assert not recorder.flush()
    assert "database" in recorder.watch()["trouble"]
    waiting = {name: value for name, _, _, value in recorder.gauges()}
    assert waiting["eyewright_log_waiting_entries"] >= 28
    postgres.start()
    assert _until(lambda: _count(postgres.address, "away") == 29)
    recorder.close()
    assert recorder.dropped == 0


def _until(true, seconds: float = 20.0) -> bool:  # type: ignore[no-untyped-def]
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if true():
            return True
        time.sleep(0.05)
    return False


def _count(address: str, model: str) -> int:
    store = open_store(address)
    try:
        return int(store.counts().get(model, {"n": 0})["n"])
    except InputError:
        return -1
    finally:
        store.close()


def test_an_entry_is_in_the_journal_until_it_is_in_the_database(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "home")
    recorder._ended.set()
    recorder._thread.join()
    append, seen = recorder._journal.append, []

    def slow(data: bytes) -> None:
        append(data)
        # Another thread that flushes now must wait, or it would drop the segment of an entry it has not written.
        thread = threading.Thread(target=lambda: seen.append(recorder.flush()))
        thread.start()
        thread.join(0.2)
        seen.append("noted")

    recorder._journal.append = slow  # type: ignore[method-assign]
    recorder.note(entry(1))
    assert _until(lambda: len(seen) == 2)
    assert seen == ["noted", True]
    recorder.close()
    assert _count(str(tmp_path / "home" / "monitor.db"), "m") == 1


def test_a_cut_off_entry_and_those_before_it_are_told_apart(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for k in range(3):
        journal.append(b"entry %d" % k)
    (segment,) = tmp_path.iterdir()
    data = segment.read_bytes()
    segment.write_bytes(data[:-4])
    assert list(Journal(tmp_path).left()) == [b"entry 0", b"entry 1"]
    segment.write_bytes(data[:-4] + b"XXXX")
    assert list(Journal(tmp_path).left()) == [b"entry 0", b"entry 1"]


def test_a_full_disk_stops_the_log_and_not_the_server(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "home")
    recorder._journal.most_bytes = 2000
    recorder._store = SimpleNamespace(
        add_values=_refuse, close=lambda: None, windows=lambda **k: [], prune=lambda **k: (0, [])
    )  # type: ignore[assignment]
    for k in range(40):
        recorder.note(entry(k))
    assert recorder.dropped > 0
    assert "cannot be written" in recorder.trouble or "refused" in recorder.trouble
    recorder.close()


def _refuse(*_: object) -> None:
    raise InputError("refused", code="database")


def test_two_servers_do_not_log_in_one_home(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    with pytest.raises(UsageError, match=r"another server is writing to the log in .* --home DIR"):
        Recorder(tmp_path)
    recorder.close()
    Recorder(tmp_path).close()


def test_kept_images_are_named_by_what_they_hold_and_bounded(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, settings=RecorderSettings(keep_images=1.0, image_bytes=1500))
    for k in range(4):
        one = entry(k)
        one.picture = bytes([k]) * 500
        recorder.note(one)
    recorder.close()
    store = open_store(tmp_path / "monitor.db")
    kept = [r.image for r in store.recent(model="m", n=9)]
    store.close()
    assert [bool(k) for k in kept] == [True, True, True, False]
    assert image_path(tmp_path, kept[1]).read_bytes() == bytes([1]) * 500
    with pytest.raises(InputError, match="name of a kept image"):
        image_path(tmp_path, "../../etc/passwd")


def sample(
    rng: np.random.Generator, n: int, *, shift: dict[str, float] | None = None, labels=(0.5, 0.3, 0.2)
) -> Sample:
    looks = rng.normal(size=(n, LOOK)).astype(np.float32)
    for name, by in (shift or {}).items():
        looks[:, TRAITS.index(name)] += by
    answers = np.eye(3)[rng.choice(3, n, p=labels)] * 0.7 + 0.1
    return Sample(looks, (answers + rng.uniform(0, 1e-3, answers.shape)).astype(np.float32), "classify")


def test_the_statistics_are_scipys() -> None:
    rng = np.random.default_rng(1)
    known, window = sample(rng, 300), sample(rng, 120, shift={"contrast": 0.4}, labels=(0.2, 0.3, 0.5))
    found = {t["name"]: t for t in drift_between(known, window, rng=rng).tests}
    for name in ("brightness", "contrast", "noise"):
        k = TRAITS.index(name)
        expected = stats.ks_2samp(window.looks[:, k], known.looks[:, k])
        assert found[name]["statistic"] == pytest.approx(expected.statistic, abs=1e-9)
        assert found[name]["p"] == pytest.approx(expected.pvalue, abs=0.06)
    tables = np.array([np.bincount(s.answers.argmax(1), minlength=3) for s in (window, known)])
    expected = stats.chi2_contingency(tables)
    # Ours sums over the window's side only; the other follows from it.
    assert found["labels"]["statistic"] * 420 / 300 == pytest.approx(expected.statistic, rel=1e-6)
    assert found["labels"]["p"] == pytest.approx(expected.pvalue, abs=0.02)


def test_the_kernel_statistic_is_the_one_by_hand() -> None:
    from eyewright.monitoring.drift import _mmd

    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(15, 4)), rng.normal(0.5, 1, size=(25, 4))
    both = np.concatenate([x, y])
    apart = ((both[:, None] - both[None]) ** 2).sum(2)
    kernel = np.exp(-apart / np.median(apart[np.triu_indices(40, 1)]))
    expected = kernel[:15, :15].mean() + kernel[15:, 15:].mean() - 2 * kernel[:15, 15:].mean()
    mine = np.zeros((1, 40), bool)
    mine[0, :15] = True
    assert _mmd(both, mine)[0] == pytest.approx(expected, abs=1e-6)


def test_the_false_alarm_rate_is_the_one_that_is_asked_for() -> None:
    rng = np.random.default_rng(3)
    ps = np.array([drift_between(sample(rng, 80), sample(rng, 50), rng=rng, permutations=99).p for _ in range(300)])
    alarms = int((ps <= 0.05).sum())
    # 99.9 % of binomial(300, 0.05); and p is even, not only small at its end.
    assert 4 <= alarms <= 28
    assert stats.kstest(ps, "uniform").pvalue > 0.001


@pytest.mark.parametrize(("shift", "name"), [({"sharpness": -0.8}, "sharpness"), ({"height": 1.0}, "height")])
def test_what_moved_is_named(shift: dict[str, float], name: str) -> None:
    rng = np.random.default_rng(4)
    found = drift_between(sample(rng, 300), sample(rng, 200, shift=shift), rng=rng)
    assert found.p <= 0.01
    assert found.moved[0] == name


def test_label_shift_is_found_where_images_stay_the_same() -> None:
    rng = np.random.default_rng(5)
    found = drift_between(sample(rng, 300), sample(rng, 200, labels=(0.2, 0.3, 0.5)), rng=rng)
    assert found.moved == ("labels",)


def test_false_alarms_are_as_far_apart_as_is_promised() -> None:
    rng = np.random.default_rng(6)
    lengths = []
    for _ in range(300):
        detector = ChangeDetector(50)
        lengths.append(next(t for t in range(1, 5000) if detector.alarm(float(rng.uniform()))))
    # The mean of 300 is below 50 by chance hardly ever if the truth is at least 50.
    assert np.mean(lengths) >= 45
    detector = ChangeDetector(200)
    assert next(t for t in range(1, 50) if detector.alarm(0.001)) <= 3
    from scipy.integrate import quad

    from eyewright.monitoring.drift import _bet

    for p in (1e-6, 0.01, 0.3, 0.9):
        assert _bet(p) == pytest.approx(quad(lambda k, p=p: k * p ** (k - 1), 0, 1)[0], rel=1e-6)


def test_a_recorder_raises_the_alarm_and_says_what_moved(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    looks = rng.normal(size=(300, LOOK)).astype(np.float32)
    answers = np.tile(np.array([[0.9, 0.1]], np.float32), (300, 1))
    reference = {"appearance": looks, "probabilities": answers}
    heard: list[bytes] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    hook = HTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=hook.serve_forever, daemon=True).start()
    recorder = Recorder(
        tmp_path,
        settings=RecorderSettings(window=60, every_s=0.0),
        references=lambda: {"m": ("d", reference, "classify")},
        alerts=Alerts(webhook=f"http://127.0.0.1:{hook.server_port}/hook"),
    )
    for k in range(60):
        recorder.note(entry(k, look=rng.normal(size=LOOK)))
    assert _until(lambda: len(recorder.watch()["models"]["m"]["windows"]) == 1)
    assert not recorder.watch()["models"]["m"]["windows"][0]["alarm"]
    for window in (1, 2, 3):
        for k in range(60):
            dark = rng.normal(size=LOOK)
            dark[0] -= 3
            recorder.note(entry(60 * window + k, look=dark))
        assert _until(lambda n=window + 1: len(recorder.watch()["models"]["m"]["windows"]) == n)
    assert _until(lambda: bool(heard))
    recorder.close()
    hook.shutdown()
    hook.server_close()
    told = json.loads(heard[0])
    assert told["kind"] == "drift"
    assert told["details"]["examples"] == []
    assert "brightness" in told["text"]
    gauges = {name: value for name, _, _, value in recorder.gauges()}
    assert gauges["eyewright_drift_alarm"] == 1.0
    # After a restart the windows go on where they ended, and no prediction is tested twice.
    again = Recorder(
        tmp_path,
        settings=RecorderSettings(window=60, every_s=0.0),
        references=lambda: {"m": ("d", reference, "classify")},
    )
    time.sleep(0.6)
    assert len(again.watch()["models"]["m"]["windows"]) == 4
    assert len(heard) == 1
    again.close()


def test_mail_reaches_a_server_and_trouble_is_said() -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        door.listen(1)
        got: list[bytes] = []

        def talk() -> None:
            line, _ = door.accept()
            with line, line.makefile("rwb") as stream:
                stream.write(b"220 hi\r\n")
                stream.flush()
                in_data = False
                for text in stream:
                    got.append(text)
                    if in_data and text != b".\r\n":
                        continue
                    in_data = text.upper().startswith(b"DATA")
                    reply = b"354 go on" if in_data else b"221 bye" if text.upper().startswith(b"QUIT") else b"250 ok"
                    stream.write(reply + b"\r\n")
                    stream.flush()

        thread = threading.Thread(target=talk)
        thread.start()
        alerts = Alerts(email="ops@plant.example", smtp=f"127.0.0.1:{door.getsockname()[1]}")
        assert alerts.send("drift", "it is dark", {"p": 0.001}, wait=True) == []
        thread.join(10)
    text = b"".join(got)
    assert b"Subject: [eyewright] drift: it is dark" in text
    (trouble,) = Alerts(webhook="http://127.0.0.1:9/x").send("drift", "x", {}, wait=True)
    assert "webhook did not take the alert" in trouble
    with pytest.raises(UsageError, match="http"):
        Alerts(webhook="ftp://x")
    with pytest.raises(UsageError, match="email"):
        Alerts(email="a@b\nBcc: c@d")


def test_a_history_that_was_changed_is_refused(tmp_path: Path) -> None:
    history = History(tmp_path)
    for name in ("a", "b", "c"):
        history.add("promote", "champion", tmp_path / name, name, {"why": "test"})
    assert history.current("champion").digest == "c"  # type: ignore[union-attr]
    last, wanted = history.before()
    assert (last.digest, wanted.digest) == ("c", "b")
    assert history.rollback().digest == "b"
    assert history.rollback().digest == "a"
    with pytest.raises(UsageError, match="no champion before"):
        history.rollback()
    lines = history.path.read_text().splitlines()
    for damaged in (lines[:1] + lines[2:], [lines[0].replace('"a"', '"x"'), *lines[1:]], ["{}", *lines[1:]]):
        history.path.write_text("\n".join(damaged) + "\n")
        with pytest.raises(RefusedError, match="has been changed"):
            history.events()


def test_a_champion_that_is_promoted_again_is_rolled_back_to_the_one_before(tmp_path: Path) -> None:
    events = History(tmp_path)
    for digest in ("one", "two", "two"):
        events.add("promote", "champion", tmp_path / digest, digest, {})
    assert events.rollback().digest == "one"
    with pytest.raises(UsageError, match="no champion before"):
        events.rollback()


def test_feedback_goes_out_and_in_again(tmp_path: Path) -> None:
    store = open_store(tmp_path / "log.db")
    store.add([row(k) for k in range(6)], [("f", "p00001", 1.0, {"label": "dog", "comment": "näher, bitte"})])
    for name in ("said.csv", "said.jsonl"):
        assert export_feedback(store, tmp_path / name) == 1
        other = open_store(tmp_path / f"{name}.db")
        other.add([row(k) for k in range(6)])
        assert import_feedback(other, tmp_path / name) == (1, [])
        ((_, content, _),) = other.feedback()
        assert content["label"] == "dog"
        assert content["comment"] == "näher, bitte"
        other.close()
    bad = tmp_path / "bad.csv"
    bad.write_text("prediction_id,correct\np00002,yes\np00003,perhaps\nnobody,true\n,true\np00004,\n")
    n, findings = import_feedback(store, bad)
    assert n == 1
    assert [f.line for f in findings] == [3, 4, 5, 6]
    (tmp_path / "none.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="column prediction_id"):
        import_feedback(store, tmp_path / "none.csv")
    with pytest.raises(InputError, match="cannot read"):
        import_feedback(store, tmp_path / "absent.csv")
    store.close()


def test_quality_counts_answers_that_somebody_looked_at() -> None:
    said = [(row(0), {"correct": True}, 0.0), (row(1), {"label": "dog"}, 0.0), (row(2), {"label": "cat"}, 0.0),
            (row(3), {"comment": "?"}, 0.0)]  # fmt: skip
    found = quality(said)
    expected = stats.binomtest(2, 3).proportion_ci(method="wilson")
    assert (found["n"], found["right"]) == (3, pytest.approx(2 / 3))
    assert (found["low"], found["high"]) == (
        pytest.approx(expected.low, abs=1e-6),
        pytest.approx(expected.high, abs=1e-6),
    )


def test_what_to_label_next_is_unsure_and_not_the_same_twice() -> None:
    rng = np.random.default_rng(8)
    sure = [row(k, look=rng.normal(size=LOOK)) for k in range(60)]
    one = rng.normal(size=LOOK)
    alike = [
        row(100 + k, look=one + rng.normal(size=LOOK) * 1e-3, answer=np.array([0.5, 0.5], np.float32))
        for k in range(20)
    ]
    other = [row(200 + k, look=rng.normal(size=LOOK) + 4, answer=np.array([0.55, 0.45], np.float32)) for k in range(5)]
    chosen = {r.id for r in choose_next([*sure, *alike, *other], 6)}
    assert len(chosen & {r.id for r in other}) >= 4
    assert len(chosen & {r.id for r in alike}) <= 2
    assert choose_next([], 3) == []


def test_what_to_label_next_of_numbers_are_images_unlike_each_other() -> None:
    """The score of numbers is a value, of any size: it is no confidence."""
    rng = np.random.default_rng(8)
    rows = [row(k, score=float(10**k), look=rng.normal(size=LOOK), answer=np.array([10.0**k])) for k in range(8)]
    alike = [row(100 + k, score=0.5, look=rows[0].look, answer=np.array([0.5])) for k in range(8)]
    chosen = [r.id for r in choose_next([*rows, *alike], 8, numeric=lambda r: True)]
    assert len(set(chosen)) == 8
    assert len(set(chosen) & {r.id for r in alike}) <= 1


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    import re

    text = json.dumps(dashboard())
    asked = set(re.findall(r"eyewright_\w+", text))
    served = {"eyewright_requests_total", "eyewright_prediction_seconds_bucket", "eyewright_waiting_requests",
              "eyewright_running_requests", "eyewright_worker_restarts", "eyewright_drift_p_value",
              "eyewright_log_waiting_entries", "eyewright_line_crossings_total", "eyewright_zone_objects"}  # fmt: skip
    assert asked == served


def test_a_log_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="postgresql"):
        open_store("mysql://x")
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"this is no database at all, whatever its name says" * 40)
    with pytest.raises(InputError, match="database cannot be used"):
        open_store(broken).counts()
    store = open_store(tmp_path / "here.db")
    store.add([row(1)])
    store.close()
    assert sqlite3.connect(tmp_path / "here.db").execute("SELECT COUNT(*) FROM predictions").fetchone() == (1,)
    assert shutil.which("sh")


def test_the_strangest_kept_images_of_a_window_are_its_examples() -> None:
    from eyewright.monitoring.recorder import _examples

    rng = np.random.default_rng(9)
    rows = []
    for k in range(20):
        look = rng.normal(size=LOOK)
        look[0] = k
        rows.append(row(k, look=look, image=f"{k:064d}" if k % 2 else ""))
    found = _examples(rows, sample(rng, 50), ("brightness",))
    assert [int(n) for n in found] == [19, 17, 15, 13, 11, 9]
    assert _examples(rows, sample(rng, 50), ()) == []
