"""GGUF files of the members of the family: published shapes, random blocks, no tokenizer. peer.py's part `members` measures
them; by itself it writes one file:

  bench/member_files.py NAME TYPE FILE [LAYERS]      NAME of SHAPES, TYPE of TYPES; LAYERS: at most so many

Needs numpy. Norms are ones, biases zeros; scales of blocks are such that values have a mean near zero and a deviation of 0.016
(Q4_K) or 0.018, as in src/model/random.c; that of BF16 and F32 is 0.014. Rotary factors (llama3, longrope) are left out:
they change values only."""
import struct, sys

import numpy

# general.architecture, layers, width, heads, key-value heads, size of a head, feed-forward, vocabulary, tied head, context,
# theta, epsilon, what else the architecture has
SHAPES = {
    "llama-3.2-1b": ("llama", 16, 2048, 32, 8, 64, 8192, 128256, True, 131072, 5e5, 1e-5, {}),
    "mistral-7b": ("llama", 32, 4096, 32, 8, 128, 14336, 32768, False, 32768, 1e6, 1e-5, {}),
    "qwen2.5-0.5b": ("qwen2", 24, 896, 14, 2, 64, 4864, 151936, True, 32768, 1e6, 1e-6, {"biases": True}),
    "qwen3-0.6b": ("qwen3", 28, 1024, 16, 8, 128, 3072, 151936, True, 40960, 1e6, 1e-6, {"head_norms": True}),
    "granite-3.3-2b": ("granite", 40, 2048, 32, 8, 64, 8192, 49159, True, 131072, 1e7, 1e-5,
                       {"keys": {"embedding_scale": 12.0, "residual_scale": 0.22, "attention.scale": 0.015625,
                                 "logit_scale": 8.0}}),
    "phi4-mini": ("phi3", 32, 3072, 24, 8, 128, 8192, 200064, True, 131072, 1e4, 1e-5, {"fused": True, "rotated": 96}),
    "smollm3-3b": ("smollm3", 36, 2048, 16, 4, 128, 11008, 128256, True, 65536, 5e6, 1e-6, {}),
    "olmo2-1b": ("olmo2", 16, 2048, 16, 16, 128, 8192, 100352, False, 4096, 5e5, 1e-6, {"whole_norms": True, "behind": True}),
}

# GGUF's number, elements and bytes of a block, (place, f16 bits) of its scales
TYPES = {"F32": (0, 1, 4, ()), "BF16": (30, 1, 2, ()), "Q8_0": (8, 32, 34, ((0, 0x0c00),)), "Q4_0": (2, 32, 18, ((0, 0x1c00),)),
         "Q5_0": (6, 32, 22, ((0, 0x1800),)), "Q4_K": (12, 256, 144, ((0, 0x0400), (2, 0x0f80)))}
SUBSTITUTE = "Q5_0"  # llama.cpp's for rows that are no multiple of a super-block of Q4_K
ALIGNMENT, POOL = 32, 1 << 22


def pool_of(type_):
    """Some MiB of random blocks, which all matrices repeat."""
    _, elements, size, scales = TYPES[type_]
    draw = numpy.random.default_rng(1)
    if elements == 1:
        words = (draw.integers(0, 1 << 16, POOL // 2, dtype=numpy.uint16) & 0x81ff) + 0x3b00
        return words.astype("<u2").tobytes()
    blocks = draw.integers(0, 256, (POOL // size, size), dtype=numpy.uint8)
    for at, bits in scales:
        blocks[:, at], blocks[:, at + 1] = bits & 255, bits >> 8
    return blocks.tobytes()


def tensors_of(shape, layers, type_):
    """[(name, dims as GGUF writes them: columns first, type)]"""
    arch, _, d, heads, kv, head, ff, vocab, tied, *_, traits = shape
    q, k = heads * head, kv * head
    out = [("token_embd.weight", (d, vocab), type_), ("output_norm.weight", (d,), "F32")]
    if not tied:
        out.append(("output.weight", (d, vocab), type_))
    for i in range(layers):
        def add(name, *dims, of=type_):
            out.append((f"blk.{i}.{name}", dims, of))
        behind = traits.get("behind")
        add("post_attention_norm.weight" if behind else "attn_norm.weight", d, of="F32")
        add("post_ffw_norm.weight" if behind else "ffn_norm.weight", d, of="F32")
        if traits.get("head_norms") or traits.get("whole_norms"):
            add("attn_q_norm.weight", q if traits.get("whole_norms") else head, of="F32")
            add("attn_k_norm.weight", k if traits.get("whole_norms") else head, of="F32")
        if traits.get("fused"):
            add("attn_qkv.weight", d, q + 2 * k)
            add("ffn_up.weight", d, 2 * ff)
        else:
            for name, rows in (("q", q), ("k", k), ("v", k)):
                add(f"attn_{name}.weight", d, rows)
                if traits.get("biases"):
                    add(f"attn_{name}.bias", rows, of="F32")
            add("ffn_gate.weight", d, ff)
            add("ffn_up.weight", d, ff)
        add("attn_output.weight", q, d)
        add("ffn_down.weight", ff, d)
    return [(name, dims, SUBSTITUTE if dims[0] % TYPES[of][1] else of) for name, dims, of in out]


def keys_of(shape, layers):
    arch, _, d, heads, kv, head, ff, vocab, _, context, theta, eps, traits = shape
    keys = {"block_count": layers, "embedding_length": d, "feed_forward_length": ff, "attention.head_count": heads,
            "attention.head_count_kv": kv, "attention.key_length": head, "attention.value_length": head,
            "rope.dimension_count": traits.get("rotated", head), "context_length": context, "vocab_size": vocab,
            "rope.freq_base": float(theta), "attention.layer_norm_rms_epsilon": eps, **traits.get("keys", {})}
    return {"general.architecture": arch, "tokenizer.ggml.model": "no_vocab", **{f"{arch}.{k}": v for k, v in keys.items()}}


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def value(v):
    if isinstance(v, str):
        return struct.pack("<I", 8) + text(v)
    return struct.pack("<If", 6, v) if isinstance(v, float) else struct.pack("<II", 4, v)


def size_of(dims, type_):
    _, elements, size, _ = TYPES[type_]
    n = 1
    for dim in dims:
        n *= dim
    return n // elements * size


def padded(n):
    return -n % ALIGNMENT


def write(path, name, type_, most_layers=0):
    """Returns the number of layers in the file."""
    shape = SHAPES[name]
    layers = min(shape[1], most_layers or shape[1])
    tensors, keys = tensors_of(shape, layers, type_), keys_of(shape, layers)
    head, at = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)), 0
    for key, v in keys.items():
        head += text(key) + value(v)
    for tensor, dims, of in tensors:
        head += text(tensor) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, TYPES[of][0], at)
        at += size_of(dims, of) + padded(size_of(dims, of))
    pools = {of: pool_of(of) for of in {of for _, _, of in tensors} - {"F32"}}
    with open(path, "wb") as f:
        f.write(head + bytes(padded(len(head))))
        for tensor, dims, of in tensors:
            size = size_of(dims, of)
            if of == "F32":
                f.write(numpy.full(dims[0], 0 if tensor.endswith(".bias") else 1, "<f4").tobytes())
            else:
                for begin in range(0, size, len(pools[of])):
                    f.write(pools[of][: size - begin])
            f.write(bytes(padded(size)))
    return layers


if __name__ == "__main__":
    print(write(sys.argv[3], sys.argv[1], sys.argv[2], int(sys.argv[4]) if len(sys.argv) > 4 else 0), "layers")
