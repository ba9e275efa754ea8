"""What learning minimises: one file per task."""

from eyewright.training.objectives.classify import Objective, classification_objective

__all__ = ["Objective", "classification_objective"]
