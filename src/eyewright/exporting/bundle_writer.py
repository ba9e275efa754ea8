"""Write a bundle: model, contract, golden pairs, reference statistics, card; refused unless parity holds."""

__all__ = [
    "evidence_of",
    "export_bundle",
    "golden_pairs",
    "measured_of",
    "pack_arrays",
    "reference_numbers",
    "seal",
    "validation_looks",
]

import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save

from eyewright.bundle.golden import golden_arrays
from eyewright.bundle.inputs import only_image, write_inputs
from eyewright.bundle.judge import FOLDER as JUDGE
from eyewright.bundle.judge import JUDGE_FILES, judge_in
from eyewright.bundle.load import Bundle, load_bundle
from eyewright.bundle.manifest import Manifest, read_manifest, write_manifest
from eyewright.bundle.policy import check_policy
from eyewright.bundle.streams import STREAM_MODEL
from eyewright.bundle.verify import digest_folder
from eyewright.core.errors import OutputError
from eyewright.core.files import checked_output, staged_folder, write_bytes, write_json, write_page, write_text
from eyewright.core.inputs import IMAGE, Example, Inputs, blank_inputs, prepare
from eyewright.core.jsonable import dumps_json
from eyewright.core.labels import LabelSpace
from eyewright.core.prediction import Prediction
from eyewright.core.predictor import Predictor, decode_everything, inputs_of
from eyewright.core.quoting import quoted
from eyewright.core.report import Report
from eyewright.core.task import Task, task_of
from eyewright.data.dataset import Dataset
from eyewright.evaluation.novelty import say_novelty
from eyewright.evaluation.parity import Images, Parity, check_parity
from eyewright.evaluation.private import told
from eyewright.evaluation.together import say_groups
from eyewright.exporting.attention_model import export_attention
from eyewright.exporting.card import model_card
from eyewright.exporting.familiarity import familiarity_of, with_features
from eyewright.exporting.features import FeatureReader
from eyewright.exporting.onnx_model import export_onnx
from eyewright.exporting.private import noise_images, private_claim
from eyewright.exporting.robust import robustness_of
from eyewright.exporting.stream_model import export_stream, streams
from eyewright.exporting.text_model import export_texts
from eyewright.imaging.appearance import appearance
from eyewright.imaging.clips import cut_strip, join_strip
from eyewright.imaging.overlay import shrink
from eyewright.imaging.preparation import Preparation, image_preparation
from eyewright.metrics.conformal import nonconformity
from eyewright.metrics.points import group_numbers
from eyewright.nets.pixels import PixelNet
from eyewright.tasks.box_margins import BoxRecorder
from eyewright.training.checkpoints import unshared
from eyewright.training.looks import Looks, read_looks
from eyewright.training.recipe import write_recipe
from eyewright.training.run import Run

_GOLDEN = 4
_GOLDEN_SIDE = 256
_GOLDEN_FRAME = 48
_STREAMED = 8
_NO_IMAGES = {"images": 0, "groups": 0, "validation_images": 0, "training_images": 0}
_MOST_ASKED = 500


