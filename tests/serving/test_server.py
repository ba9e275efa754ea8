"""One server, asked in every way a client may: right answers, named refusals, safety headers."""

import base64
import hashlib
import io
import json
import re
import socket
import struct
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tests.serving.conftest import rest_of

import eyewright as ew
from eyewright.imaging.media import FIRST_PICTURE

PREDICT = "/v1/models/shapes/predict"


def test_answers_are_those_of_the_bundle_in_python(served, finished, shapes: Path) -> None:
    bundle = ew.load_bundle(finished.paths["bundle"])
    for path in sorted(shapes.rglob("*.png"))[::9]:
        expected = bundle.predict(path).to_json(top=None)
        found = served.post(PREDICT, path.read_bytes()).json
        assert found["labels"] == expected["labels"]
        # The server runs one thread a session, Python all cores: the last digits may differ.
        np.testing.assert_allclose(found["scores"], expected["scores"], atol=2e-6)
        assert found["accepted"] == expected["accepted"]


def test_every_answer_names_model_bundle_and_prediction(served, finished, picture: bytes) -> None:
    content = served.post(PREDICT, picture).json
    digest = hashlib.sha256(Path(finished.paths["bundle"], "bundle.json").read_bytes()).hexdigest()
    assert content["digest"] == digest
    assert content["model"] == "shapes"
    assert content["calibration"] == finished.bundle.manifest.calibration["method"]
    assert len({served.post(PREDICT, picture).json["prediction_id"] for _ in range(4)}) == 4


def test_an_animation_has_a_note_and_a_picture_has_none(served, picture: bytes) -> None:
    buffer = io.BytesIO()
    frames = [Image.fromarray(np.full((24, 24, 3), 40 + 50 * k, np.uint8)) for k in range(3)]
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=80)
    assert served.post(PREDICT, buffer.getvalue()).json["notes"] == [FIRST_PICTURE]
    assert "notes" not in served.post(PREDICT, picture).json


def form_of(parts: list[tuple[str, str | None, bytes]], boundary: str = "xyz") -> tuple[bytes, str]:
    body = b""
    for name, file, data in parts:
        named = f'; filename="{file}"' if file is not None else ""
        body += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + data + b"\r\n"
        )
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def test_an_image_is_taken_as_bytes_as_a_form_and_as_base64(served, picture: bytes) -> None:
    expected = served.post(PREDICT, picture).json["scores"]
    form, kind = form_of([("top", None, b"2"), ("file", "../../etc/passwd", picture)])
    assert served.post(PREDICT, form, content_type=kind).json["scores"] == expected[:2]
    text = base64.b64encode(picture).decode()
    assert served.post(PREDICT, {"inputs": text}).json["scores"] == expected
    assert served.post(PREDICT, {"inputs": f"data:image/png;base64,{text}", "parameters": {"top": 1}}).json[
        "scores"
    ] == pytest.approx(expected[:1])


def test_an_explanation_is_a_picture_with_a_verdict(served, picture: bytes) -> None:
    (one,) = served.post(f"{PREDICT}?explain=true&label=disc", picture).json["explanations"]
    heat = ew.read_image(base64.b64decode(one["heat_png"]))
    assert heat.shape == (32, 32, 3)
    assert heat.max() == 255
    assert one["label"] == "disc"
    assert one["faithful"] in (True, False)


def test_coverage_that_the_reference_cannot_give_is_refused(served, picture: bytes) -> None:
    answer = served.post(f"{PREDICT}?coverage=0.999", picture)
    assert answer.status == 400
    assert "too few" in answer.json["error"]
    found = served.post(f"{PREDICT}?coverage=0.5", picture).json["set"]
    assert found["labels"]
    assert found["coverage"] == 0.5


