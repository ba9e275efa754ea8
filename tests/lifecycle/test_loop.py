"""The loop after training: feedback, what to label next, retraining, champion and challenger."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.conftest import draw_shape, write_scenes

import eyewright.lifecycle as lifecycle
from eyewright.cli import main
from eyewright.core.errors import InputError, PolicyError, RefusedError, UsageError
from eyewright.imaging import encode_image
from eyewright.imaging.appearance import appearance
from eyewright.monitoring import Recorder, RecorderSettings


def _log(home: Path, bundle: Path, shapes: list[tuple[str, np.ndarray]], *, digest: str | None = None) -> list[str]:
    """Log predictions of images as a server does, with the images kept; give their ids."""
    import hashlib

    from eyewright.bundle import load_bundle

    loaded = load_bundle(bundle)
    digest = digest or hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest()
    recorder = Recorder(home, settings=RecorderSettings(keep_images=1.0))
    ids = []
    for k, (_, image) in enumerate(shapes):
        pixels, placement = loaded.preparation(image)
        (shown,) = loaded.read(loaded.raw(pixels[None]), [placement])
        seen = SimpleNamespace(
            look=appearance(pixels, placement).tobytes(), answer=shown.numbers().tobytes(),
            size_hw=image.shape[:2], label=shown.top1, score=shown.confidence, unfamiliar=None,
        )  # fmt: skip
        ids.append(f"id{k:04d}")
        recorder.note(
            SimpleNamespace(
                id=ids[-1], time=2e9 + k, model="shapes", digest=digest, seen=seen, total_ms=1.0,
                picture=encode_image(image, format="JPEG", quality=95), shadow_of="",
            )
        )  # fmt: skip
    recorder.close()
    return ids


def _drawn(n: int, seed: int, *, dim: float = 1.0) -> list[tuple[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    kinds = [("cross", "disc", "square")[int(rng.integers(3))] for _ in range(n)]
    return [(kind, (draw_shape(kind, rng) * dim).astype(np.uint8)) for kind in kinds]


@pytest.fixture
def bundle(finished) -> Path:
    return Path(finished.paths["bundle"])


def test_feedback_makes_a_model_that_is_compared_and_promoted(
    bundle: Path, finished, shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    lifecycle.promote(bundle, home=home)
    drawn = _drawn(30, 1)
    ids = _log(home, bundle, drawn)
    said = tmp_path / "said.csv"
    lines = [f"{i},{kind}" for i, (kind, _) in zip(ids, drawn, strict=True)]
    said.write_text("prediction_id,label\n" + "\n".join(lines) + "\n")
    assert main(["monitor", "feedback", "import", str(said), "--home", str(home), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["stored"] == 30
    code = main(["monitor", "retrain", str(shapes), "--out", str(tmp_path / "again"), "--home", str(home),
                 "--epochs", "3", "--json", "--quiet"])  # fmt: skip
    told = json.loads(capsys.readouterr().out)
    assert told["new_images"] == 30
    assert told["unused"] == []
    assert len(list((tmp_path / "again" / "feedback" / "train").rglob("feedback-*.jpg"))) == 30
    # The parts of before are kept: the test part judges both, and nothing new is in it.
    parts = {}
    for name in (finished.paths["run"], tmp_path / "again" / "run"):
        rows = (Path(name) / "split.csv").read_text().splitlines()[1:]
        parts[name] = {r.split(",")[3]: r.split(",")[1] for r in rows}
    first, again = parts.values()
    assert {k: again[k] for k in first} == first
    assert {again[k] for k in set(again) - set(first)} == {"train"}
    better = told["comparison"]["better"]
    assert (code, told["promoted"]) == ((1, False) if better == "a" else (0, True))
    events = lifecycle.history(home=home)
    assert len(events) == (1 if better == "a" else 2)
    if told["promoted"]:
        assert events[-1].reason["new_images"] == 30
        assert lifecycle.rollback(home=home).digest == events[0].digest


def test_boxes_that_people_drew_are_learnt_in_a_budget(found, scenes: Path, tmp_path: Path) -> None:
    # Scenes that the data does not hold: mirrored images of the validation part would be left out as its copies.
    others = write_scenes(tmp_path / "others", parts={"train": 6}, seed=7)
    import hashlib

    from eyewright.bundle import load_bundle
    from eyewright.imaging import read_image
    from eyewright.monitoring import open_store

    bundle, home = Path(found.paths["bundle"]), tmp_path / "home"
    loaded = load_bundle(bundle)
    digest = hashlib.sha256((bundle / "bundle.json").read_bytes()).hexdigest()
    recorder = Recorder(home, settings=RecorderSettings(keep_images=1.0))
    for k, path in enumerate(sorted((others / "train").glob("*.png"))):
        image = read_image(path)
        pixels, placement = loaded.preparation(image)
        (shown,) = loaded.read(loaded.raw(pixels[None]), [placement])
        seen = SimpleNamespace(
            look=appearance(pixels, placement).tobytes(), answer=shown.numbers().tobytes(),
            # As if the image that came had been twice as large as the one that is kept.
            size_hw=(192, 192), label="disc", score=0.9, unfamiliar=None,
        )  # fmt: skip
        recorder.note(
            SimpleNamespace(
                id=f"b{k}", time=2e9 + k, model="boxes", digest=digest, seen=seen, total_ms=1.0,
                picture=encode_image(image, format="JPEG", quality=95), shadow_of="",
            )
        )  # fmt: skip
        recorder.feedback(f"b{k}", {"objects": [{"label": "disc", "box_xyxy": [20, 40, 60, 90]}]})
    recorder.close()
    done = lifecycle.retrain(scenes, out=tmp_path / "again", home=home, bundle=bundle, budget="20s", promote=False)
    assert (done.new_images, done.promoted) == (6, None)
    part = json.loads((tmp_path / "again" / "feedback" / "annotations" / "instances_train.json").read_text())
    new = {i["id"] for i in part["images"] if "feedback-" in i["file_name"]}
    boxes = [a["bbox"] for a in part["annotations"] if a["image_id"] in new]
    assert boxes == [[10.0, 20.0, 20.0, 25.0]] * 6
    open_store(home / "monitor.db").close()


def test_training_goes_on_from_weights_and_not_from_nothing(bundle: Path, shapes: Path, tmp_path: Path) -> None:
    import eyewright as ew
    from eyewright.core.errors import CheckpointError
    from eyewright.training.recipe import read_recipe

    recipe = read_recipe(bundle / "recipe.toml")
    options = {"recipe": recipe, "epochs": 1, "batch": 16, "lr": 1e-4}
    warm = ew.train(shapes, out=tmp_path / "warm", weights=bundle, **options)
    cold = ew.train(shapes, out=tmp_path / "cold", **options)
    first = {k: float(r.history()[0]["train_loss"]) for k, r in (("warm", warm), ("cold", cold))}
    assert first["warm"] < 0.8 * first["cold"]
    with pytest.raises(CheckpointError, match="another net"):
        ew.train(shapes, out=tmp_path / "other", weights=bundle, epochs=1, model="conv_net", imgsz=32)
    with pytest.raises(InputError, match="expected weights"):
        ew.train(shapes, out=tmp_path / "none", weights=tmp_path, epochs=1)


def test_status_drift_select_and_history_by_verb(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    ids = _log(home, bundle, _drawn(40, 2))
    at = ["--home", str(home), "--json"]

    def verb(*words: str) -> tuple[int, dict]:  # type: ignore[type-arg]
        code = main(["monitor", *words, *at])
        return code, json.loads(capsys.readouterr().out)

    code, told = verb("status")
    assert (code, told["monitor"]["models"]["shapes"]["predictions"]) == (0, 40)
    code, told = verb("select", "-n", "5", "--out", str(tmp_path / "next"))
    assert code == 0
    assert {row["prediction_id"] for row in told["selected"]} <= set(ids)
    assert len(list((tmp_path / "next").glob("*.jpg"))) == 5
    assert len(json.loads((tmp_path / "next" / "tasks.json").read_text())) == 5
    code, told = verb("challenge", str(bundle))
    assert (code, told["event"]["action"]) == (0, "challenge")
    code, told = verb("challenge", "--clear")
    assert code == 0
    code, told = verb("history")
    assert [e["action"] for e in told["history"]] == ["challenge", "clear"]
    code, told = verb("rollback")
    assert (code, told["error"]["code"]) == (2, "usage")
    code, told = verb("dashboard", "--out", str(tmp_path / "grafana.json"))
    assert json.loads((tmp_path / "grafana.json").read_text())["title"] == "Eyewright"
    code, told = verb("feedback", "export", str(tmp_path / "said.jsonl"))
    assert (code, told["n"]) == (0, 0)


@pytest.fixture(scope="module")
def watchful(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose reference is large enough to test drift against."""
    from tests.conftest import write_shapes

    import eyewright as ew

    data = write_shapes(tmp_path_factory.mktemp("many") / "shapes", a_class=70, seed=9)
    run = ew.train(data, out=tmp_path_factory.mktemp("runs") / "many", epochs=2, batch=32)
    return ew.export(run, tmp_path_factory.mktemp("bundles") / "many.bundle").folder


