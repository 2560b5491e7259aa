"""Makes tests/golden/safetensors/ with the safetensors library, or checks a file that our writer made.

    python make_safetensors.py tests/golden/safetensors
    python make_safetensors.py --check FILE          # written by test_safetensors (INGOT_KEEP_FILES=1)
"""
import json
import struct
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def tensors():
    return {
        "f32": torch.arange(6, dtype=torch.float32).reshape(2, 3) - 2.5,
        "f64": torch.tensor([1 / 3, -1e300], dtype=torch.float64),
        "bf16": torch.tensor([[1.5], [-2.0], [3.140625]], dtype=torch.bfloat16),
        "f16": torch.tensor([65504.0, 6e-8, -0.0], dtype=torch.float16),
        "i64": torch.tensor([-(2**63), 2**63 - 1]),
        "i32": torch.tensor(-7, dtype=torch.int32),  # rank 0
        "i8": torch.tensor([[-128, 127, 0]], dtype=torch.int8),
        "u8": torch.tensor([255], dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]),
        "f8": torch.tensor([1.0, 2.0]).to(torch.float8_e4m3fn),
        "empty": torch.zeros(0, 4),
    }


def make(folder: Path):
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors(), folder / "plain.safetensors", metadata={"format": "pt", "note": "café"})
    # As MLX writes it: no padding, so that data begins at an odd address.
    header = json.dumps({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    header += b" " * (len(header) % 2 == 0)
    (folder / "unaligned.safetensors").write_bytes(
        struct.pack("<Q", len(header)) + header + struct.pack("<2f", 0.5, -4.0)
    )
    shards = folder / "shards"
    shards.mkdir(exist_ok=True)
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    save_file({"a": torch.tensor([1.0, 2.0])}, shards / names[0], metadata={"format": "pt"})
    save_file({"b": torch.tensor([[3.0]]), "c": torch.tensor([4.0])}, shards / names[1], metadata={"format": "pt"})
    index = {"metadata": {"total_size": 16}, "weight_map": {"a": names[0], "b": names[1], "c": names[1]}}
    (shards / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def check(path):
    found = load_file(path)
    assert found["x"].shape == (2, 3) and found["x"].dtype == torch.float32
    assert found["x"].tolist() == [[0, 1, 2], [3, 4, 5]], found["x"]
    assert found["scalar"].shape == () and found["scalar"].item() == 2.5
    assert found["none"].shape == (0, 7)
    assert found["half"].dtype == torch.bfloat16 and found["half"].tolist() == [1.5]
    print("the safetensors library reads the same:", path)


if __name__ == "__main__":
    if sys.argv[1] == "--check":
        check(sys.argv[2])
    else:
        make(Path(sys.argv[1]))
