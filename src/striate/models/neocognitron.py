"""The neocognitron (Fukushima, 1980), Biological Cybernetics 36, 193-202: S-cells and C-cells, learning without labels.

S-cells extract features with synapses that all cells of a plane share (a convolution); C-cells answer when any of the
S-cells before them does, so that a shifted feature is the same feature (pooling). Only the synapses of the S-cells
learn: the cell that answers a stimulus best is the seed, and its whole plane takes over what that cell sees.

Departures: none in the cells' equations and in the reinforcement. The paper states the numbers of cells, the windows,
the S-columns, r, q and alpha; it leaves open, or we could not find, and chose: the fall of the fixed synapses c and d
with distance (`gamma`, `delta`, `delta_scale`), the formula of the small initial synapses (see `initial_synapses`) and
where the windows of cells lie that are fewer than the cells before them (`FUKUSHIMA_1980`). What is learnt depends on
the order of the patterns: with some orders of five digits, two of them end up with one cell.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from striate.errors import InputError
from striate.geometry import make_window, output_size
from striate.ops import conv, max_pool

ALPHA = 0.5  # section 5: the saturation of the C-cells, the same in all modules
SMALL = 1e-3  # of the initial synapses, which are "small positive values" (section 3)

Pair = tuple[int, int]  # what lies beyond the low and the high edge, the same on both axes


class Stage(NamedTuple):
    """One module of the paper: its S-layer and the C-layer that pools it, each of `planes` cell-planes.

    Windows are square: `s_window` is the area S_l, `c_window` the area D_l. `column` is the width of the S-columns
    that compete, `r` the efficacy of inhibition, `q` the speed of reinforcement. c(v) falls as gamma^|v| and sums to 1
    over the window and the planes before; d(v) = delta_scale * delta^|v|.
    """

    planes: int
    s_window: int
    s_padding: Pair
    column: int
    r: float
    q: float
    gamma: float
    c_window: int
    c_stride: int
    c_padding: Pair
    delta: float
    delta_scale: float


# Section 5. Sizes are the paper's. 16 x 16 cells thin out to 10 x 10 when every second one is taken, from windows that
# hang over the edge on; 10 -> 8 and 8 -> 6 are windows at every cell that hang over by one.
FUKUSHIMA_1980 = (
    Stage(24, 5, (2, 2), 5, 4.0, 1.0, 0.9, 5, 2, (4, 3), 0.8, 0.3),  # 16 x 16 -> S1 16 x 16 x 24 -> C1 10 x 10 x 24
    Stage(24, 5, (1, 1), 5, 1.5, 16.0, 0.9, 5, 1, (1, 1), 0.8, 0.3),  # S2 8 x 8 x 24 -> C2 6 x 6 x 24
    Stage(24, 5, (0, 0), 2, 1.5, 16.0, 0.9, 2, 1, (0, 0), 0.8, 0.3),  # S3 2 x 2 x 24 -> C3 1 x 1 x 24
)


class Seed(NamedTuple):
    """The S-cell that represents its plane in learning, by plane and position."""

    plane: int
    y: int
    x: int


class SLayer(nn.Module):
    """A layer of S-cells and the V-cells that inhibit them: N x K' x H x W -> N x K x H' x W'.

    `a`, K x K' x window, are the excitatory synapses, `b`, K, the inhibitory ones: both learn. `c`, the window, weighs
    what the V-cells see.
    """

    a: Tensor
    b: Tensor
    c: Tensor

    def __init__(self, inputs: int, stage: Stage) -> None:
        super().__init__()
        self.stage = stage
        c = _falling(stage.gamma, stage.s_window)
        c = c / (c.sum() * inputs)  # section 5: the sum over the planes before and the window is 1
        self.register_buffer("a", initial_synapses(stage.planes, inputs, c))
        self.register_buffer("b", torch.zeros(stage.planes))  # section 3: zero at first
        self.register_buffer("c", c, persistent=False)

    def inhibition(self, u: Tensor) -> Tensor:
        """Return the V-cells, N x 1 x H' x W': v = sqrt(sum c(v) u(k, n + v)^2) (equation 3)."""
        c = self.c.expand(1, u.shape[1], -1, -1)
        return conv(u.square(), c, padding=[self.stage.s_padding] * 2).clamp(min=0).sqrt()

    def forward(self, u: Tensor) -> Tensor:
        """Return r phi[(1 + sum a u) / (1 + 2r/(1 + r) b v) - 1], phi the positive part (equations 1 and 2)."""
        r = self.stage.r
        excitation = conv(u, self.a, padding=[self.stage.s_padding] * 2)
        inhibition = 2 * r / (1 + r) * self.b.view(-1, 1, 1) * self.inhibition(u)
        return r * _shunted(excitation, inhibition)

    def reinforce(self, u: Tensor, seeds: Sequence[Seed]) -> None:
        """Strengthen the seeds' planes by what the seeds see of one stimulus, u of 1 x K' x H x W (equations 7 and 8).

        The excitatory synapses grow by q c(v) u(k, n + v) and the inhibitory one by q/2 times the V-cell at n.
        """
        v = self.inhibition(u)[0, 0]
        low, high = self.stage.s_padding
        seen = nn.functional.pad(u[0], (low, high, low, high))
        size = self.stage.s_window
        for plane, y, x in seeds:
            self.a[plane] += self.stage.q * self.c * seen[:, y : y + size, x : x + size]
            self.b[plane] += self.stage.q / 2 * v[y, x]


class CLayer(nn.Module):
    """A layer of C-cells, a plane for each S-plane: N x K x H x W -> N x K x H' x W'; nothing in it learns."""

    d: Tensor

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.stage = stage
        self.register_buffer("d", stage.delta_scale * _falling(stage.delta, stage.c_window), persistent=False)

    def forward(self, u: Tensor) -> Tensor:
        """Return psi[(1 + sum d(v) u(k, n + v)) / (1 + V) - 1], psi(x) = phi(x) / (alpha + phi(x)) (equations 4, 5).

        V is the mean over the planes of the same weighted sums, the lateral inhibition (equation 6). phi comes first:
        phi(x / (alpha + x)), as it is printed, would have a pole at -alpha and answer below it.
        """
        planes = u.shape[1]
        d = self.d.expand(planes, 1, -1, -1)
        sums = conv(u, d, stride=self.stage.c_stride, padding=[self.stage.c_padding] * 2, groups=planes)
        x = _shunted(sums, sums.mean(1, keepdim=True))
        return x / (ALPHA + x)


class Neocognitron(nn.Module):
    """The neocognitron of a table: images N x 1 x H x W, values 0 to 1, are the stimuli.

    `size` (height, width) of the images. Synapses are buffers: `state_dict` holds the learnt ones and nothing else.
    Nothing is drawn at random: the same patterns in the same order give the same network. Raises InputError for a size
    of which the table's windows leave nothing.
    """

    def __init__(self, table: Sequence[Stage] = FUKUSHIMA_1980, *, size: tuple[int, int] = (16, 16)) -> None:
        super().__init__()
        if not table:
            raise InputError("neocognitron: the table needs at least one stage")
        layer_sizes(table, size)
        self.input_size = (1, *size)
        planes = 1
        for number, stage in enumerate(table, 1):
            self.add_module(f"S{number}", SLayer(planes, stage))
            self.add_module(f"C{number}", CLayer(stage))
            planes = stage.planes
        self.order = tuple(name for name, _ in self.named_children())

    @torch.no_grad()
    def respond(self, images: Tensor) -> dict[str, Tensor]:
        """Return the outputs of all cells by their layers, S1, C1, S2, ...: N x planes x height x width each."""
        u = self._stimuli(images)
        seen: dict[str, Tensor] = {}
        for name in self.order:
            u = seen[name] = self.get_submodule(name)(u)
        return seen

    def forward(self, images: Tensor) -> Tensor:
        """Return the outputs of the last C-layer."""
        return self.respond(images)[self.order[-1]]

    @torch.no_grad()
    def learn(self, patterns: Tensor, passes: int = 20) -> None:
        """Present every pattern (N x 1 x H x W) so many times, in the order given; all S-layers learn from each.

        20 is the paper's number (section 5). The whole network answers before any synapse changes.
        """
        stimuli = self._stimuli(patterns)
        if isinstance(passes, bool) or not isinstance(passes, int) or passes < 1:
            raise InputError(f"neocognitron: passes must be a whole number of 1 or more, got {passes!r}")
        for _ in range(passes):
            for stimulus in stimuli:
                before = stimulus[None]
                answers = self.respond(before)
                for name in self.order:
                    layer = self.get_submodule(name)
                    if isinstance(layer, SLayer):
                        layer.reinforce(before, seed_cells(answers[name][0], layer.stage.column))
                    before = answers[name]

    def recognize(self, images: Tensor) -> Tensor:
        """Return, for each image, the plane of the last layer that answers most, -1 where none answers (N, int64).

        Which plane stands for which pattern is the network's own choice: ask it with the patterns it has learnt.
        """
        answers = self.forward(images).flatten(2).amax(2)
        strongest, plane = answers.max(1)
        return torch.where(strongest > 0, plane, -1)

    def _stimuli(self, images: Tensor) -> Tensor:
        c, h, w = self.input_size
        if images.ndim != 4 or images.shape[1:] != self.input_size:
            raise InputError(f"neocognitron: the images {tuple(images.shape)} are not N x {c} x {h} x {w}")
        if not bool(((images >= 0) & (images <= 1)).all()):
            raise InputError("neocognitron: the images must be from 0 (dark) to 1 (a fully lit receptor)")
        synapses = next(self.buffers())
        return images.to(synapses.device, synapses.dtype)


def seed_cells(u: Tensor, column: int) -> list[Seed]:
    """Return the representatives of one answer of an S-layer, u of K x H x W: at most one of each plane (section 3).

    An S-column is what all planes hold of a `column` x `column` area; columns lie at every position and overlap. The
    strongest cell of each is a candidate, and of a plane's candidates the strongest is its representative. Silent
    cells are none; of equal ones the first counts, by position and then by plane.
    """
    strongest, plane = u.max(0)
    height, width = strongest.shape
    _, where = max_pool(
        strongest[None, None], (min(column, height), min(column, width)), stride=1, return_switches=True
    )
    best: dict[int, tuple[float, Seed]] = {}
    for position in sorted(set(where.flatten().tolist())):
        y, x = divmod(position, width)
        output, k = float(strongest[y, x]), int(plane[y, x])
        if output > 0 and (k not in best or output > best[k][0]):
            best[k] = (output, Seed(k, y, x))
    return [best[k][1] for k in sorted(best)]


def initial_synapses(planes: int, inputs: int, c: Tensor) -> Tensor:
    """Return the first excitatory synapses, planes x inputs x window: small, positive, each plane its own orientation.

    The paper says as much and that their formula matters little. Ours: plane k of K prefers the orientation pi k/K, so
    the synapse at angle t from the centre is c(v) (1 + cos 2(t - pi k/K)) / 2; among several planes before it prefers
    those of its own orientation, by (1 + cos 2 pi (k/K - k'/K')) / 2.
    """
    n = c.shape[0]
    offset = torch.arange(n) - (n - 1) / 2
    angle = torch.atan2(offset[:, None].expand(n, n), offset[None].expand(n, n))
    own = torch.arange(planes) / planes
    oriented = (1 + torch.cos(2 * (angle - math.pi * own.view(-1, 1, 1)))) / 2
    if inputs == 1:
        return SMALL * c * oriented[:, None]
    kinship = (1 + torch.cos(2 * math.pi * (own[:, None] - torch.arange(inputs) / inputs))) / 2
    return SMALL * c * oriented[:, None] * kinship[:, :, None, None]


def layer_sizes(table: Sequence[Stage], size: tuple[int, int]) -> list[tuple[int, ...]]:
    """Return the (height, width) of S1, C1, S2, ... for images of `size`; raises InputError where none is left."""
    sizes: list[tuple[int, ...]] = []
    current: tuple[int, ...] = size
    for stage in table:
        for window in (
            make_window(2, stage.s_window, padding=[stage.s_padding] * 2),
            make_window(2, stage.c_window, stride=stage.c_stride, padding=[stage.c_padding] * 2),
        ):
            current = output_size(current, window)
            sizes.append(current)
    return sizes


def _shunted(excitation: Tensor, inhibition: Tensor) -> Tensor:
    """Return phi[(1 + e) / (1 + h) - 1], written so that answers far below 1 are not lost beside the 1."""
    return torch.relu((excitation - inhibition) / (1 + inhibition))


def _falling(base: float, width: int) -> Tensor:
    """Return base^|v| over a width x width window around its centre."""
    offset = torch.arange(width) - (width - 1) / 2
    return torch.as_tensor(base) ** torch.hypot(offset[:, None], offset[None])
