"""Index and search of real files by a small CLIP: what is found is what transformers' embeddings say."""

import csv
import hashlib
import importlib.util
import io
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eyewright as ew
from eyewright.cli import main
from eyewright.core.errors import CheckpointError, InputError, RefusedError, UsageError
from eyewright.core.spreadsheets import from_cell
from eyewright.imaging import write_image
from eyewright.nets.texts import open_published
from eyewright.retrieval import Row, create_index, open_index


def _checkpoints() -> Any:
    place = Path(__file__).parents[1] / "nets" / "checkpoints.py"
    spec = importlib.util.spec_from_file_location("searching_checkpoints", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    made, root = _checkpoints(), tmp_path_factory.mktemp("models")
    return {kind: f"hf:{made.write_published(root / kind, kind)}" for kind in ("clip", "vit", "bert")}


@pytest.fixture
def photos(shapes: Path, tmp_path: Path) -> Path:
    shutil.copytree(shapes, tmp_path / "photos")
    return tmp_path / "photos"


def paths(hits: Any) -> list[str]:
    return [h.row.path for h in hits]


def test_words_and_images_find_what_the_embeddings_say(photos: Path, models, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    done = ew.index_folder(photos, model=models["clip"], out=tmp_path / "x.index")
    assert (done.n, done.added, done.findings) == (72, 72, ())
    net = open_published(models["clip"])
    files = sorted(str(p.relative_to(photos)) for p in photos.rglob("*.png"))
    seen = net.image_features([ew.read_image(photos / f) for f in files]).astype(np.float64)
    seen /= np.linalg.norm(seen, axis=1, keepdims=True)
    said = net.text_features(["a red car"])[0].astype(np.float64)
    scores = seen @ said / np.linalg.norm(said)
    found = ew.search(tmp_path / "x.index", "a red car", n=72)
    # The index keeps half precision, which may exchange images that are closer than that.
    np.testing.assert_allclose([h.score for h in found], [scores[files.index(p)] for p in paths(found)], atol=1e-3)
    assert sorted(paths(found)) == files
    assert np.all(np.diff([scores[files.index(p)] for p in paths(found)]) < 2e-3)
    same = ew.search(tmp_path / "x.index", photos / "disc/003.png", n=1)
    assert paths(same) == ["disc/003.png"]
    assert same[0].score == pytest.approx(1, abs=1e-3)
    below = ew.search(tmp_path / "x.index", "a red car", n=5, folder="cross")
    assert paths(below) == [p for p in paths(found) if p.startswith("cross/")][:5]
    away = ew.search(tmp_path / "x.index", photos / "disc/003.png", n=72, unlike=[photos / "disc/004.png"])
    assert paths(away) != paths(ew.search(tmp_path / "x.index", photos / "disc/003.png", n=72))
    both = ew.search(tmp_path / "x.index", "a red car", like=[photos / "disc/003.png"], n=3)
    mixed = said / np.linalg.norm(said) + seen[files.index("disc/003.png")]
    assert both[0].row.path == files[int((seen @ mixed).argmax())]


def test_an_update_finds_what_is_new_changed_moved_and_gone(photos: Path, models, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "x.index"
    (photos / "broken.png").write_bytes(b"no image")
    done = ew.index_folder(photos, model=models["clip"], out=out)
    assert [f.path for f in done.findings] == ["broken.png"]
    before = {row.path: (id, row) for id, row in open_index(out).rows()}
    assert "broken.png" not in before
    with pytest.raises(UsageError, match="--update"):
        ew.index_folder(photos, model=models["clip"], out=out)
    again = ew.index_folder(photos, model=models["clip"], out=out, update=True)
    assert (again.added, again.removed, again.moved, again.unchanged) == (0, 0, 0, 72)
    (photos / "new").mkdir()
    os.rename(photos / "disc/000.png", photos / "new/moved.png")
    shutil.copy(photos / "disc/001.png", photos / "new/copy.png")
    shutil.copy(photos / "cross/005.png", photos / "disc/002.png")
    ew.write_image(photos / "disc/003.png", np.random.default_rng(9).integers(0, 256, (32, 32, 3), np.uint8))
    (photos / "cross/000.png").unlink()
    (photos / "cross/001.png").write_bytes(b"no image any more")
    done = ew.index_folder(photos, model=models["clip"], out=out, update=True)
    # Added: a copy of a known file and two changed ones; gone: one that was removed.
    assert (done.n, done.moved, done.removed, done.added) == (71, 1, 1, 3)
    assert {f.path for f in done.findings} == {"broken.png", "cross/001.png"}
    after = {row.path: (id, row) for id, row in open_index(out).rows()}
    on_disk = {str(p.relative_to(photos)) for p in photos.rglob("*.png")}
    assert set(after) == on_disk - {"broken.png", "cross/001.png"}
    index = open_index(out)
    vector = {name: index.vectors([id])[0] for name, (id, _) in after.items()}
    assert np.array_equal(vector["new/copy.png"], vector["disc/001.png"])
    assert np.array_equal(vector["disc/002.png"], vector["cross/005.png"])
    assert (after["new/moved.png"][1].height, after["new/moved.png"][1].width) == (32, 32)
    assert paths(ew.search(out, photos / "disc/003.png", n=1)) == ["disc/003.png"]
    # As if it were made anew.
    ew.index_folder(photos, model=models["clip"], out=tmp_path / "y.index")
    for query in ("a red car", photos / "new/moved.png"):
        one, other = (ew.search(place, query, n=71) for place in (out, tmp_path / "y.index"))
        np.testing.assert_allclose([h.score for h in one], [h.score for h in other], atol=1e-3)


def test_p_values_in_a_folder_are_measured_in_it(photos: Path, models, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    ew.index_folder(photos, model=models["clip"], out=tmp_path / "x.index")
    parent = Path(paths(ew.search(tmp_path / "x.index", "a red car", n=1))[0]).parts[0]
    below = sum(1 for p in (photos / parent).rglob("*.png"))
    inside = ew.search(tmp_path / "x.index", "a red car", n=5, folder=parent)
    # By hand: fewer than 50 images say nothing, whatever is in the other folders.
    assert below < 50
    assert (inside.searched, inside.reference) == (below, below)
    assert [h.p for h in inside] == [None] * 5
    whole = ew.search(tmp_path / "x.index", "a red car", n=72)
    assert whole.reference == 72
    assert all(h.p is not None and h.p >= 1 / 73 for h in whole)
    with pytest.raises(UsageError, match=r"at least 0\.014"):
        ew.search(tmp_path / "x.index", "a red car", max_p=0.001)


def test_hits_copies_and_labels_are_written_as_csv_and_json_lines(photos: Path, models, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    index = tmp_path / "x.index"
    (photos / "=1+1.png").write_bytes(next(photos.rglob("*.png")).read_bytes())
    ew.index_folder(photos, model=models["clip"], out=index)

    def told(*more: str) -> dict[str, Any]:
        assert main(["search", str(index), *more, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    hits = told("a red car", "-n", "73", "--out", str(tmp_path / "to" / "hits.csv"))
    rows = list(csv.DictReader(io.StringIO((tmp_path / "to" / "hits.csv").read_text())))
    assert [from_cell(r["path"]) for r in rows] == [h["path"] for h in hits["hits"]]
    assert [float(r["p"]) for r in rows] == [h["p"] for h in hits["hits"]]
    assert "'=1+1.png" in {r["path"] for r in rows}
    assert hits["out"]["hits"] == str(tmp_path / "to" / "hits.csv")
    told("a red car", "-n", "3", "--out", str(tmp_path / "hits.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "hits.jsonl").read_text().splitlines()]
    assert [(one["rank"], one["path"]) for one in lines] == [(k + 1, hits["hits"][k]["path"]) for k in range(3)]
    if importlib.util.find_spec("pyarrow") is not None:
        from pyarrow import parquet

        told("a red car", "-n", "3", "--out", str(tmp_path / "hits.parquet"))
        table = parquet.read_table(tmp_path / "hits.parquet").to_pylist()
        assert table == [{k: one[k] for k in ("rank", "id", "path", "score", "p")} for one in lines]
    groups = told("--duplicates", "--out", str(tmp_path / "copies.csv"))["groups"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "copies.csv").read_text())))
    assert len(rows) == sum(len(g["paths"]) for g in groups) > 0
    labels = told("--labels", "a car,a house", "--out", str(tmp_path / "labels.csv"))["labels"]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "labels.csv").read_text())))
    assert [r["label"] for r in rows] == [one["label"] for one in labels]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["a car", "--out", "{index}/hits.csv"], "outside of the index"),
        (["a car", "--out", "hits.txt"], "ends with .csv, .jsonl or .parquet"),
        (["a car", "--labels", "a,b"], "found 2 of them"),
        ([], "found none of them"),
        (["--labels", "a,b", "-n", "5"], "-n is not supported with --labels"),
        (["--duplicates", "--max-p", "0.5"], "--max-p is not supported with --duplicates"),
        (["a car", "--min", "0.5"], "--min is not supported in a search"),
    ],
)
def test_options_of_search_that_do_nothing_are_refused(
    photos: Path, models, tmp_path: Path, capsys, more: list[str], said: str
) -> None:  # type: ignore[no-untyped-def]
    index = tmp_path / "x.index"
    create_index(index, model="hf:nowhere", digest="1", dim=4)
    assert main(["search", str(index), *(m.format(index=index) for m in more)]) == 2
    assert said in capsys.readouterr().err


