"""How this machine computes best: what it has, what is chosen from it and why, and a block in which that holds."""

from striate.runtime._allocator import can_keep, memory_kept
from striate.runtime._choice import RuntimeOptions, busy, choose, choose_for_use, recorded
from striate.runtime._free_memory import free_memory
from striate.runtime._machine import Machine, Rates, machine, processor
from striate.runtime._runtime import PRECISIONS, Precision, Runtime, current, require_possible
from striate.runtime._work import products, why_not_small

__all__ = [
    "PRECISIONS",
    "Machine",
    "Precision",
    "Rates",
    "Runtime",
    "RuntimeOptions",
    "busy",
    "can_keep",
    "choose",
    "choose_for_use",
    "current",
    "free_memory",
    "machine",
    "memory_kept",
    "processor",
    "products",
    "recorded",
    "require_possible",
    "why_not_small",
]
