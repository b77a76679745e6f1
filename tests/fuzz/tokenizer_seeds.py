#!/usr/bin/env python3
# Makes the seeds of the fuzz targets for tokenizers: tiny ones, trained by the packages that define the formats on a few lines
# of this repository, the same as GGUF, and texts whose bytes are not UTF-8.
#   tokenizer_seeds.py REPOSITORY OUT      (OUT: tests/data/fuzz)
import json
import pathlib
import struct
import sys
import tempfile

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

root, out = map(pathlib.Path, sys.argv[1:])
lines = [line for line in (root / "include/lariat/text.h").read_text(encoding="utf-8").splitlines() if line.strip()]
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
CHATML = ("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def put(target, name, data):
    folder = out / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def byte_level(steps, vocab_size):
    t = Tokenizer(models.BPE(ignore_merges=True))
    t.pre_tokenizer = pre_tokenizers.Sequence(steps)
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False, special_tokens=SPECIAL,
                                                     initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    t.add_tokens([AddedToken("world", normalized=False, lstrip=True, rstrip=True), AddedToken("Hello", normalized=True)])
    return json.loads(t.to_str())


def spaced():
    t = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    t.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=160, show_progress=False, special_tokens=["<unk>"] + SPECIAL, limit_alphabet=40))
    plain = json.loads(t.to_str())
    t.pre_tokenizer = None
    t.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return plain, json.loads(t.to_str())


def text(s):
    data = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(data)) + data


def gguf(pairs):
    """A GGUF file of metadata alone: (key, type, value); an array is (key, 9, (type, list))."""
    def value(kind, v):
        if kind == 8:
            return text(v)
        if kind == 9:
            return struct.pack("<IQ", v[0], len(v[1])) + b"".join(value(v[0], e) for e in v[1])
        return struct.pack({4: "<I", 5: "<i", 6: "<f", 7: "<?"}[kind], v)
    body = b"".join(text(key) + struct.pack("<I", kind) + value(kind, v) for key, kind, v in pairs)
    data = b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + body
    return data + bytes(-len(data) % 32)


def gguf_byte_level(saved, pre):
    vocab = sorted(saved["model"]["vocab"].items(), key=lambda item: item[1])
    merges = [" ".join(m) for m in saved["model"]["merges"]]
    key = "tokenizer.ggml."
    return gguf([(key + "model", 8, "gpt2"), (key + "pre", 8, pre), (key + "tokens", 9, (8, [t for t, _ in vocab])),
                 (key + "token_type", 9, (5, [3 if t in SPECIAL else 1 for t, _ in vocab])), (key + "merges", 9, (8, merges)),
                 (key + "bos_token_id", 4, 0), (key + "eos_token_id", 4, 1), (key + "add_bos_token", 7, True), ("tokenizer.chat_template", 8, CHATML)])


def gguf_spaced(model):
    p = sentencepiece.SentencePieceProcessor(model_proto=model)
    ids = range(p.get_piece_size())
    kinds = [2 if p.is_unknown(i) else 3 if p.is_control(i) else 6 if p.is_byte(i) else 4 if p.id_to_piece(i) == "<sym>" else 1 for i in ids]
    key = "tokenizer.ggml."
    return gguf([(key + "model", 8, "llama"), (key + "tokens", 9, (8, [p.id_to_piece(i) for i in ids])),
                 (key + "scores", 9, (6, [p.get_score(i) for i in ids])), (key + "token_type", 9, (5, kinds)), (key + "unknown_token_id", 4, 0),
                 (key + "bos_token_id", 4, 1), (key + "eos_token_id", 4, 2), (key + "add_space_prefix", 7, False)])


def train(name, **options):
    with tempfile.TemporaryDirectory() as folder:
        prefix = pathlib.Path(folder) / "m"
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_prefix=str(prefix), model_type="bpe", minloglevel=2,
                                                 normalization_rule_name="identity", hard_vocab_limit=False, **options)
        data = prefix.with_suffix(".model").read_bytes()
    put("sentencepiece", name, data)
    return data


gpt2 = byte_level([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=True)], 320)
with_llama3 = byte_level([pre_tokenizers.Split("e", "removed"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)], 300)
metaspace, llama2 = spaced()
for seed, saved in ("gpt2", gpt2), ("split", with_llama3), ("metaspace", metaspace), ("llama2", llama2):
    put("tokenizer_json", seed, json.dumps(saved, ensure_ascii=False, separators=(",", ":")).encode())
put("gguf_tokenizer", "smollm", gguf_byte_level(gpt2, "smollm"))
put("gguf_tokenizer", "llama-bpe", gguf_byte_level(with_llama3, "llama-bpe"))
put("gguf_tokenizer", "llama", gguf_spaced(train("bytes", vocab_size=420, byte_fallback=True, user_defined_symbols=["<sym>", "ab"])))
train("spaces", vocab_size=120, remove_extra_whitespaces=False)
train("no-prefix", vocab_size=120, add_dummy_prefix=False)
put("utf8", "mixed", "a\u00e9\u65e5\U0001f600 1'S \r\n\u2003".encode())
put("utf8", "broken", b"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82A\xed\xa0\x80\xf4\x91\x92\x93\xff\xe1\x80\xe2\xf0\x91\x92\xf1\xbfA\xf0\x9f\x98")
