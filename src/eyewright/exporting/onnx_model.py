"""From a trained net to ONNX: uint8 NHWC in, normalisation and calibration inside, the task's arrays out."""

__all__ = ["OPSET", "export_module", "export_onnx", "layers_of"]

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.jit._trace import TracerWarning

from eyewright.core.errors import RefusedError
from eyewright.core.inputs import Inputs, blank_inputs
from eyewright.nets.pixels import PixelNet
from eyewright.training.learner import learner_of

OPSET = 20


def export_onnx(
    net: PixelNet,
    path: Path,
    *,
    temperature: float,
    task: str = "classify",
    inputs: Inputs,
    metadata: Mapping[str, str],
) -> None:
    """Write the net as ONNX (opset 20): the named `inputs` as they are prepared, such as "image" uint8 (N, H, W, C), in
    their order; outputs those that the task promises.

    `metadata` becomes `metadata_props`, so that the file explains itself to other tools.

    Raises:
        RefusedError: the net holds an operation that cannot be exported.
    """
    model = learner_of(task).answers(net, temperature=temperature).eval()
    # Two examples, not one: an exporter that has seen a batch of one fixes it.
    examples = {name: torch.from_numpy(array) for name, array in blank_inputs(inputs, 2).items()}
    # Deformable attention and some other parts of published detectors go only the older way; with recurrent layers over
    # an axis of any size the newer one takes minutes.
    traced = getattr(net.body, "takes_targets", False) or getattr(net.body, "is_traced", False)
    free = [getattr(one, "free_axes", ()) for one in inputs.values()]
    export_module(model, path, examples, metadata=metadata, traced=traced, free=free)


def export_module(
    model: Any,
    path: Path,
    examples: Mapping[str, torch.Tensor],
    *,
    metadata: Mapping[str, str],
    traced: bool,
    free: Sequence[tuple[int, ...]] = (),
) -> None:
    """Write a module as ONNX that takes tensors like the named `examples` and gives those of its `names`; `traced` by
    the older exporter. `free` are the axes of each example that may have any size, in addition to the first.

    Raises:
        RefusedError: it holds an operation that cannot be exported.
    """
    import onnx

    loud = logging.getLogger("torch.onnx")
    level = loud.level
    loud.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            axes = free or [()] * len(examples)
            export = _by_tracing if traced else _quickest
            with _unprinted():
                proto = export(model, tuple(examples.values()), list(examples), axes)
    except Exception as error:  # the exporter raises many types of its own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RefusedError(
            f"the net cannot be exported to ONNX: {reason}", fix="change the net", code="export"
        ) from error
    finally:
        loud.setLevel(level)
    proto.producer_name = "eyewright"
    for key, value in metadata.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    # The exporter notes the source lines it came from: they name this machine's folders.
    for holder in (proto.graph, *proto.graph.node, *proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        holder.doc_string = ""
        del holder.metadata_props[:]
    onnx.checker.check_model(proto, full_check=True)
    buffer = io.BytesIO(proto.SerializeToString())
    path.write_bytes(buffer.getvalue())


@contextlib.contextmanager
def _unprinted() -> Iterator[None]:
    """Keep the tracing exporter from printing the whole graph to stdout where it fails: the error is raised too."""
    native: Any = torch._C
    told = getattr(native, "_jit_onnx_log", None)
    if told is None:
        yield
        return
    native._jit_onnx_log = lambda *parts: None
    try:
        yield
    finally:
        native._jit_onnx_log = told


def layers_of(model: bytes, operator: str) -> tuple[str, ...]:
    """Name the layers of an ONNX model that are of one operator; those without a name by what they give."""
    import onnx

    graph = onnx.load_from_string(model).graph
    return tuple(n.name or n.output[0] for n in graph.node if n.op_type == operator)


def _quickest(model: Any, examples: tuple[torch.Tensor, ...], names: list[str], free: Sequence[tuple[int, ...]]) -> Any:
    """Trace the net, in a thirtieth of the time, and take what that gives where it is surely all of the net: no branch
    on values or sizes was taken, and nothing is computed from sizes. Otherwise export by the newer way."""
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", TracerWarning)
            proto = _folded(_by_tracing(model, examples, names, free, opset=OPSET))
        if any(issubclass(w.category, TracerWarning) for w in said) or _depends_on_sizes(proto):
            raise _NotPlainError
    except Exception:  # noqa: BLE001 - the older exporter raises many types; what the newer one raises is told
        return _by_dynamo(model, examples, names, free)
    return proto


class _NotPlainError(Exception):
    """What was traced may hold for the examples alone."""


_OF_SIZES = frozenset({"ConstantOfShape", "If", "Loop", "NonZero", "Range", "Scan", "Shape", "Size"})


def _depends_on_sizes(proto: Any) -> bool:
    return any(
        n.op_type in _OF_SIZES or n.op_type.startswith("Sequence") or n.domain not in ("", "ai.onnx")
        for n in proto.graph.node
    )


def _folded(proto: Any) -> Any:
    """Return a traced model with what is computed from constants alone as initialisers, as the newer way writes it."""
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator

    graph = proto.graph
    values = {i.name: i for i in graph.initializer}
    answers = {o.name for o in graph.output}
    kept = []
    for node in graph.node:
        if node.domain or answers.intersection(node.output) or not all(not i or i in values for i in node.input):
            kept.append(node)
            continue
        given = {i: numpy_helper.to_array(values[i]) for i in node.input if i}
        found = ReferenceEvaluator(node, opsets={"": OPSET}).run(None, given)
        values |= {o: numpy_helper.from_array(v, o) for o, v in zip(node.output, found, strict=True)}
    used = {name for node in kept for name in node.input}
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(v for name, v in values.items() if name in used)
    return proto


def _by_dynamo(
    model: Any, examples: tuple[torch.Tensor, ...], names: list[str], free: Sequence[tuple[int, ...]]
) -> Any:
    program = torch.onnx.export(
        model,
        examples,
        dynamo=True,
        opset_version=OPSET,
        input_names=names,
        output_names=list(model.names),
        dynamic_shapes=tuple(dict.fromkeys((0, *axes), torch.export.Dim.DYNAMIC) for axes in free),
        verbose=False,
    )
    assert program is not None
    return program.model_proto


def _by_tracing(
    model: Any,
    examples: tuple[torch.Tensor, ...],
    names: list[str],
    free: Sequence[tuple[int, ...]],
    *,
    opset: int = 17,
) -> Any:
    import onnx

    buffer = io.BytesIO()
    torch.onnx.export(
        model,
        examples,
        buffer,  # type: ignore[arg-type]
        dynamo=False,
        opset_version=opset,
        input_names=names,
        output_names=list(model.names),
        dynamic_axes={
            **{name: {0: "N", **{a: f"{name}_{a}" for a in axes}} for name, axes in zip(names, free, strict=True)},
            # What runs along a free axis of the input is the first axis of the answers.
            **{name: {0: "N", 1: "T"} if any(free) else {0: "N"} for name in model.names},
        },
    )
    return onnx.load_from_string(buffer.getvalue())
