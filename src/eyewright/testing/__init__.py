"""Public conformance checks: what every task, net, image format and predictor must do, ours and yours.

Each check raises `AssertionError` with what was expected. They need no test framework.

>>> from eyewright.core.task import task_of
>>> check_task(task_of("classify"))
"""

__all__ = [
    "check_format",
    "check_net",
    "check_predictor",
    "check_preparation",
    "check_reporting",
    "check_source",
    "check_step",
    "check_task",
    "check_tracker",
]

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eyewright.core.errors import BundleError, UnreadableImageError
from eyewright.core.jsonable import dumps_json
from eyewright.core.labels import LabelSpace
from eyewright.core.prediction import Prediction
from eyewright.core.predictor import Predictor, inputs_of
from eyewright.core.rng import generator
from eyewright.core.task import Task, task_of
from eyewright.imaging.decode import probe_image, read_image
from eyewright.imaging.preparation import Placement, Preparation, image_preparation
from eyewright.imaging.steps import Steps, parse_steps
from eyewright.testing.reports import check_reporting
from eyewright.testing.trackers import check_tracker

_ASKED = ("__dataclass_fields__", *(name for name in vars(Prediction) if not name.startswith("_")))


def check_task(task: Task) -> None:
    """Check a task: decode gives one prediction per image, refuses what it was not promised, scores with intervals.

    What it is tried on are its own `example` arrays: 12 images of 16x24 pixels and 3 classes.
    """
    labels = LabelSpace(("a", "b", "c"))
    placements = [Placement((16, 24), (1.0, 1.0), (0.0, 0.0))] * 12
    rng = generator(0, "check_task")
    arrays, targets = task.example(rng)
    predictions = task.decode(arrays, placements, labels)
    assert len(predictions) == 12, "decode must return one prediction per image"
    for prediction in predictions:
        lacking = [name for name in _ASKED if not hasattr(prediction, name)]
        assert not lacking, f"a prediction lacks {', '.join(lacking)} (core.prediction.Prediction)"
        moved = replace(prediction, source="a.png", index=7, time_s=0.5, image=np.ones((16, 24, 3), np.uint8))
        assert (moved.source, moved.index) == ("a.png", 7), "a prediction must be a dataclass with source and index"
        assert moved.plot().dtype == np.uint8, "plot must return uint8"
        assert "\n" not in prediction.line(), "line must return one line"
        dumps_json(prediction.to_json())
        dumps_json(prediction.to_json(top=None))
        dumps_json(prediction.to_hub())
        assert prediction.numbers().shape == (3,), "numbers must return one per class"
        assert isinstance(prediction.headline()[0], str), "headline must return a label and a score"
        image = np.zeros((16, 24, 3), np.uint8)
        drawn = prediction.drawn_on(image)
        assert drawn.dtype == np.uint8, "draw must return uint8"
        assert drawn.ndim == 3, "draw must return (H, W, 3)"
        assert not image.any(), "draw must not change its argument"
        settled = task.settle(prediction, np.full(3, 0.5))
        dumps_json(settled.to_json())
    assert set(arrays) == set(task.output_names), "the example must hold the promised arrays"
    for output in task.outputs:
        shape, wanted = arrays[output.name].shape[1:], output.expected(3)
        assert len(shape) == len(wanted), f"{output.name}: expected {output.shape}, found {shape}"
        assert all(w in (None, s) for s, w in zip(shape, wanted, strict=True)), f"{output.name}: found {shape}"
    first = task.output_names[0]
    cut = arrays[first][:, :1]
    for wrong in ({}, {**arrays, first: cut}, {**arrays, first: arrays[first] * np.float32("nan")}):
        _must_raise(BundleError, partial(task.decode, wrong, placements, labels), "decode of broken arrays")
    metrics = task.score(predictions, targets, rng=generator(0, "score"))
    again = task.score(predictions, targets, rng=generator(0, "score"))
    assert metrics == again, "score must depend on its arguments only"
    assert task.main_metric in metrics, f"score must return {task.main_metric!r}"
    assert metrics[task.main_metric].n == 12, "the main metric must rest on all images"
    for name, metric in metrics.items():
        assert metric.n > 0 or metric.value is None, f"{name} must say how many images or marks it rests on"
        if metric.value is not None and metric.low is not None and metric.high is not None:
            assert metric.low <= metric.high, f"{name}: an interval's ends are in order"


