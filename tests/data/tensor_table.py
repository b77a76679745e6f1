#!/usr/bin/env python3
"""Makes tensor_table.txt: every tensor of the reference models, as the formats' own packages read it: file, name, type, shape
(slowest first) and FNV-1a of its bytes. Run by hand: python3 tensor_table.py REFERENCE (needs safetensors, gguf and numpy)."""
import pathlib
import sys

import gguf
from safetensors import deserialize


def fnv(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h


root = pathlib.Path(sys.argv[1])
lines = []
for path in sorted((root / "models").glob("*/model*.safetensors")):
    for name, entry in deserialize(path.read_bytes()):
        lines.append((f"models/{path.parent.name}", name, entry["dtype"], entry["shape"], fnv(entry["data"])))
for path in sorted((root / "gguf").glob("*.gguf")):
    for t in gguf.GGUFReader(path).tensors:
        lines.append((f"gguf/{path.name}", t.name, t.tensor_type.name, [int(n) for n in t.shape[::-1]], fnv(t.data.tobytes())))
out = pathlib.Path(__file__).with_name("tensor_table.txt")
out.write_text("".join(f"{f} {n} {t} {'x'.join(map(str, s))} {h:016x}\n" for f, n, t, s, h in sorted(lines)))
