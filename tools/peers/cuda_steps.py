#!/usr/bin/env python3
"""PyTorch's time on a GPU for whole models: training steps, tokens and prompts, as the CUDA table of docs/performance.md has them.

    tools/peers/cuda_steps.py [--only gpt2,tiny-float32,decode-llama-1b] [--together] [--autotune]

Every work is a process of its own, so that what one allocates, compiles or forbids is not another's. --together: all compile
side by side first, which a machine with many cores does in the time of the slowest; then they are timed one after the other,
each alone on the GPU. A line is printed as soon as it is measured: the work, the value, its unit, and what was measured.

GPT-2 is nanoGPT's: one product for q, k and v, vocabulary padded to 50,304, tied head, bfloat16 autocast, fused AdamW and
clipping, torch.compile. tiny-1m is Ingot's preset, its whole step (clip and AdamW too) replayed as one CUDA graph. Decode is
gpt-fast's: a static cache of 256 positions, bfloat16 weights, torch.compile, one CUDA graph a token; drawing is not in it.
"""
import argparse
import importlib
import multiprocessing
import os
import statistics
import time

WORKS = {}


def work(name, **given):
    """Registers a generator: what comes before its first `yield` is preparation, what comes after is timed alone."""
    def add(f):
        WORKS[name] = (f.__name__, given)
        return f
    return add


def say(name, value, unit, what):
    print(f"{name} {value:.4g} {unit} | {what}", flush=True)


# ---- models ----

def define(torch):
    """The modules; torch is loaded by the process that needs them."""
    nn, F = torch.nn, torch.nn.functional

    class Gpt2Block(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.heads = heads
            self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.attn, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x):
            B, T, C = x.shape
            q, k, v = (y.view(B, T, self.heads, -1).transpose(1, 2) for y in self.attn(self.ln_1(x)).split(C, dim=2))
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.proj(y.transpose(1, 2).reshape(B, T, C))
            return x + self.down(F.gelu(self.up(self.ln_2(x)), approximate="tanh"))

    class Gpt2(nn.Module):
        def __init__(self, vocab=50304, context=1024, layers=12, heads=12, width=768):
            super().__init__()
            self.wte, self.wpe = nn.Embedding(vocab, width), nn.Embedding(context, width)
            self.blocks = nn.ModuleList(Gpt2Block(width, heads) for _ in range(layers))
            self.ln_f, self.head = nn.LayerNorm(width), nn.Linear(width, vocab, bias=False)
            self.head.weight = self.wte.weight
            self.apply(lambda m: nn.init.normal_(m.weight, std=0.02) if isinstance(m, (nn.Linear, nn.Embedding)) else None)

        def forward(self, x, y):
            h = self.wte(x) + self.wpe(torch.arange(x.shape[1], device=x.device))
            for block in self.blocks:
                h = block(h)
            logits = self.head(self.ln_f(h))
            return F.cross_entropy(logits.view(-1, logits.size(-1)), y.reshape(-1))

    class Norm(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(width))

        def forward(self, x):
            return F.rms_norm(x, self.weight.shape, self.weight, 1e-5)

    def turn(x, cos, sin):
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)

    class LlamaBlock(nn.Module):
        def __init__(self, width, ffn, heads, kv, head_dim, positions, batch):
            super().__init__()
            self.shape = heads, kv, head_dim
            self.norm_1, self.norm_2 = Norm(width), Norm(width)
            self.qkv = nn.Linear(width, (heads + 2 * kv) * head_dim, bias=False)
            self.out = nn.Linear(heads * head_dim, width, bias=False)
            self.gate_up, self.down = nn.Linear(width, 2 * ffn, bias=False), nn.Linear(ffn, width, bias=False)
            if positions:  # of a cache
                self.register_buffer("k", torch.zeros(batch, kv, positions, head_dim))
                self.register_buffer("v", torch.zeros(batch, kv, positions, head_dim))

        def forward(self, x, cos, sin, at=None, mask=None):
            B, T, _ = x.shape
            H, K, D = self.shape
            q, k, v = (y.view(B, T, -1, D).transpose(1, 2)
                       for y in self.qkv(self.norm_1(x)).split([H * D, K * D, K * D], dim=2))
            q, k = turn(q, cos, sin), turn(k, cos, sin)
            if at is not None:
                self.k[:, :, at] = k
                self.v[:, :, at] = v
                k, v = self.k, self.v
            if mask is not None:
                k, v = (y.repeat_interleave(H // K, dim=1) for y in (k, v))
                y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            else:
                y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
            x = x + self.out(y.transpose(1, 2).reshape(B, T, H * D))
            gate, up = self.gate_up(self.norm_2(x)).chunk(2, dim=-1)
            return x + self.down(F.silu(gate) * up)

    class Llama(nn.Module):
        def __init__(self, vocab, layers, heads, kv, head_dim, width, ffn, positions=0, length=4096, batch=1):
            super().__init__()
            self.embed = nn.Embedding(vocab, width)
            self.blocks = nn.ModuleList(LlamaBlock(width, ffn, heads, kv, head_dim, positions, batch) for _ in range(layers))
            self.norm, self.head = Norm(width), nn.Linear(width, vocab, bias=False)
            self.head.weight = self.embed.weight
            angles = torch.outer(torch.arange(length).float(), 1e4 ** (-torch.arange(0, head_dim, 2).float() / head_dim))
            self.register_buffer("cos", angles.cos())
            self.register_buffer("sin", angles.sin())
            if positions:
                self.register_buffer("causal", torch.ones(positions, positions, dtype=torch.bool).tril())
            self.apply(lambda m: nn.init.normal_(m.weight, std=0.02) if isinstance(m, (nn.Linear, nn.Embedding)) else None)

        def forward(self, tokens, at=None):  # at: (T) positions, of a cache
            h = self.embed(tokens)
            where = at if at is not None else slice(0, tokens.shape[1])
            mask = self.causal[at] if at is not None else None
            for block in self.blocks:
                h = block(h, self.cos[where], self.sin[where], at, mask)
            return self.norm(h)

        def loss(self, x, y):
            logits = self.head(self(x))
            return F.cross_entropy(logits.view(-1, logits.size(-1)), y.reshape(-1))

        def next(self, tokens, at=None):
            return self.head(self(tokens, at)[:, -1])

    return Gpt2, Llama


SHAPES = {"tiny-1m": (1776, 4, 4, 2, 32, 128, 352), "smollm2-135m": (49152, 30, 9, 3, 64, 576, 1536),
          "llama-1b": (128256, 16, 32, 8, 64, 2048, 8192)}


# ---- training ----

def adamw(torch, model, capturable=False):
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    return torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
                             lr=1e-4, betas=(0.9, 0.95), fused=True, capturable=capturable)


def step_times(torch, step, repetitions):
    times = []
    for _ in range(repetitions):
        torch.cuda.synchronize()
        began = time.perf_counter()
        step()
        torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - began))
    return statistics.median(times)


