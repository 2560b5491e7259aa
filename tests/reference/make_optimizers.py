"""Ten steps of torch's optimizers on the same gradients: tests/golden/optimizers/optimizers.json.

    python tests/reference/make_optimizers.py tests/golden/optimizers/optimizers.json
"""
import json
import sys

import torch

STEPS, SIZE = 10, 7

torch.manual_seed(5)
start = torch.randn(SIZE)
gradients = torch.randn(STEPS, SIZE) * torch.tensor([1.0, 1e-3, 10.0, 1.0, 1e-6, 0.1, 3.0])
rates = [1e-2 * (1 - step / 20) for step in range(STEPS)]

adam = dict(betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
cases = {
    "adamw": (torch.optim.AdamW, adam),
    "adam": (torch.optim.Adam, adam),
    "sgd": (torch.optim.SGD, dict(weight_decay=0.1)),
    "momentum": (torch.optim.SGD, dict(momentum=0.9, weight_decay=0.1)),
    "nesterov": (torch.optim.SGD, dict(momentum=0.9, nesterov=True, weight_decay=0.1)),
}


def run(make, options):
    w = torch.nn.Parameter(start.clone())
    optimizer = make([w], lr=rates[0], **options)
    path = []
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = rates[step]
        w.grad = gradients[step].clone()
        optimizer.step()
        path.append(w.detach().tolist())
    return path


out = {
    "torch": torch.__version__,
    "start": start.tolist(),
    "gradients": gradients.tolist(),
    "rates": rates,
    "weights": {name: run(*case) for name, case in cases.items()},
}
with open(sys.argv[1], "w") as file:
    json.dump(out, file)
    file.write("\n")
