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
            export = _by_tracing if traced else _by_dynamo
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
    model: Any, examples: tuple[torch.Tensor, ...], names: list[str], free: Sequence[tuple[int, ...]]
) -> Any:
    import onnx

    buffer = io.BytesIO()
    torch.onnx.export(
        model,
        examples,
        buffer,  # type: ignore[arg-type]
        dynamo=False,
        opset_version=17,
        input_names=names,
        output_names=list(model.names),
        dynamic_axes={
            **{name: {0: "N", **{a: f"{name}_{a}" for a in axes}} for name, axes in zip(names, free, strict=True)},
            # What runs along a free axis of the input is the first axis of the answers.
            **{name: {0: "N", 1: "T"} if any(free) else {0: "N"} for name in model.names},
        },
    )
    return onnx.load_from_string(buffer.getvalue())
