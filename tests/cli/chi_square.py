"""Pearson's chi-square: chi_square.py ROW.safetensors LINES.jsonl fails where the tokens of the lines, one each, drawn at
temperature 1, do not have the frequencies of the softmax of the row of `logits`: deviations that one draw in a thousand has.
Tokens that are expected less than five times are counted together, and with them ids that end a reply and leave no token."""
import json
import math
import struct
import sys

with open(sys.argv[1], "rb") as f:
    header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))["logits"]
    data = f.read()[header["data_offsets"][0]:header["data_offsets"][1]]
row = struct.unpack(f"<{len(data) // 4}f", data)[-header["shape"][-1]:]
with open(sys.argv[2], encoding="utf-8") as f:
    made = [json.loads(line)["tokens"] for line in f]
weights = [math.exp(x - max(row)) for x in row]
counts = [0] * len(row)
for tokens in made:
    for token in tokens:
        counts[token] += 1
ends = {2, 511}  # of the model of letters
cells, rest = [], [len(made) - sum(counts), 0.0]
for token, (count, weight) in enumerate(zip(counts, weights)):
    wanted = len(made) * weight / sum(weights)
    if wanted < 5 or token in ends:
        rest = [rest[0] + count, rest[1] + wanted]
    else:
        cells.append((count, wanted))
cells.append(tuple(rest))
chi, free = sum((count - wanted) ** 2 / wanted for count, wanted in cells), len(cells) - 1
# Wilson and Hilferty 1931: the cube root of chi-square over its degrees of freedom is nearly normal.
deviations = ((chi / free) ** (1 / 3) - (1 - 2 / (9 * free))) / math.sqrt(2 / (9 * free))
print(f"{len(made)} lines, chi-square {chi:.1f} with {free} degrees of freedom, {deviations:.2f} deviations")
sys.exit(len(made) < 1000 or abs(deviations) > 3.1)
