"""The sum of the processes' gradients, sent on its way while the backward pass still runs."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from striate.training.processes._group import Processes

BUCKET = 25 * 2**20  # bytes that are sent at once


@dataclass
class _Bucket:
    """Parameters whose gradients travel in one message."""

    parameters: list[nn.Parameter] = field(default_factory=list)
    waiting: int = 0  # gradients that the backward pass has not given yet
    flat: Tensor | None = None
    work: Any = None

    @property
    def bytes(self) -> int:
        return sum(p.numel() * p.element_size() for p in self.parameters)

    def takes(self, p: nn.Parameter) -> bool:
        """Whether a parameter fits in."""
        own = self.parameters[0]
        return p.dtype == own.dtype and p.device == own.device and self.bytes + p.numel() * p.element_size() <= BUCKET

    def send(self) -> None:
        flat = self.parameters[0].new_zeros(sum(p.numel() for p in self.parameters))
        for p, place in zip(self.parameters, self._places(flat), strict=True):
            if p.grad is not None:
                place.copy_(p.grad)
        self.flat, self.work = flat, dist.all_reduce(flat, async_op=True)

    @torch.no_grad()
    def receive(self) -> None:
        assert self.flat is not None
        self.work.wait()
        for p, place in zip(self.parameters, self._places(self.flat), strict=True):
            if p.grad is not None:  # the same in all processes: all have the same graph
                p.grad.copy_(place)

    def _places(self, flat: Tensor) -> list[Tensor]:
        sizes = [p.numel() for p in self.parameters]
        return [part.view(p.shape) for part, p in zip(torch.split(flat, sizes), self.parameters, strict=True)]


class GradientSum:
    """Backward passes after which the parameters' gradients are sums over all processes, the same bits in each.

    The buckets never change, so neither does the order in which processes are added: a resumed run adds as the
    uninterrupted one did. (DistributedDataParallel divides its buckets anew after its first step.)
    """

    def __init__(self, parameters: Iterable[nn.Parameter], processes: Processes) -> None:
        self.buckets: list[_Bucket] = []
        self.armed, self.sent = False, 0
        if processes.size == 1:
            return
        for p in reversed([p for p in parameters if p.requires_grad]):  # the last layers' gradients come first
            if not self.buckets or not self.buckets[-1].takes(p):
                self.buckets.append(_Bucket())
            bucket = self.buckets[-1]
            bucket.parameters.append(p)
            p.register_post_accumulate_grad_hook(partial(self._came, bucket))  # type: ignore[no-untyped-call]

    def backward(self, loss: Tensor, *, more: bool = False) -> None:
        """Add the gradients of `loss` to the parameters', and sum these over the processes unless `more` follows."""
        self.armed, self.sent = not more, 0
        for bucket in self.buckets:
            bucket.waiting = len(bucket.parameters)
        try:
            loss.backward()  # type: ignore[no-untyped-call]
            if not more:
                for bucket in self.buckets[self.sent :]:  # with parameters that the loss does not reach
                    bucket.send()
                for bucket in self.buckets:
                    bucket.receive()
        finally:
            self.armed = False
            for bucket in self.buckets:
                bucket.flat = bucket.work = None  # after a failure they would hold the connections

    def _came(self, bucket: _Bucket, parameter: Tensor) -> None:
        bucket.waiting -= 1
        while self.armed and self.sent < len(self.buckets) and not self.buckets[self.sent].waiting:
            self.buckets[self.sent].send()  # always in the same order, in every process
            self.sent += 1
