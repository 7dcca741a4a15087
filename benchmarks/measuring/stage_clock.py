"""Splits the CPU time of one thread by stage, without a timer in the code that is measured.

A profile hook (``sys.setprofile``) charges the thread's CPU time to the stage of the innermost
function whose module has one; what a function without a stage does belongs to its caller. Matrix
products are charged to themselves and their floating-point operations are counted; for that,
torch's products are wrapped while the clock runs. A second key, the pass, is that of the innermost
function that has one by name.
"""

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from types import CodeType, FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor

PRODUCTS = "matrix products"
_FUNCTIONS = ("mm", "bmm", "matmul", "addmm", "baddbmm")
_METHODS = ("mm", "bmm", "matmul", "__matmul__", "addmm_", "baddbmm_")


class StageClock:
    """A context in which the calling thread's time is split.

    Parameters
    ----------
    stage_of : mapping
        Module name, or ``module:function``, to stage; the latter wins.
    pass_of_function : mapping
        Function name to pass.
    products_within : collection of str
        Stages whose matrix products are charged to themselves; those of others stay there.

    Attributes
    ----------
    seconds : dict of (pass, stage) to float
    operations : dict of (pass, stage) to float
        Floating-point operations of matrix products.
    """

    def __init__(
        self,
        stage_of: Mapping[str, str],
        pass_of_function: Mapping[str, str],
        products_within: frozenset[str],
    ) -> None:
        self._stage_of = stage_of
        self._pass_of_function = pass_of_function
        self._products_within = products_within
        self.seconds: dict[tuple[str, str], float] = defaultdict(float)
        self.operations: dict[tuple[str, str], float] = defaultdict(float)
        self._known: dict[CodeType, tuple[str | None, str | None]] = {}
        self._stack: list[tuple[str, str]] = []
        self._now = ("other", "other")
        self._since = 0.0
        self._originals: list[tuple[object, str, Any]] = []

    def __enter__(self) -> "StageClock":
        for name in _FUNCTIONS:
            self._wrap(torch, name)
        for name in _METHODS:
            self._wrap(Tensor, name)
        self._since = time.thread_time()
        sys.setprofile(self._hook)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        sys.setprofile(None)
        self._charge()
        for owner, name, original in self._originals:
            setattr(owner, name, original)
        self._originals.clear()
        self._stack.clear()

    def _charge(self) -> None:
        now = time.thread_time()
        self.seconds[self._now] += now - self._since
        self._since = now

    def _hook(self, frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            found = self._known.get(frame.f_code)
            if found is None:
                found = self._known[frame.f_code] = self._keys(frame)
            stage, which = found
            self._stack.append(self._now)
            if stage is not None or which is not None:
                self._charge()
                self._now = (which or self._now[0], stage or self._now[1])
        elif event == "return" and self._stack:
            before = self._stack.pop()
            if before != self._now:
                self._charge()
                self._now = before

    def _keys(self, frame: FrameType) -> tuple[str | None, str | None]:
        module, name = str(frame.f_globals.get("__name__", "")), frame.f_code.co_name
        if not module.startswith("napari_blush"):
            return None, None
        stage = self._stage_of.get(f"{module}:{name}", self._stage_of.get(module))
        return stage, self._pass_of_function.get(name)

    def _wrap(self, owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            which, stage = self._now
            if stage not in self._products_within:
                return original(*args, **kwargs)
            self._charge()
            self._now = (which, PRODUCTS)
            result = original(*args, **kwargs)
            self._charge()
            self._now = (which, stage)
            self.operations[which, PRODUCTS] += _operations(name, args)
            return result

        self._originals.append((owner, name, original))
        setattr(owner, name, counted)


def _operations(name: str, args: tuple[Any, ...]) -> float:
    """Return the floating-point operations of a product of real matrices."""
    first, second = (args[1], args[2]) if "add" in name else (args[0], args[1])
    complex_factor = 4 if first.is_complex() else 1
    return complex_factor * 2.0 * first.numel() * (second.shape[-1] if second.ndim > 1 else 1)


def product_ceiling(size: int = 1536) -> Callable[[], float]:
    """Return a function that measures GFLOP/s of a large float32 matrix product, by CPU time."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    out = torch.empty(size, size)

    def measure() -> float:
        start = time.thread_time()
        torch.mm(a, b, out=out)
        return 2e-9 * size**3 / (time.thread_time() - start)

    return measure