def test_drift_is_told_of_dim_images_and_not_of_the_same_kind(
    watchful: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, dim in (("same", 1.0), ("dim", 0.5)):
        for k, (_, image) in enumerate(_drawn(120, 30, dim=dim)):
            place = tmp_path / name / f"{k:03d}.png"
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(encode_image(image))
    code = main(["monitor", "drift", str(watchful), "--source", str(tmp_path / "dim"), "--json"])
    told = json.loads(capsys.readouterr().out)["drift"]
    assert code == 1
    assert told["p"] <= 0.01
    assert {t["name"] for t in told["tests"] if t["adjusted_p"] <= 0.05} >= {"brightness", "contrast"}
    code = main(["monitor", "drift", str(watchful), "--source", str(tmp_path / "same"), "--alpha", "0.001", "--json"])
    told = json.loads(capsys.readouterr().out)["drift"]
    assert (code, told["n"]) == (0, 120)
    home = tmp_path / "home"
    _log(home, watchful, _drawn(30, 3, dim=0.5))
    found = lifecycle.drift(watchful, home=home)
    assert (found.n, found.p <= 0.05) == (30, True)
    with pytest.raises(InputError, match="at least 20 images"):
        lifecycle.drift(watchful, home=home, window=5)


def test_a_worse_model_is_not_promoted_and_the_history_says_what_was_forced(
    bundle: Path, watchful: Path, shapes: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    lifecycle.promote(bundle, home=home)
    with pytest.raises(UsageError, match="compare with the champion"):
        lifecycle.promote(watchful, home=home)
    event = lifecycle.promote(watchful, home=home, force=True)
    assert event.reason == {"forced": True}
    with pytest.raises(RefusedError):
        lifecycle.promote(tmp_path, home=home, force=True)


def test_rolling_back_to_a_bundle_that_is_gone_changes_nothing(bundle: Path, bundle_copy: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from eyewright.bundle.manifest import read_manifest, write_manifest

    # Another bundle, not the same one in another place.
    write_manifest(bundle_copy, replace(read_manifest(bundle_copy), name="another"))
    home = tmp_path / "home"
    lifecycle.promote(bundle_copy, home=home)
    last = lifecycle.promote(bundle, home=home, force=True)
    shutil.rmtree(bundle_copy)
    with pytest.raises(InputError, match="found nothing at"):
        lifecycle.rollback(home=home)
    assert [e.action for e in lifecycle.history(home=home)] == ["promote", "promote"]
    assert lifecycle.history(home=home)[-1].digest == last.digest


def test_a_promotion_after_a_comparison_is_not_called_forced(bundle: Path, tmp_path: Path) -> None:
    event = lifecycle.promote(bundle, home=tmp_path, force=True, reason={"comparison": {"better": "b"}})
    assert "forced" not in event.reason


def test_a_policy_is_kept_at_export_and_whenever_it_is_loaded(finished, tmp_path: Path) -> None:
    import eyewright as ew
    from eyewright.bundle import check_policy, load_bundle

    run = finished.paths["run"]
    with pytest.raises(PolicyError, match=r"min_recall\.disc = 1\.01"):
        ew.export(run, tmp_path / "bad.bundle", policy={"min_recall.disc": 1.01})
    assert not (tmp_path / "bad.bundle").exists()
    kept = ew.export(run, tmp_path / "good.bundle", policy={"min_recall.disc": 0.1, "max_ece": 1.0})
    assert kept.manifest.policy == {"min_recall.disc": 0.1, "max_ece": 1.0}
    again = load_bundle(kept.folder)
    check_policy(again.folder, again.manifest)
    with pytest.raises(PolicyError, match="unknown policy rule"):
        check_policy(again.folder, again.manifest, {"about_right": 1.0})
    with pytest.raises(PolicyError, match="no evidence for 'epsilon'; train it with --private"):
        check_policy(again.folder, again.manifest, {"max_epsilon": 3.0})
    shutil.rmtree(kept.folder)


def test_nothing_to_learn_from_is_said(bundle: Path, shapes: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pytest.raises(UsageError, match="champion"):
        lifecycle.retrain(shapes, out=tmp_path / "x", home=home)
    _log(home, bundle, _drawn(3, 4))
    with pytest.raises(InputError, match="no kept image has feedback"):
        lifecycle.retrain(shapes, out=tmp_path / "y", home=home, bundle=bundle)
    with pytest.raises(InputError, match="found none"):
        lifecycle.monitor_status(tmp_path / "nowhere")
