"""Greedy text and scores of a model, by ingot and by transformers.

    python tests/reference/generate.py build/ingot MODEL_DIR PROMPT...

MODEL_DIR is a Hugging Face directory that `ingot train` or `ingot convert` wrote. Each prompt begins with the end token, as
ingot has it. Prints both token lists where they differ, and exits with 1. Where the two most likely tokens are closer than
1e-4 either may be taken: then the comparison of that prompt ends there.
"""
import json
import subprocess
import sys

import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

MAX_TOKENS = 48


def main():
    ingot, folder, prompts = sys.argv[1], sys.argv[2], sys.argv[3:]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{folder}/tokenizer.json")
    eos = model.generation_config.eos_token_id
    eos = eos if isinstance(eos, list) else [eos]
    arguments = [a for p in prompts for a in ("--prompt", p)]
    answer = json.loads(subprocess.run(
        [ingot, "generate", "--model", folder, "--json", "--quiet", "--temperature", "0", "--max-tokens", str(MAX_TOKENS),
         *arguments], check=True, capture_output=True).stdout)
    failed = False
    for prompt, completion in zip(prompts, answer["completions"], strict=True):
        ids = [eos[0], *tokenizer.encode(prompt, add_special_tokens=False)]
        assert len(ids) == completion["prompt_tokens"], (len(ids), completion["prompt_tokens"])
        got, tie = completion["tokens"], False
        for i in range(MAX_TOKENS):
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0, -1]
            best = logits.topk(2).values
            token = int(logits.argmax())
            ours = got[i] if i < len(got) else "end"
            if (token in eos and ours == "end") or len(ids) >= model.config.max_position_embeddings:
                break
            if ours != token:
                tie = float(best[0] - best[1]) < 1e-4
                failed |= not tie
                print(f"{prompt!r}: token {i} is {ours}, transformers says {token}" + (" (a tie)" if tie else ""))
                break
            ids.append(token)
        else:
            assert len(got) == MAX_TOKENS
        if not tie:
            assert tokenizer.decode(got, skip_special_tokens=True, clean_up_tokenization_spaces=False) == completion["text"]
        print(f"{prompt!r}: {len(got)} tokens compared")
    sys.exit(failed)


main()
