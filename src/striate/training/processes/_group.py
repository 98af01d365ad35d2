"""The processes of a training: who each is, what they tell each other, and how they end together."""

import hashlib
import json
import os
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from striate.errors import Diverged, InputError, Interrupted, StriateError

TIMEOUT = timedelta(minutes=30)  # for so long a process waits for the others: one opens data or writes meanwhile
LAST_WORDS = timedelta(seconds=20)  # torchrun ends who is left 30 seconds after the first that failed
_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_KINDS = {kind.__name__: kind for kind in (StriateError, InputError, Diverged, Interrupted)}
Rows = TypeVar("Rows", bound=NDArray[Any])
Number = TypeVar("Number", np.float32, np.float64)


class Processes:
    """The place of this process among all that train together: `rank` of `size`.

    What a method returns "for all" is the same in every process, to the last bit. All processes must call these
    methods in the same order. Alone (size 1) they return what they are given.
    """

    def __init__(self, rank: int = 0, size: int = 1, store: Store | None = None) -> None:
        self.rank, self.size = rank, size
        self.apart = False  # within `alone`
        self.on_gpu = False
        self._store = store  # where the processes leave word of how they ended; it outlives the connections
        self._settled: BaseException | None = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    @property
    def sharing(self) -> bool:
        """Whether batches are shared with other processes at the moment."""
        return self.size > 1 and not self.apart

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within the block this process computes by itself, without the others."""
        before, self.apart = self.apart, True
        try:
            yield
        finally:
            self.apart = before

    def part(self, rows: Rows) -> Rows:
        """Return this process's share of a batch: contiguous, as even as can be, empty if there are too few rows."""
        begin, end = self.part_of(len(rows))
        return rows[begin:end]  # type: ignore[return-value]

    def part_of(self, count: int) -> tuple[int, int]:
        """Return where this process's share of so many things begins and ends."""
        return count * self.rank // self.size, count * (self.rank + 1) // self.size

    def sums(self, *values: float) -> list[float]:
        """Return the sums over all processes, for all, in float64: exact for whole numbers."""
        if self.size == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        return [float(value) for value in total]

    def sum_counts(self, counts: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the sum of an array of whole numbers over all processes, for all."""
        if self.size == 1:
            return counts
        total = torch.from_numpy(counts.copy())
        dist.all_reduce(total)
        return np.asarray(total.numpy())

    def in_order(self, rows: NDArray[Number]) -> NDArray[Number]:
        """Return the rows of all processes one after the other, for all; each brings any number, even none."""
        if self.size == 1:
            return rows
        counts = [torch.zeros(1, dtype=torch.int64) for _ in range(self.size)]
        dist.all_gather(counts, torch.tensor([len(rows)]))
        most = max(int(count) for count in counts)
        own = torch.from_numpy(rows)
        padded = own.new_zeros(most, *rows.shape[1:])
        padded[: len(rows)] = own
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return np.concatenate([part[: int(count)].numpy() for part, count in zip(parts, counts, strict=True)])

    def from_first(self, make: Callable[[], Any]) -> Any:
        """Return the JSON value that the first process makes, for all."""
        if self.size == 1:
            return make()
        text = json.dumps(make()).encode() if self.first else b""
        length = torch.tensor([len(text)])
        dist.broadcast(length, 0)
        data = torch.frombuffer(bytearray(text), dtype=torch.uint8) if self.first else torch.empty(0, dtype=torch.uint8)
        data = data if self.first else data.new_empty(int(length))
        dist.broadcast(data, 0)
        return json.loads(data.numpy().tobytes())

    def tensors_from_first(self, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Return the tensors by name that the first process makes, on the CPU, for all."""
        if self.size == 1:
            return dict(make())
        own = make() if self.first else {}
        described = {name: (list(value.shape), str(value.dtype).removeprefix("torch.")) for name, value in own.items()}
        found = {}
        for name, (shape, kind) in self.from_first(lambda: described).items():
            value = own[name].cpu().contiguous() if self.first else torch.empty(shape, dtype=getattr(torch, kind))
            dist.broadcast(value.reshape(-1).view(torch.uint8), 0)
            found[name] = value
        return found

    def agree(self, value: bytes) -> bool:
        """Return whether all processes bring the same bytes."""
        if self.size == 1:
            return True
        own = torch.frombuffer(bytearray(hashlib.sha256(value).digest()), dtype=torch.uint8)
        parts = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(parts, own)
        return all(torch.equal(part, parts[0]) for part in parts)

    def require_same(self, tensors: Mapping[str, Tensor]) -> None:
        """Raise StriateError, in all processes, if they do not have the same tensors to the last bit."""
        if self.size == 1:
            return
        digest = hashlib.sha256()
        for value in tensors.values():
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        if not self.agree(digest.digest()):
            raise StriateError(
                "the processes do not have the same weights any more: they computed the same sums differently, as "
                "machines of different kinds may; train on machines of one kind, or in one process"
            )

    @contextmanager
    def one_by_one(self, needed: bool) -> Iterator[None]:
        """Where it is needed, let one process of each machine go through the block first, then the others."""
        leads = os.environ.get("LOCAL_RANK", "0") == "0"
        if needed and not leads:
            self.wait()
        yield
        if needed and leads:
            self.wait()

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.sums(0.0)

    def device(self, word: str) -> str:
        """Return the device of this process; raises InputError where processes would share a GPU."""
        if self.size == 1 or not word.startswith("cuda"):
            return word
        local, gpus = int(os.environ.get("LOCAL_RANK", self.rank)), torch.cuda.device_count()
        if word != "cuda":
            raise InputError(f"--device {word}: each of several processes takes a GPU of its own; say --device cuda")
        if local >= gpus:
            raise InputError(
                f"each process takes a GPU of its own, this machine has {gpus} and is to run more processes: start "
                f"fewer (torchrun --nproc-per-node {gpus}), or train with --device cpu"
            )
        torch.cuda.set_device(local)
        self.on_gpu = True
        return f"cuda:{local}"

    @contextmanager
    def ending_together(self) -> Iterator[None]:
        """Within the block an error of one process is an error of all, of the same kind and with the same sentence.

        Only in one process is it not `told`; that one says it.
        """
        try:
            yield
        except BaseException as error:
            cause = self._cause(error)
            if cause is error:
                raise
            raise cause from error

    def _cause(self, error: BaseException) -> BaseException:
        """Return the error that this process ends with: the one that came first, in whichever process."""
        if self.size == 1 or error is self._settled:
            return error
        if _is_lost(error):
            traceback.clear_frames(error.__traceback__)  # they hold the connections, which would stay open
            error = StriateError(
                "another process of this training ended without a word (it was killed, or its machine is gone): "
                "all up to the last checkpoint is kept; go on from there with: striate train --resume RUN"
            )
        earlier = self._leave_word(error)
        if earlier is not None:
            error = _KINDS[earlier["kind"]](earlier["text"])
            error.told = True
        self._settled = error
        return error

    def _leave_word(self, error: BaseException) -> dict[str, str] | None:
        """Tell the others why this process ends; return the word of one that was earlier, None if there is none."""
        kind = next((name for name, one in _KINDS.items() if type(error) is one), "StriateError")
        if isinstance(error, KeyboardInterrupt):
            kind = "Interrupted"
        word = json.dumps({"rank": self.rank, "kind": kind, "text": str(error) or type(error).__name__})
        if self._store is None:
            return None
        try:
            first = json.loads(self._store.compare_set("ended", "", word))
        except (RuntimeError, ValueError):  # the store is gone with the process that held it
            return None
        return None if first["rank"] == self.rank else first

    def _leave(self, *, failed: bool) -> None:
        """Close the connections, so that whoever waits for this process ends too.

        After a failure the first process leaves before the others, having left word in the run; torchrun would end it
        otherwise. Where it holds the store it waits until they know.
        """
        if not failed or not self.on_gpu:  # GPUs may wait for ever for what does not come: there the end closes all
            dist.destroy_process_group()
        if not failed or self._store is None:
            return
        with suppress(RuntimeError):
            if not self.first:
                self._store.wait(["left"], LAST_WORDS)
                self._store.add("knowing", 1)
                return
            self._store.set("left", "yes")
            end = time.monotonic() + (0.0 if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" else 5.0)
            while time.monotonic() < end and self._store.add("knowing", 0) < self.size - 1:
                time.sleep(0.01)


_alone = Processes()
_current = _alone


def current() -> Processes:
    """Return the processes of the innermost `joined` block; outside of any this process is alone."""
    return _current


@contextmanager
def joined() -> Iterator[Processes]:
    """Meet the other processes that torchrun has started, for the time of the block; alone if there are none.

    Within another such block it is that one's, and a group that the program has set up itself is used. gloo connects
    CPUs, NCCL GPUs. Raises InputError if the environment says of several processes and not where they meet,
    StriateError if they cannot be reached.
    """
    global _current  # noqa: PLW0603
    own = not dist.is_initialized()
    if _current is not _alone or (own and os.environ.get("WORLD_SIZE", "1") == "1"):
        yield _current
        return
    _current = processes = _meet() if own else Processes(dist.get_rank(), dist.get_world_size())
    failed = True
    try:
        with processes.ending_together():
            yield processes
            processes.wait()  # nobody leaves before the first has written everything
            failed = False
    finally:
        _current = _alone
        if own:
            processes._leave(failed=failed)


def _meet() -> Processes:
    if missing := [name for name in _NEEDED if not os.environ.get(name)]:
        raise InputError(
            f"several processes need {', '.join(_NEEDED)} in the environment, as torchrun sets them; {missing[0]} is "
            "missing: start them with torchrun, or unset WORLD_SIZE to train in one"
        )
    gpus = torch.cuda.is_available() and dist.is_nccl_available()
    try:
        store, rank, size = next(iter(rendezvous("env://", timeout=TIMEOUT)))
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if gpus else "gloo",
            store=PrefixStore(f"striate/group/{attempt}", store),
            rank=rank,
            world_size=size,
            timeout=TIMEOUT,
        )
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise StriateError(
            f"the processes of this training do not reach each other at {where} ({_first_line(error)}): "
            "check the address, the port, and that as many processes run as WORLD_SIZE says"
        ) from error
    return Processes(rank, size, PrefixStore(f"striate/words/{attempt}", store))


def _is_lost(error: BaseException) -> bool:
    """Whether an error says that another process is not there any more."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error).lower())


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
