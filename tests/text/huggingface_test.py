#!/usr/bin/env python3
"""Tokenizers trained by Hugging Face's tokenizers package: lariat's ids are the package's, with special tokens as text and as
tokens, for every form of tokenizer.json that lariat reads; other forms are refused by their names.
Usage: huggingface_test.py PROGRAM REPOSITORY FOLDER"""
import json
import pathlib
import subprocess
import sys

import peers

hf = peers.package("tokenizers")
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers  # noqa: E402

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TEKKEN = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
          r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
SPECIAL = ["<s>", "</s>", "<|eot_id|>"]


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(pattern, behavior, invert)


def byte_level(use_regex, add_prefix_space=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=use_regex)


def sequence(*steps):
    return pre_tokenizers.Sequence(list(steps))


BYTE_LEVEL = {
    "gpt2": byte_level(True),
    "gpt2_with_space": byte_level(True, True),
    "llama3": sequence(split(Regex(LLAMA3)), byte_level(False)),
    "llama3_inverted": sequence(split(Regex(LLAMA3), "removed", True), byte_level(False)),
    "smollm2": sequence(pre_tokenizers.Digits(individual_digits=True), byte_level(True)),
    "digit_runs": sequence(pre_tokenizers.Digits(individual_digits=False), byte_level(True, True)),
    "tekken": sequence(split(Regex(TEKKEN)), byte_level(False)),
    "words_dropped": sequence(split(Regex(r"[0-9]+"), "removed"), split("e"), byte_level(False)),
    "several": sequence(split(Regex("[\r\n]")), split(Regex(r"\s?\p{L}+")), split(Regex(r"\s?\p{P}+")),
                        split(Regex("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+")), split(Regex(r"\d|x*")), byte_level(False)),
    # PCRE2's start optimisations and its JIT go wrong on these where nobody takes care
    "look_ahead_first": sequence(split(Regex(r"(?=a)x*a")), split(Regex(r"(?<=\S)(?!.*\d) "), "removed"), byte_level(False)),
}


def train_byte_level(lines, pre_tokenizer, ignore_merges):
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    t.pre_tokenizer = pre_tokenizer
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=1500, show_progress=False, special_tokens=SPECIAL,
                                                     initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return t


def train_spaced(lines, fallback, fuse, normalizer, pre_tokenizer, decoder):
    alphabet = ["<unk>"] + SPECIAL + ([f"<0x{i:02X}>" for i in range(256)] if fallback else [])
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=fallback, fuse_unk=fuse))
    t.normalizer, t.pre_tokenizer, t.decoder = normalizer, pre_tokenizer or pre_tokenizers.Metaspace(), decoder
    t.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=1800, show_progress=False, special_tokens=alphabet, limit_alphabet=80))
    t.pre_tokenizer = pre_tokenizer
    saved = json.loads(t.to_str())
    saved["added_tokens"] = [a for a in saved["added_tokens"] if not a["content"].startswith("<0x")]
    return Tokenizer.from_str(json.dumps(saved))


def spaced():
    prepend = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    llama = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    yield "llama2", (True, True, prepend, None, llama)
    yield "no_bytes", (False, True, prepend, None, llama)
    yield "unknown_apart", (False, False, prepend, None, llama)
    for scheme in "first", "always", "never":
        for cut in True, False:
            yield f"metaspace_{scheme}_{cut}", (True, False, None, pre_tokenizers.Metaspace(prepend_scheme=scheme, split=cut),
                                                decoders.Metaspace(prepend_scheme=scheme, split=cut))


def check(program, lines, folder, name, t):
    home = folder / name
    home.mkdir(parents=True, exist_ok=True)
    t.save(str(home / "tokenizer.json"))
    t = Tokenizer.from_file(str(home / "tokenizer.json"))
    tried = peers.texts(lines, 1000, 2)
    tried += ["<|tool|>" + line + "<|wide|>  a<|tool|> <s>x</s> <|left|>  y  <|left|>Name name" for line in tried[:200]]
    for special in False, True:
        t.encode_special_tokens = not special
        wanted = [e.ids for e in t.encode_batch(tried, add_special_tokens=False)]
        peers.compare(f"{name}, special tokens {'read' if special else 'as text'}", tried, wanted,
                      peers.lariat_ids(program, home, tried, *(["--special"] if special else [])))
    for line in tried[5:15]:
        ids = t.encode(line, add_special_tokens=False).ids
        wanted = t.decode(ids, skip_special_tokens=False)
        got = peers.lariat_text(program, home, ids, "--special") if ids else ""
        if got != wanted:
            sys.exit(f"{name}: decoding {ids}: wanted {wanted!r}, got {got!r}")


