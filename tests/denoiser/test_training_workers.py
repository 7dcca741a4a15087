"""Processes that train together have one gradient and one mind."""

import os
import socket
from pathlib import Path

import pytest
import torch
from torch import multiprocessing, nn

from napari_blush.denoiser.training.workers import Workers, join_workers, leave_workers

CPU = torch.device("cpu")


def _work(rank: int, folder: str) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {"MASTER_PORT": (Path(folder) / "port").read_text()}
    workers, _ = join_workers(CPU)
    parameters = [nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(3))]
    parameters[0].grad = torch.full((2, 2), float(rank))
    parameters[1].grad = torch.tensor([1.0, 2.0, 3.0]) * (1 + 2 * rank)
    workers.average_gradients(parameters)
    agreed = [workers.any(rank == 1, CPU), workers.any(False, CPU)]
    torch.save([parameters[0].grad, parameters[1].grad, agreed], Path(folder) / f"{rank}.pt")
    leave_workers()


@pytest.mark.slow
def test_gradients_are_averaged_and_wishes_shared(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        (tmp_path / "port").write_text(str(free.getsockname()[1]))
    multiprocessing.spawn(_work, args=(str(tmp_path),), nprocs=2)
    for rank in range(2):
        first, second, agreed = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert torch.equal(first, torch.full((2, 2), 0.5))
        assert torch.equal(second, torch.tensor([2.0, 4.0, 6.0]))
        assert agreed == [True, False]


def test_one_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    workers, device = join_workers(CPU)
    assert (workers, device) == (Workers(0, 1), CPU)
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.ones(1)
    workers.average_gradients([parameter])
    assert float(parameter.grad) == 1
    assert workers.any(True, CPU)
    assert not workers.any(False, CPU)
    leave_workers()
