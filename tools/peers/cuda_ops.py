#!/usr/bin/env python3
"""PyTorch's time on a GPU for the ops of the CUDA table in docs/performance.md, all in bfloat16.

    tools/peers/cuda_ops.py [--compile]

Small ops are medians of 30 replays of a CUDA graph of 20 calls, as `ingot bench ops --chain 20` times Ingot's. Attention: the
flash and cuDNN backends of scaled_dot_product_attention, causal, medians of 20 times 5 calls; FLOPs are those of the causal
half, and 2.5 times that backwards. --compile adds torch.compile. A line is printed as soon as it is measured: the work, the
value, its unit, and what was measured.
"""
import argparse
import statistics

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel


def say(name, value, unit, what):
    print(f"{name} {value:.4g} {unit} | {what}", flush=True)


def graph_of(call, calls=20):
    """A function that says the microseconds of one call, from replays of a graph of some."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            call()

    def replay():
        begin, end = torch.cuda.Event(True), torch.cuda.Event(True)
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) * 1e3 / calls
    return lambda: statistics.median(replay() for _ in range(30))


def forms(name, f, compiled):
    return [(name, f), (f"{name}-compiled", torch.compile(f, dynamic=False))] if compiled else [(name, f)]


def norm_of(w):
    return lambda x: F.rms_norm(x, w.shape, w, 1e-5)


def adapted_of(w, a, b):
    return lambda x: F.linear(x, w) + 2 * F.linear(F.linear(x, a), b)


def rows(compiled):
    graphs = []
    for size, shape in (("small", (128, 1024)), ("large", (65536, 4096))):
        x, w = torch.randn(shape, device="cuda", dtype=torch.bfloat16), torch.randn(shape[1], device="cuda", dtype=torch.bfloat16)
        for name, f in forms("softmax", lambda x: F.softmax(x, -1), compiled) + forms("rms_norm", norm_of(w), compiled):
            graphs.append((name, size, shape, graph_of(lambda f=f, x=x: f(x), calls=20 if size == "small" else 3)))
    yield
    for name, size, shape, measure in graphs:
        us = measure()
        if size == "small":
            say(f"{name}-small", us, "us", f"{shape}, in a graph of 20")
        else:
            say(f"{name}-large", 4e-6 * shape[0] * shape[1] / us, "TB/s", f"{shape}, {us:.1f} us")


def lora(compiled):
    graphs = []
    for dtype in (torch.bfloat16, torch.float32):
        x, w, a, b = (torch.randn(s, device="cuda", dtype=dtype) for s in ((128, 512), (512, 512), (8, 512), (512, 8)))
        name = "lora_linear" if dtype == torch.bfloat16 else "lora_linear-float32"
        for name, f in forms(name, adapted_of(w, a, b), compiled):
            graphs.append((name, dtype, graph_of(lambda f=f, x=x: f(x))))
    yield
    for name, dtype, measure in graphs:
        say(name, measure(), "us", f"128x512x512, rank 8, {dtype}, in a graph of 20")


def timed(f):
    begin, end = torch.cuda.Event(True), torch.cuda.Event(True)
    begin.record()
    for _ in range(5):
        f()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) * 1e3 / 5


def attention():
    for size, (B, T, H, D) in (("d64", (64, 1024, 12, 64)), ("d128", (4, 4096, 32, 128))):
        q, k, v = (torch.randn(B, H, T, D, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
        plain = [t.detach() for t in (q, k, v)]
        flops = 4 * B * H * T * (T + 1) / 2 * D
        for name, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cudnn", SDPBackend.CUDNN_ATTENTION)):
            try:
                with sdpa_kernel(backend):
                    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
                    d = torch.randn_like(y)
                    median = lambda f: statistics.median(timed(f) for _ in range(20))
                    fwd = median(lambda: F.scaled_dot_product_attention(*plain, is_causal=True))
                    bwd = median(lambda: torch.autograd.grad(y, (q, k, v), d, retain_graph=True))
                shape = f"B{B} T{T} H{H} D{D} causal"
                say(f"attention-{size}-{name}", flops / fwd / 1e6, "TFLOP/s", f"{shape}, forward {fwd:.1f} us")
                say(f"attention_grad-{size}-{name}", 2.5 * flops / bwd / 1e6, "TFLOP/s", f"{shape}, backward {bwd:.1f} us")
            except RuntimeError as e:
                print(f"# NOT MEASURED: {name}, {size}: {str(e).splitlines()[0][:120]}", flush=True)


def measured(compiled):
    """Compiles and captures, yields once, then measures all."""
    parts = [rows(compiled), lora(compiled)]
    for part in parts:
        next(part)
    yield
    attention()
    for part in parts:
        next(part, None)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--compile", action="store_true")
    options = options.parse_args()
    print(f"# {torch.cuda.get_device_name()}, torch {torch.__version__}", flush=True)
    for _ in measured(options.compile):
        pass