def add_tokens(t):
    """Added tokens of every kind that lariat reads."""
    t.add_tokens([AddedToken("<|tool|>", normalized=False), AddedToken("Name", normalized=True),
                  AddedToken("<|left|>", normalized=False, lstrip=True), AddedToken("<|wide|>", normalized=False, lstrip=True, rstrip=True)])
    t.add_special_tokens([AddedToken("<|end|>", normalized=False, rstrip=True), AddedToken("<s>x", normalized=False)])
    return t


def check_refusals(program, folder, t):
    base = json.loads(t.to_str())
    home = folder / "refused"
    home.mkdir(parents=True, exist_ok=True)
    cyclic = dict(base["model"], vocab=dict(base["model"]["vocab"], **{"": 4000}), merges=[["", "a"]] + base["model"]["merges"])
    template = json.loads(processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)]).__getstate__())
    for part, value, said in [
        ("normalizer", {"type": "StripAccents"}, "StripAccents"), ("normalizer", {"type": "Nmt"}, "Nmt"),
        ("normalizer", {"type": "Replace", "pattern": {"Regex": r"\h+"}, "content": "b"}, "this escape"),
        ("pre_tokenizer", {"type": "BertPreTokenizer"}, "BertPreTokenizer"),
        ("pre_tokenizer", {"type": "Split", "pattern": {"Regex": r"\h+"}, "behavior": "Isolated", "invert": False}, "this escape"),
        ("pre_tokenizer", {"type": "Split", "pattern": {"Regex": r"\p{Greek}+"}, "behavior": "Isolated", "invert": False}, "property"),
        ("pre_tokenizer", {"type": "Split", "pattern": {"Regex": "a"}, "behavior": "Apart", "invert": False}, "Apart"),
        ("pre_tokenizer", {"type": "Sequence", "pretokenizers": [dict(type="ByteLevel", add_prefix_space=True, trim_offsets=True)] * 2}, "ByteLevel"),
        ("decoder", {"type": "WordPiece", "prefix": "##", "cleanup": True}, "WordPiece"),
        ("model", dict(base["model"], type="Unigram"), "Unigram"), ("model", dict(base["model"], dropout=0.1), "dropout"),
        ("model", dict(base["model"], end_of_word_suffix="</w>"), "end_of_word_suffix"),
        ("model", dict(base["model"], merges=[["a", "\u4e00"]]), "not in the vocabulary"), ("model", cyclic, "empty token"),
        ("model", dict(base["model"], vocab={"a": 0, "b": 0}, merges=[]), "two tokens have id 0"),
        ("model", dict(base["model"], vocab={"a": 3000000000}, merges=[]), "cannot have"),
        ("post_processor", {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": True, "add_prefix_space": True},
         "RobertaProcessing"),
        ("post_processor", {"type": "Sequence", "processors": [template, template]}, "behind another"),
        ("post_processor", dict(template, single=[{"Sequence": {"id": "A", "type_id": 0}}] * 2), "twice"),
        ("post_processor", dict(template, special_tokens={}), "neither the text nor"),
    ]:
        decoder = None if part == "pre_tokenizer" else base["decoder"]
        (home / "tokenizer.json").write_text(json.dumps(dict(base, **{"decoder": decoder, part: value})), encoding="utf-8")
        line = peers.refusal(program, home)
        if said not in line:
            sys.exit(f"{part}: the refusal does not name {said}: {line}")
    print("refused by name: all")


def check_special_ids(program, folder, t):
    """Ids of config.json that no token has are warned of; the others count."""
    home = folder / "special_ids"
    home.mkdir(parents=True, exist_ok=True)
    t.save(str(home / "tokenizer.json"))
    for bos, eos, warnings in (0, 1, 0), (-1, [1, 99999], 2), (0, -1, 1), (2000000, None, 1):
        (home / "config.json").write_text(json.dumps({"bos_token_id": bos, "eos_token_id": eos}), encoding="utf-8")
        done = subprocess.run([program, "tokenize", "-m", str(home), "-p", "a"], capture_output=True, check=False)
        if done.returncode != 0 or done.stderr.count(b"warning") != warnings or done.stderr.count(b"\n") != warnings:
            sys.exit(f"bos {bos}, eos {eos}: wanted {warnings} warnings, got {done.stderr.decode()}")
    print("special ids that no token has: warned of")


def main():
    program, root, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    lines = peers.corpus(root)
    for name, pre_tokenizer in BYTE_LEVEL.items():
        t = train_byte_level(lines, pre_tokenizer, name.startswith("llama3"))
        t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
        check(program, lines, folder, name, add_tokens(t))
    for name, parts in spaced():
        check(program, lines, folder, name, add_tokens(train_spaced(lines, *parts)))
    check_special_ids(program, folder, train_byte_level(lines, byte_level(True), False))
    check_refusals(program, folder, train_byte_level(lines, byte_level(True), False))


main()
