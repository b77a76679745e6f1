"""Makes unpack_values.safetensors: blocks of every quantised type with random bits, and the values that the gguf package
(PyPI gguf, written by GGUF's authors) gives them. Run by hand: python3 unpack_values.py (needs gguf and numpy)."""
import json
import struct

import gguf
import numpy as np

TYPES = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "F16", "BF16"]
# Bytes at which a block's f16 scales lie.
SCALES = {"Q4_1": [0, 2], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q2_K": [80, 82], "Q3_K": [108], "Q6_K": [208]}

random = np.random.default_rng(1)
tensors = {}
for name in TYPES:
    kind = gguf.GGMLQuantizationType[name]
    elements, size = gguf.GGML_QUANT_SIZES[kind]
    n = 512 // elements
    if elements == 1:
        blocks = random.integers(0, 256, (n, size), dtype=np.uint8)
        blocks[:, 1] &= 0xBF  # no infinities and no NaN
    else:
        blocks = random.integers(0, 256, (n, size), dtype=np.uint8)
        for at in SCALES.get(name, [0]):
            scale = (random.standard_normal(n) * 0.01).astype(np.float16)
            scale[0] = np.float16(3e-7)  # a subnormal one
            blocks[:, at : at + 2] = scale.view(np.uint8).reshape(n, 2)
    values = gguf.quants.dequantize(blocks.reshape(1, -1), kind).astype(np.float32).reshape(-1)
    assert values.shape == (512,) and np.isfinite(values).all()
    tensors[name + ".blocks"] = ("U8", blocks.reshape(-1))
    tensors[name + ".values"] = ("F32", values)

header, at = {}, 0
for name, (kind, data) in tensors.items():
    header[name] = {"dtype": kind, "shape": [len(data)], "data_offsets": [at, at + data.nbytes]}
    at += data.nbytes
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
with open("unpack_values.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text + b"".join(data.tobytes() for _, data in tensors.values()))
