"""As large parts of a batch as the memory holds: the memory of a step is measured at a rising number of pictures."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from torch import nn

from striate.errors import InputError, StriateError
from striate.runtime import free_memory
from striate.training import _checkpoint as checkpoint
from striate.training._forecast import size
from striate.training._memory import MIB, counting_anew, held_memory
from striate.training._out_of_memory import is_out_of_memory
from striate.training._rehearsal import Rehearsal

SPARE = 0.1  # of what is free is left to others and to what was not measured
FASTER = 4  # times as many pictures from one measurement to the next
FIRST = 2  # pictures, 1 if these do not fit: batch normalisation has nothing to normalise in one


class Point(NamedTuple):
    """What was measured: the most memory held in a step in parts of so many pictures, MiB; None: more than there is."""

    pictures: int
    mib: float | None


@dataclass(frozen=True)
class MemoryFit:
    """What fits: parts of `micro_batch` pictures; 0 where whole batches do."""

    micro_batch: int
    limit_mib: float
    peak_mib: float  # of a whole step in these parts
    points: tuple[Point, ...]
    normalised: bool  # whether the network normalises over the pictures of a part

    def to_json(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return {**asdict(self), "points": [point._asdict() for point in self.points]}

    def as_text(self, batch_size: int) -> str:
        """Say it in one line."""
        if not self.micro_batch:
            return f"memory: whole batches of {batch_size} fit ({size(self.peak_mib)} of {size(self.limit_mib)})"
        normalised = "; batch normalisation sees a part at a time" if self.normalised else ""
        return (
            f"memory: batches of {batch_size} are computed in parts of at most {self.micro_batch} pictures "
            f"({size(self.peak_mib)} of {size(self.limit_mib)}){normalised}"
        )


def largest_parts(rehearsal: Rehearsal, limit_mib: float | None) -> MemoryFit:
    """Return the largest parts with which a training step stays below a limit, None for what the machine has left.

    The limit is on the process's resident memory, or on PyTorch's on a GPU. Raises StriateError if nothing fits.
    """
    device, recipe = rehearsal.device, rehearsal.recipe
    held = held_memory(device)
    free = free_memory(rehearsal.run.device)
    if recipe.micro_batch:
        raise InputError(f"fitting the memory chooses micro_batch={recipe.micro_batch} itself: leave one of them out")
    if limit_mib is None and (free is None or held is None):
        raise StriateError("this system does not tell how much memory is free: say how many MiB, --fit-memory 4000")
    limit = limit_mib if limit_mib is not None else (held or 0.0) + (1 - SPARE) * (free or 0) / MIB
    whole = min(recipe.batch_size, len(rehearsal.train_split))

    def measured(part: int, batch: int) -> float | None:
        rehearsal.recipe = recipe.replace(batch_size=batch, micro_batch=part)
        try:  # each in a block of its own, after which the allocator keeps nothing
            with rehearsal.run.runtime.applied(), counting_anew(device) as peak:
                rehearsal.step(*next(rehearsal.endless()))
                if batch == whole:
                    checkpoint.packed(*rehearsal.contents())
        except (RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                return None
            raise
        except InputError:
            raise
        except StriateError:
            if part == 1:  # batch normalisation has nothing to normalise in one picture
                return None
            raise
        return peak.mib

    part, mib, points = largest(measured, whole, limit, held or 0.0)
    if part == 0:
        smallest = points[-1]
        raise StriateError(
            f"memory: not even {smallest.pictures} picture at once fits into {size(limit)}"
            f"{'' if smallest.mib is None else f', it takes {size(smallest.mib)}'}: take smaller pictures "
            "(--set data.size=64,64), smaller batches, a smaller network, or more memory"
        )
    normalised = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in rehearsal.model.modules())
    return MemoryFit(0 if part >= whole else part, round(limit, 1), round(mib, 1), points, normalised)


def largest(
    measured: Callable[[int, int], float | None], whole: int, limit: float, held: float
) -> tuple[int, float, tuple[Point, ...]]:
    """Return the largest part that fits, 0 if none does, the memory of a step with it, and all that was measured.

    `measured(part, batch)` is the memory of a step of `batch` pictures in such parts. It grows linearly with the
    pictures of a part; what the line through the last two points says will not fit is not tried, for a process that
    takes too much is killed without a word. The points of the line are measured with batches of two parts; what the
    rest of a whole batch takes is measured once, with the smallest parts. `held` is the memory without pictures.
    """
    first, points = 0, list[Point]()
    for first in sorted({min(FIRST, whole), 1}, reverse=True):
        line = [Point(0, held), Point(first, measured(first, min(2 * first, whole)))]
        points.append(Point(first, measured(first, whole)) if _fits(line[-1], limit) else line[-1])
        if _fits(points[-1], limit):
            break
    else:
        return 0, 0.0, tuple(points)
    room = limit - max(0.0, (points[-1].mib or 0.0) - (line[1].mib or 0.0))
    while (
        _fits(line[-1], room)
        and (part := min(FASTER * line[-1].pictures, whole, _most(line, room))) > line[-1].pictures
    ):
        line.append(Point(part, measured(part, min(2 * part, whole))))
    for part, mib in reversed(line[2:]):
        if _fits(Point(part, mib), room):
            points.append(Point(part, measured(part, whole)))
            if _fits(points[-1], limit):
                break
    best = max(point for point in points if _fits(point, limit))
    return best.pictures, best.mib or 0.0, tuple(points)


def _fits(point: Point, limit: float) -> bool:
    return point.mib is not None and point.mib <= limit


def _most(points: Sequence[Point], limit: float) -> int:
    """Return how many pictures a part may have by the line through the last two points; any where it is flat."""
    (a, low), (b, high) = points[-2:]
    rise = ((high or 0.0) - (low or 0.0)) / (b - a)
    return b + int((limit - (high or 0.0)) / rise) if rise > 0 else 2**31
