"""Privacy: what training costs in epsilon, training that keeps to it, and audits that try to prove it wrong.

Only what trains or attacks a net needs torch: `accounting` is numpy.
"""

from eyewright.privacy.accounting import Steps, delta_of, epsilon_of, noise_for

__all__ = ["Steps", "delta_of", "epsilon_of", "noise_for"]
