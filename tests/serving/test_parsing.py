"""Large bodies are parsed beside the event loop, and small images go past large ones."""

import asyncio
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from tests.serving.conftest import serving

from eyewright.serving.crew import Crew, _Waiting, _Worker
from eyewright.serving.exchange import Request
from eyewright.serving.messages import Job
from eyewright.serving.parsing import parse_apart, short_turns
from eyewright.serving.protocols import own
from eyewright.serving.schemas import ImageBody, Options
from eyewright.serving.settings import Settings


def test_small_bodies_are_parsed_in_the_loop_and_large_ones_do_not_hold_up_others() -> None:
    begun, free = threading.Event(), threading.Event()

    def hold() -> str:
        begun.set()
        free.wait(10)
        return threading.current_thread().name

    async def main() -> None:
        assert await parse_apart(100, threading.get_ident) == threading.get_ident()
        large = asyncio.create_task(parse_apart(2**24, hold))
        await asyncio.to_thread(begun.wait, 10)
        async with asyncio.timeout(5):
            middle = await parse_apart(2**20, lambda: threading.current_thread().name)
        free.set()
        assert await large != middle

    asyncio.run(main())


@pytest.mark.parametrize(("kind", "apart"), [("image/jpeg", False), ("", False), ("multipart/form-data", True)])
def test_a_body_that_is_the_image_goes_through_no_thread(
    kind: str, apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    async def parse(size: int, call, *arguments):  # type: ignore[no-untyped-def]
        sizes.append(size)
        return b"the image", {}, {}

    monkeypatch.setattr(own, "parse_apart", parse)
    request = Request("POST", (), {}, {"content-type": kind}, body=b"\xff\xd8" + bytes(2**20))
    assert asyncio.run(own.image_of(request, Settings(), ImageBody, Options))[0] == b"the image"
    assert (sizes[0] > 2**20) is apart


def test_the_interpreter_is_passed_on_sooner_while_serving() -> None:
    before = sys.getswitchinterval()
    with short_turns():
        assert sys.getswitchinterval() == pytest.approx(0.0001, rel=0.01)
    assert sys.getswitchinterval() == before


@pytest.mark.parametrize(("workers", "given"), [(2, ["large", "small"]), (1, ["large"])])
def test_large_images_never_have_every_worker(workers: int, given: list[str]) -> None:
    async def main() -> list[str]:
        crew = Crew(Settings(workers=workers))
        taken: list[str] = []

        def give(worker: _Worker, chosen: list[_Waiting]) -> None:
            worker.running = chosen
            taken.extend(w.model for w in chosen)

        crew._give = give  # type: ignore[method-assign]
        nothing = SimpleNamespace()
        crew._workers = [_Worker(k, nothing, nothing, 0, ready=True) for k in range(workers)]  # type: ignore[arg-type]
        for k, name in enumerate(("large", "large", "small")):
            job = Job(k, b"", time.monotonic() + 9, ())
            done = asyncio.get_running_loop().create_future()
            crew._pending.append(_Waiting(name, job, done, time.monotonic() - 1, alone=name == "large"))
        crew._dispatch()
        assert len(crew._pending) == 3 - len(given)
        return taken

    assert asyncio.run(main()) == given


@pytest.mark.parametrize("size", [2**20, 2**23])
def test_a_server_that_has_parsed_a_large_body_ends_when_it_is_told_to(finished, tmp_path, size: int) -> None:
    with serving(f"shapes={finished.paths['bundle']}", "--no-log", "--workers", "1", cwd=tmp_path) as served:
        body = b'{"inputs": "' + b"A" * size + b'"}'
        assert served.post("/v1/models/shapes/predict", body, content_type="application/json").status == 422
        assert served.stop() == 0
