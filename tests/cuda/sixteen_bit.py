#!/usr/bin/env python3
"""bf16 and f16 runs on GPUs against the fp64 oracle, beside Hugging Face's own run in the same type on the same GPU.

Rests on the program, and on torch and transformers as the peer. For each reference model, type and ring: the root mean square
and the largest difference of the logits from those in fp64, over their deviation. Fails where one of Lariat's is more than a
tenth larger than Hugging Face's (of the same weights in the same type; LUCK below), or where a ring is worse than a ring of one
by more than a quarter.

  sixteen_bit.py LARIAT REFERENCE_MODELS [--ranks 1,2,3,5,8]
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

# Rounding is luck in the last place: with the same number of roundings one run is sometimes behind the other.
LUCK = 1.1


def errors(got, expected):
    """Root mean square and largest difference, over the deviation of what is expected."""
    difference = (got.double() - expected.double()).flatten()
    deviation = expected.double().std(correction=0)
    return (difference.square().mean().sqrt() / deviation).item(), (difference.abs().max() / deviation).item()


def peer(folder, dtype, cases):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).cuda().eval()
    with torch.no_grad():
        return [model(tokens.long()[None].cuda()).logits[0].float().cpu() for tokens in cases]


def ours(lariat, folder, dtype, ranks, cases):
    out = []
    with tempfile.TemporaryDirectory() as work:
        for tokens in cases:
            ids, file = pathlib.Path(work, "ids"), pathlib.Path(work, "out.safetensors")
            ids.write_text(" ".join(str(t) for t in tokens.tolist()))
            subprocess.run([lariat, "logits", "-q", "-m", str(folder), "--tokens", str(ids), "--out", str(file), "--device", "cuda",
                            "--dtype", dtype, "--ranks", str(ranks)], check=True)
            out.append(load_file(file)["logits"])
    return out


def worst(logits, expected):
    both = [errors(got[-want.shape[0]:], want) for got, want in zip(logits, expected)]
    return max(rms for rms, _ in both), max(most for _, most in both)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("lariat")
    arguments.add_argument("models", type=pathlib.Path)
    arguments.add_argument("--ranks", default="1,2,3,5,8")
    options = arguments.parse_args()
    failures = 0
    print("| model | type | run | RMS | largest |\n|---|---|---|---|---|")
    for folder in sorted(p for p in options.models.iterdir() if p.is_dir()):
        expected = load_file(folder / "expected.safetensors")
        count = sum(name.endswith(".tokens") for name in expected)
        cases = [expected[f"case{i}.tokens"] for i in range(count)]
        want = [expected[f"case{i}.logits"] for i in range(count)]
        for dtype, name in ((torch.bfloat16, "bf16"), (torch.float16, "f16")):
            limit = worst(peer(folder, dtype, cases), want)
            print(f"| {folder.name} | {name} | Hugging Face | {limit[0]:.2e} | {limit[1]:.2e} |")
            alone = None
            for ranks in (int(n) for n in options.ranks.split(",")):
                got = worst(ours(options.lariat, folder, name, ranks, cases), want)
                alone = alone or got
                bad = any(a > b * LUCK for a, b in zip(got, limit)) or any(a > 1.25 * b for a, b in zip(got, alone))
                failures += bad
                print(f"| {folder.name} | {name} | {ranks} ranks | {got[0]:.2e} | {got[1]:.2e} |{' TOO LARGE' if bad else ''}",
                      flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
