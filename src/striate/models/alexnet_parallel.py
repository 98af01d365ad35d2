"""AlexNet in two processes, each with one half of it, as the paper's two GPUs (section 3.2 and figure 2).

Every process builds the whole network from the same seed, keeps its half and trains on the same images:

    torch.distributed.init_process_group("gloo")  # or "nccl"
    half = split(build("alexnet", ...))
    logits = half(images)  # the same in both processes
    cross_entropy(logits, labels).backward()  # the gradients of the half's own parameters
    state = join(half)  # the whole network's, for one process to save

The maps travel where the paths meet: before conv3, fc6 and fc7. Of the last layer each process has the columns of its
own units; the two parts of the logits are added. No parameter is held twice, so nothing has to be kept in step.
Dropout is drawn by each process for its own units: seed the processes differently after `split`.
"""

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from striate.errors import InputError
from striate.models._chain import require_images
from striate.models.alexnet import AlexNet, Path


class AlexNetHalf(nn.Module):
    """One path of AlexNet and its columns of fc8; the other half is in the other process of the group.

    N x C x H x W, the same in both processes, -> the whole network's logits, N x classes, in both. Its parameters bear
    the names of the whole network's.
    """

    def __init__(self, model: AlexNet, rank: int, group: dist.ProcessGroup | None = None) -> None:
        super().__init__()
        self.name, self.input_size, self.rank, self.group = model.name, model.input_size, rank, group
        self.path = model.path_names[rank]
        self.add_module(self.path, model.paths[rank])
        units = model.fc8.in_features // 2
        own = {"weight": model.fc8.weight.detach()[:, rank * units : (rank + 1) * units]}
        if rank == 0:  # one of the two adds the bias
            own["bias"] = model.fc8.bias.detach()
        with torch.device("meta"):  # draws no random numbers, so that the processes stay alike
            self.fc8 = nn.Linear(units, model.fc8.out_features, bias=rank == 0)
        self.fc8.load_state_dict({name: nn.Parameter(value.clone()) for name, value in own.items()}, assign=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the whole network."""
        require_images(self.name, x, self.input_size, None)
        path = cast("Path", self.get_submodule(self.path))
        for stage in range(len(path.stages)):
            seen = _Gather.apply(x, self.rank, self.group) if stage else x  # type: ignore[no-untyped-call]
            x = path.run(stage, seen)
        logits: Tensor = _Sum.apply(self.fc8(x), self.group)  # type: ignore[no-untyped-call]
        return logits


def split(model: AlexNet, group: dist.ProcessGroup | None = None) -> AlexNetHalf:
    """Return this process's half of a network that both processes of the group have built alike.

    Raises InputError unless the network has two paths and the group two processes.
    """
    if len(model.paths) != 2:
        raise InputError(f"{model.name}: has one path and cannot be split; the model 'alexnet' has two")
    processes = dist.get_world_size(group) if dist.is_initialized() else 1
    if processes != 2:
        raise InputError(f"{model.name}: its halves need a group of 2 processes, this one has {processes}")
    return AlexNetHalf(model, dist.get_rank(group), group)


@torch.no_grad()
def join(half: AlexNetHalf) -> dict[str, Tensor]:
    """Return the state of the whole network, in both processes; both must call it."""
    paths = {name: _gather(own, half.group) for name, own in half.get_submodule(half.path).state_dict().items()}
    whole = {f"path{rank + 1}.{name}": parts[rank] for rank in range(2) for name, parts in paths.items()}
    whole["fc8.weight"] = torch.cat(_gather(half.fc8.weight, half.group), 1)
    bias = half.fc8.weight.new_zeros(half.fc8.out_features) if half.fc8.bias is None else half.fc8.bias.clone()
    dist.all_reduce(bias, group=half.group)
    whole["fc8.bias"] = bias
    return whole


def _gather(own: Tensor, group: dist.ProcessGroup | None) -> list[Tensor]:
    parts = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(2)]
    dist.all_gather(parts, own.contiguous(), group=group)
    return parts


class _Gather(torch.autograd.Function):
    """Maps of this path -> maps of both, side by side; the error terms of a map are added over its two uses."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, rank: int, group: dist.ProcessGroup | None) -> Tensor:
        ctx.rank, ctx.group = rank, group
        return torch.cat(_gather(own, group), 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=ctx.group)
        return total.chunk(2, 1)[ctx.rank], None, None


class _Sum(torch.autograd.Function):
    """Parts of the logits -> the logits, in both processes.

    Both compute the same loss of them; each part's error term is that of the sum, once.
    """

    @staticmethod
    def forward(ctx: Any, part: Tensor, group: dist.ProcessGroup | None) -> Tensor:
        total = part.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None
