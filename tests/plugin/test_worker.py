"""The three rules of the bridge between a run's thread and the screen's."""

import threading

import pytest

from napari_blush.errors import RefinementError
from napari_blush.plugin.worker import StepWorker


class Heard:
    """What a worker says, and in which thread it is heard."""

    def __init__(self, make, on_quit=lambda: None) -> None:
        self.values, self.threads = [], []
        self.returned, self.failed, self.is_over = [], [], False
        self.worker = StepWorker(make, on_quit)
        self.worker.yielded.connect(self._value)
        self.worker.returned.connect(self.returned.append)
        self.worker.failed.connect(self._failure)
        self.worker.finished.connect(self._end)

    def _value(self, value) -> None:
        self.values.append(value)
        self.threads.append(threading.get_ident())

    def _failure(self, text) -> None:
        self.failed.append(text)
        self.threads.append(threading.get_ident())

    def _end(self) -> None:
        self.is_over = True


def raising(error: Exception):
    def make():
        yield 1
        raise error

    return make


@pytest.fixture
def to_the_end(application, wait_until):
    def run(heard: Heard) -> Heard:
        heard.worker.start()
        wait_until(lambda: heard.is_over)
        return heard

    return run


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RefinementError("No particles; give some."), "No particles; give some."),
        (RuntimeError("shapes differ\nat line 3"), "RuntimeError: shapes differ"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "Memory ran out"),
        (MemoryError(), "Memory ran out"),
        (KeyError("nothing"), "KeyError"),
        (StopAsyncIteration("odd"), "StopAsyncIteration"),
        (OSError("disk full"), "disk full"),
    ],
)
def test_every_error_is_told(to_the_end, error, words) -> None:
    heard = to_the_end(Heard(raising(error)))
    assert heard.values == [1]
    (text,) = heard.failed
    assert words in text
    assert "\n" not in text
    assert heard.returned == []


def test_an_error_before_the_first_value_is_told(to_the_end) -> None:
    def make():
        raise RuntimeError("at once")

    (text,) = to_the_end(Heard(make)).failed
    assert "at once" in text


def test_values_and_errors_arrive_on_the_main_thread(to_the_end) -> None:
    ran_in = []

    def make():
        ran_in.append(threading.get_ident())
        yield 1
        yield 2
        raise RuntimeError("end")

    heard = to_the_end(Heard(make))
    assert heard.threads == [threading.get_ident()] * 3
    assert ran_in[0] != threading.get_ident()


def test_the_result_is_told_once(to_the_end) -> None:
    def make():
        yield 1
        return "result"

    assert to_the_end(Heard(make)).returned == ["result"]


def test_quitting_closes_the_generator_in_its_own_thread(application, wait_until) -> None:
    goes_on, threads = threading.Event(), {}

    def make():
        threads["ran"] = threading.get_ident()
        try:
            while True:
                yield 1
                goes_on.wait(5)
        finally:
            threads["closed"] = threading.get_ident()

    heard = Heard(make, goes_on.set)
    heard.worker.start()
    wait_until(lambda: heard.values)
    heard.worker.quit()
    wait_until(lambda: heard.is_over)
    assert threads["closed"] == threads["ran"]
    assert not heard.returned
    assert not heard.failed
