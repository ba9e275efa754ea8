"""Progress: silent without a terminal or a notebook; in a notebook a bar that shows late and ends as a line."""

import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace

import pytest

from eyewright.core import progress
from eyewright.core.progress import track_progress


@dataclass
class _Kernel:
    """Stands in for IPython in a kernel: the outputs of a cell, each as it was drawn over time."""

    outputs: list[list[str]] = field(default_factory=list)

    def display(self, drawn: str, *, display_id: bool) -> SimpleNamespace:
        assert display_id
        output = [drawn]
        self.outputs.append(output)
        return SimpleNamespace(update=output.append)


@pytest.fixture
def kernel(monkeypatch):
    kernel = _Kernel()
    ipython, display = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=kernel)
    display.HTML, display.display = str, kernel.display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    clock = iter(range(1000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock) * 0.75)
    return kernel


def test_without_a_terminal_and_a_notebook_nothing_is_written(capfd):
    with track_progress("reading", 10) as advance:
        advance(10, "a.png")
    assert capfd.readouterr() == ("", "")


def test_a_notebook_shows_one_output_that_is_replaced(kernel):
    with track_progress("reading", 4) as advance:
        for name in ("a.png", "b.png", "c.png", "<d>.png"):
            advance(1, name)
    (drawn,) = kernel.outputs
    # Nothing at 0.75 s; then every step, the last without a time left, and the line that stays.
    assert 'value="2"' in drawn[0]
    assert "50%, 1.5 s left b.png" in drawn[0]
    assert 'value="4"' in drawn[2]
    assert "100% &lt;d&gt;.png" in drawn[2]
    assert "reading: 3.8 s &lt;d&gt;.png" in drawn[-1]
    assert len(drawn) == 4
    assert not any("<d>" in one for one in drawn)


def test_a_notebook_says_where_work_stopped(kernel):
    def read():
        with track_progress("reading", 4) as advance:
            advance(1, "a.png")
            advance(1, "b.png")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        read()
    assert "reading: stopped at 50% after 2.2 s b.png" in kernel.outputs[0][-1]


def test_work_of_unknown_length_shows_a_count(kernel):
    with track_progress("searching", None) as advance:
        advance(600, "")
        advance(600, "")
    assert "<progress></progress> 1,200" in kernel.outputs[0][0]


def test_work_that_is_over_at_once_shows_nothing_in_a_notebook(kernel):
    with track_progress("reading", 1) as advance:
        advance(1, "a.png")
    assert kernel.outputs == []


def test_quiet_work_shows_nothing_in_a_notebook(kernel):
    with track_progress("reading", 4, quiet=True) as advance:
        for _ in range(4):
            advance(1, "a.png")
    assert kernel.outputs == []


def test_ipython_without_a_kernel_is_no_notebook(kernel, monkeypatch):
    sys.modules["IPython"].get_ipython = lambda: SimpleNamespace()
    with track_progress("reading", 4) as advance:
        for _ in range(4):
            advance(1, "a.png")
    assert kernel.outputs == []
