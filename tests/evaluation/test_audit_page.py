import json
from pathlib import Path

import numpy as np
import pytest
from tests.evaluation.scripts import scripts_are_named

from eyewright.core.report import Finding
from eyewright.data import Group, Grouping, Proposal, audit_dataset, open_dataset, scan_dataset
from eyewright.evaluation import audit_page
from eyewright.evaluation.audit_page import write_audit
from eyewright.imaging import encode_image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in ("a<b", "c"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for i in range(12):
            image = np.kron(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8), np.ones((8, 8, 1), np.uint8))
            (tmp_path / "data" / name / f"{i}.png").write_bytes(encode_image(image))
    (tmp_path / "data" / "c" / "bad.png").write_bytes(b"")
    return tmp_path / "data"


def page(photos: Path, out: Path, grouping: Grouping) -> tuple[str, dict[str, object]]:
    data = open_dataset(photos)
    scan = scan_dataset(data, quiet=True)
    write_audit(out, data, scan, grouping, audit_dataset(data, scan, grouping))
    return (out / "doctor.html").read_text("utf-8"), json.loads((out / "findings.json").read_text("utf-8"))


def test_the_page_shows_groups_and_proposals_as_pictures(photos: Path, tmp_path: Path) -> None:
    proposal = Proposal("--group-by '^(.)'", "images of one letter are alike", 2, 6, 0.002, ((6, 7),))
    grouping = Grouping(groups=(Group("copy", (0, 1, 2), "resized"),), proposals=(proposal,))
    html, found = page(photos, tmp_path / "out", grouping)
    assert html.count("data:image/webp") == 5
    assert "resized" in html
    assert "images of one letter are alike" in html
    assert "--group-by &#39;^(.)&#39;" in html
    assert "bad.png" in html
    assert found["counts"] == {"error": 1, "warning": 2}
    assert {f["code"] for f in found["findings"]} == {"unreadable", "near_duplicate", "proposal"}  # type: ignore[attr-defined]


def test_the_page_asks_no_other_machine_and_escapes_names(photos: Path, tmp_path: Path) -> None:
    html, _ = page(photos, tmp_path / "out", Grouping(groups=(Group("copy", (0, 1), "resized"),)))
    assert scripts_are_named(html) == 1
    assert "http://" not in html
    assert "https://" not in html
    assert "a&lt;b" in html
    assert "a<b" not in html


def test_the_page_is_bounded_however_many_groups_there_are(photos: Path, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(audit_page, "_PICTURES", 3)
    groups = tuple(Group("copy", (i, i + 1), "resized") for i in range(0, 20, 2))
    html, _ = page(photos, tmp_path / "out", Grouping(groups=groups))
    assert html.count("data:image/webp") == 3
    monkeypatch.setattr(audit_page, "_PICTURES", 300)
    monkeypatch.setattr(audit_page, "_BYTES", 1)
    html, _ = page(photos, tmp_path / "out", Grouping(groups=groups))
    assert html.count("data:image/webp") == 1


def test_of_many_findings_the_page_lists_some_and_the_file_all(photos: Path, tmp_path: Path) -> None:
    data = open_dataset(photos)
    scan = scan_dataset(data, quiet=True)
    many = [Finding("unreadable", f"damaged {k}", "remove it", f"f{k}.png", severity="error") for k in range(300)]
    write_audit(tmp_path / "out", data, scan, Grouping(), many)
    assert len(json.loads((tmp_path / "out" / "findings.json").read_text())["findings"]) == 300
    assert "40 of 300 are shown" in (tmp_path / "out" / "doctor.html").read_text()


def test_the_page_is_utf_8_whatever_bytes_a_name_holds(photos: Path, tmp_path: Path) -> None:
    data = open_dataset(photos)
    found = [Finding("unreadable", "damaged 'b\udcff.jpg'", "remove it", "b\udcff.jpg", severity="error")]
    write_audit(tmp_path / "out", data, scan_dataset(data, quiet=True), Grouping(), found)
    assert "b\ufffd.jpg" in (tmp_path / "out" / "doctor.html").read_bytes().decode("utf-8")


@pytest.mark.parametrize(("codes", "shown"), [(("blank",), 8), (("blank", "truncated", "mask_full", "box_huge"), 24)])
def test_the_worst_images_of_every_kind_are_shown_a_third_of_the_places_each(
    photos: Path, tmp_path: Path, codes: tuple[str, ...], shown: int
) -> None:
    data = open_dataset(photos)
    names = [s.id for s in data.samples if "bad" not in s.id]
    found = [Finding(code, f"{code} {n}", "look at it", n, severity="warning") for code in codes for n in names]
    write_audit(tmp_path / "out", data, scan_dataset(data, quiet=True), Grouping(), found)
    html = (tmp_path / "out" / "doctor.html").read_text("utf-8")
    assert html.count("data:image/webp") == shown


@pytest.mark.parametrize(("extra", "shown"), [(0, "{id}"), (1, "…{end}")])
def test_long_names_keep_their_end_and_short_ones_everything(
    photos: Path, tmp_path: Path, extra: int, shown: str
) -> None:
    # With the folder 32 characters, and one more.
    name = "c/" + "s" * (26 + extra) + ".png"
    (photos / "c" / "0.png").rename(photos / name)
    data = open_dataset(photos)
    at = min([s.id for s in data.samples].index(name), len(data) - 2)
    html, _ = page(photos, tmp_path / "out", Grouping(groups=(Group("copy", (at, at + 1), "resized"),)))
    assert f">{shown.format(id=name, end=name[-31:])}</figcaption>" in html
