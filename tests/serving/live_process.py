"""The process of a live source with a detector of this test: bright things on a dark ground, without a bundle."""

from tests.lifecycle.test_following import Finder

from eyewright.lifecycle import live

if __name__ == "__main__":
    live.load_bundle = lambda *_, **__: Finder()  # type: ignore[assignment]
    live.main()
