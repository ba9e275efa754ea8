"""Ask a Ray cluster something without a token: exit 0 where it refuses, 1 where it answers, 2 where nobody does."""

__all__ = ["main"]

import sys

from eyewright.core.machine.lifeline import hold_lifeline

_TIMEOUT_S = 30.0


def main(address: str) -> int:
    """Return the exit code for the cluster at an address."""
    hold_lifeline()
    if address.startswith("ray://"):
        return _ask_client_server(address.removeprefix("ray://"))
    from ray._raylet import GcsClient
    from ray.exceptions import AuthenticationError

    try:
        GcsClient(address=address, cluster_id=None).internal_kv_keys(b"", None)
    except AuthenticationError:
        return 0
    except Exception:  # noqa: BLE001 - by version of Ray
        return 2
    return 1


def _ask_client_server(address: str) -> int:
    """Ask Ray's client server; through Ray itself, a refusal looks like a server that is not there."""
    import grpc

    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary("/ray.rpc.RayletDriver/ClusterInfo")(b"", timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            code = error.code()
            if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                return 2
            return 0 if code == grpc.StatusCode.UNAUTHENTICATED else 1
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
