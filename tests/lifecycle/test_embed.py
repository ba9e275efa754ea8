"""From images with captions to a bundle of two towers that is searched by words, without torch."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conftest import draw_shape

import eyewright as ew
from eyewright import lifecycle
from eyewright.bundle import load_bundle
from eyewright.cli import main
from eyewright.core.errors import BundleError, DatasetError, EyewrightError, UsageError

COLOURS = {"red": (220, 40, 40), "green": (40, 200, 60), "blue": (50, 70, 230), "yellow": (230, 220, 50)}


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """240 images of a coloured shape, of one of two sizes, with a caption that says so."""
    folder, rng = tmp_path_factory.mktemp("captions"), np.random.default_rng(0)
    rows = []
    for i in range(240):
        colour, kind = list(COLOURS)[i % 4], ("disc", "square", "cross")[i // 4 % 3]
        image = draw_shape(kind, rng)
        image[image.max(-1) >= 150] = COLOURS[colour]
        Image.fromarray(image).save(folder / f"{i}.png")
        words = [f"a {colour} {kind}", f"{kind}, {colour}"][: 1 + i % 2]
        rows.append({"file_name": f"{i}.png", "text": words})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture(scope="module")
def made(captions: Path, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    out = tmp_path_factory.mktemp("embed") / "run"
    return ew.run(captions, task="embed", model="pair_ridge", out=out, quiet=True)


def test_words_find_their_images(made) -> None:  # type: ignore[no-untyped-def]
    metrics = made.report.metrics
    # 36 test images of 12 captions; chance of R@1 is 1 in 12.
    assert metrics["recall_at_1"].value > 0.7
    assert metrics["back_recall_at_10"].value > 0.9
    calibration = made.bundle.manifest.calibration
    assert (calibration["learnt_weight"], calibration["chosen"]) == (0.0, "fixed part alone")
    page = (Path(made.paths["report"])).read_text()
    assert "Worst queries" in page
    assert "caption → image" in page


def test_both_towers_answer_as_the_net_does_and_the_bundle_measures_the_same(made) -> None:  # type: ignore[no-untyped-def]
    texts = ["a red disc", "🙂", "x" * 100_000]
    ours, theirs = made.run.predictor.embed_texts(texts), made.bundle.embed_texts(texts)
    assert theirs == pytest.approx(ours, abs=1e-5)
    assert np.linalg.norm(theirs, axis=1) == pytest.approx(np.ones(3), abs=1e-3)
    found = ew.compare(made.run, made.bundle)
    assert (found.better, found.p_value) == ("neither", 1.0)


def test_an_index_of_the_bundle_is_searched_by_words_without_torch(made, captions: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code = (
        "import sys, eyewright as ew\n"
        "from eyewright.lifecycle.searching import index_folder, label_images, search\n"
        f"place = {str(tmp_path / 'ix')!r}\n"
        f"index_folder({str(captions)!r}, model={str(made.bundle.folder)!r}, out=place)\n"
        "print([h.row.path for h in search(place, 'a green cross', n=5).hits])\n"
        "print(label_images(place, ['red', 'green', 'blue', 'yellow'])[0].label)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    hits = json.loads(done.stdout.splitlines()[0].replace("'", '"'))
    right = [i for i in (int(Path(h).stem) for h in hits) if i % 4 == 1 and i // 4 % 3 == 2]
    assert len(right) >= 4


def test_whether_hits_fit_is_unknown_for_queries_unlike_those_of_training(  # type: ignore[no-untyped-def]
    made, captions: Path, tmp_path: Path, capsys
) -> None:
    index = tmp_path / "ix"
    lifecycle.index_folder(captions, model=str(made.bundle.folder), out=index)
    known = lifecycle.search(index, "a red cross")
    assert (known.familiar, known.notes) == (True, ())
    strange = lifecycle.search(index, "invoice deployment tomography")
    assert not strange.familiar
    assert strange.fits is not True
    assert strange.notes == ("the model was not trained on the words 'invoice', 'deployment', 'tomography'",)
    partly = lifecycle.search(index, "a red tomography disc")
    assert partly.familiar
    assert partly.notes == ("the model was not trained on the word 'tomography'",)
    inside = lifecycle.search(index, captions / "7.png")
    assert (inside.familiar, inside.fits) == (True, True)
    # Stripes in grey: no image of training is like it.
    stripes = np.repeat(np.where(np.arange(64) % 4 < 2, 30, 225)[None, :, None], 64, 0).repeat(3, 2).astype(np.uint8)
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    outside = lifecycle.search(index, tmp_path / "stripes.png")
    assert not outside.familiar
    assert outside.fits is not True
    assert "unlike those that the model was trained on (typicality 0." in outside.notes[0]
    assert main(["search", str(index), str(tmp_path / "stripes.png"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["familiar"], found["notes"]) == (False, list(outside.notes))


def test_images_are_labelled_by_words_without_training(made, captions: Path, finished, capsys) -> None:  # type: ignore[no-untyped-def]
    given = ["predict", str(made.bundle.folder), "--source", str(captions / "*.png"), "--json"]
    assert main([*given, "--labels", "red, green, blue, yellow"]) == 0
    rows = json.loads(capsys.readouterr().out)["predictions"]
    right = [list(COLOURS)[int(Path(r["source"]).stem) % 4] == r["labels"][0] for r in rows]
    assert np.mean(right) > 0.8
    assert sum(rows[0]["scores"]) == pytest.approx(1.0, abs=1e-3)
    for labels in ("red", "red,red", "red,"):
        assert main([*given, "--labels", labels]) == 2
    capsys.readouterr()
    given[1] = str(finished.paths["bundle"])
    assert main([*given, "--labels", "a,b"]) == 2
    assert "not supported for classif" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_labels_that_are_read_in_part_or_have_unknown_words_are_named(  # type: ignore[no-untyped-def]
    made, captions: Path, tmp_path: Path, capsys
) -> None:
    lifecycle.index_folder(captions, model=str(made.bundle.folder), out=tmp_path / "ix")
    labels = f"a red disc,{'green cross ' * 300},tomography"
    wanted = [
        ["search", str(tmp_path / "ix"), "--labels", labels],
        ["predict", str(made.bundle.folder), str(captions / "1.png"), "--labels", labels],
    ]
    for one in wanted:
        assert main([*one, "--json"]) == 0
        notes = json.loads(capsys.readouterr().out)["notes"]
        assert len(notes) == 2
        assert notes[0].startswith("label 'green cross ")
        assert "of which the first" in notes[0]
        assert notes[1] == "label 'tomography': the model was not trained on the word 'tomography'"
        assert main(one) == 0
        assert all(note in capsys.readouterr().err for note in notes[1:])


def test_captions_that_say_nothing_of_their_images_teach_nothing_and_training_says_so(
    captions: Path, tmp_path: Path
) -> None:
    folder, rng = tmp_path / "data", np.random.default_rng(0)
    shutil.copytree(captions, folder)
    names = ["".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), 8)) for _ in range(240)]
    rows = [json.dumps({"file_name": f"{i}.png", "text": f"{a} {b}"}) for i, (a, b) in
            enumerate(zip(names, names[::-1], strict=True))]  # fmt: skip
    (folder / "metadata.jsonl").write_text("\n".join(rows))
    said: list[str] = []
    run = ew.train(folder, task="embed", model="pair_ridge", out=tmp_path / "run", say=said.append)
    assert any(line.startswith("warning: the model has not learnt to match: its validation recall is") for line in said)
    assert "not learnt to match" in run.about["training"]["unlearnt"]


def test_a_changed_text_side_is_refused(made, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    copy = tmp_path / "copy"
    shutil.copytree(made.bundle.folder, copy)
    (copy / "text.json").write_text("{}")
    with pytest.raises(BundleError):
        load_bundle(copy).embed_texts(["a"])


def test_empty_words_are_refused(made) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError, match="empty"):
        made.bundle.embed_texts([""])


def test_a_net_beside_the_ridge_is_never_below_it_on_validation(captions: Path, tmp_path: Path) -> None:
    run = lifecycle.train(captions, out=tmp_path / "run", task="embed", model="pair_net", epochs=3, quiet=True)
    for row in run.history():
        assert float(row["val_recall"]) >= float(row["val_floor"])
    calibration = run.about["calibration"]
    assert calibration["recall"] >= calibration["floor_recall"]
    assert run.net.body.weight.item() == pytest.approx(calibration["learnt_weight"])


def test_one_caption_for_all_is_refused(tmp_path: Path) -> None:
    for i in range(12):
        Image.fromarray(np.full((16, 16, 3), 10 * i, np.uint8)).save(tmp_path / f"{i}.png")
    rows = [f"{i}.png,a photo" for i in range(12)]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,text", *rows]))
    with pytest.raises(DatasetError, match="nothing to distinguish"):
        lifecycle.train(tmp_path, out=tmp_path / "run", task="embed", quiet=True)


def test_images_alone_are_learnt_from_by_two_views(captions: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(captions, alone, ignore=shutil.ignore_patterns("*.jsonl"))
    made = ew.run(alone, task="embed", out=tmp_path / "run", epochs=2, quiet=True)
    assert made.report.tables["queries"] == "view"
    assert made.report.metrics["recall_at_10"].value > 0.5, "chance is 10 in 36"
    assert "two views" in made.run.about["augmentation"]


def test_classes_are_captions_and_their_images_are_drawn_together(shapes: Path, tmp_path: Path) -> None:
    run = lifecycle.train(shapes, out=tmp_path / "run", task="embed", epochs=2, quiet=True)
    assert "two views" in run.about["augmentation"]
    with pytest.raises(EyewrightError, match="not supported for embedding"):
        lifecycle.explain(run, shapes / "disc/000.png", method="gradcam")
    assert lifecycle.explain(run, shapes / "disc/000.png", method="occlusion")
