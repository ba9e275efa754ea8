"""What learning minimises: one file a task."""

from eyewright.training.objectives.classify import Objective, classification_objective

__all__ = ["Objective", "classification_objective"]
