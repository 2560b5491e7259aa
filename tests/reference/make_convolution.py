"""Convolution and pooling as torch has them, with gradients, in our layout: tests/golden/convolution/convolution.json.

    python tests/reference/make_convolution.py tests/golden/convolution/convolution.json

Images are (N, H, W, C) and filters (O, KH, KW, C) in the file; the values are multiples of 1/4, so that windows have ties.
"""
import json
import sys

import torch
import torch.nn.functional as F

torch.manual_seed(11)


def draw(*shape):
    return torch.randint(-6, 7, shape).double() / 4


def nhwc(t):
    return t.permute(0, 2, 3, 1).contiguous()


def case(name, operation, x, parameters, **attributes):
    x = x.clone().requires_grad_(True)
    parameters = {key: p.clone().requires_grad_(True) for key, p in parameters.items()}
    y = operation(x, **parameters)
    dy = draw(*y.shape)
    y.backward(dy)
    tensors = {"x": nhwc(x.detach()), "y": nhwc(y.detach()), "dy": nhwc(dy), "dx": nhwc(x.grad)}
    for key, p in parameters.items():
        tensors[key] = nhwc(p.detach()) if p.dim() == 4 else p.detach()
        tensors["d" + key] = nhwc(p.grad) if p.dim() == 4 else p.grad
    out = {key: {"shape": list(t.shape), "values": t.flatten().tolist()} for key, t in tensors.items()}
    return {"op": name, "attributes": attributes, "tensors": out}


def conv(stride, padding):
    return lambda x, w, bias: F.conv2d(x, w, bias, stride=stride, padding=padding)


x = draw(2, 3, 5, 6)
cases = [
    case("conv2d", conv(1, 1), x, {"w": draw(4, 3, 3, 3), "bias": draw(4)}, stride=1, padding=1),
    case("conv2d", conv(2, 0), x, {"w": draw(2, 3, 2, 4), "bias": draw(2)}, stride=2, padding=0),
    case("max_pool2d", lambda x: F.max_pool2d(x, 3, 2, 1), x, {}, kernel=3, stride=2, padding=1),
    case("max_pool2d", lambda x: F.max_pool2d(x, 2, 1, 0), x, {}, kernel=2, stride=1, padding=0),
    case("avg_pool2d", lambda x: F.avg_pool2d(x, 3, 2, 1), x, {}, kernel=3, stride=2, padding=1),
]
with open(sys.argv[1], "w") as file:
    json.dump({"torch": torch.__version__, "cases": cases}, file)
    file.write("\n")
