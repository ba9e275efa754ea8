"""The head of a Ray cluster on this machine, as a process that ends with the one that started it."""

__all__ = ["main"]

import sys

from eyewright.core.machine.lifeline import hold_lifeline
from eyewright.scaling.ray_cluster import head_command


def main(arguments: list[str]) -> None:
    """Start a head and stay; the arguments are host, port, number of cores and the folder for its files."""
    hold_lifeline()
    # With grpc, Ray starts a server for remote clients too, on a fixed port: two clusters of one machine would collide.
    sys.modules["grpc"] = None  # type: ignore[assignment]
    from ray.scripts.scripts import main as ray_main

    sys.argv = ["ray", *head_command(*arguments)]
    ray_main()


if __name__ == "__main__":
    main(sys.argv[1:])
