"""Images reach their worker whole: through a file in memory, or where there is none behind their batch."""

import asyncio
import os
import socket
from collections.abc import Callable

import pytest

from eyewright.core.machine.shared_buffer import SharedBuffer, open_shared_buffer, receive_shared_buffer
from eyewright.serving.crew import _AT_ONCE, _PIECE, Crew, _Waiting, _Worker
from eyewright.serving.messages import BATCH, FRAME, Job
from eyewright.serving.settings import Settings
from eyewright.serving.worker import _with_images

SIZES = ([_PIECE], [3 * _PIECE + 5], [1, _PIECE + 1, 77], [_AT_ONCE // 2, _AT_ONCE // 2 + 1], [_AT_ONCE + 3])


def _image(size: int) -> bytes:
    return bytes((size + k) % 251 for k in range(251)) * (size // 251) + bytes(size % 251)


def _handed_over(
    images: list[bytes], *, change: Callable[[SharedBuffer | None], None] = lambda buffer: None
) -> tuple[bool, list[bytes]]:
    """Give images to a worker; return whether they came through the buffer, and the images that it read."""

    async def main() -> tuple[bool, list[bytes]]:
        ours, theirs = socket.socketpair()
        given = open_shared_buffer(ours)
        change(given)
        reader, writer = await asyncio.open_connection(sock=ours)
        crew = Crew(Settings(workers=1))
        worker = _Worker(0, reader, writer, 0, given, ready=True)
        crew._workers.append(worker)
        loop = asyncio.get_running_loop()
        waiting = [_Waiting("m", Job(k, image, 9.0, ()), loop.create_future(), 0.0) for k, image in enumerate(images)]
        crew._give(worker, waiting)

        def read() -> tuple[bool, list[bytes]]:
            taken = receive_shared_buffer(theirs)
            with theirs.makefile("rb") as stream:
                (length,) = FRAME.unpack(stream.read(FRAME.size))
                batch = BATCH.decode(stream.read(length))
                assert not any(job.data for job in batch.jobs)
                return batch.in_buffer, [job.data for job in _with_images(batch, stream, taken)]

        try:
            return await asyncio.to_thread(read)
        finally:
            assert worker.timer is not None
            worker.timer.cancel()
            writer.close()
            theirs.close()

    return asyncio.run(main())


@pytest.mark.parametrize("sizes", SIZES)
def test_images_reach_their_worker_whole_in_its_buffer(sizes: list[int]) -> None:
    images = [_image(n) for n in sizes]
    assert _handed_over(images) == (True, images)


@pytest.mark.parametrize("sizes", SIZES)
def test_images_follow_their_batch_where_there_are_no_files_in_memory(
    sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "memfd_create")
    images = [_image(n) for n in sizes]
    assert _handed_over(images) == (False, images)


@pytest.mark.parametrize("sizes", SIZES)
def test_images_follow_their_batch_where_the_buffer_has_no_memory_for_them(sizes: list[int]) -> None:
    def full(buffer: SharedBuffer | None) -> None:
        assert buffer is not None
        before = buffer.write

        def write(start: int, data: bytes | memoryview) -> int:
            if start + len(data) >= sum(sizes):
                raise OSError(28, "no space left")
            return before(start, data)

        buffer.write = write  # type: ignore[method-assign]

    images = [_image(n) for n in sizes]
    assert _handed_over(images, change=full) == (False, images)


def test_a_buffer_keeps_the_memory_of_an_ordinary_batch_only() -> None:
    descriptor = os.memfd_create("test")
    buffer = SharedBuffer(descriptor)
    buffer.write(0, bytes(2**20))
    buffer.clear()
    assert os.fstat(descriptor).st_size == 2**20
    buffer.write(0, bytes(9 * 2**20))
    buffer.clear()
    assert os.fstat(descriptor).st_size == 0
    # It is as good as before.
    assert buffer.write(3, b"abc") == 6
    assert buffer.read(0, 6) == b"\0\0\0abc"
    buffer.close()


def test_a_buffer_that_was_cut_short_ends_the_reading() -> None:
    buffer = SharedBuffer(os.memfd_create("test"))
    buffer.write(0, b"abc")
    with pytest.raises(EOFError):
        buffer.read(1, 3)
    buffer.close()
