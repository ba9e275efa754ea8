"""Video classification: what happens in a clip. Decoding and scores are those of classification."""

__all__ = ["TASK"]

from dataclasses import replace
from types import MappingProxyType

from eyewright.core.task import Words
from eyewright.tasks.classify import TASK as CLASSIFY

TASK = replace(
    CLASSIFY,
    name="video",
    words=Words(
        noun="video classification",
        does="Assigns each clip one of",
        gives="probabilities in the order of `config.json`",
        usage="top1",
        limits="It knows only these classes and returns one of them for every clip, even for one that shows none "
        "of them. Frames are chosen evenly over the clip: what happens between two of them is not seen.",
        counted="clip",
        score="a probability",
        wins="right alone",
    ),
    options=frozenset({"conf", "top", "coverage", "ensemble", "frames", "review", "sets"}),
    foreign=MappingProxyType({"hub": "video-classification", "label-studio": "Choices"}),
    contracts=(),
    net="vector over time",
    learner="eyewright.learners.video:LEARNER",
    reporting="eyewright.tasks.video_report:REPORTING",
    reads="clip",
    feedback=replace(CLASSIFY.feedback, layout="clips"),
)
"""One label a clip."""