def test_near_copies_are_grouped_and_the_largest_is_kept(photos: Path, models, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    shutil.copy(photos / "disc/001.png", photos / "same.png")
    ew.index_folder(photos, model=models["clip"], out=tmp_path / "x.index")
    groups, findings = ew.find_duplicates(tmp_path / "x.index", by="embedding", least=0.999)
    assert findings == ()
    group = next(g for g in groups if "same.png" in {row.path for _, row in g.members})
    assert {"same.png", "disc/001.png"} <= {row.path for _, row in group.members}
    index = open_index(tmp_path / "x.index")
    for g in groups:
        vectors = index.vectors([id for id, _ in g.members])
        assert (vectors @ vectors.T).min() >= 0.998
        assert g.best == max(g.members, key=lambda m: (m[1].height * m[1].width, m[1].bytes, -m[0]))[0]


def _waves(rng: np.random.Generator) -> np.ndarray:
    """A picture of smooth structure, uint8 (96, 128, 3)."""
    y, x = np.mgrid[0:96, 0:128] / 32
    parts = (np.sin(rng.uniform(1, 6) * x + rng.uniform(1, 6) * y + rng.uniform(0, 6))[..., None] for _ in range(7))
    image = sum(part * rng.uniform(0, 1, 3) for part in parts)
    return np.rint(255 * (image - image.min()) / np.ptp(image)).astype(np.uint8)


def test_copies_are_found_by_their_pixels_and_look_alikes_are_none(models, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder, rng = tmp_path / "photos", np.random.default_rng(0)
    folder.mkdir()
    for k in range(40):
        image = _waves(rng)
        ew.write_image(folder / f"{k:02d}.png", image)
        if k < 5:
            ew.write_image(folder / f"{k:02d}-mirrored.png", np.ascontiguousarray(image[:, ::-1]))
            ew.write_image(folder / f"{k:02d}-cropped.png", np.ascontiguousarray(image[3:93, 4:124]))
            ew.write_image(folder / f"{k:02d}-small.jpg", np.ascontiguousarray(image[::2, ::2]))
    ew.index_folder(folder, model=models["clip"], out=tmp_path / "x.index")
    groups, findings = ew.find_duplicates(tmp_path / "x.index")
    found = sorted({row.path for _, row in g.members} for g in groups)
    assert findings == ()
    assert len(groups) >= 5
    assert all(len({path[:2] for path in group}) == 1 for group in found), "no two different pictures"
    assert sum(map(len, found)) >= 18, "of the 20 copies and their originals"
    for g in groups:
        assert "small" not in dict(g.members)[g.best].path
    (folder / "07.png").unlink()
    _, findings = ew.find_duplicates(tmp_path / "x.index")
    assert [f.path for f in findings] == ["07.png"]
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="none of the indexed files"):
        ew.find_duplicates(tmp_path / "x.index")


def test_one_drawing_in_two_colours_is_no_copy(models, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "flat"
    folder.mkdir()
    # Squares of emoji; what is alike is measured against other pictures.
    colours = {"red": (221, 46, 68), "brown": (193, 105, 79), "green": (120, 177, 89), "black": (49, 55, 61)}
    rng = np.random.default_rng(0)
    for name, colour in colours.items():
        image = np.full((72, 72, 3), 255, np.uint8)
        image[8:64, 8:64] = colour
        write_image(folder / f"{name}.png", image)
        write_image(folder / f"{name}-darker.png", (image * 0.95).astype(np.uint8))
    for k in range(40):
        write_image(folder / f"{k}.png", _waves(rng))
    ew.index_folder(folder, model=models["clip"], out=tmp_path / "x.index")
    groups, _ = ew.find_duplicates(tmp_path / "x.index")
    for group in groups:
        assert len({row.path.split("-")[0].split(".")[0] for _, row in group.members}) == 1
    assert len(groups) == 4


def test_labels_are_those_of_transformers(photos: Path, models, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import torch
    import transformers as hf

    ew.index_folder(photos / "disc", model=models["clip"], out=tmp_path / "x.index")
    labels = ["a red car", "the sea", "something else"]
    found = ew.label_images(tmp_path / "x.index", labels)
    folder = models["clip"].removeprefix("hf:")
    model, tokenizer = hf.CLIPModel.from_pretrained(folder).eval(), hf.AutoTokenizer.from_pretrained(folder)
    processor = hf.AutoImageProcessor.from_pretrained(folder, backend="pil")
    image = ew.read_image(photos / "disc" / found[3].path)
    inputs = tokenizer(labels, return_tensors="pt", padding=True)
    with torch.inference_mode():
        out = model(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"],
            **processor(images=image, return_tensors="pt"),
        )  # fmt: skip
    expected = out.logits_per_image.softmax(-1)[0].numpy()
    np.testing.assert_allclose(list(found[3].probabilities.values()), expected, atol=0.01)
    with pytest.raises(UsageError, match="two or more different labels"):
        ew.label_images(tmp_path / "x.index", ["a", "a"])


def test_a_bundle_makes_an_index_of_images(photos: Path, finished, models, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    bundle = str(finished.paths["bundle"])
    ew.index_folder(photos, model=bundle, out=tmp_path / "x.index")
    hits = ew.search(tmp_path / "x.index", photos / "disc/003.png", n=10)
    assert hits[0].row.path == "disc/003.png"
    assert sum(p.startswith("disc/") for p in paths(hits)) >= 7, "a net that knows discs finds discs"
    with pytest.raises(UsageError, match="reads images only, and there is no file 'a red car'"):
        ew.search(tmp_path / "x.index", "a red car")
    with pytest.raises(RefusedError, match="the index was made with"):
        ew.search(tmp_path / "x.index", photos / "disc/003.png", model=models["vit"])
    with pytest.raises(RefusedError, match="the index was made with"):
        ew.index_folder(photos, model=models["vit"], out=tmp_path / "x.index", update=True)
    with pytest.raises(UsageError, match="reads images only, found labels"):
        ew.label_images(tmp_path / "x.index", ["a", "b"])


def test_an_update_from_a_folder_without_its_images_changes_nothing(photos: Path, models, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A disk that is not mounted, or the wrong folder, does not empty an index."""
    out, other, moved = tmp_path / "x.index", tmp_path / "other", tmp_path / "moved"
    ew.index_folder(photos, model=models["vit"], out=out)
    other.mkdir()
    for _ in range(2):
        with pytest.raises(RefusedError, match="none of its 72"):
            ew.index_folder(other, model=models["vit"], out=out, update=True)
        # The first time it is empty, then it has an image that the index does not know.
        write_image(other / "new.png", np.full((9, 9, 3), 7, np.uint8))
    assert len(open_index(out)) == 72
    # What was moved as a whole is found by its content.
    shutil.copytree(photos, moved / "deeper")
    done = ew.index_folder(moved, model=models["vit"], out=out, update=True)
    assert (done.n, done.added, done.moved, done.removed) == (72, 0, 72, 0)


def test_an_update_that_loses_more_than_half_is_refused_unless_forced(photos: Path, models, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A disk that is mounted in part: some of the images are there."""
    out = tmp_path / "x.index"
    ew.index_folder(photos, model=models["vit"], out=out)
    files = sorted(photos.rglob("*.png"))
    for path in files[:36]:
        path.unlink()
    # By hand: half of 72 is not more than half.
    assert ew.index_folder(photos, model=models["vit"], out=out, update=True).removed == 36
    for path in files[36:55]:
        path.unlink()
    # 17 of 36 are left; moving those loses no more.
    (photos / "deep").mkdir()
    for path in files[55:60]:
        path.rename(photos / "deep" / path.name)
    with pytest.raises(RefusedError, match="found 17 of its 36"):
        ew.index_folder(photos, model=models["vit"], out=out, update=True)
    assert len(open_index(out)) == 36
    assert main(["index", str(photos), "--model", models["vit"], "--out", str(out), "--update", "--force"]) == 0
    assert len(open_index(out)) == 17
    for path in photos.rglob("*.png"):
        path.unlink()
    with pytest.raises(RefusedError, match="found none of its 17"):
        ew.index_folder(photos, model=models["vit"], out=out, update=True)
    assert ew.index_folder(photos, model=models["vit"], out=out, update=True, force=True).n == 0


def test_a_linked_folder_that_leads_out_is_a_finding_and_no_image_of_it_is_served(
    photos: Path, models, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    from eyewright.lifecycle.indexes import ServedIndexes

    secret = tmp_path / "secret"
    secret.mkdir()
    write_image(secret / "private.png", np.full((20, 20, 3), 9, np.uint8))
    (photos / "out").symlink_to(secret)
    (photos / "one.png").symlink_to(secret / "private.png")
    done = ew.index_folder(photos, model=models["clip"], out=tmp_path / "x.index")
    # A link to one image is that image, in the place where it was put.
    names = {row.path for _, row in open_index(tmp_path / "x.index").rows()}
    assert (done.n, len(names)) == (73, 73)
    assert "one.png" in names
    assert not any(".." in name for name in names)
    assert [f.path for f in done.findings] == [os.path.join("..", "secret", "private.png")]
    assert "leads out" in done.findings[0].message
    # An index that was written before, or changed by hand, may name such a path.
    index = open_index(tmp_path / "x.index")
    digest = hashlib.sha256((secret / "private.png").read_bytes()).hexdigest()
    (id,) = index.add(np.ones((1, index.dim)), [Row("../secret/private.png", digest, 10**6, 0, 20, 20)])
    with pytest.raises(InputError, match="moved or changed"):
        ServedIndexes([tmp_path / "x.index"]).file("x", id)


def test_an_index_whose_run_was_killed_says_so(photos: Path, models, tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    from eyewright.lifecycle import searching

    monkeypatch.setattr(searching, "_COMMIT", 30)
    done = searching._Work._commit

    def killed(work: Any, unfinished: int = 0) -> None:
        done(work, unfinished)
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(searching._Work, "_commit", killed)
        with pytest.raises(KeyboardInterrupt):
            ew.index_folder(photos, model=models["clip"], out=tmp_path / "x.index")
    (said,) = ew.search(tmp_path / "x.index", "a red car", n=1).notes
    assert "it has 30 images, of 72 that were found" in said
    ew.index_folder(photos, model=models["clip"], out=tmp_path / "x.index", update=True)
    assert ew.search(tmp_path / "x.index", "a red car", n=1).notes == ()


def test_a_pair_that_lacks_a_projection_is_refused(photos: Path, models, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(models["clip"].removeprefix("hf:"), tmp_path / "lacking")
    weights = load_file(folder / "model.safetensors")
    (gone,) = (name for name in weights if "visual_projection" in name)
    save_file({k: v for k, v in weights.items() if k != gone}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 of its weights, such as visual_projection\.weight"):
        ew.index_folder(photos, model=f"hf:{folder}", out=tmp_path / "x.index")
    assert not (tmp_path / "x.index").exists()


def test_a_checkpoint_without_its_pooler_gives_the_same_embeddings_each_time(
    photos: Path, models, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    """A classifier is published without a pooler: transformers draws one at random, another each time."""
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(models["vit"].removeprefix("hf:"), tmp_path / "unpooled")
    weights = {k: v for k, v in load_file(folder / "model.safetensors").items() if not k.startswith("pooler.")}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    image = ew.read_image(photos / "disc/003.png")
    first, again = (open_published(f"hf:{folder}").image_features([image]) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_what_cannot_be_indexed_is_refused_in_one_line(photos: Path, models, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out, empty = tmp_path / "x.index", tmp_path / "empty"
    empty.mkdir()
    for folder, model, kind, said in (
        (empty, "clip", InputError, "expected images in"),
        (tmp_path / "nowhere", "clip", InputError, "found none at"),
        (photos, "bert", UsageError, "reads texts only"),
    ):
        with pytest.raises(kind, match=said):
            ew.index_folder(folder, model=models[model], out=out)
    with pytest.raises(InputError, match="expected a bundle or hf:FOLDER, found nothing"):
        ew.index_folder(photos, model="nothing", out=out)
    (empty / "a.png").write_bytes(b"x")
    with pytest.raises(InputError, match="images that can be read, found none"):
        ew.index_folder(empty, model=models["clip"], out=out)
    assert not out.exists()
    with pytest.raises(InputError, match="expected an index at"):
        ew.search(out, "a")


def test_the_commands_say_what_they_did(photos: Path, models, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    out = str(tmp_path / "x.index")
    assert main(["index", str(photos), "--model", models["clip"], "--out", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["counts"]["added"] == 72
    (photos / "broken.png").write_bytes(b"no image")
    assert main(["index", str(photos), "--model", models["clip"], "--out", out, "--update"]) == 1
    assert "left out broken.png" in capsys.readouterr().out
    assert main(["search", out, "a red car", "-n", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["hits"]) == 3
    assert told["searched"] == 72
    assert {"id", "path", "score", "p"} == set(told["hits"][0])
    # Words of a net of random weights fit nothing: one hit is as good as another.
    assert main(["search", out, "a red car", "--max-p", "0.02"]) == 0
    assert "nothing fits" in capsys.readouterr().out
    assert main(["search", out, "--duplicates", "--json"]) == 0
    assert "groups" in json.loads(capsys.readouterr().out)
    assert main(["search", out, "--labels", "a red car,the sea", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["labels"]) == 72
    for arguments, code, said in (
        ([out], 2, "expected one of"),
        ([out, "a", "--duplicates"], 2, "expected one of"),
        ([out, "a", "-n", "0"], 2, "whole number"),
        ([out, "a", "--like", "nowhere.png"], 3, "found nothing at"),
        ([str(photos), "a"], 3, "expected an index"),
    ):
        assert main(["search", *arguments]) == code, arguments
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


def test_odd_files_are_left_out_and_a_mistyped_path_is_not_words(photos: Path, models, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with open(photos / "sparse.png", "wb") as file:
        file.truncate(1 << 36)
    os.mkfifo(photos / "fifo.png")
    os.symlink("loop.png", photos / "loop.png")
    done = ew.index_folder(photos, model=models["clip"], out=tmp_path / "x.index")
    assert (done.n, [f.path for f in done.findings]) == (72, ["fifo.png", "loop.png", "sparse.png"])
    (photos / "disc/003.png").unlink()
    os.mkfifo(photos / "disc/003.png")
    _, left_out = ew.find_duplicates(tmp_path / "x.index")
    assert [f.path for f in left_out] == ["disc/003.png"]
    for query in ("nowhere.png", str(photos / "fifo.png"), str(photos / "loop.png"), str(photos)):
        with pytest.raises((InputError, UsageError)):
            ew.search(tmp_path / "x.index", query)
    assert ew.search(tmp_path / "x.index", "a picture.png of a car", n=1)