def check_net(
    builder: Callable[..., Any],
    *,
    task: str = "classify",
    size_hw: tuple[int, int] = (32, 32),
    channels: int = 3,
    n_classes: int = 5,
) -> None:
    """Check a net's builder: shapes, gradients, batch independence in eval mode, a state that can be reloaded."""
    import torch

    def several(outputs: Any) -> list[Any]:
        found = list(outputs) if isinstance(outputs, tuple) else [outputs]
        return [t for t in found if isinstance(t, torch.Tensor) and t.numel()]

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = builder(n_classes, channels=channels, size_hw=size_hw)
        # A net may take planes in addition to the channels of the image.
        x = torch.randn(4, getattr(net, "n_given", channels), *size_hw)
        outputs = several(net(x))
        sizes: dict[str | int, int] = {"C": n_classes, "H": size_hw[0], "W": size_hw[1]}
        expected = next(((4, *(sizes.get(s, 0) for s in o.shape)) for o in task_of(task).outputs if o.sums), None)
        if expected is not None:
            assert outputs[0].shape == expected, f"expected logits {expected}, found {tuple(outputs[0].shape)}"
        assert all(len(t) == 4 for t in outputs), "expected one row per image"
        # What only targets reach, such as a second tower, is reached as in training.
        targets = net.example_targets(4) if hasattr(net, "example_targets") else None
        learnt = outputs if targets is None else several(net(x, targets))
        torch.stack([(t * torch.randn_like(t)).sum() for t in learnt]).sum().backward()  # type: ignore[no-untyped-call]
        lacking = [n for n, p in net.named_parameters() if p.requires_grad and p.grad is None]
        assert not lacking, f"no gradient reaches {lacking}"
        net.eval()
        with torch.inference_mode():
            whole = several(net(x))
            single = [torch.cat(parts) for parts in zip(*(several(net(x[i : i + 1])) for i in range(4)), strict=True)]
        for a, b in zip(whole, single, strict=True):
            assert torch.allclose(a, b, atol=1e-4), "in eval mode an image's outputs depend on its batch"
        other = builder(n_classes, channels=channels, size_hw=size_hw).eval()
        other.load_state_dict(net.state_dict())
        with torch.inference_mode():
            same = all(torch.equal(a, b) for a, b in zip(several(other(x)), whole, strict=True))
        assert same, "a reloaded state gives other outputs"


