"""A network of the catalog in plain torch.nn modules, as people write it: the peer of the benchmarks."""

from torch import nn

from striate import nn as ours
from striate.geometry import make_window


def plain(model: nn.Module) -> nn.Module:
    """Replace Striate's modules inside a network by PyTorch's with the same weights and settings, in place."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            replacement = _plain(child)
            if replacement is not None:
                parent._modules[name] = replacement.train(child.training)
    return model


def _plain(module: nn.Module) -> nn.Module | None:
    if isinstance(module, ours.Conv):
        return _conv(module)
    if isinstance(module, ours.MaxPool):
        pads = _symmetric(module)
        return nn.MaxPool2d(module.kernel, module.stride, pads, module.dilation, ceil_mode=module.ceil)
    if isinstance(module, ours.AvgPool):
        return nn.AvgPool2d(module.kernel, module.stride, _symmetric(module), ceil_mode=module.ceil)
    if isinstance(module, ours.LocalResponseNorm):
        return nn.LocalResponseNorm(module.size, module.size * module.alpha, module.beta, module.k)
    if isinstance(module, ours.Dropout):
        return nn.Dropout(module.p)
    return None


def _conv(module: ours.Conv) -> nn.Module:
    assert module.links is None
    window = make_window(2, module.kernel, size=module.kernel, padding=module.padding, stride=module.stride)
    pads = window.symmetric_padding
    conv = nn.Conv2d(
        module.in_channels,
        module.out_channels,
        module.kernel,
        module.stride,
        pads or 0,
        module.dilation,
        module.groups,
        bias=module.bias is not None,
    )
    conv.load_state_dict(module.state_dict())
    if pads is not None:
        return conv
    (top, bottom), (left, right) = window.padding
    return nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), conv)


def _symmetric(module: ours.MaxPool | ours.AvgPool) -> tuple[int, ...]:
    pads = make_window(2, module.kernel, size=module.kernel, padding=module.padding).symmetric_padding
    assert pads is not None
    return pads
