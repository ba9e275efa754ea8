"""The prediction log in a database: SQLite by default, PostgreSQL by its address."""

__all__ = ["Row", "Said", "Store", "check_writable", "feedback_id", "open_store"]

import contextlib
import hashlib
import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import InputError, UsageError
from eyewright.core.extras import import_extra
from eyewright.core.files import checked_output

_TABLES = (
    "CREATE TABLE IF NOT EXISTS predictions (id TEXT PRIMARY KEY, time DOUBLE PRECISION NOT NULL, model TEXT NOT NULL, "
    "digest TEXT NOT NULL, label TEXT NOT NULL, score DOUBLE PRECISION NOT NULL, unfamiliar DOUBLE PRECISION, "
    "height INTEGER NOT NULL, width INTEGER NOT NULL, ms DOUBLE PRECISION NOT NULL, look {blob} NOT NULL, "
    "answer {blob} NOT NULL, shadow_of TEXT NOT NULL, image TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS predictions_time ON predictions (model, time)",
    "CREATE TABLE IF NOT EXISTS feedback (id TEXT PRIMARY KEY, prediction_id TEXT NOT NULL, "
    "time DOUBLE PRECISION NOT NULL, content TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS feedback_prediction ON feedback (prediction_id)",
    "CREATE TABLE IF NOT EXISTS windows (id TEXT PRIMARY KEY, time DOUBLE PRECISION NOT NULL, model TEXT NOT NULL, "
    "digest TEXT NOT NULL, content TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS crossings (id TEXT PRIMARY KEY, time DOUBLE PRECISION NOT NULL, hour BIGINT NOT NULL, "
    "source TEXT NOT NULL, line TEXT NOT NULL, direction TEXT NOT NULL, label TEXT NOT NULL)",
    "CREATE INDEX IF NOT EXISTS crossings_hour ON crossings (hour)",
    "CREATE TABLE IF NOT EXISTS models (digest TEXT PRIMARY KEY, task TEXT NOT NULL, labels TEXT NOT NULL)",
    # What follows keeps an open page, a challenger and pruning fast where the log has a million rows.
    "CREATE INDEX IF NOT EXISTS predictions_age ON predictions (time)",
    "CREATE INDEX IF NOT EXISTS predictions_shadow ON predictions (model, time) WHERE shadow_of <> ''",
    "CREATE INDEX IF NOT EXISTS predictions_image ON predictions (image) WHERE image <> ''",
    "CREATE INDEX IF NOT EXISTS feedback_time ON feedback (time)",
    "CREATE TABLE IF NOT EXISTS tallies (model TEXT PRIMARY KEY, n BIGINT NOT NULL)",
)
_COUNT = (
    "INSERT INTO tallies (model, n) SELECT model, COUNT(*) FROM predictions WHERE NOT EXISTS (SELECT 1 FROM tallies) "
    "GROUP BY model ON CONFLICT (model) DO NOTHING"
)
_COLUMNS = "id, time, model, digest, label, score, unfamiliar, height, width, ms, look, answer, shadow_of, image"
_N_COLUMNS = 14
_MODEL = 2
_A_PREDICTION = 16
_ORPHAN_S = 86_400.0
# The same feedback again is the last word again, and no row more; a replay of the journal does not make it older.
_AGAIN = (
    "ON CONFLICT (id) DO UPDATE SET time = CASE WHEN excluded.time > feedback.time THEN excluded.time "
    "ELSE feedback.time END"
)


