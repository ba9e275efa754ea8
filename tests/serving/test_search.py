"""Search over HTTP and on the page: words, images, refinement, thumbnails, and what is refused."""

import base64
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_coloured
from tests.serving.conftest import Served, serving
from tests.serving.test_page import CHROMIUM, browser  # noqa: F401 - a fixture

from eyewright import lifecycle
from eyewright.core.errors import RefusedError, UsageError
from eyewright.imaging import encode_image
from eyewright.lifecycle.indexes import ServedIndexes
from eyewright.retrieval import Row, create_index, open_index
from eyewright.serving.models import load_table


@pytest.fixture(scope="module")
def photos(pairs: Path, paired: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An index of a copy of the images, which tests may change; "sub" has every fourth."""
    root = tmp_path_factory.mktemp("search")
    for k, path in enumerate(sorted(pairs.glob("*.png"))):
        place = root / "photos" / ("sub" if k % 4 == 0 else "") / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    lifecycle.index_folder(root / "photos", model=str(paired.bundle.folder), out=root / "photos.index")
    return root / "photos.index"


@pytest.fixture(scope="module")
def searched(paired: Any, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    cwd = tmp_path_factory.mktemp("served")
    with serving(f"pairs={paired.bundle.folder}", "--index", str(photos), cwd=cwd) as found:
        yield found


def names(answer: Any) -> list[str]:
    assert answer.status == 200, answer.json
    return [hit["path"] for hit in answer.json["hits"]]


def is_colour(path: str, colour: int) -> bool:
    return int(Path(path).stem) % 4 == colour


def test_the_index_is_shown(searched: Served, paired: Any) -> None:
    (one,) = searched.get("/v1/index").json["indexes"]
    assert (one["name"], one["model"], one["images"], one["exact"]) == ("photos", "pairs", 96, True)
    assert searched.get("/v1/index/photos").json == one
    assert searched.get("/v1/index/other").status == 404


def test_words_find_what_the_command_line_finds(searched: Served, photos: Path) -> None:
    answer = searched.post("/v1/search", {"words": "a green cross", "n": 6})
    ours = lifecycle.search(photos, "a green cross", n=6)
    assert names(answer) == [h.row.path for h in ours]
    assert [h["id"] for h in answer.json["hits"]] == [h.id for h in ours]
    assert answer.json["hits"][0]["score"] == pytest.approx(ours[0].score, abs=1e-4)
    assert answer.json["hits"][0]["p"] == pytest.approx(ours[0].p, abs=1e-3)
    assert (answer.json["searched"], answer.json["fits"]) == (96, ours.fits)
    assert sum(is_colour(p, 1) for p in names(answer)) >= 4


def test_words_that_are_cut_are_said(searched: Served) -> None:
    answer = searched.post("/v1/search", {"words": "a green cross " * 140, "n": 1})
    assert answer.status == 200
    assert answer.json["notes"] == []
    many = " ".join(f"word{k}" for k in range(200))
    cut, unknown = searched.post("/v1/search", {"words": many, "n": 1}).json["notes"]
    assert "n-grams, of which the first 256 are read" in cut
    assert unknown.startswith("the model was not trained on the words 'word0', 'word1'")


def test_json_is_taken_under_the_type_that_curl_sends(searched: Served) -> None:
    expected = names(searched.post("/v1/search", {"words": "a green cross", "n": 3}))
    body = b'{"words": "a green cross", "n": 3}'
    for kind in ("application/x-www-form-urlencoded", "text/plain"):
        assert names(searched.post("/v1/search", body, content_type=kind)) == expected


def test_every_way_to_send_an_image_gives_the_same_hits(searched: Served, photos: Path) -> None:
    image = encode_image(draw_coloured(6))
    path = "/v1/search?n=5&index=photos"
    plain = names(searched.post(path, image, content_type="image/png"))
    assert plain[0] == "006.png"
    body = {"image": base64.b64encode(image).decode(), "n": 5}
    assert names(searched.post("/v1/search", body)) == plain
    form = b"\r\n".join([
        b"--xx", b'Content-Disposition: form-data; name="n"', b"", b"5", b"--xx",
        b'Content-Disposition: form-data; name="file"; filename="a.png"', b"", image, b"--xx--", b"",
    ])  # fmt: skip
    assert names(searched.post("/v1/search", form, content_type="multipart/form-data; boundary=xx")) == plain


def test_a_form_may_have_every_field_of_the_document(searched: Served) -> None:
    given = {"index": "photos", "words": "red", "unlike_words": "blue", "like": "1", "unlike": "2", "n": "3",
             "folder": "", "max_p": "1"}  # fmt: skip
    document = searched.get("/openapi.json").json
    schema = document["paths"]["/v1/search"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(schema["properties"]) == {*given, "file"}
    parts = [
        part for k, v in given.items()
        for part in (b"--xx", f'Content-Disposition: form-data; name="{k}"'.encode(), b"", v.encode())
    ]  # fmt: skip
    image = encode_image(draw_coloured(6))
    parts += [b"--xx", b'Content-Disposition: form-data; name="file"; filename="a.png"', b"", image, b"--xx--", b""]
    answer = searched.post("/v1/search", b"\r\n".join(parts), content_type="multipart/form-data; boundary=xx")
    assert answer.status == 200, answer.body
    assert len(answer.json["hits"]) == 3


def test_hits_are_refined_and_kept_to_a_folder(searched: Served) -> None:
    found = searched.post("/v1/search", {"words": "disc", "n": 24}).json["hits"]
    red = next(h for h in found if is_colour(h["path"], 0))
    plain = sum(is_colour(h["path"], 0) for h in found[:8])
    more = searched.post("/v1/search", {"words": "disc", "like": [red["id"]], "n": 8})
    assert sum(is_colour(p, 0) for p in names(more)) > plain
    less = searched.post("/v1/search", {"words": "disc", "unlike": [red["id"]], "n": 8})
    assert red["path"] not in names(less)
    assert sum(is_colour(p, 0) for p in names(less)) <= min(plain, 1)
    other = names(searched.post("/v1/search", {"words": "disc", "unlike_words": "red", "n": 8}))
    assert sum(is_colour(p, 0) for p in other) < 4
    assert all(p.startswith("sub/") for p in names(searched.post("/v1/search?words=disc&folder=sub", b"")))
    few = searched.post("/v1/search", {"words": "a red disc", "max_p": 0.05, "n": 96}).json["hits"]
    assert 0 < len(few) < 96
    assert all(hit["p"] <= 0.05 for hit in few)


def test_thumbnails_are_small_and_only_what_was_indexed(searched: Served, photos: Path) -> None:
    hit = searched.post("/v1/search", {"words": "a yellow square", "n": 1}).json["hits"][0]
    answer = searched.get(hit["image"] + "?side=16")
    assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
    assert max(Image.open(BytesIO(answer.body)).size) == 16
    place = photos.parent / "photos" / hit["path"]
    before = place.read_bytes()
    try:
        place.write_bytes(encode_image(np.zeros((8, 8, 3), np.uint8)))
        changed = searched.get(hit["image"])
        assert (changed.status, changed.json["code"]) == (422, "image_gone")
        assert str(photos.parent) not in changed.body.decode()
        place.unlink()
        assert searched.get(hit["image"]).status == 422
    finally:
        place.write_bytes(before)
    assert searched.get("/v1/index/photos/images/99999").status == 400
    assert searched.get("/v1/index/photos/images/..%2f..%2fetc").status == 404
    assert searched.get("/v1/index/photos/images/1?side=5000").status == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"words": "  "}, 400),
        ({"words": "!", "n": 0}, 400),
        ({"words": "a", "n": 10**6}, 400),
        ({"words": "a", "index": "other"}, 404),
        ({"words": "a", "like": [10**6]}, 400),
        ({"words": "a", "like": list(range(40))}, 400),
        ({"words": "a", "folder": "nowhere"}, 422),
        ({"words": "a" * 3000}, 400),
        ({"words": "a", "colour": "red"}, 400),
        ({"image": base64.b64encode(b"no image").decode()}, 422),
        ({"image": "%%%"}, 400),
    ],
)
def test_what_cannot_be_sought_is_refused_in_one_line(searched: Served, body: dict[str, Any], status: int) -> None:
    answer = searched.post("/v1/search", body)
    assert answer.status == status, answer.json
    assert "\n" not in answer.json["error"]
    declared = searched.get("/openapi.json").json["paths"]["/v1/search"]["post"]["responses"]
    assert str(status) in declared


def test_odd_queries_are_answered(searched: Served) -> None:
    for words in ("🙂", "مرحبا", "x" * 2000, "red\nred"):
        assert len(names(searched.post("/v1/search", {"words": words, "n": 3}))) == 3
    for query in ("words=a&like=1,x", "words=a&n=2.5", "wrods=a"):
        assert searched.post(f"/v1/search?{query}", b"").status == 400


def test_a_changed_index_is_searched_as_it_is_now(searched: Served, photos: Path, paired: Any) -> None:
    fresh = photos.parent / "photos" / "fresh.png"
    fresh.write_bytes(encode_image(draw_coloured(1009)))
    try:
        lifecycle.index_folder(fresh.parent, model=str(paired.bundle.folder), out=photos, update=True)
        assert searched.get("/v1/index/photos").json["images"] == 97
        assert names(searched.post("/v1/search?n=1", fresh.read_bytes(), content_type="image/png")) == ["fresh.png"]
    finally:
        fresh.unlink()
        lifecycle.index_folder(fresh.parent, model=str(paired.bundle.folder), out=photos, update=True)
    assert searched.get("/v1/index/photos").json["images"] == 96


def test_an_index_that_is_replaced_or_removed_under_the_server_is_never_searched_by_the_wrong_model(
    searched: Served, photos: Path
) -> None:
    kept, seen = photos.with_name("kept"), {"words": "a red disc", "n": 1}
    photos.rename(kept)
    try:
        dim = open_index(kept).dim
        other = create_index(photos, model="other", digest="0" * 64, dim=dim)
        other.add(np.eye(dim, dtype=np.float32)[:3], [Row(f"{k}.png") for k in range(3)])
        replaced = searched.post("/v1/search", seen)
        assert (replaced.status, replaced.json["code"]) == (409, "index_model")
        shutil.rmtree(photos)
        gone = searched.post("/v1/search", seen)
        assert (gone.status, gone.json["code"]) == (422, "index_gone")
        # Where it lay is not for clients.
        assert str(photos) not in gone.json["error"]
        assert searched.get("/v1/index").json == {"indexes": []}
    finally:
        shutil.rmtree(photos, ignore_errors=True)
        kept.rename(photos)
    assert len(names(searched.post("/v1/search", seen))) == 1


def test_an_index_of_another_model_is_refused_before_the_server_starts(
    photos: Path, finished: Any, paired: Any, pairs: Path, tmp_path: Path
) -> None:
    served = ServedIndexes([photos, f"again={photos}"])
    assert served.names == ("photos", "again")
    served.check(load_table([f"pairs={paired.bundle.folder}"]))
    with pytest.raises(RefusedError, match="which is not served; served are shapes"):
        served.check(load_table([f"shapes={finished.paths['bundle']}"]))
    with pytest.raises(UsageError, match="two indexes are called"):
        ServedIndexes([photos, photos])
    lifecycle.index_folder(pairs, model=str(finished.paths["bundle"]), out=tmp_path / "shapes.index")
    with pytest.raises(RefusedError, match="not supported for classify bundles"):
        ServedIndexes([tmp_path / "shapes.index"]).check(load_table([f"s={finished.paths['bundle']}"]))


@pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")
def test_the_page_searches_by_words_and_by_image_and_refines(browser: Any, searched: Served, pairs: Path) -> None:  # noqa: F811
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(searched.address)
    page.click("#tab-search")
    page.fill("#search-words", "a blue square")
    page.press("#search-words", "Enter")
    page.wait_for_selector("#search-hits li img")
    first = page.inner_text("#search-hits li:first-child .path")
    assert is_colour(first, 2)
    assert "of 96 images" in page.inner_text("#search-status")
    page.click("#search-hits li:first-child button >> text=Less like")
    page.wait_for_selector(f"#search-hits li:first-child .path:not(:has-text('{first}'))")
    assert "less like" in page.inner_text("#search-terms")
    page.click("#search-terms button")
    page.fill("#search-words", "")
    page.set_input_files("#search-file", pairs / "013.png")
    page.wait_for_selector("#search-hits li:first-child .path:has-text('013.png')")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # The view of single images shows a vector, and takes a caption.
    page.click("#tab-look")
    page.set_input_files("#file", pairs / "013.png")
    page.wait_for_selector("text=vector of 384 numbers")
    page.fill("#rows input", "a green cross")
    page.click("#send-rows")
    page.wait_for_selector("#said:not(:empty)")
    assert "bad" not in (page.get_attribute("#said", "class") or "")
    context.close()
    assert faults == []
