"""What the policy of a page allows."""

import base64
import hashlib
import re


def scripts_are_named(page: str) -> int:
    """Return how many scripts a page runs; its policy must name each by its digest, and allow no other."""
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    named = re.search(r"script-src ([^;]*)", policy[1])
    allowed = named[1].split() if named else []
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert allowed == [f"'sha256-{d}'" for d in digests]
    return len(scripts)