def feedback_id(prediction_id: str, content: Mapping[str, Any]) -> str:
    """Return the name of one piece of feedback: the same content for the same prediction has the same name."""
    text = json.dumps([prediction_id, dict(content)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Row:
    """One logged prediction: `look` float32 (LOOK,), `answer` float32 (C,), `image` the kept image's name or ""."""

    id: str
    time: float
    model: str
    digest: str
    label: str
    score: float
    unfamiliar: float | None
    size_hw: tuple[int, int]
    ms: float
    look: NDArray[np.float32]
    answer: NDArray[np.float32]
    shadow_of: str = ""
    image: str = ""

    def values(self) -> tuple[Any, ...]:
        look, answer = self.look.astype("<f4").tobytes(), self.answer.astype("<f4").tobytes()
        head = (self.id, self.time, self.model, self.digest, self.label, self.score, self.unfamiliar)
        return (*head, *self.size_hw, self.ms, look, answer, self.shadow_of, self.image)

    @classmethod
    def read(cls, v: Sequence[Any]) -> "Row":
        look, answer = (np.frombuffer(bytes(v[k]), "<f4") for k in (10, 11))
        id, time, model, digest, label, score, unfamiliar = v[:7]
        size_hw = (int(v[7]), int(v[8]))
        return cls(id, time, model, digest, label, score, unfamiliar, size_hw, float(v[9]), look, answer, v[12], v[13])


@dataclass(frozen=True)
class Said:
    """The prediction that feedback is about: by which model, what it predicted, and the classes of that model.

    `task` is "" and `labels` None where the log does not hold them. `image` is the name of the kept image, "" if it was
    not kept.
    """

    model: str
    digest: str
    label: str
    size_hw: tuple[int, int]
    task: str = ""
    labels: tuple[str, ...] | None = None
    image: str = ""


class Store:
    """The tables, behind one connection that is opened again when it breaks; used by one thread at a time."""

    def __init__(self, connect: Any, *, mark: str, blob: str, broken: tuple[type[Exception], ...]) -> None:
        self._connect, self._mark, self._blob, self.broken = connect, mark, blob, broken
        self._connection: Any = None
        self._lock = threading.RLock()

    def _open(self) -> Any:
        if self._connection is None:
            self._connection = self._connect()
            cursor = self._connection.cursor()
            for table in _TABLES:
                cursor.execute(table.format(blob=self._blob))
            # A log of an earlier version is counted once, when it is opened.
            cursor.execute(_COUNT)
            self._connection.commit()
        return self._connection

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Any]:
        """Return a cursor; everything or nothing of what it does is kept.

        Raises:
            InputError: the database cannot be reached or refuses.
        """
        with self._lock:
            try:
                connection = self._open()
                cursor = connection.cursor()
                yield cursor
                connection.commit()
            except self.broken as error:
                self._drop()
                raise InputError(
                    f"the database cannot be used: {_first_line(error)}",
                    fix="check that it is running",
                    code="database",
                ) from None
            except BaseException:
                self._drop()
                raise

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.rollback()
            with contextlib.suppress(Exception):
                connection.close()

    def _marks(self, n: int) -> str:
        return ", ".join([self._mark] * n)

    def add(self, rows: Sequence[Row], feedback: Sequence[tuple[str, str, float, Mapping[str, Any]]] = ()) -> None:
        """Write predictions and feedback in one transaction; what is there already is left as it is."""
        self.add_values([r.values() for r in rows], feedback)

    def add_values(
        self,
        rows: Sequence[tuple[Any, ...]],
        feedback: Sequence[tuple[str, str, float, Mapping[str, Any]]] = (),
        crossings: Sequence[tuple[str, float, int, str, str, str, str]] = (),
    ) -> None:
        """Do as `add` does with what `Row.values` gives, and with lines of `counts.count_row`."""
        with self._transaction() as cursor:
            # The column names are ours; every value goes in as a parameter.
            insert = (
                f"INSERT INTO predictions ({_COLUMNS}) VALUES ({self._marks(_N_COLUMNS)}) ON CONFLICT (id) DO NOTHING"  # noqa: S608
            )
            of_model: dict[str, list[tuple[Any, ...]]] = {}
            for values in rows:
                of_model.setdefault(values[_MODEL], []).append(values)
            # In the order of their names, so that two writers never wait for each other.
            for model in sorted(of_model):
                cursor.executemany(insert, of_model[model])
                self._tally(cursor, model, int(cursor.rowcount))
            said = f"INSERT INTO feedback (id, prediction_id, time, content) VALUES ({self._marks(4)}) {_AGAIN}"  # noqa: S608
            cursor.executemany(said, [(i, p, t, json.dumps(dict(c))) for i, p, t, c in feedback])
            passed = (
                "INSERT INTO crossings (id, time, hour, source, line, direction, label) "  # noqa: S608
                f"VALUES ({self._marks(7)}) ON CONFLICT (id) DO NOTHING"
            )
            cursor.executemany(passed, crossings)

    def crossings(self, *, since_hour: int) -> list[tuple[int, str, str, str, str, int]]:
        """Return from an hour on how many there were: hour, source, line, direction, label, number."""
        text = (
            "SELECT hour, source, line, direction, label, COUNT(*) FROM crossings "  # noqa: S608
            f"WHERE hour >= {self._mark} GROUP BY hour, source, line, direction, label ORDER BY hour"
        )
        with self._transaction() as cursor:
            cursor.execute(text, (since_hour,))
            return [(int(h), s, line, d, label, int(n)) for h, s, line, d, label, n in cursor.fetchall()]

    def _tally(self, cursor: Any, model: str, change: int) -> None:
        if change:
            cursor.execute(
                f"INSERT INTO tallies (model, n) VALUES ({self._marks(2)}) "  # noqa: S608
                "ON CONFLICT (model) DO UPDATE SET n = tallies.n + excluded.n",
                (model, change),
            )

    def add_window(self, id: str, time: float, model: str, digest: str, content: Mapping[str, Any]) -> None:
        """Write what a drift test said of a window."""
        with self._transaction() as cursor:
            text = f"INSERT INTO windows (id, time, model, digest, content) VALUES ({self._marks(5)}) ON CONFLICT (id) DO NOTHING"  # noqa: S608, E501
            cursor.execute(text, (id, time, model, digest, json.dumps(dict(content))))

    def knows(self, prediction_id: str) -> bool:
        """Return whether a prediction is in the log."""
        with self._transaction() as cursor:
            cursor.execute(f"SELECT 1 FROM predictions WHERE id = {self._mark}", (prediction_id,))  # noqa: S608
            return cursor.fetchone() is not None

    def add_model(self, digest: str, task: str, labels: Sequence[str]) -> None:
        """Write the classes of a model, by the digest of its bundle."""
        with self._transaction() as cursor:
            text = (
                f"INSERT INTO models (digest, task, labels) VALUES ({self._marks(3)}) ON CONFLICT (digest) DO NOTHING"  # noqa: S608
            )
            cursor.execute(text, (digest, task, json.dumps(list(labels))))

    def models(self) -> dict[str, tuple[str, tuple[str, ...]]]:
        """Return the task and the classes of every model that the log knows, by the digest of its bundle."""
        with self._transaction() as cursor:
            cursor.execute("SELECT digest, task, labels FROM models")
            return {digest: (task, tuple(json.loads(labels))) for digest, task, labels in cursor.fetchall()}

    def prediction(self, prediction_id: str) -> Said | None:
        """Return what feedback on a prediction is checked against; None if it is not in the log."""
        text = (
            "SELECT p.model, p.digest, p.label, p.height, p.width, m.task, m.labels, p.image FROM predictions p "  # noqa: S608
            f"LEFT JOIN models m ON m.digest = p.digest WHERE p.id = {self._mark}"
        )
        with self._transaction() as cursor:
            cursor.execute(text, (prediction_id,))
            found = cursor.fetchone()
        if found is None:
            return None
        model, digest, label, height, width, task, labels, image = found
        known = None if labels is None else tuple(json.loads(labels))
        return Said(model, digest, label, (int(height), int(width)), task or "", known, image)

    def recent(self, *, model: str, n: int, since: float = 0.0, shadows: bool = False) -> list[Row]:
        """Return the newest n predictions of a model, oldest first; those of a challenger with `shadows`."""
        shadow = "<>" if shadows else "="
        text = (
            f"SELECT {_COLUMNS} FROM predictions WHERE model = {self._mark} AND time > {self._mark} "  # noqa: S608
            f"AND shadow_of {shadow} '' ORDER BY time DESC LIMIT {int(n)}"
        )
        with self._transaction() as cursor:
            cursor.execute(text, (model, since))
            return [Row.read(v) for v in reversed(cursor.fetchall())]

    def counts(self) -> dict[str, dict[str, Any]]:
        """Return for each model how many predictions there are and when the first and last were made."""
        found = {}
        with self._transaction() as cursor:
            cursor.execute("SELECT model, n FROM tallies WHERE n > 0 ORDER BY model")
            for model, n in cursor.fetchall():
                # Two queries: the first and the last entry of an index are found at once, both together by reading it.
                ends = []
                for end in ("MIN", "MAX"):
                    cursor.execute(f"SELECT {end}(time) FROM predictions WHERE model = {self._mark}", (model,))  # noqa: S608
                    ends.append(cursor.fetchone()[0])
                found[model] = {"n": int(n), "first": ends[0], "last": ends[1]}
        return found

    def feedback(
        self, *, model: str | None = None, n: int = 100_000, most_bytes: int = 2**40
    ) -> list[tuple[Row, dict[str, Any], float]]:
        """Return the newest feedback with its prediction, oldest first; of a prediction the last word counts.

        At most n pieces are read, and of them the newest that hold `most_bytes` characters together.
        """
        columns = ", ".join(f"p.{c.strip()}" for c in _COLUMNS.split(","))
        # By a subquery, not by a join: the newest pieces are read from their index, and nothing of older ones.
        of = f"AND p.model = {self._mark}" if model is not None else ""
        held = f"EXISTS (SELECT 1 FROM predictions p WHERE p.id = f.prediction_id {of})"  # noqa: S608
        # What is read is bounded before it is read: one corrected mask can be as large as a thousand labels.
        newest = (
            "SELECT f.id AS id, f.time AS time, LENGTH(f.content) AS size FROM feedback f "  # noqa: S608
            f"WHERE {held} ORDER BY f.time DESC LIMIT {int(n)}"
        )
        sized = f"SELECT id, SUM(size) OVER (ORDER BY time DESC, id) AS total FROM ({newest}) n"  # noqa: S608
        text = (
            f"SELECT {columns}, f.content, f.time FROM ({sized}) s JOIN feedback f ON f.id = s.id "  # noqa: S608
            f"JOIN predictions p ON p.id = f.prediction_id WHERE s.total <= {int(most_bytes)} ORDER BY f.time DESC"
        )
        with self._transaction() as cursor:
            cursor.execute(text, () if model is None else (model,))
            rows = cursor.fetchall()
        last: dict[str, tuple[Row, dict[str, Any], float]] = {}
        for v in reversed(rows):
            row = Row.read(v[:_N_COLUMNS])
            last.pop(row.id, None)
            last[row.id] = (row, json.loads(v[_N_COLUMNS]), float(v[_N_COLUMNS + 1]))
        return list(last.values())

    def feedback_state(self) -> tuple[int, float]:
        """Return two numbers that change when feedback is added, said again or removed: its count and sum of times."""
        with self._transaction() as cursor:
            cursor.execute("SELECT COUNT(*), SUM(time) FROM feedback")
            n, total = cursor.fetchone()
            return int(n), float(total or 0.0)

    def windows(self, *, model: str, n: int = 200) -> list[dict[str, Any]]:
        """Return what drift tests said of a model, oldest first."""
        text = f"SELECT time, digest, content FROM windows WHERE model = {self._mark} ORDER BY time DESC LIMIT {int(n)}"  # noqa: S608
        with self._transaction() as cursor:
            cursor.execute(text, (model,))
            return [{"time": t, "digest": d, **json.loads(c)} for t, d, c in reversed(cursor.fetchall())]

    def prune(self, *, before: float, most: int) -> tuple[int, list[str]]:
        """Remove predictions and crossings older than `before`, or beyond the newest `most` of each; predictions with
        feedback stay. Return how many predictions, and the images that no prediction names any more."""
        old = (
            f"FROM predictions p WHERE p.time <= {self._mark} "  # noqa: S608
            "AND NOT EXISTS (SELECT 1 FROM feedback f WHERE f.prediction_id = p.id)"
        )
        with self._transaction() as cursor:
            cursor.execute(f"SELECT time FROM crossings ORDER BY time DESC LIMIT 1 OFFSET {int(most)}")  # noqa: S608
            edge = cursor.fetchone()
            last = before if edge is None else max(before, float(edge[0]))
            cursor.execute(f"DELETE FROM crossings WHERE time <= {self._mark}", (last,))  # noqa: S608
            cursor.execute("SELECT SUM(n) FROM tallies")
            beyond = int(cursor.fetchone()[0] or 0) - int(most)
            limit = before
            if beyond > 0:
                # From the old end, which is near: a log that is pruned often holds few rows too many.
                cursor.execute(f"SELECT time FROM predictions ORDER BY time LIMIT 1 OFFSET {beyond - 1}")  # noqa: S608
                edge = cursor.fetchone()
                limit = before if edge is None else max(before, float(edge[0]))
            cursor.execute(f"SELECT p.model, p.image {old}", (limit,))
            found = cursor.fetchall()
            if not found:
                return 0, []
            cursor.execute(f"DELETE FROM predictions WHERE id IN (SELECT p.id {old})", (limit,))  # noqa: S608
            removed = int(cursor.rowcount)
            if removed == len(found):
                for model, n in sorted(Counter(model for model, _ in found).items()):
                    self._tally(cursor, model, -n)
            else:
                # Another server pruned the same rows between the two statements.
                cursor.execute("DELETE FROM tallies")
                cursor.execute(_COUNT)
            # The same image may have been sent again, and what was said of it may need it.
            free = []
            for name in dict.fromkeys(image for _, image in found if image):
                cursor.execute(
                    f"SELECT 1 FROM predictions WHERE image = {self._mark} AND image <> '' LIMIT 1",  # noqa: S608
                    (name,),
                )
                if cursor.fetchone() is None:
                    free.append(name)
            return removed, free

    def replaced_feedback(self) -> dict[str, int]:
        """Return the predictions that were judged more than once, and how many of the words on each are replaced."""
        text = (
            "SELECT f.prediction_id, COUNT(*) FROM feedback f JOIN predictions p ON p.id = f.prediction_id "
            "GROUP BY f.prediction_id HAVING COUNT(*) > 1 ORDER BY f.prediction_id"
        )
        with self._transaction() as cursor:
            cursor.execute(text)
            return {name: int(n) - 1 for name, n in cursor.fetchall()}

    def orphaned_feedback(self) -> list[str]:
        """Return the ids that feedback names and that are no predictions in the log."""
        text = (
            "SELECT DISTINCT prediction_id FROM feedback WHERE prediction_id NOT IN (SELECT id FROM predictions) "
            "ORDER BY prediction_id"
        )
        with self._transaction() as cursor:
            cursor.execute(text)
            return [v[0] for v in cursor.fetchall()]

    def prune_feedback(self, *, now: float, most: int, most_bytes: int = 2**40) -> int:
        """Remove all but the newest 16 pieces of feedback on a prediction, those beyond the newest `most` or beyond the
        newest `most_bytes` characters in all, and those that are a day old and whose prediction is not in the log;
        return how many.
        """
        removed = 0
        with self._transaction() as cursor:
            # Each rule is first asked whether it applies: a log that is pruned often holds nothing too much.
            many = f"SELECT prediction_id FROM feedback GROUP BY prediction_id HAVING COUNT(*) > {_A_PREDICTION}"  # noqa: S608
            cursor.execute(many)
            for (prediction_id,) in cursor.fetchall():
                kept = f"SELECT id FROM feedback WHERE prediction_id = {self._mark} ORDER BY time DESC, id LIMIT {_A_PREDICTION}"  # noqa: S608, E501
                cursor.execute(
                    f"DELETE FROM feedback WHERE prediction_id = {self._mark} AND id NOT IN ({kept})",  # noqa: S608
                    (prediction_id, prediction_id),
                )
                removed += int(cursor.rowcount)
            cursor.execute("SELECT COUNT(*), SUM(LENGTH(content)) FROM feedback")
            n, size = cursor.fetchone()
            if n > most:
                newest = f"SELECT id FROM feedback ORDER BY time DESC, id LIMIT {int(most)}"  # noqa: S608
                cursor.execute(f"DELETE FROM feedback WHERE id NOT IN (SELECT id FROM ({newest}) n)")  # noqa: S608
                removed += int(cursor.rowcount)
            if (size or 0) > most_bytes:
                sized = "SELECT id, SUM(LENGTH(content)) OVER (ORDER BY time DESC, id) AS total FROM feedback"
                cursor.execute(
                    f"DELETE FROM feedback WHERE id IN (SELECT id FROM ({sized}) s WHERE total > {int(most_bytes)})"  # noqa: S608
                )
                removed += int(cursor.rowcount)
            cursor.execute(
                f"DELETE FROM feedback WHERE time < {self._mark} "  # noqa: S608
                "AND NOT EXISTS (SELECT 1 FROM predictions p WHERE p.id = feedback.prediction_id)",
                (now - _ORPHAN_S,),
            )
            return removed + int(cursor.rowcount)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()


def open_store(address: str | Path) -> Store:
    """Return the store at a path, or at postgresql://user:password@host:port/database.

    Nothing is opened before it is used.

    Raises:
        UsageError: an address of another kind.
        MissingExtraError: pg8000 is not installed.
    """
    text = str(address)
    if text.startswith(("postgresql://", "postgres://")):
        pg8000 = import_extra("pg8000.dbapi", extra="postgres", what="logging to PostgreSQL")
        parts = urlsplit(text)
        options = {
            "user": unquote(parts.username or ""),
            "password": unquote(parts.password) if parts.password else None,
            "host": parts.hostname or "localhost",
            "port": parts.port or 5432,
            "database": parts.path.lstrip("/") or None,
            "timeout": 10,
        }
        return Store(
            lambda: pg8000.connect(**options),
            mark="%s",
            blob="BYTEA",
            broken=(pg8000.Error, OSError),
        )
    if "://" in text and not text.startswith("sqlite:///"):
        raise UsageError(f"expected a path or postgresql://…, found {text.partition('://')[0]}://", fix="change --log")
    path = _file_of(text)

    def connect() -> sqlite3.Connection:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=10, check_same_thread=False)
        # A reader does not hold the writer up; a commit is on disk when it is made.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    return Store(connect, mark="?", blob="BLOB", broken=(sqlite3.Error, OSError))


def check_writable(address: str | Path) -> None:
    """Raise `OutputError` if a log in a file cannot be written at all; a database that is away may come back.

    >>> check_writable("/proc/no/a.db")
    Traceback (most recent call last):
    eyewright.core.errors.OutputError: cannot write '/proc/no/a.db': No such file or directory; choose another --log
    """
    text = str(address)
    if "://" in text and not text.startswith("sqlite:///"):
        return
    path = _file_of(text)
    with checked_output(path, option="--log"):
        path.parent.mkdir(parents=True, exist_ok=True)
        # An empty file is an empty database.
        open(path, "ab").close()


def _file_of(text: str) -> Path:
    return Path(text.removeprefix("sqlite:///"))


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    given = error.args[0] if error.args else error
    text = given.get("M", str(given)) if isinstance(given, dict) else str(given)
    return text.splitlines()[0][:200] if text else type(error).__name__
