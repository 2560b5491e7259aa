#!/usr/bin/env python3
"""PyTorch's time on a GPU for the shapes of `ingot bench ops --device cuda --dtype bfloat16`, and for whole training steps.

    tools/peers/cuda_ops.py [--compile] [--train]

Each figure is the median of 30 replays of a CUDA graph of 20 calls, as Ingot's own are of replays. Attention: the flash and
cuDNN backends of scaled_dot_product_attention, causal. --compile adds torch.compile to softmax and RMS norm; --train adds
steps of GPT-2 124M (B64 T1024, bfloat16 autocast, torch.compile, fused AdamW), which takes minutes to compile.
"""
import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel


def graph_us(call, calls=20, replays=30):
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            call()
    times = []
    for _ in range(replays):
        begin, end = torch.cuda.Event(True), torch.cuda.Event(True)
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) * 1e3 / calls)
    return statistics.median(times)


def rows(compiled):
    print("| op | shape | us | GB/s |\n|---|---|---|---|")
    for shape in [(128, 1024), (4096, 4096), (65536, 4096)]:
        x, w = torch.randn(shape, device="cuda", dtype=torch.bfloat16), torch.randn(shape[1], device="cuda", dtype=torch.bfloat16)
        softmax, norm = lambda x: F.softmax(x, -1), lambda x: F.rms_norm(x, (shape[1],), w, 1e-5)
        forms = [("torch", softmax, norm)]
        if compiled:
            forms.append(("torch.compile", torch.compile(softmax), torch.compile(norm)))
        for name, soft, rms in forms:
            for op, f in (("softmax", soft), ("rms_norm", rms)):
                us = graph_us(lambda: f(x), calls=20 if shape[0] < 65536 else 3)
                print(f"| {op} ({name}) | {shape} | {us:.2f} | {4e-3 * x.numel() / us:.0f} |")


def attention():
    print("| attention | shape (B, T, H, D) | forward us | TFLOP/s | backward us | TFLOP/s |\n|---|---|---|---|---|---|")
    for B, T, H, D in [(4, 1024, 12, 64), (64, 1024, 12, 64), (4, 4096, 32, 128)]:
        q, k, v = (torch.randn(B, H, T, D, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
        flops = 4 * B * H * T * (T + 1) / 2 * D
        for name, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cuDNN", SDPBackend.CUDNN_ATTENTION)):
            try:
                with sdpa_kernel(backend):
                    forward = lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True)
                    y = forward()
                    d = torch.randn_like(y)
                    one = lambda f: statistics.median(timed(f) for _ in range(20))
                    fwd = one(lambda: F.scaled_dot_product_attention(q.detach(), k.detach(), v.detach(), is_causal=True))
                    bwd = one(lambda: torch.autograd.grad(y, (q, k, v), d, retain_graph=True))
                print(f"| {name} | {(B, T, H, D)} | {fwd:.1f} | {flops / fwd / 1e6:.0f} | {bwd:.1f} | {2.5 * flops / bwd / 1e6:.0f} |")
            except RuntimeError as e:
                print(f"| {name} | {(B, T, H, D)} | {str(e)[:60]} |")


def timed(f):
    begin, end = torch.cuda.Event(True), torch.cuda.Event(True)
    begin.record()
    for _ in range(5):
        f()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) * 1e3 / 5


def train():
    import transformers
    torch.set_float32_matmul_precision("high")
    config = transformers.GPT2Config(attn_implementation="sdpa", resid_pdrop=0, embd_pdrop=0, attn_pdrop=0)
    model = transformers.GPT2LMHeadModel(config).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    tokens = torch.randint(0, 50257, (64, 1025), device="cuda")

    def loss_of(x, y):
        with torch.autocast("cuda", torch.bfloat16):
            logits = model(x).logits
            return F.cross_entropy(logits.view(-1, logits.size(-1)), y.reshape(-1))

    loss_of = torch.compile(loss_of)
    times = []
    for _ in range(12):
        torch.cuda.synchronize()
        began = time.perf_counter()
        loss = loss_of(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    ms = statistics.median(times[4:]) * 1e3
    print(f"gpt2-124m B64 T1024 bfloat16, torch.compile: {ms:.1f} ms, {65536e3 / ms:.0f} tok/s, "
          f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB at most")


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--compile", action="store_true")
    options.add_argument("--train", action="store_true")
    options = options.parse_args()
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    rows(options.compile)
    attention()
    if options.train:
        train()