@work("gpt2", attention="flash")
@work("gpt2-cudnn", attention="cudnn")
@work("gpt2-autotune", attention="cudnn", mode="max-autotune-no-cudagraphs")
def gpt2(torch, name, options, attention, mode="default"):
    Gpt2, _ = define(torch)
    torch.backends.cuda.enable_flash_sdp(attention == "flash")
    torch.backends.cuda.enable_cudnn_sdp(attention == "cudnn")
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_math_sdp(False)
    model = Gpt2().cuda()
    optimizer, tokens = adamw(torch, model), torch.randint(0, 50257, (64, 1025), device="cuda")
    x, y = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    compiled = torch.compile(model, mode=mode)

    def step(clip=True):
        with torch.autocast("cuda", torch.bfloat16):
            loss = compiled(x, y)
        loss.backward()
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for _ in range(3):
        step()
    yield
    ms = step_times(torch, step, 12)
    peak = torch.cuda.max_memory_allocated() / 1e9
    what = f"B64 T1024 bfloat16, torch.compile ({mode}), {attention} attention"
    say(name, ms, "ms", f"{what}, {65536e3 / ms:.0f} tok/s")
    say(f"{name}-without-clip", step_times(torch, lambda: step(False), 12), "ms", f"{what}, gradients not clipped")
    say(f"{name}-memory", peak, "GB", f"{what}: the most that was allocated")


