"""The verbs by what they are for."""

__all__ = ["GROUPS"]

from collections.abc import Mapping

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Start here": ("quickstart", "run", "doctor", "predict", "explain", "serve"),
    "Data": ("browse", "convert", "formats", "generate-lines"),
    "Train and evaluate": ("train", "evaluate", "compare", "forget", "federate"),
    "Deploy": ("export", "verify", "compress", "bench", "import", "models"),
    "Use a model": ("track", "read", "restore", "inpaint", "generate", "attend", "index", "search", "anonymize"),
    "Monitor": ("monitor",),
    "Robustness and privacy": ("attack", "harden", "certify", "audit-privacy"),
    "Image processing without a model": ("process", "segment", "encode", "steps"),
    "Large jobs": ("cost", "work"),
    "Setup": ("info", "completion"),
}
"""The verbs by what they are for, as `eyewright --help` lists them; a verb that is in none is listed at the end."""
