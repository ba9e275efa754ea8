"""Image processing as steps: typed, checked, composable in one readable line."""

from eyewright.imaging.steps.catalogue import STEPS
from eyewright.imaging.steps.chain import Step, Steps, parse_steps, process
from eyewright.imaging.steps.kinds import Kind, Parameter

__all__ = ["STEPS", "Kind", "Parameter", "Step", "Steps", "parse_steps", "process"]
