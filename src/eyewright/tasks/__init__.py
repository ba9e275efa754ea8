"""What raw arrays mean (decode), how good they are (score), how they look (draw): one file a task."""

from types import MappingProxyType

from eyewright.tasks.classify import Classify, ClassPrediction

TASKS = MappingProxyType({"classify": Classify()})
"""Every task by the name that bundles and `--task` use."""

__all__ = ["TASKS", "ClassPrediction", "Classify"]
