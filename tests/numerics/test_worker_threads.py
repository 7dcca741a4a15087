import threading
from collections.abc import Iterator
from functools import partial

import pytest
import torch

from napari_blush.numerics.worker_threads import run_on_threads


@pytest.fixture(params=[1, 3])
def n_threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_runs_every_task_once(n_threads: int) -> None:
    done: list[int] = []
    run_on_threads(partial(done.append, number) for number in range(20))
    assert sorted(done) == list(range(20))


def test_tasks_run_side_by_side(n_threads: int) -> None:
    meeting = threading.Barrier(n_threads)
    run_on_threads([partial(meeting.wait, 30)] * n_threads)


def test_waits_for_all_and_raises_the_first_error(n_threads: int) -> None:
    done: list[int] = []

    def task(number: int) -> None:
        if number in (2, 4):
            raise ValueError(f"task {number}")
        done.append(number)

    with pytest.raises(ValueError, match="task 2"):
        run_on_threads(partial(task, number) for number in range(6))
    assert set(done) >= {0, 1}
    if n_threads > 1:
        assert set(done) == {0, 1, 3, 5}


def test_several_callers_share_the_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    done: list[int] = []
    callers = [
        threading.Thread(
            target=run_on_threads, args=([partial(done.append, number) for number in range(50)],)
        )
        for _ in range(4)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    torch.set_num_threads(before)
    assert len(done) == 200
