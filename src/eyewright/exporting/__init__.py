"""From a run to a bundle; parity with the trained net is checked always."""

from eyewright.evaluation.parity import Parity, check_parity
from eyewright.exporting.bundle_writer import export_bundle

__all__ = ["TOLERANCE", "Parity", "check_parity", "export_bundle"]
