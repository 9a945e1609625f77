"""One open stream: requests in, answers out as they are decided, never more than a window of them in the house.

A slow reader is waited for: a request is read from the wire only when fewer than `window` of its stream are in work or
unread. What one request raises becomes its own answer.
"""

from __future__ import annotations

import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import grpc

from server.faults import draining, idle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from server.rpc.service import Pool


class Panel:
    """Runs one stream; `answer(position, data)` decides one request and never raises."""

    def __init__(self, answer: Callable[[int, bytes], bytes], pool: Pool, window: int, idle_seconds: float) -> None:
        self._answer = answer
        self._idle_seconds = idle_seconds
        self._pool = pool
        self._places = threading.Semaphore(window)
        self._out: SimpleQueue[bytes | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._taken = 0
        self._is_reading = True
        self._is_gone = False
        self._is_draining = False

    def run(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """Give the answers until all that was taken in is answered.

        Raises:
            Fault: UNAVAILABLE when the server drains, after what was taken in is answered; ABORTED when the caller
                neither asks nor ends the stream.

        """
        if not context.add_callback(self.leave):
            return
        reader = threading.Thread(target=self._read, args=(requests,), name="panel-reader", daemon=True)
        reader.start()
        given = 0
        while not (self._is_done(given) or self._is_gone):
            answer = self._next(given)
            if answer is not None:
                given += 1
                yield answer
                self._places.release()
        if self._is_draining and not self._is_gone:
            raise draining()

    def _next(self, given: int) -> bytes | None:
        while True:
            try:
                return self._out.get(timeout=self._idle_seconds)
            except Empty:
                with self._lock:
                    is_idle = given == self._taken
                if is_idle:
                    self.leave()
                    raise idle(self._idle_seconds) from None

    def leave(self) -> None:
        """End without answers: the caller has gone, or the call has ended."""
        self._is_gone = True
        self._wake()

    def drain(self) -> None:
        """Take in nothing more."""
        with self._lock:
            self._is_draining = self._is_draining or self._is_reading
            self._is_reading = False
        self._wake()

    def _wake(self) -> None:
        self._places.release()
        self._out.put(None)

    def _is_done(self, given: int) -> bool:
        with self._lock:
            return not self._is_reading and given == self._taken

    def _read(self, requests: Iterator[bytes]) -> None:
        try:
            self._places.acquire()
            for data in requests:
                if not self._take(data):
                    break
                self._places.acquire()
        except grpc.RpcError:
            self._is_gone = True
        except Exception:  # noqa: BLE001 - grpc ends the iterator of a dead call with a bare Exception
            self._is_gone = True
        finally:
            with self._lock:
                self._is_reading = False
            self._out.put(None)

    def _take(self, data: bytes) -> bool:
        with self._lock:
            if not self._is_reading or self._is_gone:
                return False
            position = self._taken
            self._taken += 1
        self._pool.submit(self._work, position, data)
        return True

    def _work(self, position: int, data: bytes) -> None:
        if not self._is_gone:
            self._out.put(self._answer(position, data))
