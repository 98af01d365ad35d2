"""Striate's own kernels for CPUs, in C++: see `library.py` for how they are found and `kernels.h` for what there is."""
