"""Runs a function in several processes that have met over gloo: forked, so that nothing is imported again."""

import multiprocessing
import os
import socket
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import torch

from striate.training.processes import Processes, joined

SECONDS = 120.0  # a world that takes longer hangs


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def in_world(size: int, work: Callable[[Processes], Any]) -> list[Any]:
    """Call `work` in `size` processes that have met; return what each returned, or the exception that it ended with.

    None stands for a process that was killed.
    """
    return start_world(size, partial(_joined, work))


def start_world(size: int, work: Callable[[], Any]) -> list[Any]:
    """Call `work` in `size` processes as torchrun starts them; they may meet."""
    port = free_port()
    fork = multiprocessing.get_context("fork")
    pipes, children = [], []
    for rank in range(size):
        mine, theirs = fork.Pipe(duplex=False)
        child = fork.Process(target=_one, args=(theirs, work, rank, size, port), daemon=True)
        child.start()
        theirs.close()
        pipes.append(mine)
        children.append(child)
    results = []
    try:
        for rank, pipe in enumerate(pipes):
            assert pipe.poll(SECONDS), f"process {rank} of {size} hangs"
            try:
                results.append(pipe.recv())
            except EOFError:
                results.append(None)
    finally:
        for child in children:
            child.join(5.0)
            if child.is_alive():
                child.kill()
    return results


def _joined(work: Callable[[Processes], Any]) -> Any:
    with joined() as processes:
        return work(processes)


def _one(pipe: Connection, work: Callable[[], Any], rank: int, size: int, port: int) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ["LOCAL_RANK"] = str(rank)
    torch.set_num_threads(1)
    try:
        result = work()
    except Exception as error:
        result = error
    pipe.send(result)
    pipe.close()
