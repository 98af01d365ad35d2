"""Ways to compute the operators; each module is imported only when it is reached (see `striate.ops._dispatch`)."""