REFUSED = {
    "an empty body": (b"", {}, 400, "empty"),
    "no image": (b"hello, I am text", {}, 422, "not_an_image"),
    "a cut-off image": (None, {}, 422, "unreadable_image"),
    "an address": (
        b'{"inputs": "http://a.example/a.png"}',
        {"content-type": "application/json"},
        400,
        "address_given",
    ),
    "no base64": (b'{"inputs": "*"}', {"content-type": "application/json"}, 400, "base64"),
    "no inputs": (b"{}", {"content-type": "application/json"}, 400, "inputs"),
    "broken JSON": (b'{"inputs"', {"content-type": "application/json"}, 400, "json"),
    "NaN": (b'{"inputs": NaN}', {"content-type": "application/json"}, 400, "json"),
    "deep JSON": (b"[" * 200_000, {"content-type": "application/json"}, 400, "json_too_deep"),
    "many digits": (b'{"inputs": ' + b"9" * 5000 + b"}", {"content-type": "application/json"}, 400, "json_digits"),
    "gzip": (b"\x1f\x8b" + bytes(100), {"content-encoding": "gzip"}, 415, "content_encoding"),
    "a form without a boundary": (b"x", {"content-type": "multipart/form-data"}, 400, "multipart"),
    "a malformed form": (b"--xyz\r\nx", {"content-type": "multipart/form-data; boundary=abc"}, 400, "multipart"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_request_gets_a_named_refusal(served, picture: bytes, case: str) -> None:
    body, headers, status, code = REFUSED[case]
    answer = served.ask("POST", PREDICT, picture[: len(picture) // 2] if body is None else body, headers)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert "Traceback" not in answer.body.decode()
    assert "/" not in answer.json["error"].replace("/v1", "").replace("/openapi", "")


def test_a_hundred_thousand_parts_are_refused(served) -> None:
    form, kind = form_of([("a", "a", b"")] * 100_000)
    answer = served.post(PREDICT, form, content_type=kind)
    assert (answer.status, answer.json["code"]) == (400, "too_many_parts")


def test_a_body_over_the_limit_is_refused_before_it_is_read(served) -> None:
    with socket.create_connection((served.host, served.port), 10) as line:
        line.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\nabc".encode())
        assert rest_of(line).startswith(b"HTTP/1.1 413")


def test_a_body_that_is_refused_while_it_comes_is_answered(served) -> None:
    """What is still on its way when the answer is given must not reset the connection that carries the answer."""
    with socket.create_connection((served.host, served.port), 10) as line:
        line.sendall(f"POST {PREDICT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n".encode())
        for _ in range(64):
            line.sendall(bytes(65536))
        line.shutdown(socket.SHUT_WR)
        answer = rest_of(line)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"body_too_large" in answer


@pytest.mark.parametrize("query", ["conf=2", "conf=nan", "top=0", "top=x", "coverage=1", "iou=0", "explain=perhaps"])
def test_an_option_out_of_its_range_is_refused(served, picture: bytes, query: str) -> None:
    answer = served.post(f"{PREDICT}?{query}", picture)
    assert answer.status == 400
    assert answer.json["fix"]


def test_iou_is_refused_for_classes(served, picture: bytes) -> None:
    assert served.post(f"{PREDICT}?iou=0.5", picture).status == 400


@pytest.mark.parametrize(
    "path",
    ["/v1/models/../../etc/passwd", "/v1/models/%2e%2e%2f%2e%2e/report", "/page/../app.py", "/page/%2e%2e%2fapp.py",
     "/v1/models/nothing", "/v1/models/shapes/../report", "/predict/%00", "/label-studio/..%2f/health/x"],
)  # fmt: skip
def test_no_path_leads_out_of_the_table(served, path: str) -> None:
    assert served.get(path).status in (404, 405)


def test_other_hosts_and_other_pages_may_not_call_whatever_the_method(served, picture: bytes) -> None:
    for method, path in (("GET", "/v1/models"), ("POST", PREDICT), ("OPTIONS", PREDICT), ("GET", "/"), ("HEAD", "/")):
        assert served.ask(method, path, None, {"Host": "evil.example"}).status == 403
        assert served.ask(method, path, None, {"Origin": "http://evil.example"}).status == 403
        assert served.ask(method, path, None, {"Origin": "null"}).status == 403
    own = f"http://{served.host}:{served.port}"
    assert served.ask("POST", PREDICT, picture, {"Origin": own}).status == 200


def test_every_answer_carries_its_safety_headers(served, picture: bytes) -> None:
    for answer in (served.get("/"), served.get("/nothing"), served.post(PREDICT, picture), served.get("/page/app.js")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "unsafe" not in answer.headers["content-security-policy"]
        assert "server" not in answer.headers
    report = served.get("/v1/models/shapes/report")
    assert report.status == 200
    assert "'self'" not in report.headers["content-security-policy"]
    assert "default-src 'none'" in report.headers["content-security-policy"]


def test_the_page_asks_nobody_else(served) -> None:
    for name in ("index.html", "app.js", "net.js", "draw.js", "app.css"):
        text = served.get(f"/page/{name}").body.decode()
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", text))
        assert addresses <= {"http://www.w3.org"}, addresses
        assert "<script>" not in text
        assert not re.search(r"\son\w+=", text)
    first = served.get("/page/app.js")
    assert served.get("/page/app.js", if_none_match=first.headers["etag"]).status == 304


def test_loading_and_unloading_need_the_admins_token(served) -> None:
    path = "/v2/repository/models/shapes/load"
    assert served.post(path).status == 401
    assert served.post(path, authorization="Bearer wrong-secret").status == 401
    before = set(served.workers())
    assert served.post(path, authorization="Bearer admin-secret").status == 200
    assert served.get("/v2/health/ready").status == 200
    time.sleep(0.5)
    assert not before & set(served.workers())
    unload = served.post("/v2/repository/models/shapes/unload", authorization="Bearer admin-secret")
    assert (unload.status, unload.json["code"]) == (409, "last_model")


def test_feedback_is_kept_for_predictions_that_were_made(served, picture: bytes) -> None:
    told = served.post(PREDICT, picture).json
    said = {"prediction_id": told["prediction_id"], "label": "square", "correct": False}
    assert served.post("/v1/feedback", said).status == 201
    assert served.post("/v1/feedback", {**said, "prediction_id": "nobody"}).status == 404
    assert served.post("/v1/feedback", {"prediction_id": told["prediction_id"]}).status == 400
    for wrong in ({"label": 3}, {"correct": "yes"}, {"objects": [{"label": "a"}]}, {"objects": [3]}):
        assert served.post("/v1/feedback", {"prediction_id": told["prediction_id"], **wrong}).status == 400


def test_the_log_holds_what_was_answered(served, picture: bytes) -> None:
    from eyewright.monitoring import image_path, open_store

    told = served.post(PREDICT, picture).json
    home = served.cwd / "eyewright-monitor"
    for _ in range(50):
        store = open_store(home / "monitor.db")
        rows = [r for r in store.recent(model="shapes", n=500) if r.id == told["prediction_id"]]
        store.close()
        if rows:
            break
        time.sleep(0.1)
    (row,) = rows
    assert (row.label, row.size_hw) == (told["labels"][0], (32, 32))
    assert row.score == pytest.approx(told["scores"][0], abs=1e-6)
    assert row.answer.sum() == pytest.approx(1, abs=1e-5)
    kept = image_path(home, row.image).read_bytes()
    assert hashlib.sha256(kept).hexdigest() == row.image
    assert b"Exif" not in kept
    shown = served.get(f"/v1/images/{row.image}")
    assert (shown.body, shown.headers["content-type"]) == (kept, "image/png")
    for name in ("0" * 64, "..%2f..%2fmonitor.db", "monitor.db"):
        assert served.get(f"/v1/images/{name}").status == 404
    watched = served.get("/v1/watch").json["models"]["shapes"]
    assert watched["predictions"] >= 1
    assert watched["labels"]


def test_no_process_of_the_server_holds_torch(served, picture: bytes) -> None:
    assert served.post(f"{PREDICT}?explain=true", picture).status == 200
    assert served.get("/v1/watch").status == 200
    for pid in (served.process.pid, served.nursery(), *served.workers()):
        assert "libtorch" not in Path(f"/proc/{pid}/maps").read_text()


def test_prometheus_can_read_the_metrics(served, picture: bytes) -> None:
    import shutil
    import subprocess

    from prometheus_client.parser import text_string_to_metric_families

    served.post(PREDICT, picture)
    text = served.get("/metrics").body.decode()
    families = {f.name: f for f in text_string_to_metric_families(text)}
    counted = {(s.labels["route"], s.labels["status"]): s.value for s in families["eyewright_requests"].samples
               if s.name.endswith("_total")}  # fmt: skip
    assert counted["/v1/models/{name}/predict", "200"] >= 1
    if shutil.which("promtool"):
        done = subprocess.run(("promtool", "check", "metrics"), input=text, text=True, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_queries_metrics_and_labels_that_the_server_exposes(served, picture: bytes) -> None:
    import re

    from prometheus_client.parser import text_string_to_metric_families

    from eyewright.monitoring.dashboard import dashboard
    from eyewright.serving.live import Running

    served.post(PREDICT, picture)
    text = served.get("/metrics").body.decode()
    samples = [s for f in text_string_to_metric_families(text) for s in f.samples]
    labels = {s.name: set(s.labels) for s in samples}
    types = {f.name: f.type for f in text_string_to_metric_families(text)}
    # Exposed only after a window of images has been tested for drift; tests/monitoring checks its gauges.
    labels.setdefault("eyewright_drift_p_value", {"model"})
    # And these only where live sources are followed.
    shown = {
        "state": "live", "frames": 0, "dropped": 0, "reconnects": 0, "n_tracks": 0,
        "lines": {"door": {"classes": {"dot": {"in": 0, "out": 0}}}},
        "zones": {"room": {"now": 0, "entered": 0, "left": 0}},
    }  # fmt: skip
    for name, _, of, _ in Running.gauges(SimpleNamespace(source=SimpleNamespace(name="a"), shown=lambda: shown)):  # type: ignore[arg-type]
        labels[name] = set(of)
        types[name.removesuffix("_total")] = "counter" if name.endswith("_total") else "gauge"
    panels = {p["title"]: p["targets"] for p in dashboard()["panels"]}
    for title, targets in panels.items():
        assert len({t["refId"] for t in targets}) == len(targets), title
        for target in targets:
            query = target["expr"]
            names = re.findall(r"eyewright_\w+", query)
            assert names, query
            for name in names:
                assert name in labels, f"{title}: the server exposes no {name}"
            common = set.intersection(*(labels[n] for n in names))
            asked = {w.strip() for by in re.findall(r"by \(([^)]*)\)", query) for w in by.split(",")}
            asked |= set(re.findall(r"(\w+)\s*[=!]~?'", query))
            asked |= set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            assert asked <= common, f"{title}: {asked - common} are no labels of {names}"
            assert not re.search(r"eyewright_\w+(\{[^}]*\})? or eyewright_", query), "`or` hides its right side"
            for called in re.findall(r"(?:rate|increase)\((\w+)", query):
                counter = re.sub(r"_(total|bucket)$", "", called)
                assert types[counter] in ("counter", "histogram"), f"{title}: {called} is a {types[counter]}"
    assert [t["expr"] for t in panels["Waiting and running"]] == [
        "eyewright_waiting_requests",
        "eyewright_running_requests",
    ]


def test_tritons_client_speaks_to_it_unchanged(served, finished, picture: bytes) -> None:
    import tritonclient.http as triton

    client = triton.InferenceServerClient(f"{served.host}:{served.port}")
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("shapes")
    assert client.get_model_repository_index() == [{"name": "shapes", "version": "1", "state": "READY", "reason": ""}]
    about = client.get_model_metadata("shapes")
    assert about["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 32, 32, 3]}]
    assert client.get_model_config("shapes")["name"] == "shapes"
    bundle = ew.load_bundle(finished.paths["bundle"])
    pixels, _ = bundle.preparation.batch([ew.read_image(picture)] * 3)
    expected = bundle.raw(pixels)["probabilities"]
    given = triton.InferInput("image", pixels.shape, "UINT8")
    for binary_in in (True, False):
        for binary_out in (True, False):
            given.set_data_from_numpy(pixels, binary_data=binary_in)
            asked = triton.InferRequestedOutput("probabilities", binary_data=binary_out)
            found = client.infer("shapes", [given], outputs=[asked], request_id="7")
            np.testing.assert_allclose(found.as_numpy("probabilities"), expected, atol=1e-5)
            assert found.get_response()["id"] == "7"
    top = client.infer("shapes", [given], outputs=[triton.InferRequestedOutput("probabilities", class_count=2)])
    score, number, label = top.as_numpy("probabilities")[0][0].decode().split(":")
    assert label == bundle.labels.names[int(number)] == bundle.labels.names[int(expected[0].argmax())]
    assert float(score) == pytest.approx(expected[0].max(), abs=1e-5)
    file = triton.InferInput("image", [1], "BYTES")
    file.set_data_from_numpy(np.array([picture], object))
    told = json.loads(client.infer("shapes", [file]).as_numpy("prediction")[0])
    assert told["labels"][0] == label
    client.close()


def test_tritons_client_reads_our_refusals(served) -> None:
    import tritonclient.http as triton
    from tritonclient.utils import InferenceServerException

    client = triton.InferenceServerClient(f"{served.host}:{served.port}")
    wrong = triton.InferInput("image", [1, 4, 4, 3], "UINT8")
    wrong.set_data_from_numpy(np.zeros((1, 4, 4, 3), np.uint8))
    with pytest.raises(InferenceServerException, match="expected shape"):
        client.infer("shapes", [wrong])
    floats = triton.InferInput("image", [1, 32, 32, 3], "FP32")
    floats.set_data_from_numpy(np.zeros((1, 32, 32, 3), np.float32))
    with pytest.raises(InferenceServerException, match="UINT8 or BYTES"):
        client.infer("shapes", [floats])
    with pytest.raises(InferenceServerException, match="no model of that name"):
        client.infer("nothing", [wrong])
    with pytest.raises(InferenceServerException, match="version 1"):
        client.infer("shapes", [wrong], model_version="2")
    client.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"inputs": []}, "one input"),
        ({"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": [""]}]}, "called 'image'"),
        ({"inputs": [{"name": "image", "shape": [1, 32, 32, 3], "datatype": "UINT8", "data": [1]}]}, "whole numbers"),
        ({"inputs": [{"name": "image", "shape": [2], "datatype": "BYTES", "data": ["aGk="]}]}, "2 images"),
        ({"inputs": [{"name": "image", "shape": [-1], "datatype": "BYTES", "data": []}]}, "shape"),
        ({"inputs": [{"name": "image", "shape": [999999999], "datatype": "BYTES", "data": []}]}, "1 to 64"),
        ({"outputs": [{"name": "secret"}]}, "outputs among"),
        ({"parameters": 3}, "parameters"),
    ],
)
def test_tensors_that_are_not_what_they_say_are_refused(served, picture: bytes, change, words: str) -> None:
    text = base64.b64encode(picture).decode()
    whole = {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [text]}]}
    assert served.post("/v2/models/shapes/infer", whole).status == 200
    answer = served.post("/v2/models/shapes/infer", {**whole, **change})
    assert answer.status == 400
    assert words in answer.words


