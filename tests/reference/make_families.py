#!/usr/bin/env python3
"""Tiny random models of each family, made by transformers, with what PyTorch computes from them.

    python3 tests/reference/make_families.py        # writes tests/golden/families/<case>/

Each case is a Hugging Face directory as transformers saves it, and expected.safetensors beside it:

    tokens, targets (B, T)      a batch; a target of -1 does not count
    positions, segment_start    (B, T), where the case packs several texts into a row
    logits (B, T, V)            computed in float64
    loss, count                 the sum over the targets that count, and their number
    grad.<parameter>            of that sum, computed in float64
    losses (10)                 of AdamW steps on the mean loss of this batch: lr 1e-3, betas 0.9 0.95, eps 1e-8,
                                weight decay 0.1 on matrices, no clipping, each before its step
"""
import json
import os
import shutil

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "golden", "families")

LLAMA = dict(vocab_size=67, hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=3,
             num_key_value_heads=1, max_position_embeddings=32, rms_norm_eps=1e-5, bos_token_id=0, eos_token_id=0)
GPT2 = dict(vocab_size=67, n_embd=24, n_layer=2, n_head=3, n_positions=32, bos_token_id=0, eos_token_id=0,
            embd_pdrop=0.0, resid_pdrop=0.0, attn_pdrop=0.0)
SCALING = dict(rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
               original_max_position_embeddings=16)

CASES = {
    "gpt2": (GPT2LMHeadModel, GPT2Config(**GPT2)),
    "gpt2-untied": (GPT2LMHeadModel, GPT2Config(**GPT2, tie_word_embeddings=False, n_inner=40)),
    "gpt2-packed": (GPT2LMHeadModel, GPT2Config(**GPT2)),
    "llama-tied": (LlamaForCausalLM, LlamaConfig(**LLAMA, tie_word_embeddings=True)),
    "llama-untied": (LlamaForCausalLM, LlamaConfig(**LLAMA)),
    "llama-bias-scaled": (LlamaForCausalLM, LlamaConfig(**LLAMA, attention_bias=True, mlp_bias=True, head_dim=10,
                                                        rope_parameters=SCALING)),
    "llama-packed": (LlamaForCausalLM, LlamaConfig(**LLAMA, tie_word_embeddings=True)),
}
# PEFT directories over the case they name; gradients are the adapters'.
ADAPTERS = {
    "llama-adapter": ("llama-bias-scaled", dict(r=3, lora_alpha=12, target_modules=["q_proj", "down_proj"])),
    "gpt2-adapter": ("gpt2", dict(r=2, lora_alpha=5, use_rslora=True, target_modules=["c_attn", "mlp.c_proj"],
                                  fan_in_fan_out=True)),
}
B, T = 2, 13
STARTS = [[0] * 5 + [5] * 8, [0] * 1 + [1] * 6 + [7] * 6]  # where each position's text begins


def batch(vocabulary, packed):
    tokens = torch.randint(0, vocabulary, (B, T), dtype=torch.int32)
    targets = torch.roll(tokens, -1, 1)
    targets[:, -1] = -1
    targets[1, :3] = -1
    tensors = {"tokens": tokens, "targets": targets}
    if packed:
        start = torch.tensor(STARTS, dtype=torch.int32)
        tensors["segment_start"] = start
        tensors["positions"] = torch.arange(T, dtype=torch.int32)[None] - start
    return tensors


def forward(model, data):
    """Logits; packed texts see only themselves, through an additive mask."""
    extra = {}
    if "segment_start" in data:
        i, j = torch.arange(T)[:, None], torch.arange(T)[None]
        seen = (j <= i)[None] & (j >= data["segment_start"][:, :, None])
        dtype = next(model.parameters()).dtype
        extra["attention_mask"] = torch.zeros(B, 1, T, T, dtype=dtype).masked_fill(~seen[:, None], -1e30)
        extra["position_ids"] = data["positions"].long()
    return model(input_ids=data["tokens"].long(), use_cache=False, **extra).logits


def sum_loss(logits, targets):
    return torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), targets.reshape(-1).long(),
                                             ignore_index=-1, reduction="sum")


def ten_losses(model, data):
    learns = [p for p in model.parameters() if p.requires_grad]
    decay = [p for p in learns if p.dim() > 1]
    rest = [p for p in learns if p.dim() <= 1]
    adamw = torch.optim.AdamW([{"params": decay, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}],
                              lr=1e-3, betas=(0.9, 0.95), eps=1e-8)
    count = (data["targets"] >= 0).sum()
    losses = []
    for _ in range(10):
        loss = sum_loss(forward(model, data), data["targets"]) / count
        adamw.zero_grad()
        loss.backward()
        adamw.step()
        losses.append(loss.item())
    return torch.tensor(losses, dtype=torch.float64)


def randomize(model):
    """Weights large enough that nothing hides: biases not 0, norms not 1, attention not uniform."""
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name or ".ln_" in name:
                p.copy_((1.0 if name.endswith("weight") else 0.0) + 0.2 * torch.randn_like(p))
            else:
                p.copy_(torch.randn_like(p) * (0.3 if p.dim() > 1 else 0.2))


def make(name, kind, config):
    torch.manual_seed(list(CASES).index(name) + 1)
    folder = os.path.join(OUT, name)
    shutil.rmtree(folder, ignore_errors=True)
    config._attn_implementation = "eager"
    model = kind(config)
    randomize(model)
    model.save_pretrained(folder)
    expect(name, model, folder)


def make_adapter(name, base, options):
    torch.manual_seed(100 + list(ADAPTERS).index(name))
    folder = os.path.join(OUT, name)
    shutil.rmtree(folder, ignore_errors=True)
    kind, _ = CASES[base]
    model = kind.from_pretrained(os.path.join(OUT, base), dtype=torch.float32, attn_implementation="eager")
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", bias="none", **options))
    with torch.no_grad():
        for parameter, p in model.named_parameters():
            if "lora_" in parameter:
                p.copy_(torch.randn_like(p) * 0.3)
    model.save_pretrained(folder)
    os.remove(os.path.join(folder, "README.md"))
    path = os.path.join(folder, "adapter_config.json")
    with open(path) as f:
        config = json.load(f)
    config["base_model_name_or_path"] = "../" + base  # from this folder: Ingot looks there too
    with open(path, "w") as f:
        json.dump(config, f, indent=2, sort_keys=True)
    expect(name, model, folder)


def expect(name, model, folder):
    model = model.double().eval()
    data = batch(model.config.vocab_size, name.endswith("packed"))
    logits = forward(model, data)
    loss = sum_loss(logits, data["targets"])
    loss.backward()
    expected = dict(data, logits=logits.detach().float(), loss=loss.detach(), count=(data["targets"] >= 0).sum().int())
    for parameter, p in model.named_parameters():
        if p.grad is not None:
            parameter = parameter.removeprefix("base_model.model.").replace(".default", "")
            expected["grad." + parameter] = p.grad.float()
    expected["losses"] = ten_losses(model, data)
    save_file({k: v.contiguous() for k, v in expected.items()}, os.path.join(folder, "expected.safetensors"))
    for file in os.listdir(folder):
        os.chmod(os.path.join(folder, file), 0o644)
    print(name, "loss", loss.item(), "after ten steps", expected["losses"][-1].item())


if __name__ == "__main__":
    for case, (kind, config) in CASES.items():
        make(case, kind, config)
    for case, (base, options) in ADAPTERS.items():
        make_adapter(case, base, options)
