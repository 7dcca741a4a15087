"""Threads of our own for kernels that release the interpreter's lock.

As many as torch was told to use, started once and shared by all callers; tasks must not submit
tasks.
"""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch


def run_on_threads(tasks: Iterable[Callable[[], object]]) -> None:
    """Run tasks on ``torch.get_num_threads()`` threads and return when all are done.

    The first error of a task, in order of the tasks, is raised here.
    """
    todo = list(tasks)
    n_threads = torch.get_num_threads()
    if n_threads == 1 or len(todo) <= 1:
        for task in todo:
            task()
        return
    futures = [_pool(n_threads).submit(task) for task in todo]
    errors = [error for future in futures if (error := future.exception()) is not None]
    if errors:
        raise errors[0]


@lru_cache(maxsize=4)
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads, thread_name_prefix="napari-blush-slices")


if hasattr(os, "register_at_fork"):
    # A forked child has the pool but not its threads: waiting for them would never end.
    os.register_at_fork(after_in_child=_pool.cache_clear)