def test_a_lying_binary_tensor_is_refused(served) -> None:
    head = json.dumps(
        {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": 8}}]}
    ).encode()
    body = head + struct.pack("<I", 2**31) + b"abcd"
    answer = served.post("/v2/models/shapes/infer", body, inference_header_content_length=str(len(head)))
    assert (answer.status, "malformed" in answer.words) == (400, True)
    assert served.post("/v2/models/shapes/infer", body, inference_header_content_length="99999").status == 400


def test_hugging_faces_client_reads_the_labels(served, picture: bytes) -> None:
    from huggingface_hub import InferenceClient

    client = InferenceClient(model=f"{served.address}/predict/shapes")
    found = client.image_classification(picture, top_k=2)
    assert [f.label for f in found] == served.post(PREDICT, picture).json["labels"][:2]
    assert all(0 <= f.score <= 1 for f in found)


def test_the_openapi_document_is_one(served) -> None:
    document = served.get("/openapi.json").json
    assert document["openapi"].startswith("3.1")
    for path, item in document["paths"].items():
        for method, operation in item.items():
            named = {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path)), (method, path)


def test_sample_images_come_from_the_bundle_and_can_be_predicted(served) -> None:
    n = served.get("/v1/models").json["models"][0]["samples"]
    assert n >= 3
    for k in range(n):
        image = served.get(f"/v1/models/shapes/samples/{k}")
        assert image.headers["content-type"] == "image/png"
        assert served.post(PREDICT, image.body).status == 200
    beyond = served.get(f"/v1/models/shapes/samples/{n}")
    assert (beyond.status, beyond.json["fix"]) == (404, "count them from 0")
    assert served.get("/v1/models/shapes/samples/-1").status == 404


def test_a_served_report_runs_its_own_scripts_and_no_others(served) -> None:
    answer = served.get("/v1/models/shapes/report")
    policy = answer.headers["content-security-policy"]
    assert "sandbox allow-popups allow-scripts" in policy
    assert "allow-same-origin" not in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2]
    page = answer.body.decode()
    named = re.search(r'Content-Security-Policy" content="[^"]*script-src ([^;"]*)"', page)
    assert named is not None
    assert set(named[1].split()) <= set(policy.partition("script-src ")[2].partition(";")[0].split())


def test_an_unknown_model_is_answered_with_those_that_are_served(served) -> None:  # type: ignore[no-untyped-def]
    answer = served.post("/v1/models/shape/predict", b"x")
    assert answer.status == 404
    assert answer.json["fix"].startswith("use one of: ")
    assert "shapes" in answer.json["fix"]
