"""A model on ONNX Runtime."""

__all__ = ["first_line", "open_session", "run_options"]

from typing import Any

from eyewright.bundle.onnx_scan import refuse_outside_data
from eyewright.core.errors import BundleError


def open_session(model: bytes, *, threads: int | None = None, provider: str = "CPUExecutionProvider") -> Any:
    """Open an ONNX model on ONNX Runtime, with so many threads or as many as there are cores.

    Where `provider` is another than the processor, what it does not have is computed there.

    Raises:
        BundleError: it cannot be opened, or keeps values in another file.
    """
    refuse_outside_data(model)
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = options.inter_op_num_threads = threads
    # Threads that spin while they wait cost whoever else runs here; one image gains nothing from it.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        providers = list(dict.fromkeys([provider, "CPUExecutionProvider"]))
        return ort.InferenceSession(model, options, providers=providers)
    except Exception as error:  # ONNX Runtime raises many types of its own, none of them documented
        reason = first_line(error)
        raise BundleError(f"ONNX Runtime cannot open the model: {reason}", fix="export the model again") from error


def run_options(*, frees: bool = False) -> Any:
    """Return the options of one run, by which another thread can end it. `frees`: memory that the run needed is given
    back after it, and not kept for the next one."""
    import onnxruntime as ort

    options = ort.RunOptions()
    if frees:
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options


def first_line(error: Exception) -> str:
    """Return what a runtime says of an error, without the lines and paths that follow."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
