"""What hostile requests cost: time linear in size by ratios, memory by the body's size, connections, named refusals."""

import base64
import contextlib
import json
import random
import socket
import time
import tracemalloc
from collections.abc import Callable

import pytest
from tests.serving.conftest import rest_of, serving

from eyewright.core.errors import EyewrightError
from eyewright.serving.base64text import decode_base64
from eyewright.serving.exchange import HttpError, Request, parse_json, parse_request, whole_number
from eyewright.serving.forms import read_form, read_parameters
from eyewright.serving.protocols import own, v2, v2_tensors
from eyewright.serving.settings import Settings

SETTINGS = Settings()
_FORM = b'--xyz\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n'


class _Service:
    settings = SETTINGS


def _posted(body: bytes, kind: str) -> Request:
    return Request("POST", ("x",), {}, {"content-type": kind}, body)


def _infer(body: bytes) -> None:
    request = _posted(body, "application/json")
    _, given, binary = v2._split(request, _Service())  # type: ignore[arg-type]
    v2._strings(request, _Service(), given, [2], binary)  # type: ignore[arg-type]


def _numbers(body: bytes) -> None:
    v2_tensors._numbers(v2.msgspec.Raw(b"[" + body + b"]"), [1, 1, len(body) // 2, 1], "uint8")


PARSERS: dict[str, tuple[Callable[[bytes], object], str]] = {
    "json": (lambda b: parse_json(b, SETTINGS), '"\\[]{},:1a \n'),
    "json text without an end": (lambda b: parse_json(b'{"a": "' + b, SETTINGS), '"\\[]{}a'),
    "an image in json": (lambda b: own._image_of(_posted(b'{"inputs": "' + b + b'"}', "application/json"), SETTINGS),
                         '"\\nA/=-,[{'),
    "base64": (decode_base64, "A=/-+\n\\u002b,:"),
    "v2": (lambda b: _infer(b'{"inputs": [{"name": "image", "data": [' + b + b"]}]}"), '"\\[]{},:1A'),
    "v2 numbers": (_numbers, "1,[] 29"),
    "form": (lambda b: read_form(_posted(_FORM + b, "multipart/form-data; boundary=xyz"), SETTINGS), "\r\n-xyz a"),
    "parts": (lambda b: read_form(_posted(b, "multipart/form-data; boundary=xyz"), SETTINGS), "\r\n-xyz:;"),
    "header parameters": (lambda b: read_parameters("form-data; " + b[:4000].decode()), '=";\\a* '),
    "header": (lambda b: whole_number(b.decode()), "0123 9"),
    "query": (lambda b: parse_request({"path": "/", "method": "GET", "headers": [], "query_string": b}), "%&=;a2+"),
    "path": (lambda b: parse_request({"path": "/", "raw_path": b"/" + b, "method": "GET", "headers": [],
                                      "query_string": b""}), "%2e/.a?"),
}  # fmt: skip


def _seconds(call: Callable[[bytes], object], body: bytes) -> float:
    best = float("inf")
    for _ in range(3):
        began = time.thread_time()
        with contextlib.suppress(EyewrightError):
            call(body)
        best = min(best, time.thread_time() - began)
    return best


@pytest.mark.parametrize("name", PARSERS)
def test_no_parser_takes_more_than_linear_time(name: str) -> None:
    """Sixteen times the size: a quadratic parser takes 256 times as long, a linear one 16; 60 leaves room for noise."""
    call, alphabet = PARSERS[name]
    rng = random.Random(name)
    units = ['\\"', '\\\\"', "[", '{"a":', '"",', "AAAA", "1,", "\r\n--xy", "\r\n", '";', "=", "%25"]
    units += ["".join(rng.choices(alphabet, k=rng.randint(1, 7))) for _ in range(20)]
    for unit in units:
        small, large = (unit.encode() * (n // len(unit)) for n in (2**14, 2**18))
        spent = _seconds(call, large)
        # Below 2 ms for 256 KB nothing is above linear that matters, and clocks are coarse.
        assert spent < 0.002 or spent < 60 * max(_seconds(call, small), 2e-5), unit


@pytest.mark.parametrize("escaped", [False, True])
def test_an_image_in_json_costs_at_most_three_times_its_body(escaped: bool) -> None:
    image = random.Random(0).randbytes(3 * 2**20)
    text = base64.b64encode(image)
    body = b'{"inputs": "' + (text.replace(b"/", b"\\/") if escaped else text) + b'"}'
    request = _posted(body, "application/json")
    tracemalloc.start()
    try:
        found, _, _ = own._image_of(request, SETTINGS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == image
    # The body itself was there before.
    assert peak <= 2 * len(body) + 2**16


@pytest.mark.parametrize("text", ["[", '{"a":', "[],", "{},", "1,", '"a",'])
def test_hostile_json_costs_at_most_three_times_its_size(text: str) -> None:
    body = b"[" + (text * (2**21 // len(text))).encode() + b"1]"
    tracemalloc.start()
    try:
        with pytest.raises(HttpError):
            parse_json(body, SETTINGS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 2 * len(body)


def test_depth_counts_outside_of_texts_only_across_slices() -> None:
    settings = Settings(json_depth=3)
    filler = '[{\\"' * 100_000
    assert parse_json(json.dumps({"a": filler, "b": [[1]]}).encode(), settings)["a"] == filler
    with pytest.raises(HttpError, match="deep"):
        parse_json(json.dumps({"a": filler, "b": [[[1]]]}).encode(), settings)


@pytest.mark.parametrize("text", ["aGk=", "aGk", "aG\nk=", "data:image/png;base64,aGk="])
def test_base64_of_every_usual_writing_is_read(text: str) -> None:
    assert decode_base64(text) == b"hi"
    assert decode_base64("-_-_") == decode_base64("+/+/")
    for wrong in ("a", "a===", "*", "aG=k", "é"):
        with pytest.raises(HttpError):
            decode_base64(wrong)


def _raw(served, head: bytes, body: bytes = b"") -> bytes:
    with socket.create_connection((served.host, served.port), 10) as line:
        line.sendall(head + b"\r\nConnection: close\r\n\r\n" + body)
        return rest_of(line)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /label-studio/shapes/health HTTP/1.1\r\nHost: localhost", b"200"),
        (b"GET /label-studio/nobody/health HTTP/1.1\r\nHost: localhost", b"404"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost", b"400"),
        (b"GET /healthz HTTP/1.1", b"400"),
        (b"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost", b"400"),
        (b"POST /v1/feedback HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + b"9" * 5000, b"400"),
        (b"POST /v1/feedback HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + b"9" * 17, b"413"),
        (b"POST /v1/feedback HTTP/1.1\r\nHost: localhost\r\nContent-Length: \xb2", b"400"),
        (b"GET /v1/models?model=shapes HTTP/1.1\r\nHost: localhost", b"400"),
        (b"POST /v1/models/shapes/predict?conf=1&conf=0 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0", b"400"),
        *[
            (b"POST /v2/models/shapes/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
             b"Inference-Header-Content-Length: " + n, b"400")
            for n in (b"9" * 5000, b"\xb2", b"-1")
        ],
        *[
            (b"POST /v1/models/shapes/predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n"
             b"Content-Type: multipart/form-data; " + b, b"400")
            for b in (b"boundary*99=a", b"boundary*" + b"9" * 3000 + b"=a", b'boundary="', b"boundary*0*=x''y")
        ],
    ],
)  # fmt: skip
def test_a_malformed_head_gets_its_status_and_never_500(served, head: bytes, status: bytes) -> None:
    assert _raw(served, head).split(b" ")[1] == status


def test_an_early_answer_leaves_no_body_on_the_connection(served) -> None:
    smuggled = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for method in (b"GET /healthz", b"POST /nowhere"):
        with socket.create_connection((served.host, served.port), 10) as line:
            line.sendall(method + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n" + smuggled)
            line.shutdown(socket.SHUT_WR)
            answer = rest_of(line)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"connection: close" in answer


def test_a_second_image_and_unknown_options_are_refused(served, picture: bytes) -> None:
    part = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + picture + b"\r\n"
    kind = "multipart/form-data; boundary=xyz"
    answer = served.post("/v1/models/shapes/predict", part * 2 + b"--xyz--\r\n", content_type=kind)
    assert (answer.status, answer.json["code"]) == (400, "too_many_files")
    for path in ("/v1/models/shapes/predict?confidence=0.5", "/predict/shapes?topk=2"):
        answer = served.post(path, picture)
        assert (answer.status, answer.json["code"]) == (400, "unknown_option")
    counted = served.get("/metrics").body.decode()
    assert 'route="/v1/models/{name}/predict",status="400"' in counted


def test_idle_connections_make_room_for_others(served) -> None:
    lines = [socket.create_connection((served.host, served.port), 10) for _ in range(1100)]
    try:
        for line in lines[800:]:
            line.sendall(b"GET /healthz HT")
        assert served.get("/readyz").status == 200
    finally:
        for line in lines:
            line.close()


def test_a_second_server_on_a_port_says_so(served, tmp_path, finished) -> None:
    with (
        pytest.raises(AssertionError),
        serving(str(finished.paths["bundle"]), "--no-log", cwd=tmp_path, port=served.port),
    ):
        pass
    assert "it is in use" in (tmp_path / "serve.err").read_text()


@pytest.mark.parametrize(("size", "status"), [(1, b"400"), (64, b"200")])
def test_many_chunks_must_carry_something(served, picture: bytes, size: int, status: bytes) -> None:
    data = picture + bytes(5000 * size)
    chunks = b"".join(b"%x\r\n%s\r\n" % (size, data[i : i + size]) for i in range(0, 5000 * size, size))
    head = b"POST /v1/models/shapes/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked"
    assert _raw(served, head, chunks + b"0\r\n\r\n").split(b" ")[1] == status


def _half_closed(served, data: bytes) -> bytes:  # type: ignore[no-untyped-def]
    with socket.create_connection((served.host, served.port), 20) as line:
        line.sendall(data)
        line.shutdown(socket.SHUT_WR)
        return rest_of(line)


def _posting(body: bytes, more: bytes = b"", length: int | None = None) -> bytes:
    length = len(body) if length is None else length
    head = b"POST /v1/models/shapes/predict HTTP/1.1\r\nHost: localhost\r\n" + more
    return head + b"Content-Length: %d\r\n\r\n" % length + body


@pytest.mark.parametrize("more", [b"", b"Connection: close\r\n"])
def test_a_client_that_ends_its_side_gets_its_answers(served, picture: bytes, more: bytes) -> None:
    whole = _posting(picture, more)
    assert _half_closed(served, whole).count(b"HTTP/1.1 200 ") == 1
    assert _half_closed(served, _posting(picture) * 3).count(b"HTTP/1.1 200 ") == 3
    chunked = b"POST /v1/models/shapes/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunked += b"%x\r\n%s\r\n0\r\n\r\n" % (len(picture), picture)
    assert _half_closed(served, chunked).startswith(b"HTTP/1.1 200 ")
    assert _half_closed(served, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    assert _half_closed(served, whole + b"GET /hea").count(b"HTTP/1.1 200 ") == 1


def test_a_client_that_ends_its_side_too_soon_is_told_so(served, picture: bytes) -> None:
    chunked = b"POST /v1/models/shapes/predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"
    for data in (_posting(picture[:50], length=len(picture)), chunked, b"GET /health HTTP/1.1\r\nHost: lo", b"GET"):
        answer = _half_closed(served, data)
        assert answer.startswith(b"HTTP/1.1 400 "), (data[:40], answer)
        assert b"before it was complete" in answer
    assert _half_closed(served, b"") == b""
    assert served.get("/health").status == 200
