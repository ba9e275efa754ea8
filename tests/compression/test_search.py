"""The whole of `compress`: budgets, bundles, resuming, refusals."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.conftest import write_shapes

import eyewright as ew
from eyewright.cli import main
from eyewright.compression.budget import Budget, parse_budget
from eyewright.compression.measuring import Judge, paired_speedup
from eyewright.core.errors import BudgetError, CheckpointError, RefusedError, UsageError
from eyewright.core.report import Metric


@pytest.fixture(scope="module")
def smaller(finished, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """Everything but learning, tried on the shapes. Do not write into it."""
    out = tmp_path_factory.mktemp("smaller") / "shapes"
    methods = ("int8", "weights", "half")
    return ew.compress(finished.run, out=out, max_drop=["accuracy=20%"], methods=methods, max_bytes="100M")


@pytest.fixture(scope="module")
def pruned(finished, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """Channels removed, and what is left taught and rounded."""
    out = tmp_path_factory.mktemp("pruned") / "shapes"
    limit = int(0.12 * (finished.paths["bundle"] / "onnx" / "model.onnx").stat().st_size)
    options = {"methods": ("int8", "prune"), "max_bytes": limit, "budget": "300s"}
    return ew.compress(finished.run, out=out, max_drop=["accuracy=60%"], **options)


class _Told:
    """A model that answers what it is told, in the order in which it is asked."""

    task_name = "classify"

    def __init__(self, labels, preparation, answers: np.ndarray) -> None:  # type: ignore[no-untyped-def]
        self.labels, self.preparation, self._answers, self._at = labels, preparation, answers, 0

    def raw(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        rows = self._answers[self._at : self._at + len(pixels)]
        self._at = (self._at + len(pixels)) % len(self._answers)
        return {"probabilities": np.eye(3, dtype=np.float32)[rows] * 0.9 + np.float32(1 / 30)}


def test_a_judge_counts_what_was_lost(shapes: Path, finished) -> None:  # type: ignore[no-untyped-def]
    data = ew.load_dataset(shapes).test
    true = data.targets
    assert len(true) >= 8
    wrong = true.copy()
    wrong[:3] = (wrong[:3] + 1) % 3
    of = (data.labels, finished.bundle.preparation)
    judge = Judge(_Told(*of, true), data)
    judged = judge.compare(_Told(*of, wrong))
    assert judged.drops["accuracy"].value == pytest.approx(3 / len(true))
    assert judged.metrics["accuracy"].value == pytest.approx(1 - 3 / len(true))
    assert judged.drops["accuracy"].low < 3 / len(true) < judged.drops["accuracy"].high
    assert [c["id"] for c in judged.changed] == [s.id for s in data.samples[:3]]
    names = data.labels.names
    assert [(c["before"], c["after"], c["true"]) for c in judged.changed] == [
        (names[t], names[w], names[t]) for t, w in zip(true[:3], wrong[:3], strict=True)
    ]
    worst = min(np.mean(wrong[true == c] == c) for c in range(3))
    assert judged.metrics["worst_class_recall"].value == pytest.approx(worst)
    # None lost of a few does not prove none at all.
    same = judge.compare(_Told(*of, true)).drops["accuracy"]
    assert same.value == 0
    assert same.low < -0.05
    assert same.high > 0.05


def test_corruption_is_the_mean_over_all_fifteen(shapes: Path, finished) -> None:  # type: ignore[no-untyped-def]
    from eyewright.core.rng import generator
    from eyewright.imaging.steps.corrupt import CORRUPTIONS, corrupt

    data = ew.load_dataset(shapes).test
    data = data.with_samples(data.samples[:4])
    judged = Judge(finished.bundle, data, corruption=True).compare(finished.bundle)
    rights = []
    for kind in CORRUPTIONS:
        images = [
            corrupt(data.image(i), kind=kind, severity=3, rng=generator(0, "corruption", kind, i)) for i in range(4)
        ]
        found = finished.bundle.predict_images(images)
        rights.append(np.mean([p.label_ids[0] == t for p, t in zip(found, data.targets, strict=True)]))
    assert judged.metrics["corruption"].value == pytest.approx(np.mean(rights))


def test_budgets_are_read_and_refused() -> None:
    budget = parse_budget("detect", ["map=1.5%"], min_speedup="3x", max_bytes="500k")
    assert (budget.max_drop, budget.min_speedup, budget.max_bytes) == ({"ap": 0.015}, 3.0, 500_000)
    assert parse_budget("segment").max_drop == {"miou": 0.01}
    judged = SimpleNamespace(drops={"accuracy": Metric(0.9 - 0.89, 0.0, 0.02, 100)})
    assert Budget({"accuracy": 0.01}).losses(judged) == []  # type: ignore[arg-type]
    assert "falls by 1.00 points" in Budget({"accuracy": 0.005}).losses(judged)[0]  # type: ignore[arg-type]
    for bad in ("accuracy", "accuracy=2", "accuracy=-1%", "acuracy=1%", "accuracy=x"):
        with pytest.raises(UsageError):
            parse_budget("classify", [bad])
    with pytest.raises(UsageError, match="did you mean 'accuracy'"):
        parse_budget("classify", ["acuracy=1%"])
    for option in ({"min_speedup": "fast"}, {"min_speedup": 0}, {"max_bytes": "big"}):
        with pytest.raises(UsageError):
            parse_budget("classify", **option)  # type: ignore[arg-type]


def test_a_ratio_is_of_medians_taken_in_turns() -> None:
    clock = [0.0]
    spent = {"slow": 0.004, "fast": 0.001}

    def work(kind: str):  # type: ignore[no-untyped-def]
        def call() -> None:
            clock[0] += spent[kind]

        return call

    found = paired_speedup(work("slow"), work("fast"), rounds=10, now=lambda: clock[0])
    assert found.value == pytest.approx(4.0)
    assert found.low == pytest.approx(4.0)
    assert (found.before_ms, found.after_ms) == (pytest.approx(4.0), pytest.approx(1.0))


def test_a_smaller_bundle_names_its_parent_and_what_it_cost(smaller, finished) -> None:  # type: ignore[no-untyped-def]
    from eyewright.bundle.verify import bundle_digest

    bundle = smaller.bundle
    manifest = bundle.manifest
    assert manifest.precision == "int8"
    assert manifest.model == "onnx/model_quantized.onnx"
    assert not (bundle.folder / "onnx" / "model.onnx").exists()
    assert not (bundle.folder / "model.safetensors").exists()
    assert manifest.parent == bundle_digest(finished.paths["bundle"])
    about = manifest.compression
    size = (bundle.folder / manifest.model).stat().st_size
    assert about["bytes"] == size < about["parent_bytes"]
    assert about["drops"]["accuracy"]["value"] <= 0.2 + 1e-9
    # The first that fits wins where it is said what is to be gained.
    assert [r.name for r in smaller.search.rows] == ["int8"]
    again = ew.verify(bundle.folder)
    image = ew.read_image(sorted(Path(finished.run.about["data_path"]).rglob("*.png"))[0])
    assert again.predict_images([image])[0].top1 in again.labels.names
    assert "compressed" in (smaller.paths["report"]).read_text()
    card = (bundle.folder / "README.md").read_text()
    assert "int8" in card
    assert manifest.model in card


def test_the_counted_answers_are_those_of_both_bundles(smaller, finished) -> None:  # type: ignore[no-untyped-def]
    about = smaller.bundle.manifest.compression
    data = ew.load_dataset(finished.run.about["data_path"]).test
    images = [data.image(i) for i in range(len(data))]
    before, after = ([p.top1 for p in b.predict_images(images)] for b in (finished.bundle, smaller.bundle))
    changed = {s.id for s, a, b in zip(data.samples, before, after, strict=True) if a != b}
    assert {c["id"] for c in about["changed"]} == changed
    assert about["changed_answers"] == len(changed)


def test_a_changed_byte_is_found(smaller, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    copy = tmp_path / "copy"
    shutil.copytree(smaller.bundle.folder, copy)
    path = copy / "onnx" / "model_quantized.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    assert main(["verify", str(copy), "--quiet"]) == 4


def test_a_pruned_net_is_trained_further_as_any_other(pruned, finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    winner = pruned.winner
    assert winner.structure.startswith("prune")
    assert pruned.bundle.manifest.compression["bytes"] < 0.12 * pruned.bundle.manifest.compression["parent_bytes"]
    trial = pruned.paths["search"].parent / "trials" / winner.structure
    run = ew.load_run(trial / "run")
    from eyewright.nets.pixels import parameter_count

    assert parameter_count(run.net) < parameter_count(finished.run.net)
    again = ew.train(
        finished.run.about["data_path"], out=tmp_path / "run", epochs=1, batch=16, weights=trial / "run", quiet=True
    )
    assert parameter_count(again.net) == parameter_count(run.net)
    state = json.loads(pruned.paths["search"].read_text())
    assert [r["layer"] for r in state["sensitivity"]["prune"]]
    report = pruned.paths["report"].read_text()
    assert "Sensitivity of layers" in report


def test_a_search_is_resumed_and_asked_for_another_budget(smaller, finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "again"
    shutil.copytree(smaller.paths["search"].parent, out)
    said: list[str] = []
    options = {"methods": ("int8", "weights", "half"), "out": out, "say": said.append}
    with pytest.raises(UsageError, match="already in"):
        ew.compress(finished.run, **options)
    # Half is larger than what is allowed, 8-bit weights are not; int8 is remembered and not measured again.
    size = (finished.paths["bundle"] / "onnx" / "model.onnx").stat().st_size
    found = ew.compress(
        finished.run, max_drop=["accuracy=20%", "ece=0.9"], max_bytes=int(0.45 * size), resume=True, **options
    )
    assert found.winner.name == "int8"
    assert not any(line.startswith("int8:") and "times as fast" in line for line in said)
    content = json.loads((out / "search.json").read_text())
    content["key"]["parent"] = "0" * 64
    (out / "search.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="another model"):
        ew.compress(finished.run, resume=True, **options)


def test_when_nothing_fits_it_says_what_comes_nearest(finished, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "none"
    run = str(finished.run.folder)
    code = main(["compress", run, "--out", str(out), "--methods", "weights,half", "--max-bytes", "1k", "--json"])
    assert code == 5
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is False
    assert said["error"]["code"] == "budget"
    assert {p["name"] for p in said["pareto"]} <= {"weights", "half"}
    assert said["pareto"][0]["breaks"]
    assert not (out / "bundle").exists()
    assert "None of the" in (out / "report.html").read_text()
    with pytest.raises(BudgetError, match="nearest is"):
        ew.compress(finished.run, out=tmp_path / "x", methods=("half",), min_speedup=1000)


def test_a_bundle_is_compressed_with_the_data_it_was_made_from(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    bundle = finished.paths["bundle"]
    with pytest.raises(UsageError, match="--data"):
        ew.compress(bundle, out=tmp_path / "a")
    data = finished.run.about["data_path"]
    found = ew.compress(
        bundle, data=data, out=tmp_path / "b", methods=("prune", "int8"), max_drop=["accuracy=90%"],
        max_bytes=120_000, budget="300s",
    )  # fmt: skip
    assert found.winner.bytes <= 120_000
    with pytest.raises(RefusedError, match="expected an uncompressed model"):
        ew.compress(found.bundle.folder, data=data, out=tmp_path / "c")


def test_what_the_parent_asks_of_itself_its_child_must_keep(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    from dataclasses import replace

    from eyewright.bundle.manifest import read_manifest, write_manifest
    from eyewright.core.errors import PolicyError

    data = finished.run.about["data_path"]
    for bound, kept in ((0.01, True), (1.01, False)):
        copy = tmp_path / f"{bound}"
        shutil.copytree(finished.paths["bundle"], copy)
        write_manifest(copy, replace(read_manifest(copy), policy={"min_accuracy": bound}))
        out = tmp_path / f"out-{bound}"
        options = {"data": data, "out": out, "methods": ("weights",), "max_drop": ["accuracy=90%"]}
        if kept:
            assert ew.compress(copy, **options).bundle.manifest.policy == {"min_accuracy": bound}
        else:
            with pytest.raises(PolicyError):
                ew.compress(copy, **options)
            assert not (out / "bundle").exists()


def test_a_strangers_model_has_no_weights_to_learn_from(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    copy = tmp_path / "stranger"
    shutil.copytree(finished.paths["bundle"], copy)
    from dataclasses import replace

    from eyewright.bundle.manifest import read_manifest, write_manifest
    from eyewright.bundle.verify import digest_folder

    manifest = read_manifest(copy)
    (copy / "model.safetensors").unlink()
    write_manifest(copy, replace(manifest, files=digest_folder(copy)))
    data = finished.run.about["data_path"]
    with pytest.raises(RefusedError, match="no weights") as caught:
        ew.compress(copy, data=data, out=tmp_path / "a", methods=("prune",))
    assert caught.value.code == "no_weights"
    found = ew.compress(copy, data=data, out=tmp_path / "b", max_drop=["accuracy=50%"], max_bytes="300k", budget="300s")
    assert found.bundle.manifest.precision == "int8"


def test_calibration_images_of_another_kind_are_told_of(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    rng = np.random.default_rng(0)
    for i in range(16):
        ew.write_image(tmp_path / "photos" / f"{i}.png", rng.integers(180, 256, (60, 90, 3)).astype(np.uint8))
    said: list[str] = []
    options = {"methods": ("int8",), "max_drop": ["accuracy=90%"], "say": said.append}
    ew.compress(finished.run, out=tmp_path / "a", calibration=tmp_path / "photos", **options)
    if "appearance" in finished.bundle.reference and len(finished.bundle.reference["appearance"]) >= 20:
        assert any("not like those" in line for line in said)
    with pytest.raises(UsageError, match="unknown method"):
        ew.compress(finished.run, out=tmp_path / "b", methods=("int7",))


def test_a_student_learns_from_images_that_nobody_labelled(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write_shapes(tmp_path / "more", a_class=6, seed=9)
    said: list[str] = []
    found = ew.compress(
        finished.run,
        out=tmp_path / "student",
        methods=("distil",),
        students=("conv_net",),
        teacher=finished.paths["bundle"],
        unlabelled=tmp_path / "more",
        max_drop=["accuracy=90%"],
        budget="300s",
        say=said.append,
    )
    assert found.winner.name == "student-conv_net"
    assert any("18 images without labels" in line for line in said)
    run = ew.load_run(found.paths["search"].parent / "trials" / "student-conv_net" / "run")
    rows = run.split_rows()
    assert sum(r["id"].startswith("unlabelled/") for r in rows) == 18
    # A student in float32 can be trained further; its weights come with it.
    assert (found.bundle.folder / "model.safetensors").exists()
    write_shapes(tmp_path / "others", a_class=12)
    for old, new in (("cross", "x"), ("disc", "y"), ("square", "z")):
        (tmp_path / "others" / old).rename(tmp_path / "others" / new)
    other = ew.run(tmp_path / "others", out=tmp_path / "other", epochs=1, batch=8)
    with pytest.raises(RefusedError, match="expected a teacher that knows"):
        ew.compress(
            finished.run, out=tmp_path / "b", methods=("distil",), students=("mlp",), teacher=other.paths["bundle"]
        )


@pytest.mark.parametrize(
    ("task", "metric", "methods", "limit"),
    [
        pytest.param("found", "map", ("int8", "prune"), 700_000, marks=pytest.mark.slow),
        ("painted", "miou", ("int8",), 2_000_000),
    ],
)
def test_boxes_and_masks_are_compressed_alike(
    task: str, metric: str, methods: tuple[str, ...], limit: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    of = request.getfixturevalue(task)
    found = ew.compress(
        of.run, out=tmp_path / "a", max_drop=[f"{metric}=90%"], max_bytes=limit, methods=methods, budget="300s"
    )
    assert found.winner.bytes <= limit
    assert found.winner.structure.startswith("prune") == ("prune" in methods)
    assert found.bundle.manifest.parent
    assert found.report.task == of.report.task
    assert len(found.bundle.predict_images([np.zeros((96, 96, 3), np.uint8)])) == 1


def test_training_has_a_teacher_too(finished, shapes: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    code = main(
        ["train", str(shapes), "--out", str(tmp_path / "run"), "--model", "conv_net", "--epochs", "1", "--batch", "16",
         "--teacher", str(finished.run.folder), "--quiet"]
    )  # fmt: skip
    assert code == 0
    assert ew.load_run(tmp_path / "run").recipe.model == "conv_net"


def test_a_published_model_teaches(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    transformers = pytest.importorskip("transformers")
    names = finished.bundle.labels.names
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=3,
        id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)},
    )  # fmt: skip
    folder = tmp_path / "published"
    transformers.ResNetForImageClassification(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "image_processor_type": "ViTImageProcessor", "do_resize": True, "size": {"height": 64, "width": 64},
                "resample": 2, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
                "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
            }
        )
    )  # fmt: skip
    from eyewright.lifecycle.teaching import teacher_for

    predictor, teacher = teacher_for(f"hf:{folder}", "classify", finished.bundle.labels)
    assert predictor.labels.names == names
    import torch

    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    logits, sides = teacher.answer(pixels)
    assert tuple(logits.shape) == (2, 3)
    assert sides is None


def test_an_interrupted_search_goes_on_where_it_was(finished, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    import os
    import signal
    import threading

    out = tmp_path / "search"
    size = (finished.paths["bundle"] / "onnx" / "model.onnx").stat().st_size
    options = {
        "out": out, "methods": ("weights", "prune"), "max_drop": ["accuracy=90%"], "max_bytes": int(0.2 * size),
        "budget": "300s",
    }  # fmt: skip
    timers = []

    def say(line: str) -> None:
        if "fine-tuning for up to" in line and not timers:
            timers.append(threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGINT)))
            timers[0].start()

    with pytest.raises(KeyboardInterrupt):
        ew.compress(finished.run, say=say, **options)
    state = json.loads((out / "search.json").read_text())
    assert [r["name"] for r in state["rows"] if r["state"] == "measured"] == ["weights"]
    begun = next((out / "trials").glob("prune*/run"))
    assert (begun / "checkpoints" / "last" / "state.safetensors").exists()
    said: list[str] = []
    found = ew.compress(finished.run, resume=True, say=said.append, **options)
    assert found.winner.bytes <= 0.2 * size
    # What was measured is not measured again, and learning goes on from its checkpoint.
    assert not any(line.startswith("weights:") for line in said)
    run = ew.load_run(begun)
    assert float(run.history()[-1]["seconds"]) > 1.0
