#!/usr/bin/env python3
"""Makes family_defaults.json: small config.json's of every member of the family, and what Hugging Face's own classes make of
them: values of fields that are left out, the places of norms and biases. Run by hand, with transformers 5 and torch installed:
    python3 family_defaults.py > family_defaults.json"""
import json

import torch
import transformers

SIZES = {"num_hidden_layers": 8, "hidden_size": 1024, "intermediate_size": 48, "vocab_size": 200000, "num_attention_heads": 32}
LISTS = {"short_factor": [1.5] * 16, "long_factor": [3.0] * 16}
CLASSES = {"llama": "Llama", "mistral": "Mistral", "qwen2": "Qwen2", "qwen3": "Qwen3", "granite": "Granite", "phi3": "Phi3",
           "smollm3": "SmolLM3", "olmo2": "Olmo2", "gemma": "Gemma", "glm4": "Glm4"}
CHANGES = [
    {},
    {"num_key_value_heads": None},
    {"attention_bias": True},
    {"mlp_bias": True},
    {"attention_bias": False, "rope_theta": 5e5},
    {"partial_rotary_factor": 0.75},
    {"sliding_window": 1 << 20},
    {"max_position_embeddings": 8192, "rope_scaling": {"type": "su", "original_max_position_embeddings": 128} | LISTS},
    {"max_position_embeddings": 8192, "original_max_position_embeddings": 256,
     "rope_scaling": {"type": "longrope", "original_max_position_embeddings": 128} | LISTS},
    {"max_position_embeddings": 8192, "rope_scaling": {"type": "yarn", "factor": 4.0} | LISTS},
]


def rotation(model):
    """Angles of position 1 and the factor, as a pass uses them."""
    r = model.model.rotary_emb
    r.config.standardize_rope_params()  # as the function of a type does first
    rope = r.config.rope_parameters
    function = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS.get(rope["rope_type"])
    with torch.device("cpu"):
        freq, factor = (function or r.compute_default_rope_parameters)(r.config, device="cpu")
    original = rope["original_max_position_embeddings"] if rope["rope_type"] == "longrope" else 0
    return {"rotary_dims": 2 * len(freq), "freq": [float(freq[1]), float(freq[-1])], "factor": float(factor), "long_from": original}


def ask(name, change):
    config_class = getattr(transformers, CLASSES[name] + "Config")
    try:
        config = config_class(**SIZES | json.loads(json.dumps(change)))
        with torch.device("meta"):
            model = getattr(transformers, CLASSES[name] + "ForCausalLM")(config)
        out = rotation(model)
    except Exception as e:
        return {"error": type(e).__name__}
    layer = model.model.layers[0]
    attention = layer.self_attn
    tensors = {n: list(p.shape) for n, p in layer.named_parameters()}
    ends = config.eos_token_id
    kinds = getattr(config, "layer_types", None)
    window = getattr(config, "sliding_window", None) if kinds is None or "sliding_attention" in kinds else 0
    return out | {
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": attention.head_dim,
        "context": config.max_position_embeddings,
        "eps": config.rms_norm_eps,
        "scale": attention.scaling,
        "activation": config.hidden_act,
        "tied": config.tie_word_embeddings,
        "bos": config.bos_token_id,
        "ends": [] if ends is None else ends if isinstance(ends, list) else [ends],
        "window": window or 0,
        "rotated": [bool(getattr(l.self_attn, "use_rope", True)) for l in model.model.layers],
        "biases": [any(f"self_attn.{p}_proj.bias" in tensors for p in names) for names in (("q", "qkv"), "o")] +
                  ["mlp.down_proj.bias" in tensors],
        "norms": sorted(n for n in tensors if "norm" in n),
    }


cases = [{"config": {"model_type": n} | SIZES | c, "expected": ask(n, c)} for n in CLASSES for c in CHANGES]
print(json.dumps({"transformers": transformers.__version__, "cases": cases}, indent=None, separators=(",", ":")).replace(
    '{"config"', '\n{"config"'))
