"""A command loads and builds what it needs: one that predicts an image no data sets, training or other verbs."""

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from eyewright.cli.parser import build_parser
from eyewright.cli.verbs import VERBS

NEEDLESS = (
    "PIL.ImageCms", "concurrent.futures.thread", "eyewright.bundle.guarantees", "eyewright.catalog",
    "eyewright.core.tokens", "eyewright.data.audit", "eyewright.data.dataset", "eyewright.data.splits",
    "eyewright.imaging.clips", "eyewright.imaging.holes", "eyewright.imaging.steps.catalogue",
    "eyewright.lifecycle.stages", "eyewright.tasks.read", "eyewright.training", "importlib.metadata", "torch",
)  # fmt: skip


def test_predict_loads_no_data_sets_training_or_other_verbs(finished, shapes: Path) -> None:  # type: ignore[no-untyped-def]
    words = ["predict", str(finished.paths["bundle"]), "--source", str(shapes / "disc" / "000.png"), "--quiet"]
    code = (
        f"import sys; from eyewright.cli import main; assert main({words!r}) == 0; "
        f"print([m for m in {NEEDLESS!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_decoder_loads_no_fonts_random_numbers_or_clips() -> None:
    needless = ("PIL.ImageFont", "PIL.ImageCms", "numpy.random", "eyewright.imaging.clips", "eyewright.imaging.sources")
    code = (
        "import sys, eyewright.imaging.worker_main, eyewright.imaging.isolation; "
        f"print([m for m in {needless!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def verbs_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (choices,) = (a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return dict(choices)


def test_the_parser_of_one_verb_is_the_one_among_all() -> None:
    everything = verbs_of(build_parser())
    assert set(everything) == set(VERBS)
    for name, parser in everything.items():
        alone = verbs_of(build_parser(name))
        assert list(alone) == [name]
        assert alone[name].format_help() == parser.format_help()
        assert vars(alone[name])["_defaults"] == vars(parser)["_defaults"]


@pytest.mark.parametrize("wanted", [None, "--help", "nothing"])
def test_without_a_known_verb_all_are_built(wanted: str | None) -> None:
    assert set(verbs_of(build_parser(wanted))) == set(VERBS)
