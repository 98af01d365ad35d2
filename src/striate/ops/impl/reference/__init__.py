"""The NumPy definitions on tensors: slow, on the CPU, in float64; with gradients, without double backward."""
