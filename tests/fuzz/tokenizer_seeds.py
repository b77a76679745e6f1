#!/usr/bin/env python3
# Makes the seeds of the fuzz targets for tokenizers: tiny ones, trained by the packages that define the formats on a few lines
# of this repository, the same as GGUF, and texts whose bytes are not UTF-8.
#   tokenizer_seeds.py REPOSITORY OUT      (OUT: tests/data/fuzz)
import json
import pathlib
import sys
import tempfile

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

root, out = map(pathlib.Path, sys.argv[1:])
sys.path.insert(0, str(root / "tests/text"))
import gguf_file  # noqa: E402

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


def gguf_byte_level(saved, pre):
    key = gguf_file.KEY
    return gguf_file.byte_level(saved, dict.fromkeys(SPECIAL, gguf_file.CONTROL), (key + "pre", gguf_file.STRING, pre),
                                (key + "bos_token_id", gguf_file.UINT32, 0), (key + "eos_token_id", gguf_file.UINT32, 1),
                                (key + "add_bos_token", gguf_file.BOOL, True), ("tokenizer.chat_template", gguf_file.STRING, CHATML))


def gguf_spaced(model):
    p = sentencepiece.SentencePieceProcessor(model_proto=model)
    tokens = [(p.id_to_piece(i), p.get_score(i), gguf_file.UNKNOWN if p.is_unknown(i) else gguf_file.CONTROL if p.is_control(i) else
               gguf_file.BYTE if p.is_byte(i) else gguf_file.USER if p.id_to_piece(i) == "<sym>" else gguf_file.NORMAL)
              for i in range(p.get_piece_size())]
    key = gguf_file.KEY
    return gguf_file.spaced(tokens, (key + "unknown_token_id", gguf_file.UINT32, 0), (key + "bos_token_id", gguf_file.UINT32, 1),
                            (key + "eos_token_id", gguf_file.UINT32, 2), (key + "add_space_prefix", gguf_file.BOOL, False))


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
steps = [pre_tokenizers.Whitespace(), pre_tokenizers.Punctuation("contiguous"), pre_tokenizers.ByteLevel(add_prefix_space=False),
         pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Split("e", "merged_with_next")]
many = byte_level(steps, 300)
many["normalizer"] = json.loads(normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip(), normalizers.NFD(),
                                                      normalizers.Replace(Regex(r"\w\b|\p{Han}"), "x")]).__getstate__())
many["post_processor"]["single"].append({"SpecialToken": {"id": "<s>", "type_id": 0}})
many["added_tokens"][-1]["single_word"] = True
for token in many["added_tokens"]:
    token["normalized"] = token["normalized"] or "|im_" in token["content"]
put("tokenizer_json", "many_steps", json.dumps(many, ensure_ascii=False, separators=(",", ":")).encode())
put("gguf_tokenizer", "deepseek-llm", gguf_byte_level(gpt2, "deepseek-llm"))
put("gguf_tokenizer", "smollm", gguf_byte_level(gpt2, "smollm"))
put("gguf_tokenizer", "llama-bpe", gguf_byte_level(with_llama3, "llama-bpe"))
put("gguf_tokenizer", "llama", gguf_spaced(train("bytes", vocab_size=420, byte_fallback=True, user_defined_symbols=["<sym>", "ab"])))
train("spaces", vocab_size=120, remove_extra_whitespaces=False)
train("no-prefix", vocab_size=120, add_dummy_prefix=False)
put("utf8", "mixed", "a\u00e9\u65e5\U0001f600 1'S \r\n\u2003".encode())
put("utf8", "broken", b"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82A\xed\xa0\x80\xf4\x91\x92\x93\xff\xe1\x80\xe2\xf0\x91\x92\xf1\xbfA\xf0\x9f\x98")
