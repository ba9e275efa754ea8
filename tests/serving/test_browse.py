"""The data browser: filters, pictures, edits, and what it refuses; over HTTP and in a browser."""

import csv
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.conftest import write_shapes
from tests.serving.conftest import Served, serving
from tests.serving.test_page import CHROMIUM, browser  # noqa: F401 - a fixture

from eyewright.core.errors import DatasetError, UsageError
from eyewright.core.report import Finding
from eyewright.data import open_dataset
from eyewright.data.edits import read_edits
from eyewright.serving.browser import Editor, Scores, Table
from eyewright.serving.browser.schemas import Filter


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shapes with a copy under two classes and a damaged file, one of them named like code."""
    folder = write_shapes(tmp_path_factory.mktemp("browsed") / "photos", a_class=12)
    (folder / "disc" / "copy.png").write_bytes((folder / "cross" / "000.png").read_bytes())
    (folder / "disc" / '<b>&"x.png').write_bytes(b"\x89PNG\r\n\x1a\nno more")
    return folder


@pytest.fixture(scope="module")
def browsed(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    cwd = tmp_path_factory.mktemp("browse")
    with serving(str(photos), cwd=cwd, verb="browse") as found:
        found.cwd = cwd  # type: ignore[attr-defined]
        end = time.monotonic() + 60
        while found.get("/v1/browse").json["state"] and time.monotonic() < end:
            time.sleep(0.05)
        yield found


def rows(served: Served, query: str = "") -> list[dict[str, Any]]:
    answer = served.get(f"/v1/browse/rows?{query}")
    assert answer.status == 200, answer.body
    return answer.json["rows"]


def test_the_page_knows_what_can_be_filtered_by(browsed: Served) -> None:
    facts = browsed.get("/v1/browse").json
    assert facts["n"] == 38
    assert facts["labels"] == [{"name": "cross", "n": 12}, {"name": "disc", "n": 14}, {"name": "square", "n": 12}]
    found = {f["name"]: f["n"] for f in facts["findings"]}
    assert found["conflicting_labels"] == 2
    assert found["unreadable"] == 1
    assert facts["points"] == "appearance of the images"
    assert facts["edits"]["choices"] == ["cross", "disc", "square"]
    assert facts["problems"] == []


def test_filters_keep_what_they_say(browsed: Served) -> None:
    assert len(rows(browsed, "label=square")) == 12
    assert {r["id"] for r in rows(browsed, "finding=conflicting_labels")} == {"cross/000.png", "disc/copy.png"}
    assert [r["id"] for r in rows(browsed, "words=SQUARE%2000&sort=path")] == [f"square/{i:03d}.png" for i in range(10)]
    (row,) = rows(browsed, "label=disc&words=copy")
    assert {r["id"] for r in rows(browsed, f"group={row['i']}")} == {"cross/000.png", "disc/copy.png"}
    paged = rows(browsed, "offset=10&n=5&sort=path")
    assert [r["id"] for r in paged] == sorted(r["id"] for r in rows(browsed))[10:15]
    numbers = np.frombuffer(browsed.get("/v1/browse/numbers?label=square").body, "<u4")
    assert numbers.tolist() == [r["i"] for r in rows(browsed, "label=square")]


def test_a_rectangle_of_the_scatter_plot_is_a_filter(browsed: Served) -> None:
    data = browsed.get("/v1/browse/points").body
    n = len(data) // 6
    x, y, classes = np.frombuffer(data, "<u2").reshape(3, n)
    assert n == 38
    assert set(classes.tolist()) == {0, 1, 2}
    kept = {r["i"] for r in rows(browsed, "x0=0&x1=0.5&y0=0.25&y1=1")}
    inside = np.flatnonzero((x / 65534 <= 0.5) & (y / 65534 >= 0.25))
    assert kept == set(inside.tolist())
    assert 0 < len(kept) < n


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/v1/browse/rows?label=sqare", 400, "did you mean 'square'"),
        ("/v1/browse/rows?n=100000", 400, "expected n as a whole number in [1, 1000]"),
        ("/v1/browse/rows?answer=wrong", 400, "there are no predictions"),
        ("/v1/browse/rows?nothing=1", 400, "expected options among"),
        ("/v1/browse/rows?x0=0.5", 400, "x0, x1, y0, y1"),
        ("/v1/browse/rows?low=nan", 400, "expected low"),
        ("/v1/browse/images/38", 404, "no such image"),
        ("/v1/browse/images/-1", 404, "no such image"),
        ("/v1/browse/images/..%2f..%2fetc%2fpasswd", 404, "no such image"),
        ("/v1/browse/images/0?side=100000", 400, "expected side"),
        ("/page/..%2fapp.py", 404, "nothing at this address"),
        ("/etc/passwd", 404, "nothing at this address"),
    ],
)
def test_what_cannot_be_asked_is_refused(browsed: Served, path: str, status: int, said: str) -> None:
    answer = browsed.get(path)
    assert (answer.status, said in answer.words) == (status, True), answer.body


def test_other_pages_and_other_names_are_refused(browsed: Served) -> None:
    assert browsed.get("/v1/browse", Host="evil.example").status == 403
    assert browsed.get("/v1/browse", Origin="http://evil.example").status == 403
    assert browsed.post("/v1/browse/undo", b"", Origin="http://evil.example").status == 403
    assert browsed.post("/v1/browse/edits", b"rows=1", content_type="application/x-www-form-urlencoded").status == 415
    assert browsed.get("/v1/browse/edits").status == 405
    assert "default-src 'none'" in browsed.get("/").headers["content-security-policy"]


def test_pictures_are_small_and_hold_nothing_but_pixels(browsed: Served) -> None:
    answer = browsed.get("/v1/browse/images/3?side=160&marks=false")
    image = Image.open(io.BytesIO(answer.body))
    assert (image.format, image.size) == ("JPEG", (160, 160))
    assert not image.getexif()
    tag = answer.headers["etag"]
    assert browsed.get("/v1/browse/images/3?side=160&marks=false", If_None_Match=tag).status == 304
    (bad,) = rows(browsed, "finding=unreadable")
    answer = browsed.get(f"/v1/browse/images/{bad['i']}")
    assert answer.status == 422
    assert "/" not in answer.json["error"].replace(bad["id"], "")


def test_edits_are_in_the_file_at_once_and_can_be_undone(browsed: Served, photos: Path) -> None:
    path = browsed.cwd / "photos-edits.csv"  # type: ignore[attr-defined]
    (row,) = rows(browsed, "words=cross/003")
    done = browsed.post("/v1/browse/edits", {"rows": [row["i"]], "action": "relabel", "label": "disc"}).json
    assert done["changed"] == 1
    (edit,) = read_edits(path)
    assert (edit.id, edit.action, edit.label, edit.was) == ("cross/003.png", "relabel", "disc", "cross")
    assert open_dataset(photos, edits=path).counts()["disc"] == 15
    assert rows(browsed, "edit=yes")[0]["edit"] == {"action": "relabel", "label": "disc"}
    several = [r["i"] for r in rows(browsed, "label=square")][:3]
    browsed.post("/v1/browse/edits", {"rows": [*several, several[0]], "action": "leave_out"})
    assert len(read_edits(path)) == 4
    assert browsed.post("/v1/browse/undo", {}).json["rows"] == several
    assert read_edits(path) == (edit,)
    # The label that it has is no edit.
    browsed.post("/v1/browse/edits", {"rows": [row["i"]], "action": "relabel", "label": "cross"})
    assert read_edits(path) == ()
    for content, said in (
        ({"rows": [0], "action": "relabel", "label": "disk"}, "did you mean 'disc'"),
        ({"rows": [99], "action": "leave_out"}, "expected an image from 0 to 37"),
        ({"rows": [], "action": "leave_out"}, "length"),
        ({"rows": [0], "action": "remove"}, "remove"),
        ({"rows": list(range(38)), "action": "leave_out"}, "every image"),
    ):
        answer = browsed.post("/v1/browse/edits", content)
        assert answer.status in (400, 422), answer.body
        assert said in answer.words
    assert read_edits(path) == ()


def test_a_selection_is_exported_as_a_list_that_a_spreadsheet_shows(browsed: Served) -> None:
    chosen = [r["i"] for r in rows(browsed, "finding=any&sort=path")]
    answer = browsed.post("/v1/browse/list", {"rows": chosen})
    assert answer.headers["content-type"].startswith("text/csv")
    listed = list(csv.DictReader(io.StringIO(answer.body.decode())))
    assert [r["path"] for r in listed] == sorted(r["path"] for r in listed)
    assert {r["label"] for r in listed} == {"cross", "disc"}
    by_path = {r["path"]: r for r in listed}
    assert by_path["cross/000.png"]["findings"] == "conflicting_labels"
    assert by_path["cross/000.png"]["group"] == by_path["disc/copy.png"]["group"]


def test_beyond_this_machine_a_token_is_needed(photos: Path, tmp_path: Path) -> None:
    token = {"EYEWRIGHT_TOKEN": "secret-token"}
    with serving(
        str(photos), "--no-check", "--host", "0.0.0.0", cwd=tmp_path, verb="browse", environment=token
    ) as found:
        found.host = "127.0.0.1"
        assert found.get("/v1/browse").status == 401
        assert found.get("/v1/browse/images/0").status == 401
        assert found.get("/v1/browse", Authorization="Bearer secret-token").status == 200
        assert found.get("/").status == 200
        assert found.stop() == 0
    from eyewright.cli.program import main

    assert main(["browse", str(photos), "--host", "0.0.0.0", "--port", "0"]) == 2


def test_an_edit_file_of_other_data_is_refused_at_the_start(photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "edits.csv"
    path.write_text("id,action,label,was\nelsewhere.png,leave_out,,cat\n")
    with pytest.raises(DatasetError, match="does not hold"):
        Editor(open_dataset(photos), path)
    path.write_text("id,action,label,was\ncross/001.png,leave_out,,cross\n")
    assert Editor(open_dataset(photos), path).facts()["n"] == 1


def test_scores_filter_and_sort(photos: Path) -> None:
    dataset = open_dataset(photos)
    table, n = Table(dataset), len(dataset)
    values = np.where(np.arange(n) % 4 == 0, 0.0, 1.0)
    values[5] = np.nan
    confidence = np.linspace(0.5, 1, n)
    rank = np.lexsort((-confidence, np.nan_to_num(values, nan=2.0))).argsort()
    predicted = ["disc" if i % 2 else "cross" for i in range(n)]
    table.add_scores(Scores("net", values, rank, predicted, confidence))
    assert table.rows(Filter(answer="wrong"), {}).tolist() == list(range(0, n, 4))
    assert table.rows(Filter(answer="none"), {}).tolist() == [5]
    assert table.rows(Filter(predicted="disc", answer="right"), {}).tolist() == [i for i in range(1, n, 2) if i != 5]
    # Of the mistakes the one of highest confidence comes first.
    assert table.rows(Filter(sort="worst"), {})[:2].tolist() == [n - 2 - (n - 2) % 4, n - 6 - (n - 2) % 4]
    assert table.rows(Filter(high=0.5), {}).tolist() == list(range(0, n, 4))
    facts = table.facts()
    assert {a["name"]: a["n"] for a in facts["answers"]} == {"wrong": 10, "right": n - 11, "none": 1}
    assert table.row(0)["wrong"] is True
    assert "score" not in table.row(5)
    with pytest.raises(UsageError, match="the groups are not known yet"):
        table.rows(Filter(group=0), {})


def test_findings_about_masks_and_whole_data_are_placed(photos: Path) -> None:
    dataset = open_dataset(photos)
    table = Table(dataset)
    first = dataset.samples[0].id
    found = [Finding("imbalance", "too few", "more"), Finding("tiny", "small", "crop", first, severity="note")]
    table.add_findings(found, np.arange(len(dataset)))
    assert table.rows(Filter(finding="any"), {}).tolist() == [0]
    assert table.details(0)["found"][0]["code"] == "tiny"
    assert not table.facts()["grouped"]


@pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")
def test_labels_are_corrected_with_the_keyboard_alone(browser: Any, browsed: Served) -> None:  # noqa: F811
    context = browser.new_context(viewport={"width": 1100, "height": 800})
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    page.goto(browsed.address)
    page.wait_for_selector(".cell img[src]")
    page.focus("#grid")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowRight")
    page.wait_for_selector("#selected:has-text('2 selected')")
    page.keyboard.press("3")
    page.wait_for_selector("#status:has-text('2 images labelled square')")
    current = page.get_attribute("#grid", "aria-activedescendant")
    assert "cross/002.png, label cross" in page.get_attribute(f"#{current} img", "alt")
    assert "relabelled square" in page.get_attribute(f"#{current} img", "alt")
    page.keyboard.press("Control+z")
    page.wait_for_selector("#status:has-text('was undone')")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    page.wait_for_selector("#details:visible")
    page.select_option("select[name=finding]", "unreadable")
    page.wait_for_selector("#total:has-text('1 of 38 images')")
    page.wait_for_selector(".cell .frame.none")
    # A name that looks like code is text.
    assert '<b>&"x.png' in page.inner_text(".cell .two")
    page.click("#clear")
    page.wait_for_selector("#total:has-text('38 images')")
    page.focus("#plot")
    page.keyboard.press("Enter")
    page.wait_for_selector("#total:has-text(' of 38 images')")
    page.keyboard.press("Delete")
    page.wait_for_selector("#total:text-is('38 images')")
    with page.expect_download() as saved:
        page.focus("#grid")
        page.keyboard.press("Control+a")
        page.click("#export")
    assert saved.value.path().read_text().count("\n") == 39
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, input, select, canvas, [role=listbox], [role=option]')].filter(e => "
        "e.offsetParent && !(e.getAttribute('aria-label') || e.textContent.trim() || e.closest('label'))).length"
    )
    assert unnamed == 0
    context.close()
    small = browser.new_context(viewport={"width": 390, "height": 800})
    page = small.new_page()
    page.goto(browsed.address)
    page.wait_for_selector(".cell img[src]")
    page.click(".cell >> nth=1")
    page.wait_for_selector("#details:visible")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    small.close()
    assert [f for f in faults if "422" not in f] == []


def test_the_verb_prints_one_object_and_saves_where_it_says(photos: Path, tmp_path: Path) -> None:
    with serving(str(photos), "--no-check", "--edits", "mine.csv", cwd=tmp_path, verb="browse") as found:
        assert found.post("/v1/browse/edits", {"rows": [0], "action": "leave_out"}).status == 200
        assert found.get("/v1/browse").json["findings"] == []
        assert json.loads(found.get("/v1/browse/images/0/facts").body)["edit"]["action"] == "leave_out"
    assert len(read_edits(tmp_path / "mine.csv")) == 1
