#!/usr/bin/env python3
"""Vocabularies in GGUF files. Every pre-tokenizer that tokenizer.ggml.pre names: lariat's ids are those of the tokenizers package
with the expressions of llama.cpp (src/llama-vocab.cpp there, b8000 and later, and the tokenizer.json that it quotes), on a trained
vocabulary. Special ids that are missing or out of range, and markers of normal type, are put right.
Usage: gguf_test.py PROGRAM REPOSITORY FOLDER"""
import json
import pathlib
import re
import subprocess
import sys

import gguf_file as gguf
import peers

hf = peers.package("tokenizers")
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers  # noqa: E402

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
CASED = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+END|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*END|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
GPT4O = CASED.replace("END", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?")
KIMI = (r"[\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
        r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
CJK = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
KANA = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
DEEPSEEK3 = (r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"""
             r"""\s*[\r\n]+|\s+(?!\S)|\s+""")
LETTERS = ("A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373\u0376\u0377\u037b-\u037d"
           "\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5"
           "\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d"
           "\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb"
           "\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134"
           "\u2139\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d\ua680-\ua69b"
           "\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f"
           "\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943")
AFMOE = ("[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e40-\u0e7f\u0e80-\u0eff\u1780-\u17ff"
         "\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+")
YOUTU = ("[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f\ufe30-\ufe4f]+|[\u3105-\u312f]+|"
         "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+")
BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c\u3001)]+"
WIDE_SPACES = "".join(rf"\s{{{n}}}(?!\S)|" for n in (512, 256, 128, 64, 32, 16, 8, 4)) + r"\s{1,2}(?!\S)|\s{1}"

# Names, expressions, and whether a word that is a token is not merged.
ROWS = [
    ("default", [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"], False),
    ("gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert jina-v1-en jina-v2-code roberta-bpe exaone4 mpt "
     "olmo jais trillion granite-docling", [GPT2], False),
    ("starcoder refact command-r smollm codeshell exaone minerva-7b mellum2", [r"\p{N}", GPT2], False),
    ("falcon", [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"], False),
    ("llama-bpe llama3 llama-v3 falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano", [LLAMA3], True),
    ("dbrx smaug-bpe glm4 chatglm-bpe", [LLAMA3], False),
    ("jais-2", [LLAMA3.replace(r"\s+(?!\S)|\s+", WIDE_SPACES)], False),
    ("minicpm5", [r"\p{N}{1,3}", LLAMA3.replace("{1,3}", "+")], True),
    ("qwen2 deepseek-r1-qwen kormo f2llmv2 stablelm2 hunyuan solar-open megrez grok-2", [QWEN2], False),
    ("qwen35", [QWEN2.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]+", r"[^\s\p{L}\p{M}\p{N}]+")], False),
    ("ufakzeka", [QWEN2.split("|", 7)[7]], False),
    ("seed-coder", [QWEN2.replace(r"\p{N}| ", r"\p{N}{1}| ").replace(r"[^\s\p{L}\p{N}]+[\r\n]*", r"[^\s\p{L}\p{N}\r\n]+")], False),
    ("laguna", [r"[^\n]+|[\n]+", QWEN2], False),
    ("bailingmoe bailingmoe2 llada-moe",
     [r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"], False),
    ("exaone-moe", [r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|"
                    r"\s*[\r\n]|\s+(?!\S)|\s+"], False),
    ("gpt-4o llama4 kanana2 talkie minimax-m2", [GPT4O], False),
    ("granite-embed-multi-97m", [GPT4O], True),
    ("tekken", [CASED.replace("END", "").replace("{1,3}", "")], True),
    ("tiny_aya cohere2moe", [r"\d{1,3}(?=(?:\d{3})*\b)", GPT4O], False),
    ("youtu", [YOUTU, GPT4O.replace("{1,3}", "")], True),
    ("kimi-k2", [KIMI], False),
    ("deepseek-llm", ["[\r\n]", rf"\s?[{LETTERS}]+", "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+", r"\s+$", CJK, r"\p{N}+"], False),
    ("deepseek-coder", ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, r"\p{N}"], False),
    ("deepseek-v3 hunyuan-dense joyai-llm hy_v4", [r"\p{N}{1,3}", KANA, DEEPSEEK3], False),
    ("spark2_5", [r"\p{N}{1,3}", KANA, DEEPSEEK3.replace(r"[\r\n]*|\s*[\r\n]+", r"|[\r\n]"), r"\p{N}"], False),
    ("afmoe", [r"\p{N}{1,3}(?=(?:\p{N}{3})*(?:\P{N}|\z))", AFMOE, DEEPSEEK3], False),
    ("superbpe", [r"\p{N}+", r"(?=(\d{3})+(?!\d))"], False),
    ("poro-chat bloom gpt3-finnish", [BLOOM], False),
    ("viking", [BLOOM, r"\p{N}"], False),
    ("chameleon", ["<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", "([\\t\\n]|    |  )", r"\p{N}", r"[\p{P}!-/:-@\[-`{-~]", GPT2], False),
]
OTHERS = ["gemma4", "sarvam-moe", "whitespace", "granite-embed-multi-311m", "nobody"]  # not byte-level, or unknown
PIECES = ["1234567", " 12", "IMGIMGABZ", "<sentinel:12>", "    ", "\t\n", "camelCaseWord", "HTTPServer", "\u00c9t\u00e9\u00c9", "a\u0301b\u0300", "\u6f22\u5b57abc",
          "\u30ab\u30ca", "\uac00\ub098", "\u0e44\u0e17\u0e22", "\u3002\uff01", "don'T", "'LL", "/path\n", "x  y   z    ", "a.b,c!\u2026", "\u0663\u0664\u0665\u0666", "$^`~|"]
MARKERS = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]


def train(lines):
    """Merges across words too, so that a wrong cut shows."""
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(".{1,12}"), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)])
    t.train_from_iterator(lines + PIECES * 20, trainers.BpeTrainer(vocab_size=2000, show_progress=False, special_tokens=MARKERS,
                                                                   initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return t


def names_of_source(root):
    """The names that the program's table has."""
    table = pathlib.Path(root, "src/text/gguf_pre.c").read_text(encoding="utf-8").split("table[] = {")[1]
    rows = re.findall(r'^    \{ ((?:"[^"]*"\s*)+),', table, re.MULTILINE)
    return sorted(name for row in rows for name in "".join(re.findall('"([^"]*)"', row)).split())


def check_rows(program, folder, t, tried):
    saved = json.loads(t.to_str())
    path = folder / "row.gguf"
    for names, expressions, ignore_merges in ROWS:
        saved["model"]["ignore_merges"] = ignore_merges
        peer = Tokenizer.from_str(json.dumps(saved))
        steps = [pre_tokenizers.Split(Regex(e), "isolated") for e in expressions]
        peer.pre_tokenizer = pre_tokenizers.Sequence(steps + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
        peer.encode_special_tokens = True
        wanted = [e.ids for e in peer.encode_batch(tried, add_special_tokens=False)]
        for i, name in enumerate(names.split()):
            path.write_bytes(gguf.byte_level(saved, dict.fromkeys(MARKERS, gguf.CONTROL), (gguf.KEY + "pre", gguf.STRING, name)))
            n = len(tried) if i == 0 else 40
            peers.compare(name, tried[:n], wanted[:n], peers.lariat_ids(program, path, tried[:n]))


def tokenize(program, path, text, *options):
    done = subprocess.run([program, "tokenize", "-m", str(path), "-p", text, *options], capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"lariat tokenize failed: {done.stderr.decode()}")
    return [int(i) for i in done.stdout.split()], done.stderr.decode()


def expect(what, condition, found):
    if not condition:
        sys.exit(f"{what}: found {found}")
    print(what)


def check_special(program, folder, t):
    saved, path, key = json.loads(t.to_str()), folder / "special.gguf", gguf.KEY
    control = dict.fromkeys(MARKERS, gguf.CONTROL)

    def byte_level(types, *pairs):
        path.write_bytes(gguf.byte_level(saved, types, *pairs))
        return path
    ids, said = tokenize(program, byte_level(control), "1234")
    expect("a missing key is the default, with one warning", ids == tokenize(program, byte_level(control, (key + "pre", gguf.STRING, "default")), "1234")[0] and
           said.count("\n") == 1 and "warning" in said and "tokenizer.ggml.pre" in said, said)
    pre = (key + "pre", gguf.STRING, "llama-bpe")
    for kind, wrong in (gguf.UINT32, 2000000), (gguf.INT32, -1), (gguf.UINT32, 0xFFFFFFFF):
        ids, said = tokenize(program, byte_level(control, pre, (key + "bos_token_id", gguf.UINT32, 0), (key + "eos_token_id", kind, wrong)), "a", "--bos")
        expect(f"eos {wrong} is a warning", ids[0] == 0 and said.count("\n") == 1 and "eos_token_id" in said and str(wrong) in said, said)
    template = ("tokenizer.chat_template", gguf.STRING, "a\0b")
    ids, said = tokenize(program, byte_level(control, pre, template), "a")
    expect("a template with a NUL byte is a warning", said.count("\n") == 1 and "tokenizer.chat_template" in said and "NUL" in said, said)
    ids, _ = tokenize(program, byte_level(control, pre, (key + "bos_token_id", gguf.UINT32, 0), (key + "eos_token_id", gguf.UINT32, 1),
                                          (key + "add_eos_token", gguf.BOOL, True)), "a", "--bos")
    expect("an end is put behind the text where the file asks for it", ids[0] == 0 and ids[-1] == 1 and len(ids) == 3, ids)
    for types in control, {**control, "<|im_end|>": gguf.NORMAL, "</s>": gguf.NORMAL}:
        path = byte_level(types, pre)
        expect("a marker is found whatever its type", tokenize(program, path, "x<|im_end|></s>", "--special")[0][1:] == [3, 1], types)
        expect("and is text unless asked for", 3 not in tokenize(program, path, "x<|im_end|></s>")[0], types)
    for name in OTHERS:
        line = peers.refusal(program, byte_level(control, (key + "pre", gguf.STRING, name)))
        expect(f"{name} is refused by its name", f'"{name}"' in line, line)


def check_spaced(program, folder):
    path, key = folder / "spaced.gguf", gguf.KEY
    tokens = [("<unk>", 0.0, gguf.UNKNOWN), ("<s>", 0.0, gguf.CONTROL), ("</s>", 0.0, gguf.CONTROL)]
    tokens += [(f"<0x{i:02X}>", 0.0, gguf.BYTE) for i in range(256)] + [("\u2581", -1.0, gguf.NORMAL), ("<|end|>", -2.0, gguf.NORMAL)]
    for pairs, warnings in ([], 0), ([(key + "bos_token_id", gguf.INT32, -1), (key + "eos_token_id", gguf.UINT32, 99999)], 2):
        path.write_bytes(gguf.spaced(tokens, *pairs, (key + "add_eos_token", gguf.BOOL, True)))
        ids, said = tokenize(program, path, "<|end|>", "--bos", "--special")
        expect("SentencePiece's beginning and end are 1 and 2 by default", ids == [1, 260, 2] and said.count("warning") == warnings, (ids, said))


def main():
    program, root, folder = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    lines = peers.corpus(root)
    t = train(lines[:3000])
    known = sorted(name for names, _, _ in ROWS for name in names.split())
    expect("every name of the table is tried", names_of_source(root) == known, set(names_of_source(root)) ^ set(known))
    tried = [" ".join(PIECES), "".join(PIECES)] + PIECES + peers.texts(lines, 400, 3)[:-6]
    tried += [a + b for a, b in zip(PIECES, PIECES[5:] + PIECES[:5])] + [" " * 700 + "a" + " " * 300]
    check_rows(program, folder, t, tried)
    check_special(program, folder, t)
    check_spaced(program, folder)


main()
