import os
from pathlib import Path

from ray.exceptions import AuthenticationError


def check_token(address):
    """Return what is known of a cluster, if the token of this process is the one that it asks for."""
    folder = Path(os.environ["FAKE_RAY"], address.rpartition(":")[2])
    if not folder.is_dir():
        raise ConnectionError(f"nobody listens at {address}")
    asked = (folder / "token").read_text()
    sent = os.environ.get("RAY_AUTH_TOKEN", "") if os.environ.get("RAY_AUTH_MODE") == "token" else ""
    if asked and sent != asked:
        raise AuthenticationError("RPC error: InvalidAuthToken\nmore")
    return (folder / "nodes").read_text()
