"""Writes tests/golden/sampler.json: what transformers' logits processors leave of some logits.

    python tests/reference/sampler.py tests/golden/sampler.json

Each case has logits, the prompt's tokens, the generated tokens, options, and the probabilities to draw from. The order is
that of transformers' generate: penalties, temperature, top-k, top-p, min-p. Presence and frequency penalties, which
transformers lacks, are subtracted as OpenAI's documentation and vLLM have it, over the generated tokens.
"""
import json
import sys

import torch
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

VOCAB = 24
OPTIONS = [
    {},
    {"temperature": 0.7},
    {"temperature": 1.6},
    {"top_k": 1},
    {"top_k": 5},
    {"top_k": 100},
    {"top_p": 0.3},
    {"top_p": 0.9},
    {"top_p": 0.999},
    {"min_p": 0.05},
    {"min_p": 0.5},
    {"temperature": 0.8, "top_k": 8, "top_p": 0.8, "min_p": 0.1},
    {"temperature": 1.5, "top_k": 12, "top_p": 0.95},
    {"repetition_penalty": 1.3},
    {"repetition_penalty": 0.8, "temperature": 0.9},
    {"presence_penalty": 0.6},
    {"frequency_penalty": 0.4},
    {"presence_penalty": 0.5, "frequency_penalty": -0.2, "repetition_penalty": 1.1, "top_p": 0.9},
    {"bias": [[3, 2.5], [4, -100.0]], "temperature": 0.9},
]


def probabilities(logits, prompt, generated, o):
    ids = torch.tensor([prompt + generated])
    scores = logits.clone()[None]
    for token, bias in o.get("bias", []):
        scores[0, token] += bias
    if "repetition_penalty" in o:
        scores = RepetitionPenaltyLogitsProcessor(o["repetition_penalty"])(ids, scores)
    for token in set(generated):
        scores[0, token] -= o.get("presence_penalty", 0) + generated.count(token) * o.get("frequency_penalty", 0)
    if "temperature" in o:
        scores = TemperatureLogitsWarper(o["temperature"])(ids, scores)
    if "top_k" in o:
        scores = TopKLogitsWarper(o["top_k"])(ids, scores)
    if "top_p" in o:
        scores = TopPLogitsWarper(o["top_p"])(ids, scores)
    if "min_p" in o:
        scores = MinPLogitsWarper(o["min_p"])(ids, scores)
    return scores[0].softmax(-1)


def main():
    torch.manual_seed(1)
    cases = []
    for i, options in enumerate(OPTIONS * 2):
        logits = (torch.randn(VOCAB, dtype=torch.float32) * 2).double()
        if i >= len(OPTIONS):
            logits = (logits / 3).round() * 0.5  # many equal ones
            if "top_p" in options:
                continue  # which of equals stay is not defined
        prompt = torch.randint(VOCAB, (5,)).tolist()
        generated = torch.randint(VOCAB, (7,)).tolist()
        cases.append({
            "logits": logits.tolist(),
            "prompt": prompt,
            "generated": generated,
            "options": options,
            "probabilities": probabilities(logits, prompt, generated, options).tolist(),
        })
    with open(sys.argv[1], "w") as f:
        f.write("[" + ",\n".join(json.dumps(case) for case in cases) + "]\n")


main()
