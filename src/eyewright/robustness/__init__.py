"""Robustness: attacks, an evaluation that checks itself, training steps against attacks, certificates.

Only the modules of gradients need torch: `evaluating` attacks a bundle by its scores without it.
"""

from eyewright.robustness.attacks import ATTACKS, SUITES, attacks_in
from eyewright.robustness.checks import CHECKS, Check
from eyewright.robustness.evaluating import attack_predictor
from eyewright.robustness.report import RobustnessReport
from eyewright.robustness.threat import Threat, parse_eps, show_eps

__all__ = [
    "ATTACKS",
    "CHECKS",
    "Check",
    "RobustnessReport",
    "SUITES",
    "Threat",
    "attack_predictor",
    "attacks_in",
    "parse_eps",
    "show_eps",
]
