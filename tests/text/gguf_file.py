"""GGUF files of metadata alone, for tests of vocabularies and as seeds of the fuzzer."""
import struct

UINT32, INT32, FLOAT, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = range(1, 7)  # types of tokens
KEY = "tokenizer.ggml."


def text(s):
    data = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, v):
    if kind == STRING:
        return text(v)
    if kind == ARRAY:
        return struct.pack("<IQ", v[0], len(v[1])) + b"".join(value(v[0], e) for e in v[1])
    return struct.pack({UINT32: "<I", INT32: "<i", FLOAT: "<f", BOOL: "<?"}[kind], v)


def gguf(pairs):
    """(key, type, value); an array's value is (type, list)."""
    body = b"".join(text(key) + struct.pack("<I", kind) + value(kind, v) for key, kind, v in pairs)
    data = b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + body
    return data + bytes(-len(data) % 32)


def byte_level(saved, types, *pairs):
    """The vocabulary of a tokenizer.json; types of tokens that are not normal, by text."""
    vocab = sorted(saved["model"]["vocab"].items(), key=lambda item: item[1])
    merges = [" ".join(m) for m in saved["model"]["merges"]]
    return gguf([(KEY + "model", STRING, "gpt2"), (KEY + "tokens", ARRAY, (STRING, [t for t, _ in vocab])),
                 (KEY + "token_type", ARRAY, (INT32, [types.get(t, NORMAL) for t, _ in vocab])), (KEY + "merges", ARRAY, (STRING, merges)), *pairs])


def spaced(tokens, *pairs):
    """A vocabulary by score: (text, score, type)."""
    return gguf([(KEY + "model", STRING, "llama"), (KEY + "tokens", ARRAY, (STRING, [t for t, _, _ in tokens])),
                 (KEY + "scores", ARRAY, (FLOAT, [s for _, s, _ in tokens])), (KEY + "token_type", ARRAY, (INT32, [k for _, _, k in tokens])), *pairs])
