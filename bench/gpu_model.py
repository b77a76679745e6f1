#!/usr/bin/env python3
"""Whole models on GPUs: Lariat's prefill and decode on rings of one and more cards, with transformers on one card in the same run.

Rests on the program (`lariat bench`) and on torch and transformers as the peer. The shape is Llama-3-8B's with random weights in bf16.
Prints one row a measurement and the ratios that the rows are for: prefill on two cards over one, decode over the peer's.

  gpu_model.py LARIAT [--prompts 2048,8192,32768] [--reps 3] [--skip-peer]
"""
import argparse
import json
import statistics
import subprocess
import time

SHAPE = dict(vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
             num_key_value_heads=8, max_position_embeddings=131072, rope_theta=500000.0, tie_word_embeddings=False)
PARAMETERS = 7.5e9  # of the layers and the head: two operations each a token
DECODE_AT = 1024


def operations(tokens):
    """Of a causal prefill: products, and attention at half."""
    return 2 * PARAMETERS * tokens + 32 * 4 * 32 * 128 * tokens * tokens / 2


def measure(lariat, prompts, n, ranks, reps):
    command = [lariat, "bench", "-q", "-m", "random:3-8b", "--device", "cuda", "-p", ",".join(map(str, prompts)), "-n", str(n), "--ranks",
               str(ranks), "-r", str(reps), "-o", "jsonl"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(f"lariat bench, {ranks} ranks: {done.stderr.strip()}")
        return []
    return [json.loads(line) for line in done.stdout.splitlines()]


def seconds(torch, call):
    torch.cuda.synchronize()
    start = time.perf_counter()
    result = call()
    torch.cuda.synchronize()
    return time.perf_counter() - start, result


def peer(prompts, reps):
    """Seconds of prefill by length, and of one token at DECODE_AT with a static cache and CUDA graphs."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, StaticCache

    torch.set_default_dtype(torch.bfloat16)
    torch.set_grad_enabled(False)
    config = LlamaConfig(**SHAPE)
    with torch.device("cuda"):
        model = LlamaForCausalLM(config).eval()
    model.set_attn_implementation("sdpa")
    prefill = {}
    for length in prompts:
        ids = torch.randint(0, 128000, (1, length), device="cuda")
        times = [seconds(torch, lambda: model(ids, use_cache=True, logits_to_keep=1))[0] for _ in range(reps + 1)]
        prefill[length] = statistics.median(times[1:])
    cache = StaticCache(config=config, max_cache_len=DECODE_AT + 128)
    ids = torch.randint(0, 128000, (1, DECODE_AT), device="cuda")
    out = model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1, cache_position=torch.arange(DECODE_AT, device="cuda"))
    token = out.logits[:, -1:].argmax(-1)
    step = torch.compile(model.forward, mode="reduce-overhead", fullgraph=True)
    times = []
    for i in range(24):
        position = torch.tensor([DECODE_AT + i], device="cuda")
        taken, out = seconds(torch, lambda: step(token, past_key_values=cache, use_cache=True, cache_position=position))
        token = out.logits[:, -1:].argmax(-1).clone()
        times.append(taken)
    return prefill, statistics.median(times[8:])


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("lariat")
    arguments.add_argument("--prompts", default="2048,8192,32768")
    arguments.add_argument("--reps", type=int, default=3)
    arguments.add_argument("--skip-peer", action="store_true")
    options = arguments.parse_args()
    prompts = [int(p) for p in options.prompts.split(",")]
    cards = len(subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout.splitlines())
    print("| run | tokens | prefill s | TFLOP/s a card | decode ms a token |\n|---|---|---|---|---|")
    ours = {}
    for ranks in [1] + ([2] if cards > 1 else []) + ([cards] if cards > 2 else []):
        for row in measure(options.lariat, prompts, 0, ranks, options.reps):
            n, taken = row["n_prompt"], row["prefill_s"]
            ours[ranks, n] = taken
            print(f"| Lariat, {ranks} cards | {n} | {taken:.3f} | {operations(n) / taken / ranks / 1e12:.0f} | |", flush=True)
        for row in measure(options.lariat, [DECODE_AT], 64, ranks, options.reps):
            ours[ranks, "decode"] = row["decode_s"] / row["n_gen"]
            print(f"| Lariat, {ranks} cards | {DECODE_AT} + 64 | | | {1e3 * ours[ranks, 'decode']:.2f} |", flush=True)
    for n in prompts:
        if (2, n) in ours and (1, n) in ours:
            print(f"prefill of {n}: two cards over one {ours[1, n] / ours[2, n]:.2f}")
    if not options.skip_peer:
        prefill, decode = peer(prompts, options.reps)
        for n, taken in prefill.items():
            print(f"| transformers, 1 card | {n} | {taken:.3f} | {operations(n) / taken / 1e12:.0f} | |")
        print(f"| transformers, compiled, 1 card | {DECODE_AT} + 24 | | | {1e3 * decode:.2f} |")
        if (1, "decode") in ours:
            print(f"decode: Lariat over transformers {ours[1, 'decode'] / decode:.2f}")


if __name__ == "__main__":
    main()
