"""The program that workers come from: see `core.machine.nursery`."""

__all__ = ["main"]

import sys

from PIL import Image

from eyewright.core.machine.nursery import serve_orders
from eyewright.serving.worker import run_worker


def main(arguments: list[str]) -> None:
    """Fork a worker for every socket that comes, until the server is gone; without an argument, be one worker."""
    # Pillow looks for its formats at the first image: once here, not once a worker.
    Image.init()
    serve_orders(arguments, run_worker)


if __name__ == "__main__":
    main(sys.argv[1:])