def export_bundle(
    run: Run,
    out: Path,
    *,
    validation: Dataset,
    report: Report | None = None,
    report_files: Mapping[str, bytes] | None = None,
    name: str | None = None,
    policy: Mapping[str, float] | None = None,
    attention: bool = False,
    describes: bool = True,
) -> tuple[Bundle, Parity]:
    """Export a run to the folder `out`, and give the bundle, loaded and self-tested, with what the parity check found.

    The bundle is built next to `out`, checked there, and moved only when it has passed: parity with the trained net on
    every image of `validation`, every digest, the golden pairs. A bundle that stood at `out` is replaced then. With
    `attention` the net's attention weights go in too, as `onnx/attention.onnx`. `describes` tells whether the images
    of `validation` are what the model is made for: without, new images are not compared with them.

    Raises:
        PolicyError: the evidence in the report is below `policy`, rules such as {"min_recall.person": 0.8}.
        ParityError: the exported model disagrees with the trained one; nothing is left at `out`.
        OutputError: `out` cannot be written, or holds something that is not a bundle.
    """
    if out.exists() and not (out / "bundle.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{quoted(out)} exists and is not a bundle", fix="choose another --out")
    predictor = run.predictor
    labels = run.labels
    robust = robustness_of(run.folder)
    validation = validation.seen_by(*inputs_of(predictor).values())
    tried = _tried_on(validation, predictor)
    provenance = {**_provenance(run), "measured": measured_of(report)}
    if robust.about is not None:
        provenance["robustness"] = robust.about
    claim = private_claim(run)
    # Validation images are shown and described only where they may be seen.
    hides = claim is not None and run.about["calibration"].get("method") == "none" and not run.about["thresholds"]
    if claim is not None:
        provenance = told({**provenance, "privacy": claim})
    with staged_folder(out) as stage, checked_output(out):
        (stage / "onnx").mkdir()
        export_onnx(
            run.net,
            stage / "onnx" / "model.onnx",
            temperature=run.temperature,
            task=run.task_name,
            inputs=predictor.inputs,
            metadata={
                "task": run.task_name,
                "labels": dumps_json(labels.names),
                **_said_of(predictor.inputs),
                "producer": f"eyewright {provenance['versions'].get('eyewright', '')}".strip(),
            },
        )
        if attention:
            few = [validation.image(i) for i in range(min(3, len(validation)))]
            export_attention(run.net, stage / "onnx" / "attention.onnx", run.preparation.batch(few)[0])
        if streams(run.net):
            few = [validation.image(i) for i in range(min(_STREAMED, len(validation)))]
            given = run.preparation.batch(few)[0]
            export_stream(run.net, stage / STREAM_MODEL, temperature=run.temperature, strips=given)
        if judge_in(run.folder / JUDGE):
            (stage / JUDGE).mkdir()
            for file in JUDGE_FILES:
                write_bytes(stage / JUDGE / file, (run.folder / JUDGE / file).read_bytes())
        export_texts(run.net, stage, run.task_name, predictor, validation)
        _write_weights(run.net, stage / "model.safetensors")
        if claim is None:
            write_bytes(stage / "golden.npz", golden_pairs(predictor, tried))
        else:
            size = image_preparation(predictor.inputs).size_hw
            write_bytes(stage / "golden.npz", golden_of(predictor, noise_images(size, _GOLDEN)))
        familiar: Mapping[str, NDArray[Any]] = {}
        familiarity: Mapping[str, Any] = {}
        if hides:
            familiarity = {"method": "none", "reason": "the images of a private run are not described", **_NO_IMAGES}
        elif not describes:
            familiarity = {"method": "none", "reason": "it was exported without images of its own", **_NO_IMAGES}
        elif tried is validation:
            reader = FeatureReader((stage / "onnx" / "model.onnx").read_bytes())
            reference = reference_numbers(predictor, validation, reader)
            looks = validation_looks(reference, validation)
            trained_on = None if claim is not None else read_looks(run.folder)
            by_looks = familiarity_of(looks, trained_on, noun=task_of(run.task_name).reads)
            familiar, familiarity = with_features(*by_looks, reader.found(), looks.groups)
            write_bytes(stage / "reference.npz", pack_arrays({**reference, **familiar}))
        else:
            write_bytes(stage / "reference.npz", pack_arrays(_numbers_of_asked(predictor, tried)))
        write_json(stage / "config.json", _hugging_face_config(labels, run))
        if only_image(predictor.inputs):
            write_json(stage / "preprocessor_config.json", _hugging_face_preprocessor(run.preparation, run))
        write_recipe(stage / "recipe.toml", run.recipe.without_places())
        # The digest of an image tells whether it was trained on.
        split = _split_csv(run) if claim is None else ""
        if split:
            write_text(stage / "split.csv", split)
        for file, data in {**(report_files or {}), **robust.files}.items():
            write_bytes(stage / file, data)
        title = name or f"{provenance['dataset']['name']}-{run.recipe.model_name}"
        metrics = {**({} if report is None else report.to_json()["metrics"]), **robust.metrics}
        if claim is not None:
            metrics["epsilon"] = {"value": claim["epsilon"], "low": None, "high": None, "n": claim["n"]}
        manifest = Manifest(
            name=title,
            task=run.task_name,
            labels=labels,
            inputs=predictor.inputs,
            tensors=_tensors(predictor),
            files={},
            metrics=metrics,
            calibration=run.about["calibration"],
            thresholds=run.about.get("thresholds", {}),
            policy=dict(policy or {}),
            familiarity=familiarity,
            evidence=evidence_of(run.about, familiarity, report),
            decoding={
                **predictor.decoding,
                **({} if predictor.spread is None else {"spread": predictor.spread.tolist()}),
            },
            provenance=provenance,
        )
        write_page(stage / "README.md", model_card(manifest, () if report is None else report.per_class))
        seal(stage, manifest, {})
        parity = check_parity(predictor, load_bundle(stage, self_test=False), tried)
        found = parity.to_json()
        seal(stage, manifest, found)
        # What the bundle asks of itself it must have shown already.
        check_policy(stage, read_manifest(stage))
        load_bundle(stage)
    return load_bundle(out), parity


