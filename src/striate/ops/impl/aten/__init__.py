"""PyTorch's own operators and autograd: double backward, torch.compile and export come with them."""
