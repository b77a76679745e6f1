#!/usr/bin/env python3
"""Variants of tokenizer.json made from a seed: normalizers, pre-tokenizers, post-processors and added tokens of every kind that
lariat reads, alone and in sequences. Its ids are those of the tokenizers package, with what the post-processor adds and without.
Usage: variants_test.py PROGRAM REPOSITORY FOLDER"""
import json
import pathlib
import random
import sys

import peers

hf = peers.package("tokenizers")
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers  # noqa: E402

VARIANTS, TEXTS = 400, 40
MARK = "\u2581"
BEHAVIORS = ["Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"]
EMPTY = [r"x*", r"\b", r"\B", r"^\s*", r"(?=(\d{3})+(?!\d))"]  # these match between characters
EXPRESSIONS = [r"\s+", r"\d", r"[0-9]{1,3}", r"\w+", r"\W", r"\p{L}+", r"[\r\n]", r"\s?\p{P}+", r"\D+", r"\s+$",
               r"\p{Han}+", r"^a", r"(?i:the|a)", r"[^\s]+", r" ?\p{Lu}\p{Ll}*|\p{N}", r"(?<=a)b|e+?", r"\P{L}"]
WORDS = ["the", " world", "don't", "a1b22c333", "1234567", "\u00bd\u00b2", "x\u0301y", "e\u0301\u0323", "\uac00\u1100\u1161", "\ufb01n", "\u212bngstr\u00f6m",
         "\u0130I\u1e9e\u03a3\u03c2", "  ", "\t", "\n\n", "\u3000", "\u65e5\u672c", "!?", "...", "$=`", "\u00bf\u00bb", "_", "x", "xx", MARK, MARK + "a", "\u200d",
         "\u24b6\u2160", "\u08d3\u0323\u0301", "\U00011938\u0301", "\u1abf\u0323", "\U00010d50\U00016ea0\ua7dc", "\u166d\u2e4f", "\uff21\uff11\u2460",
         "one", "TWO", "<m>", "[s]", "three", "\U0001f600"]
MARKS = "\u0301\u0316\u0323\u0308\u0327\u0345\u0344\u0340\u093c\u3099\u05b0\u0591\u302a\u0f71\u0f73\u1161"


def texts(rnd):
    out = ["", " ", "a", "1", "the world", " 12 "]
    while len(out) < TEXTS:
        out.append("".join(rnd.choice(WORDS) for _ in range(rnd.choice([1, 2, 3, 5, 8, 20]))))
    return out + [marks(rnd), marks(rnd)]


def marks(rnd):
    """Long runs of combining marks, of classes in and out of order, behind letters that compose with some of them."""
    return "".join(rnd.choice("ae\u1100x\u00e9") + "".join(rnd.choice(MARKS) for _ in range(rnd.choice([2, 5, 40, 300])))
                   for _ in range(3))


def pattern(rnd, expressions):
    return {"Regex": rnd.choice(expressions)} if rnd.random() < 0.7 else {"String": rnd.choice([" ", "e", "1", "xx", MARK, "th"])}


def one_normalizer(rnd):
    """No Replace of empty matches: of text that stands for nothing of the original, the package's ByteLevel makes characters twice."""
    kind = rnd.choice(["NFC", "NFD", "NFKC", "NFKD", "Lowercase", "Strip", "Replace", "Prepend"])
    if kind == "Strip":
        return {"type": kind, "strip_left": rnd.random() < 0.7, "strip_right": rnd.random() < 0.7}
    if kind == "Replace":
        return {"type": kind, "pattern": pattern(rnd, EXPRESSIONS), "content": rnd.choice(["", " ", MARK, "ab", "\u00e9"])}
    return {"type": kind, "prepend": rnd.choice([MARK, "ab", " "])} if kind == "Prepend" else {"type": kind}


def one_pre_tokenizer(rnd):
    kind = rnd.choice(["Split", "Split", "Split", "Digits", "Punctuation", "Whitespace", "WhitespaceSplit"])
    if kind == "Split":
        return {"type": kind, "pattern": pattern(rnd, EXPRESSIONS + EMPTY), "behavior": rnd.choice(BEHAVIORS), "invert": rnd.random() < 0.3}
    if kind == "Digits":
        return {"type": kind, "individual_digits": rnd.random() < 0.5}
    return {"type": kind, "behavior": rnd.choice(BEHAVIORS)} if kind == "Punctuation" else {"type": kind}


def metaspace(rnd):
    return {"type": "Metaspace", "replacement": MARK, "prepend_scheme": rnd.choice(["first", "always", "never"]), "split": rnd.random() < 0.5}


def byte_level(rnd):
    return {"type": "ByteLevel", "add_prefix_space": rnd.random() < 0.3, "trim_offsets": True, "use_regex": rnd.random() < 0.5}


def joined(name, parts, rnd):
    """Nothing, one of them, or a sequence, which may be nested."""
    if not parts:
        return None
    if len(parts) == 1 and rnd.random() < 0.7:
        return parts[0]
    if len(parts) > 2 and rnd.random() < 0.3:
        parts = [parts[0], {"type": "Sequence", name: parts[1:]}]
    return {"type": "Sequence", name: parts}


def added_tokens(rnd, vocab):
    """Some in the vocabulary and some not, with the ids of a file that has lost a token: the package numbers them in order."""
    out = []
    for i, content in enumerate(rnd.sample(["one", "TWO", "<m>", "[s]", "three", "a1", "\u00e9", MARK + "a", "the"], rnd.randrange(7))):
        out.append({"id": vocab.get(content, len(vocab) + i + rnd.choice([0, 0, 3])), "content": content, "single_word": rnd.random() < 0.4,
                    "lstrip": rnd.random() < 0.3, "rstrip": rnd.random() < 0.3, "normalized": rnd.random() < 0.4, "special": rnd.random() < 0.4})
    return out