def _split_csv(run: Run) -> str:
    """Return which images are train, val and test, by SHA-256 and without their names; empty if it is not known."""
    if not (run.folder / "split.csv").is_file():
        return ""
    rows = sorted({(r["sha256"], r["split"]) for r in run.split_rows()})
    return "".join(f"{digest},{part}\n" for digest, part in [("sha256", "split"), *rows])


def seal(stage: Path, manifest: Manifest, parity: Mapping[str, Any]) -> None:
    """Write the manifest of a folder with the digests of all that lies in it."""
    write_manifest(stage, replace(manifest, files=digest_folder(stage), parity=parity))


def _write_weights(net: PixelNet, path: Path) -> None:
    write_bytes(path, save(unshared(net.state_dict()), metadata={"format": "pt"}))


def _tried_on(validation: Dataset, predictor: Predictor) -> Images:
    """Return what a model is tried on: validation images, or what its task makes of them."""
    task = task_of(predictor.task_name)
    if task.asked is not None:
        return _Asked(validation, task.name)
    inputs = inputs_of(predictor)
    return validation if tuple(inputs) == (IMAGE,) or task.tried_on is None else _Completed(validation, inputs)


class _Completed:
    """The images of a dataset, with what a model takes in addition to an image."""

    def __init__(self, dataset: Dataset, inputs: Inputs) -> None:
        self._dataset, self._preparation = dataset, inputs[IMAGE]

    def __len__(self) -> int:
        return len(self._dataset)

    def image(self, index: int) -> Example:
        """Return one example."""
        make = task_of(self._dataset.task).tried_on
        assert make is not None
        return make(self._dataset.image(index), index, self._preparation)


class _Asked:
    """What a model that takes no image is run on, in place of the first images of a dataset."""

    def __init__(self, dataset: Dataset, task: str) -> None:
        make = task_of(task).asked
        assert make is not None
        self._examples = make([int(t) for t in dataset.targets[:_MOST_ASKED]])

    def __len__(self) -> int:
        return len(self._examples)

    def image(self, index: int) -> Example:
        """Return one example."""
        return self._examples[index]


def _numbers_of_asked(predictor: Predictor, tried: Images) -> dict[str, NDArray[Any]]:
    given, placements = prepare(inputs_of(predictor), [tried.image(i) for i in range(len(tried))])
    found = decode_everything(predictor, predictor.raw(given), placements)
    return _summed(np.array([one.numbers() for one in found], np.float32), task_of(predictor.task_name))


def golden_pairs(predictor: Predictor, dataset: Images) -> bytes:
    """Store a few real images with the pixels and answers they must give, larger ones reduced to 256 pixels, frames of
    clips to 48."""
    chosen = np.unique(np.linspace(0, len(dataset) - 1, _GOLDEN).astype(int))
    inputs = inputs_of(predictor)
    clip = next((c for one in inputs.values() if (c := getattr(one, "clip", None)) is not None), None)
    images: list[Example] = []
    for i in chosen:
        image: Any = dataset.image(int(i))
        if isinstance(image, Mapping):
            images.append(image)
        elif clip is None:
            images.append(_at_most(image, _GOLDEN_SIDE))
        else:
            images.append(join_strip(_at_most(f, _GOLDEN_FRAME) for f in cut_strip(image, clip.frames)))
    return golden_of(predictor, images)


