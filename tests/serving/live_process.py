"""The process of a live source with a detector of this test: bright things on a dark ground, without a bundle."""

from tests.lifecycle.test_following import Finder

import eyewright.bundle
from eyewright.lifecycle.live import main

if __name__ == "__main__":
    eyewright.bundle.load_bundle = lambda *_, **__: Finder()  # type: ignore[assignment]
    main()
