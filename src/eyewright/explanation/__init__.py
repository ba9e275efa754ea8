"""Why a model says what it says, with a verdict on whether the explanation is faithful."""

from eyewright.explanation.faithfulness import Explanation, Verdict, judge_faithfulness
from eyewright.explanation.methods import METHODS, explain_images

__all__ = ["METHODS", "Explanation", "Verdict", "explain_images", "judge_faithfulness"]