def golden_of(predictor: Predictor, images: Sequence[Example]) -> bytes:
    """Store images with the pixels and answers they must give."""
    inputs = inputs_of(predictor)
    return pack_arrays({**golden_arrays(inputs, images), **predictor.raw(prepare(inputs, images)[0])})


def _at_most(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    return shrink(image, side) if max(image.shape[:2]) > side else image


def reference_numbers(
    predictor: Predictor, dataset: Dataset, reader: FeatureReader | None = None
) -> dict[str, NDArray[Any]]:
    """Return what validation images look like to the model: what drift is measured against.

    `reader` reads the features of the same prepared images.
    """
    inputs = inputs_of(predictor)
    channels = image_preparation(inputs).channels
    histogram = np.zeros((channels, 32), np.int64)
    looks, answers = [], []
    task = task_of(predictor.task_name)
    boxes = BoxRecorder(dataset, predictor.task_name) if "miss_rate" in task.options else None
    for start in range(0, len(dataset), 128):
        rows = range(start, min(start + 128, len(dataset)))
        images = list(dataset.examples(image_preparation(inputs), rows))
        pixels, placements = image_preparation(inputs).batch(images)
        for c in range(channels):
            histogram[c] += np.bincount(pixels[..., c].ravel() >> 3, minlength=32)
        looks += [appearance(p, q) for p, q in zip(pixels, placements, strict=True)]
        shown = decode_everything(predictor, predictor.raw(pixels), placements)
        answers.append(_answered(predictor, shown))
        if boxes is not None:
            boxes.take(shown, rows)
        if reader is not None:
            reader.take(pixels)
    seen: dict[str, NDArray[Any]] = {"pixel_histogram": histogram, "appearance": np.array(looks, np.float32)}
    found = np.concatenate(answers)
    if boxes is not None:
        # What margins of boxes and the threshold of a miss rate need: how each true object was found.
        seen |= boxes.record().arrays()
    elif "coverage" in task.options:
        # What conformal sets need: how far each image's true class was from being the answer, and which it was.
        every = np.arange(len(found))
        seen["nonconformity"] = 1 - found[every, dataset.targets]
        seen["set_above"] = nonconformity(found, "adaptive")[every, dataset.targets].astype(np.float32)
        seen["set_labels"] = np.asarray(dataset.targets, np.int32)
        seen["set_groups"] = group_numbers([s.group for s in dataset.samples]).astype(np.int32)
    return seen | _summed(found, task)


def validation_looks(reference: Mapping[str, NDArray[Any]], dataset: Dataset) -> Looks:
    """Return the appearance that `reference_numbers` measured, with the images' groups."""
    return Looks(reference["appearance"], tuple(s.group for s in dataset.samples))


def evidence_of(
    about: Mapping[str, Any], familiarity: Mapping[str, Any], report: Report | None
) -> dict[str, dict[str, int | None]]:
    """Return the numbers of images and groups behind metrics, calibration, thresholds and the familiarity test.

    `about` holds the run's "calibration" and "thresholds"; those of earlier versions do not say how many groups.
    """
    calibration, thresholds = about.get("calibration", {}), about.get("thresholds", {})
    measured = {} if report is None else report.provenance.get("measured_on", {})
    if calibration.get("method") == "none" and not thresholds:
        # Where validation images may not choose, nothing rests on them.
        calibration = {}
    found = {
        "metrics": (measured.get("images", None if report is None else report.n), measured.get("groups")),
        "calibration": (calibration.get("n"), calibration.get("groups")),
        "thresholds": (thresholds.get("images", calibration.get("n")), thresholds.get("groups")),
        "familiarity": (familiarity.get("images"), familiarity.get("groups")),
    }
    return {k: {"images": images, "groups": groups} for k, (images, groups) in found.items() if images is not None}


def measured_of(report: Report | None) -> dict[str, Any] | None:
    """Return what a report says of groups and of new things, for the card: numbers, and sentences of its summary."""
    if report is None:
        return None
    together, novelty = report.tables.get("together"), report.tables.get("novelty") or {}
    thirds = novelty.get("thirds") or ()
    newest = {k: thirds[-1][k] for k in ("value", "low", "high", "n")} if thirds else None
    said = [say_groups(together), say_novelty(novelty, report.task)]
    return {
        "groups": None if not together else {k: together[k] for k in ("groups", "effective_n", "largest")},
        "newest_third": newest,
        "newest_of": novelty.get("metric"),
        "said": [s for s in said if s],
    }


def _answered(predictor: Predictor, found: Sequence[Prediction]) -> NDArray[np.float32]:
    """Return each image's answer in C numbers, as `Prediction.numbers` of what is shown to a person."""
    task, n_classes = task_of(predictor.task_name), len(predictor.labels)
    rows = [task.settle(one, getattr(predictor, "thresholds", None)).numbers() for one in found]
    return np.array(rows, np.float32).reshape(-1, n_classes)


def _summed(answers: NDArray[np.float32], task: Task) -> dict[str, NDArray[Any]]:
    what, each = task.summary(answers)
    counts = task.labelled(answers).sum(0)
    return {task.reference: answers, f"mean_{task.reference}": answers.mean(0), what: each, "class_counts": counts}


def pack_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return arrays as the bytes of a compressed .npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def _tensors(predictor: Predictor) -> dict[str, Any]:
    """Return the contract: names, types, shapes and ranges of what the model takes and gives."""
    inputs = inputs_of(predictor)
    taken = [
        {"name": name, "dtype": one.dtype, "shape": ["N", *one.shape], **one.contract} for name, one in inputs.items()
    ]
    blank = predictor.raw(blank_inputs(inputs))
    about: dict[str, dict[str, Any]] = {
        "probabilities": {"range": [0, 1]},
        "scores": {"range": [0, 1]},
        "boxes": {"layout": "x0 y0 x1 y1 in prepared pixels"},
        "coefficients": {"range": [-1, 1]},
        "prototypes": {"layout": "masks are sums of these in logits, at a quarter of the prepared size"},
    }
    names = task_of(predictor.task_name).output_names
    out = [
        {"name": n, "dtype": str(blank[n].dtype), "shape": ["N", *blank[n].shape[1:]], **about.get(n, {})}
        for n in names
    ]
    return {"inputs": taken, "outputs": out}


def _said_of(inputs: Inputs) -> dict[str, str]:
    """Return what the ONNX file says of its inputs' preparation."""
    if only_image(inputs):
        return {"preparation": dumps_json(inputs[IMAGE].to_json())}
    return {"inputs": dumps_json(write_inputs(inputs))}


def _hugging_face_config(labels: LabelSpace, run: Run) -> dict[str, Any]:
    known = task_of(run.task_name).foreign
    return {
        "architectures": [run.recipe.model_name],
        "model_type": "eyewright",
        **({"problem_type": known["problem_type"]} if "problem_type" in known else {}),
        "eyewright_task": run.task_name,
        "num_labels": len(labels),
        "num_channels": run.preparation.channels,
        "image_size": run.preparation.size_hw[0],
        "id2label": {str(i): n for i, n in enumerate(labels.names)},
        "label2id": {n: i for i, n in enumerate(labels.names)},
    }


def _hugging_face_preprocessor(preparation: Preparation, run: Run) -> dict[str, Any]:
    resample = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4}[preparation.filter]
    height, width = preparation.size_hw
    return {
        "do_resize": True,
        "size": {"height": height, "width": width},
        "resample": resample,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": run.about["scaling"]["mean"],
        "image_std": run.about["scaling"]["std"],
        "do_convert_rgb": preparation.channels == 3,
        "eyewright_fit": preparation.fit,
        **({"eyewright_steps": preparation.to_json()["steps"]} if preparation.steps else {}),
    }


def _provenance(run: Run) -> dict[str, Any]:
    keys = (
        "dataset",
        "grouping",
        "warnings",
        "training",
        "chosen_on",
        "seed",
        "versions",
        "hardware",
        "commit",
        "parameters",
        "augmentation",
        *(k for k in ("threat", "generated", "published") if run.about.get(k)),
    )
    return {
        "exported": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "model": run.recipe.model_name,
        **{k: run.about.get(k) for k in keys},
    }
