#!/usr/bin/env python3
# Makes the seeds of the fuzz targets for model files from the reference data: what the files say, with all tensors cut to
# a block or a row of one element, so that a mutation hits the description and not megabytes of weights.
#   seeds.py REFERENCE FAMILY OUT      (FAMILY: family.tar.xz, unpacked; OUT: tests/data/fuzz)
import json
import pathlib
import struct
import sys

reference, family, out = map(pathlib.Path, sys.argv[1:])


def put(target, name, data):
    folder = out / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def shrink_safetensors(data):
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    width = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I32": 4}
    at = 0
    for name, entry in header.items():
        if name != "__metadata__":
            entry["shape"] = [1] * len(entry["shape"])
            entry["data_offsets"] = [at, at + width[entry["dtype"]]]
            at += width[entry["dtype"]]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + bytes(at)


class Gguf:
    """Walks a GGUF file: numbers, strings and values as its specification lays them out."""

    width = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    # type: elements and bytes of a block
    blocks = {0: (1, 4), 1: (1, 2), 30: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
              10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 20: (32, 18)}

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, code):
        value = struct.unpack_from("<" + code, self.data, self.at)[0]
        self.at += struct.calcsize("<" + code)
        return value

    def string(self):
        size = self.take("Q")
        self.at += size
        return self.data[self.at - size : self.at]

    def skip(self, kind):
        if kind == 8:
            self.string()
        elif kind == 9:
            inner, count = self.take("I"), self.take("Q")
            for _ in range(count):
                self.skip(inner)
        else:
            self.at += self.width[kind]

    def shrunk(self):
        assert self.take("I") == 0x46554747
        self.take("I")
        n_tensors, n_keys = self.take("Q"), self.take("Q")
        for _ in range(n_keys):
            self.string()
            self.skip(self.take("I"))
        head, infos, at = self.data[: self.at], b"", 0
        for _ in range(n_tensors):
            name, n_dims = self.string(), self.take("I")
            for _ in range(n_dims):
                self.take("Q")
            kind = self.take("I")
            self.take("Q")
            elements, size = self.blocks[kind]
            infos += struct.pack("<Q", len(name)) + name + struct.pack("<I", n_dims)
            infos += struct.pack("<Q", elements) + struct.pack("<Q", 1) * (n_dims - 1) + struct.pack("<IQ", kind, at)
            at += size + -size % 32
        file = head + infos
        return file + bytes(-len(file) % 32 + at)


def tiny_gguf():
    """A whole model of one layer, with biases, that binds."""
    def string(text):
        return struct.pack("<Q", len(text)) + text.encode()

    ints = {"block_count": 1, "embedding_length": 4, "feed_forward_length": 6, "attention.head_count": 2, "attention.head_count_kv": 1,
            "context_length": 64}
    keys = [string("general.architecture") + struct.pack("<I", 8) + string("llama"),
            string("llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", 6, 1e-5)]
    keys += [string("llama." + key) + struct.pack("<II", 4, value) for key, value in ints.items()]
    shapes = {"token_embd.weight": (4, 5), "output_norm.weight": (4,), "rope_freqs.weight": (1,), "blk.0.attn_norm.weight": (4,),
              "blk.0.ffn_norm.weight": (4,), "blk.0.attn_q.weight": (4, 4), "blk.0.attn_k.weight": (4, 2), "blk.0.attn_v.weight": (4, 2),
              "blk.0.attn_output.weight": (4, 4), "blk.0.ffn_gate.weight": (4, 6), "blk.0.ffn_up.weight": (4, 6),
              "blk.0.ffn_down.weight": (6, 4), "blk.0.attn_q.bias": (4,), "blk.0.ffn_down.bias": (4,)}
    infos, at = b"", 0
    for name, shape in shapes.items():
        infos += string(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", n) for n in shape) + struct.pack("<IQ", 0, at)
        elements = shape[0] * (shape[1] if len(shape) == 2 else 1)
        at += 4 * elements + -4 * elements % 32
    file = b"GGUF" + struct.pack("<IQQ", 3, len(shapes), len(keys)) + b"".join(keys) + infos
    return file + bytes(-len(file) % 32) + struct.pack("<f", 1.0) * (at // 4)


put("gguf", "tiny", tiny_gguf())
for path in sorted((reference / "models").iterdir()):
    config, generation = (path / "config.json").read_bytes(), (path / "generation_config.json").read_bytes()
    put("config", path.name, config + b"\0" + generation)
    shard = sorted(path.glob("model*.safetensors"))[0]
    put("safetensors", path.name, shrink_safetensors(shard.read_bytes()))
put("config", "without-generation", config)
for path in sorted(family.iterdir()):
    put("config", path.name, (path / "config.json").read_bytes())
    put("gguf", path.name, Gguf((path / "model.gguf").read_bytes()).shrunk())
for path in sorted((reference / "gguf").glob("*.gguf")):
    put("gguf", path.stem, Gguf(path.read_bytes()).shrunk())
put("index", "two-shards", b'{"metadata":{"total_size":8},"weight_map":{"a":"a.safetensors","b":"b.safetensors"}}')
put("index", "one-shard", b'{"weight_map":{"a":"a.safetensors"}}')
put("index", "wrong-shard", b'{"weight_map":{"a":"b.safetensors","b":"b.safetensors"}}')
put("index", "missing-shard", b'{"weight_map":{"a":"c.safetensors"}}')
put("index", "outside", b'{"weight_map":{"a":"../a.safetensors"}}')