def captured(torch, step):
    """One CUDA graph of the step, after the runs that compile and allocate."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(4):
            step()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


@work("tiny-float32")
@work("tiny-tf32", tf32=True)
@work("tiny-bfloat16", narrow=True)
@work("tiny-reduce-overhead", mode="reduce-overhead")
def tiny(torch, name, options, tf32=False, narrow=False, mode="default"):
    _, Llama = define(torch)
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    model = Llama(*SHAPES["tiny-1m"], length=128).cuda()
    whole = mode == "default"
    optimizer, tokens = adamw(torch, model, capturable=whole), torch.randint(0, 1776, (8, 129), device="cuda")
    x, y = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    loss_of = torch.compile(model.loss, mode=mode)

    def step():
        with torch.autocast("cuda", torch.bfloat16, enabled=narrow):
            loss = loss_of(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0, foreach=True)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    if whole:
        step = captured(torch, step)
    for _ in range(8):
        step()
    yield
    kind = "bfloat16 autocast" if narrow else "TF32" if tf32 else "float32"
    how = "the whole step one CUDA graph" if whole else "mode reduce-overhead"
    say(name, step_times(torch, step, 200), "ms", f"tiny-1m B8 T128 {kind}, torch.compile, {how}")


@work("convnet-sgd", kind="sgd")
@work("convnet-adam", kind="adam")
def convnet(torch, name, options, kind):
    """Both layouts of memory, TF32 and full float32: the fastest of each. torch.compile was slower than eager here, and is left out."""
    nn, F = torch.nn, torch.nn.functional
    torch.backends.cudnn.benchmark = True
    x, y = torch.randn(32, 3, 32, 32, device="cuda"), torch.randint(0, 10, (32,), device="cuda")

    def form(tf32, layout):
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        stages = []
        for i in range(3):
            stages += [nn.Conv2d(3 if i == 0 else 32 << (i - 1), 32 << i, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        model = nn.Sequential(*stages, nn.Flatten(), nn.Linear(128 * 4 * 4, 10)).cuda().to(memory_format=layout)
        images = x.to(memory_format=layout)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, fused=True) if kind == "sgd" else \
            torch.optim.Adam(model.parameters(), lr=1e-3, fused=True, capturable=True)

        def step():
            F.cross_entropy(model(images), y).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return captured(torch, step)

    layouts = {"NCHW": torch.contiguous_format, "NHWC": torch.channels_last}
    forms = {(tf32, layout): form(tf32, layouts[layout]) for tf32 in (True, False) for layout in layouts}
    yield
    for tf32 in (True, False):
        times = {k: step_times(torch, lambda: [f() for _ in range(20)], 20) / 20 for k, f in forms.items() if k[0] == tf32}
        best = min(times, key=times.get)
        say(name if tf32 else f"{name}-float32", 1e3 / times[best], "batch/s",
            f"convnet 32x3x32x32 {kind}, {'TF32' if tf32 else 'float32'}, {best[1]}, one CUDA graph a step, 20 in flight; "
            + ", ".join(f"{k[1]} {1e3 / t:.0f}" for k, t in times.items()))


# ---- tokens and prompts ----

@work("decode-llama-1b", shape="llama-1b")
@work("decode-smollm2-135m", shape="smollm2-135m")
def decode(torch, name, options, shape):
    _, Llama = define(torch)
    if options.autotune:
        importlib.import_module("torch._inductor.config").coordinate_descent_tuning = True
    with torch.device("cuda"):
        model = Llama(*SHAPES[shape], positions=256, length=256).bfloat16().eval()
    token, at = torch.zeros(1, 1, dtype=torch.int64, device="cuda"), torch.zeros(1, dtype=torch.int64, device="cuda")
    next_token = torch.compile(model.next, fullgraph=True)
    with torch.inference_mode():
        one = captured(torch, lambda: (next_token(token, at), at.add_(1)))
        yield

        def tokens():
            at.zero_()
            for _ in range(128):
                one()
        ms = step_times(torch, tokens, 5)
    say(name, 128e3 / ms, "tok/s", f"{shape} bfloat16, batch 1, tg128, static cache, torch.compile, one CUDA graph a token")


@work("prefill-llama-1b", shape="llama-1b")
def prefill(torch, name, options, shape):
    _, Llama = define(torch)
    with torch.device("cuda"):
        model = Llama(*SHAPES[shape]).bfloat16().eval()
    tokens = torch.randint(0, 1000, (1, 4096), device="cuda")
    compiled = torch.compile(model.next)
    with torch.inference_mode():
        for _ in range(3):
            compiled(tokens)
        yield
        ms = step_times(torch, lambda: compiled(tokens), 10)
    say(name, 4096e3 / ms, "tok/s", f"{shape} bfloat16, a prompt of 4096 tokens, logits of the last, torch.compile, no cache kept")


@work("ops")
def ops(torch, name, options):
    yield from importlib.import_module("cuda_ops").measured(compiled=True)


# ---- processes ----

def one_work(name, options, ready, turn):
    import torch
    function, given = WORKS[name]
    try:
        runs = globals()[function](torch, name, options, **given)
        began = time.perf_counter()
        next(runs)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - began
        ready.set()
        turn.wait()
        print(f"# {name}: ready after {seconds:.0f} s", flush=True)
        for _ in runs:
            pass
    except Exception as e:  # not installed, no memory, not supported: said, and the others go on
        ready.set()
        turn.wait()
        print(f"# NOT MEASURED: {name}: {str(e).strip().splitlines()[0][:200] if str(e).strip() else type(e).__name__}", flush=True)


def main():
    usual = [name for name in WORKS if name not in ("gpt2-cudnn", "gpt2-autotune", "tiny-reduce-overhead")]
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", default=",".join(usual), help=f"of {', '.join(WORKS)}; all of them: all")
    options.add_argument("--together", action="store_true", help="compile all side by side, then time one after the other")
    options.add_argument("--autotune", action="store_true", help="inductor's coordinate descent for decode: minutes")
    options = options.parse_args()
    names = list(WORKS) if options.only == "all" else options.only.split(",")
    for name in names:
        if name not in WORKS:
            raise SystemExit(f"there is no {name}; there are {', '.join(WORKS)}")
    if options.together:  # every process brings compilers of its own
        os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "4")
    context = multiprocessing.get_context("spawn")
    running = []
    for name in names:
        ready, turn = context.Event(), context.Event()
        p = context.Process(target=one_work, args=(name, options, ready, turn))
        p.start()
        running.append((p, ready, turn))
        if not options.together:
            turn.set()
            p.join()
    for p, ready, _ in running:
        while p.is_alive() and not ready.wait(0.2):
            pass
    for p, _, turn in running:
        turn.set()
        p.join()


if __name__ == "__main__":
    main()
