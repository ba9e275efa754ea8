"""Any inputs over Open Inference V2: prepared arrays by name, in JSON or behind it, through the worker to the model."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.bundle import pairs

import eyewright as ew
from eyewright.bundle.verify import bundle_digest
from eyewright.core.errors import UsageError
from eyewright.core.inputs import prepare
from eyewright.serving.messages import Array, Job, ModelPlace
from eyewright.serving.protocols import v2
from eyewright.serving.protocols.v2_tensors import read_tensors
from eyewright.serving.settings import Settings
from eyewright.serving.worker import Orders, _Served, _Watch


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    with pairs.installed():
        yield


def served(folder: Path) -> _Served:
    orders = Orders([], 1, 2**30, True, {})
    return _Served(ModelPlace("model", str(folder), bundle_digest(folder)), orders)


def job(number: int, tensors: dict[str, Any] | None, data: bytes = b"") -> Job:
    sent = None if tensors is None else {k: Array(str(v.dtype), v.shape, v.tobytes()) for k, v in tensors.items()}
    return Job(number, data, time.monotonic() + 600, ("raw",) if tensors is not None else ("prediction",), sent)


def test_a_worker_joins_the_inputs_of_jobs_and_parts_their_answers(tmp_path: Path) -> None:
    folder = pairs.write_bundle(tmp_path / "pair", "pair", pairs.pair_model(), pairs.INPUTS, pairs.examples())
    worker, given = served(folder), dict(prepare(pairs.INPUTS, pairs.examples())[0])
    expected = ew.load_bundle(folder).raw(given)["probabilities"]
    one = {k: v[:1] for k, v in given.items()}
    wrong = {**one, "text": one["text"][:, :2]}
    found = worker.answer([job(1, one), job(2, wrong), job(3, given), job(4, None, b"x")], _Watch(), lambda: None)
    answers = {a.id: a for a in found}
    rows = {k: np.frombuffer(answers[k].raw["probabilities"].data, np.float32).reshape(-1, 2) for k in (1, 3)}
    np.testing.assert_allclose(rows[1], expected[:1], atol=1e-6)
    np.testing.assert_allclose(rows[3], expected, atol=1e-6)
    assert "expected text as int64 (N, 4)" in answers[2].failure.message  # type: ignore[union-attr]
    assert "this one takes image and text" in answers[4].failure.message  # type: ignore[union-attr]


def test_a_worker_answers_every_job_of_a_model_without_inputs(tmp_path: Path) -> None:
    worker = served(pairs.write_bundle(tmp_path / "nothing", "nothing", pairs.nothing_model(), {}, [{}]))
    found = worker.answer([job(1, {}), job(2, {})], _Watch(), lambda: None)
    assert [np.frombuffer(a.raw["probabilities"].data, np.float32).tolist() for a in found] == [[0.25, 0.75]] * 2


def row(name: str, array: Any, datatype: str, *, binary: bool = False) -> dict[str, Any]:
    data = msgspec.Raw(json.dumps(array.tolist()).encode())
    found = {"name": name, "shape": list(array.shape), "datatype": datatype, "data": data, "binary": None}
    return {**found, "binary": memoryview(array.tobytes())} if binary else found


@pytest.mark.parametrize("binary", [False, True])
def test_tensors_are_read_as_they_were_sent(binary: bool) -> None:
    given = dict(prepare(pairs.INPUTS, pairs.examples())[0])
    rows = [row("text", given["text"], "INT64", binary=binary), row("image", given["image"], "UINT8", binary=binary)]
    found = read_tensors(rows, pairs.INPUTS)
    for name, array in given.items():
        assert np.array_equal(np.frombuffer(found[name].data, array.dtype).reshape(found[name].shape), array)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"datatype": "UINT8"}, "expected datatype INT64 of 'text', found 'UINT8'"),
        ({"shape": [2, 5]}, r"expected shape \[1 to 64, \[4\]\]"),
        ({"shape": [0, 4]}, "expected shape"),
        ({"binary": memoryview(bytes(63))}, "expected 64 bytes"),
        ({"data": msgspec.Raw(b"[1,2,3]")}, "expected data as 8 numbers of int64"),
        ({"data": msgspec.Raw(b"[1,2,3,4,5,6,7,0.5]")}, "expected data as 8 numbers of int64"),
        ({"data": msgspec.Raw(b"[[1,2,3,4],[5,6,7]]")}, "expected data as 8 numbers of int64"),
        ({"data": msgspec.Raw(b'["a","b"]')}, "expected data as 8 numbers of int64"),
        ({"data": msgspec.Raw(b"[1,2,3,4,5,6,7,99999999999999999999]")}, "expected data as 8 numbers of int64"),
        ({"data": msgspec.UNSET}, "expected data as 8 numbers of int64"),
    ],
)
def test_tensors_that_the_input_does_not_take_are_refused(changes: dict[str, Any], said: str) -> None:
    text = prepare(pairs.INPUTS, pairs.examples())[0]["text"]  # type: ignore[call-overload,index]
    with pytest.raises(UsageError, match=said):
        read_tensors([{**row("text", text, "INT64"), **changes}], pairs.INPUTS)


def split(inputs: list[dict[str, Any]], tail: bytes) -> list[dict[str, Any]]:
    head = json.dumps({"inputs": inputs}).encode()
    headers = {"inference-header-content-length": str(len(head))}
    request = SimpleNamespace(body=head + tail, headers=headers)
    return v2._split(request, SimpleNamespace(settings=Settings()))[1]  # type: ignore[arg-type]


def sized(name: str, size: int) -> dict[str, Any]:
    return {"name": name, "shape": [size], "datatype": "UINT8", "parameters": {"binary_data_size": size}}


def test_each_input_takes_its_part_of_the_binary_data() -> None:
    plain = {"name": "b", "shape": [1], "datatype": "UINT8", "data": [7]}
    rows = split([sized("a", 2), plain, sized("c", 3)], b"12345")
    assert [None if r["binary"] is None else bytes(r["binary"]) for r in rows] == [b"12", None, b"345"]


@pytest.mark.parametrize("tail", [b"1234", b"123456", b""])
def test_binary_data_that_is_not_as_long_as_it_says_is_refused(tail: bytes) -> None:
    with pytest.raises(UsageError, match="bytes of tensor, found"):
        split([sized("a", 2), sized("c", 3)], tail)
