"""The results of a job are tables that pandas, pyarrow and DuckDB read, the last two where they are installed."""

import json
from pathlib import Path

import numpy as np
import pandas
import pytest

from eyewright.core.errors import MissingExtraError
from eyewright.core.labels import LabelSpace
from eyewright.scaling import plan_predict, rows, run_job, verify_folder
from eyewright.tasks.embed import EmbedPrediction

# Pandas 3 asks pyarrow, where it is installed, for its strings.
COLUMNS = ["id", "source", "ok", "error", "message", "label", "score", "result"]


@pytest.fixture
def lines(bundle: Path, images: Path, tmp_path: Path) -> Path:
    run_job(plan_predict(bundle, str(images), tmp_path / "lines", shard_size=15), workers=1)
    return tmp_path / "lines" / "results"


def test_json_lines_are_read_by_pandas_pyarrow_and_duckdb(lines: Path) -> None:
    parts = sorted(lines.iterdir())
    table = pandas.concat([pandas.read_json(p, lines=True) for p in parts])
    assert list(table.columns) == COLUMNS
    assert list(table["id"]) == list(range(40))
    assert (~table["ok"]).sum() == 1
    duckdb = pytest.importorskip("duckdb")
    count = "select count(*), count(distinct id), count(*) filter (score > 0.3), count(error) from "
    assert duckdb.sql(count + f"'{lines}/*.jsonl'").fetchall() == [(40, 40, 39, 1)]
    datasets = pytest.importorskip("pyarrow.dataset")
    assert datasets.dataset(lines, format="json").count_rows() == 40


def test_parquet_has_the_same_rows_and_one_schema(bundle: Path, images: Path, lines: Path, tmp_path: Path) -> None:
    parquet, duckdb = pytest.importorskip("pyarrow.parquet"), pytest.importorskip("duckdb")
    # A part in which all rows have errors has the columns of the others.
    plan = plan_predict(bundle, str(images), tmp_path / "job", shard_size=1, format="parquet")
    assert run_job(plan, workers=1).counts["failed"] == 1
    assert verify_folder(tmp_path / "job")[1] == []
    parts = sorted((tmp_path / "job" / "results").iterdir())
    assert len({parquet.read_schema(p).to_string() for p in parts}) == 1
    found = parquet.read_table(tmp_path / "job" / "results").sort_by("id").to_pylist()
    expected = [json.loads(line) for p in sorted(lines.iterdir()) for line in p.read_text().splitlines()]
    for one, other in zip(found, expected, strict=True):
        assert [one[k] for k in COLUMNS[:6]] == [other[k] for k in COLUMNS[:6]]
        if other["ok"]:
            assert json.loads(one["result"])["labels"] == other["result"]["labels"]
            assert one["score"] == pytest.approx(other["score"], abs=2e-6)
    query = f"select count(*), sum(json_array_length(result, '$.labels')) from '{tmp_path}/job/results/*.parquet'"
    assert duckdb.sql(query).fetchall() == [(40, 39 * 3)]


def test_vectors_are_a_column_of_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet")
    vector = np.random.default_rng(0).standard_normal(5).astype(np.float32)
    space = LabelSpace(("typicality",))
    result = EmbedPrediction(vector, np.array([0.5], np.float32), space).to_json()
    made = {**rows.error_row(0, "a.png", "", ""), "ok": True, "error": None, "message": None, "result": result}
    rows.write_rows(tmp_path / "piece", [made, rows.error_row(1, "b.png", "unreadable", "damaged")])
    rows.write_part([tmp_path / "piece"], tmp_path / "part.parquet", "parquet")
    assert parquet.read_table(tmp_path / "part.parquet")["embedding"].to_pylist() == [vector.tolist(), None]


def test_parquet_without_pyarrow_is_one_line(bundle: Path, images: Path, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    def missing(module: str, *, extra: str, what: str) -> None:
        raise MissingExtraError(f"{what} needs {module}", fix=f"pip install 'eyewright[{extra}]'")

    monkeypatch.setattr(rows, "import_extra", missing)
    with pytest.raises(MissingExtraError, match=r"eyewright\[parquet\]', or pass --format jsonl"):
        plan_predict(bundle, str(images), tmp_path / "job", format="parquet")
    assert not (tmp_path / "job").exists()
