"""How each task is learnt: targets, losses, operating points; one file a task, the torch half of `tasks`."""

from types import MappingProxyType

LEARNERS = MappingProxyType(
    {
        "classify": "eyewright.learners.classify:LEARNER",
        "detect": "eyewright.learners.detect:LEARNER",
        "segment": "eyewright.learners.segment:LEARNER",
        "instance": "eyewright.learners.instance:LEARNER",
    }
)
"""Where each learner lies, by the name of its task; `training.learner.learner_of` opens it late."""

__all__ = ["LEARNERS"]
