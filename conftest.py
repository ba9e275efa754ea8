"""The names that the snippets in README and docs use: a folder to write to, and real digits as an ImageFolder."""

import os

import pytest

# The configuration of Sphinx, which has an environment of its own.
collect_ignore = ["docs/conf.py"]

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several workers share the cores. OpenMP threads that wait spin, so that two workers of two threads each take ten
    # times as long as two of one; read when torch is first imported, here and in the processes that tests start.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def _snippet_digits(tmp_path_factory):
    from eyewright.data import write_digits

    return write_digits(tmp_path_factory.mktemp("snippets") / "digits")


@pytest.fixture(autouse=True)
def _snippet_names(request, tmp_path):
    space = request.getfixturevalue("doctest_namespace")
    if request.node.name.endswith(".md"):
        space["folder"] = tmp_path
        space["digits"] = request.getfixturevalue("_snippet_digits")
