#!/usr/bin/env python3
"""Makes rope_cases.json: config.json's of every rotary type and option, and the frequencies (float32 bits) and the factor on
cos and sin that Hugging Face's own functions compute from them. Run by hand, with torch and numpy installed:
    python3 rope_cases.py modeling_rope_utils.py     (the file of that name out of transformers 5)"""
import importlib.util
import json
import pathlib
import sys
import types

import torch

# The file is a module of a package: what it imports from there is not needed to compute.
package = types.ModuleType("hf")
package.__path__ = []
utils = types.ModuleType("hf.utils")
utils.is_torch_available = lambda: True
utils.logging = types.SimpleNamespace(get_logger=lambda _: types.SimpleNamespace(
    warning=lambda *a: None, warning_once=lambda *a: None, info=lambda *a: None))
sys.modules.update({"hf": package, "hf.utils": utils})
spec = importlib.util.spec_from_file_location("hf.modeling_rope_utils", sys.argv[1])
hf = importlib.util.module_from_spec(spec)
hf.__package__ = "hf"
spec.loader.exec_module(hf)


class Config:
    def __init__(self, **fields):
        self.__dict__.update(fields)

    def standardize_rope_params(self):
        pass


def default(config):
    r, dim = config.rope_parameters, config.head_dim
    return 1.0 / (r["rope_theta"] ** (torch.arange(0, dim, 2, dtype=torch.float) / dim)), 1.0


cases = []


def case(head_dim, context, theta=10000.0, **scaling):
    kind = scaling.get("rope_type", "default")
    parameters = {"rope_theta": theta, "original_max_position_embeddings": context, **scaling}
    config = Config(head_dim=head_dim, hidden_size=4 * head_dim, num_attention_heads=4, max_position_embeddings=context,
                    rope_parameters=parameters)
    inv_freq, factor = (default if kind == "default" else hf.ROPE_INIT_FUNCTIONS[kind])(config)
    written = {"head_dim": head_dim, "max_position_embeddings": context}
    if len(cases) % 2:  # both forms in turn
        written["rope_parameters"] = {"rope_theta": theta, **scaling}
    else:
        written.update({"rope_theta": theta, "rope_scaling": scaling or None})
    bits = inv_freq.contiguous().view(torch.int32).tolist()
    cases.append({"config": written, "inv_freq": bits, "factor": factor})


for dim in (16, 48, 64, 80, 96, 128, 256):
    for theta in (10000.0, 100000.0, 500000.0, 1000000.0):
        case(dim, 8192, theta)
case(128, 16384, rope_type="linear", factor=4.0)
case(64, 16384, 1000000.0, rope_type="linear", factor=2.5)
for dim, factor, original in ((128, 8.0, 8192), (64, 32.0, 8192), (16, 8.0, 64), (128, 16.0, 2048)):
    case(dim, 131072, 500000.0, rope_type="llama3", factor=factor, low_freq_factor=1.0, high_freq_factor=4.0,
         original_max_position_embeddings=original)
case(128, 131072, 500000.0, rope_type="llama3", factor=8.0, low_freq_factor=2.0, high_freq_factor=3.0,
     original_max_position_embeddings=4096)
yarn = dict(rope_type="yarn", original_max_position_embeddings=4096)
case(128, 65536, factor=16.0, **yarn)
case(64, 32768, 1000000.0, factor=8.0, **yarn)
case(128, 32768, factor=8.0, beta_fast=16.0, beta_slow=2.0, **yarn)
case(128, 32768, factor=8.0, truncate=False, **yarn)
case(64, 163840, factor=40.0, mscale=1.0, mscale_all_dim=1.0, **yarn)
case(64, 163840, factor=40.0, mscale=0.707, mscale_all_dim=1.3, beta_fast=32, beta_slow=1, **yarn)
case(128, 65536, factor=16.0, attention_factor=1.25, **yarn)
case(128, 65536, factor=None, **yarn)
case(16, 1024, factor=4.0, rope_type="yarn", original_max_position_embeddings=256)
case(32, 64, factor=2.0, rope_type="yarn", original_max_position_embeddings=4)  # a ramp of no width
pathlib.Path(__file__).with_name("rope_cases.json").write_text(
    json.dumps({"cases": cases}, separators=(",", ":")).replace('{"config"', '\n{"config"') + "\n")