def post_processor(rnd, vocab):
    names = rnd.sample(sorted(vocab)[:50], 3)
    tokens = {name: {"id": name, "ids": [vocab[n] for n in ids], "tokens": ids} for name, ids in
              [("A", names[:1]), ("B", names[1:2]), ("C", names[:2])]}
    single = [{"SpecialToken": {"id": rnd.choice("ABC"), "type_id": 0}} for _ in range(rnd.randrange(4))]
    single.insert(rnd.randrange(len(single) + 1), {"Sequence": {"id": "A", "type_id": 0}})
    template = {"type": "TemplateProcessing", "single": single, "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
                "special_tokens": tokens}
    parts = rnd.choice([[], [template], [{"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}, template]])
    return joined("processors", parts, rnd)


def base(lines, bytes_too):
    """A model to vary: byte-level, or of characters, spaced or not."""
    t = Tokenizer(models.BPE() if bytes_too else models.BPE(unk_token="<unk>", byte_fallback=False))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False) if bytes_too else pre_tokenizers.Metaspace()
    t.normalizer = None if bytes_too else normalizers.NFC()
    t.decoder = decoders.ByteLevel() if bytes_too else None
    options = dict(initial_alphabet=pre_tokenizers.ByteLevel.alphabet()) if bytes_too else dict(special_tokens=["<unk>"])
    t.train_from_iterator(lines + ["".join(WORDS)] * 20 + WORDS * 5,
                          trainers.BpeTrainer(vocab_size=900, show_progress=False, **options))
    return json.loads(t.to_str())


def variant(rnd, bases):
    bytes_too = rnd.random() < 0.5
    saved = dict(bases[bytes_too])
    vocab = saved["model"]["vocab"]
    saved["model"] = dict(saved["model"], ignore_merges=rnd.random() < 0.2, fuse_unk=rnd.random() < 0.5)
    saved["normalizer"] = joined("normalizers", [one_normalizer(rnd) for _ in range(rnd.choice([0, 0, 1, 1, 2, 3]))], rnd)
    steps = [one_pre_tokenizer(rnd) for _ in range(rnd.choice([0, 0, 1, 1, 2, 3]))]
    if bytes_too:
        steps.insert(rnd.choice([len(steps), rnd.randrange(len(steps) + 1)]), byte_level(rnd))
    elif rnd.random() < 0.5:
        steps.insert(rnd.randrange(len(steps) + 1), metaspace(rnd))
    saved["pre_tokenizer"] = joined("pretokenizers", steps, rnd)
    saved["post_processor"] = post_processor(rnd, vocab)
    saved["added_tokens"] = added_tokens(rnd, vocab)
    return saved


def encode(saved, tried, special):
    """The package's ids, and whether it puts any around a text. None where it fails: added tokens that normalization leaves nothing
    of or makes equal, and panics in its alignment of offsets."""
    try:
        t = Tokenizer.from_str(json.dumps(saved))
        t.encode_special_tokens = not special
        return [e.ids for e in t.encode_batch(tried, add_special_tokens=special)], bool(t.encode("", add_special_tokens=special).ids)
    except BaseException as error:
        if "Pattern" in str(error) or "pattern" in str(error) or type(error).__name__ == "PanicException":
            return None
        raise


def check(program, home, name, saved, tried):
    (home / "tokenizer.json").write_text(json.dumps(saved), encoding="utf-8")
    for special in False, True:
        peer = encode(saved, tried, special)
        if not peer:
            return 0
        options = ["--special"] * special + ["--bos"] * peer[1]
        peers.compare(f"{name}, {'all special tokens' if special else 'text alone'}", tried, peer[0], peers.lariat_ids(program, home, tried, *options),
                      lambda: json.dumps({key: saved[key] for key in ("normalizer", "pre_tokenizer", "post_processor", "added_tokens")}))
    return 1


def beginnings(program, folder, saved):
    """The mark that Metaspace puts at the beginning only: what stands for the first character is known through every normal form,
    also of characters newer than the package's tables."""
    first = ["\U00011938", "\U00011935\U00011930", "\U00011938\u0301", "\u0301", "\u08d3\u0323", "\u32ff", "\U0001fbf3", "\U000113c5\u0301", "\u0344", "\u212b\u0323",
             "\ufb01", "\uac01", "\u1100\u1161\u11a8", "\U0001d15e", "e\u0323\u0301", "\u0f73\u0301", "\U00016121", "\U000105d2\u0307"]
    tried = [a + b for a in first for b in ("\nA", "A a", "\u0301\nb", "\n\n\uff11 x")]
    split = {"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "first",
                                                                          "split": True}]}
    for forms in ["NFC"], ["NFD"], ["NFKC"], ["NFKD"], ["NFC", "NFD"], ["NFKD", "NFC"], ["Lowercase", "NFD"]:
        normalizer = {"type": "Sequence", "normalizers": [{"type": form} for form in forms]}
        varied = dict(saved, normalizer=normalizer, pre_tokenizer=split, post_processor=None)
        if not check(program, folder, f"beginnings, {forms}", varied, tried):
            sys.exit(f"the package refuses the variant of {forms}")


def main():
    program, root, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    rnd = random.Random(15)
    bases = [base(peers.corpus(root)[:1500], bytes_too) for bytes_too in (False, True)]
    beginnings(program, folder, bases[False])
    checked = sum(check(program, folder, f"variant {i}", variant(rnd, bases), texts(rnd)) for i in range(VARIANTS))
    if checked < VARIANTS * 9 // 10:
        sys.exit(f"the package took only {checked} of {VARIANTS} variants")


main()