def check_format(encode: Callable[[NDArray[np.uint8]], bytes], *, lossless: bool, name: str) -> None:
    """Check that images of a format are read right: size, pixels, damage refused.

    `encode` writes uint8 (H, W, 3) RGB in the format that `probe_image` calls `name`.
    """
    rows, columns = np.mgrid[0:37, 0:53]
    image = np.stack([rows * 5, columns * 4, (rows + columns) * 2], 2).astype(np.uint8)
    data = encode(image)
    info = probe_image(data)
    assert (info.format, info.size_hw) == (name, (37, 53)), f"expected {name} of 53x37, found {info}"
    found = read_image(data)
    assert found.dtype == np.uint8, "expected uint8"
    assert found.shape == image.shape, f"expected {image.shape}, found {found.shape}"
    error = np.abs(found.astype(int) - image)
    assert error.max() == 0 if lossless else error.mean() < 6, f"pixels differ by {error.mean():.1f} on average"
    _must_raise(UnreadableImageError, lambda: read_image(data[: len(data) // 2]), f"half of a {name} file")
    _must_raise(UnreadableImageError, lambda: read_image(data[:12]), f"the first bytes of a {name} file")


def check_preparation(preparation: Preparation) -> None:
    """Check a preparation: shape, determinism, arguments unchanged, JSON there and back, a placement that maps back."""
    assert Preparation.from_json(preparation.to_json()) == preparation, "JSON there and back changes it"
    rng = generator(0, "check_preparation")
    for size in ((7, 11), (64, 48), preparation.size_hw, (1, 1)):
        image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
        before = image.copy()
        pixels, placement = preparation(image)
        assert pixels.shape == (*preparation.size_hw, preparation.channels), f"found {pixels.shape}"
        assert np.array_equal(image, before), "the argument was changed"
        assert np.array_equal(pixels, preparation(image)[0]), "two calls give other pixels"
        # A line begins at the left, whatever is left of the width.
        wide = size[1] * placement.scale_yx[1] if preparation.free_axes else preparation.size_hw[1]
        centre = np.array([[wide / 2, preparation.size_hw[0] / 2]])
        back = placement.to_source(centre)[0]
        off = np.abs(back - np.array([size[1] / 2, size[0] / 2])) * np.array(placement.scale_yx[::-1])
        assert off.max() <= 1.0, f"the centre maps back to {back}, more than a prepared pixel off"


def check_predictor(predictor: Predictor) -> None:
    """Check a predictor: arrays as promised, one prediction per image, the same answer alone and in a batch."""
    preparation = image_preparation(inputs_of(predictor))
    height, width = preparation.size_hw
    rng = generator(0, "check_predictor")
    pixels = rng.integers(0, 256, (5, *preparation.shape)).astype(np.uint8)
    raw: Mapping[str, NDArray[np.float32]] = predictor.raw(pixels)
    for name, array in raw.items():
        assert len(array) == 5, f"{name}: expected 5 rows, found {len(array)}"
        assert np.isfinite(array).all(), f"{name} holds NaN or infinity"
        alone = np.concatenate([predictor.raw(pixels[i : i + 1])[name] for i in range(5)])
        assert np.abs(alone - array).max() < 1e-4, f"{name}: an image's arrays depend on its batch"
        assert len(predictor.raw(pixels[:0])[name]) == 0, f"{name}: no images must return no rows"
    images = [rng.integers(0, 256, (h, w, 3)).astype(np.uint8) for h, w in ((9, 9), (40, 30), (height, width))]
    assert len(predictor.predict_images(images)) == 3, "expected one prediction per image"


def check_step(kind: Any, *, line: str | None = None) -> None:
    """Check a step: on every image it declares it keeps depth and its argument, and gives the same twice.

    `kind` is an `eyewright.imaging.steps.Kind`; `line`, its example by default, is what is run.
    """
    steps = parse_steps(line or kind.example)
    assert Steps.from_json(steps.to_json()) == steps, "JSON must give the step back"
    assert parse_steps(str(steps)) == steps, "text must give the step back"
    rng = generator(0, "check_step")
    photo = rng.integers(0, 256, (260, 330, 3)).astype(np.uint8)
    for colour in kind.colours:
        for depth in kind.depths:
            image: NDArray[Any] = photo if colour == "rgb" else np.ascontiguousarray(photo[..., 0])
            image = image.astype(np.uint16) * 257 if depth == "uint16" else image
            before = image.copy()
            found = steps(image)
            assert np.array_equal(image, before), "a step must not change its argument"
            assert found.dtype == image.dtype or steps.steps[0].name == "depth", "a step must keep the depth"
            assert found.ndim == 2 or found.shape[2:] == (3,), "a step must return (H, W) or (H, W, 3)"
            if kind.keeps_size:
                assert found.shape[:2] == image.shape[:2], "a step that keeps the size must keep it"
            assert np.array_equal(found, steps(image)), "a step must return the same twice"


def check_source(open_it: Callable[[], Any], *, at_least: int = 1, read: int = 8) -> None:
    """Check a source: frames are uint8 (H, W, 3), indices rise, times do not fall, and closing twice is harmless.

    `open_it` gives what `eyewright.open_source` gives; `read` frames are taken, of which there must be `at_least`.
    """
    with open_it() as source:
        assert isinstance(source.live, bool), "a source must say whether it is live"
        frames = list(islice(iter(source), read))
    source.close()
    assert len(frames) >= at_least, f"expected {at_least} frames, found {len(frames)}"
    for frame in frames:
        assert frame.image.dtype == np.uint8, "a frame must be uint8"
        assert frame.image.ndim == 3, "a frame must be (H, W, 3)"
        assert frame.image.shape[2] == 3, "a frame must be (H, W, 3)"
        assert frame.origin, "a frame must name its origin"
    indices = [f.index for f in frames]
    assert indices == sorted(set(indices)), "indices must rise"
    times = [f.time_s for f in frames if f.time_s is not None]
    assert times == sorted(times), "times must not fall"


def _must_raise(kind: type[Exception], call: Callable[[], Any], what: str) -> None:
    try:
        call()
    except kind:
        return
    raise AssertionError(f"{what} must raise {kind.__name__}")
