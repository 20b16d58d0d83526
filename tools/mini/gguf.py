"""Writes a llama-architecture GGUF with Q8_0 weights and the tokenizer inside.

GGUF is: magic, version, counts; typed key-value pairs; a table of tensors; the data, each tensor aligned to 32 bytes.
All numbers little-endian. A matrix of `rows x columns` is stored row by row and listed with its columns first.
"""

import struct

import numpy as np

import bpe

ALIGNMENT = 32
U32, F32, BOOL, STRING, ARRAY, I32 = 4, 6, 7, 8, 9, 5
TENSOR_F32, TENSOR_Q8_0 = 0, 8
FILE_TYPE_Q8_0 = 7
TOKEN_NORMAL, TOKEN_CONTROL = 1, 3
Q8_BLOCK = 32

# Each message is <|role|>text<|end|>; the whole begins with <|begin|>. The role tokens end a reply if the model ever
# writes one, since libllama treats control tokens as no text.
CHAT_TEMPLATE = (
    "{{ '<|begin|>' }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}")


def quantize_q8_0(matrix):
    """Blocks of 32 along each row: a half-precision scale, then 32 signed bytes."""
    blocks = np.ascontiguousarray(matrix, np.float32).reshape(-1, Q8_BLOCK)
    scale = np.abs(blocks).max(axis=1) / 127
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    quants = np.rint(blocks * inverse[:, None]).astype(np.int8)
    return b"".join([np.concatenate([scale.astype("<f2")[:, None].view(np.int8), quants], axis=1).tobytes()])


def dequantize_q8_0(data, shape):
    blocks = np.frombuffer(data, np.int8).reshape(-1, 2 + Q8_BLOCK)
    scale = np.ascontiguousarray(blocks[:, :2]).view("<f2").astype(np.float32)
    return (blocks[:, 2:] * scale).reshape(shape)


def _string(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(kind, value):
    if kind == STRING:
        return _string(value)
    return struct.pack({U32: "<I", I32: "<i", F32: "<f", BOOL: "<?"}[kind], value)


def _pair(key, kind, value, element=None):
    head = _string(key) + struct.pack("<I", kind)
    if kind != ARRAY:
        return head + _value(kind, value)
    return head + struct.pack("<IQ", element, len(value)) + b"".join(_value(element, v) for v in value)


def _metadata(name, shape, tokenizer):
    ids = tokenizer.ids
    types = [TOKEN_CONTROL if t in bpe.SPECIALS else TOKEN_NORMAL for t in tokenizer.tokens]
    return [
        ("general.architecture", STRING, "llama"),
        ("general.name", STRING, name),
        ("general.license", STRING, "apache-2.0"),
        ("general.quantization_version", U32, 2),
        ("general.file_type", U32, FILE_TYPE_Q8_0),
        ("llama.context_length", U32, shape.context),
        ("llama.embedding_length", U32, shape.width),
        ("llama.block_count", U32, shape.layers),
        ("llama.feed_forward_length", U32, shape.ffn),
        ("llama.attention.head_count", U32, shape.heads),
        ("llama.attention.head_count_kv", U32, shape.kv_heads),
        ("llama.attention.layer_norm_rms_epsilon", F32, shape.norm_eps),
        ("llama.rope.dimension_count", U32, shape.head_dim),
        ("llama.rope.freq_base", F32, shape.rope_base),
        ("llama.vocab_size", U32, shape.vocab),
        ("tokenizer.ggml.model", STRING, "gpt2"),
        ("tokenizer.ggml.pre", STRING, "qwen2"),
        ("tokenizer.ggml.tokens", ARRAY, tokenizer.tokens, STRING),
        ("tokenizer.ggml.token_type", ARRAY, types, I32),
        ("tokenizer.ggml.merges", ARRAY, [f"{a} {b}" for a, b in tokenizer.merges], STRING),
        ("tokenizer.ggml.bos_token_id", U32, ids[bpe.BEGIN]),
        ("tokenizer.ggml.eos_token_id", U32, ids[bpe.END]),
        ("tokenizer.ggml.padding_token_id", U32, ids[bpe.END]),
        ("tokenizer.ggml.add_bos_token", BOOL, False),
        ("tokenizer.ggml.add_space_prefix", BOOL, False),
        ("tokenizer.chat_template", STRING, CHAT_TEMPLATE),
    ]


def interleave_heads(matrix, heads):
    """Reorders the output rows of a query or key matrix from "first half, second half" of each head, as model.py turns
    them, to neighbouring pairs, as libllama's llama architecture does."""
    rows, columns = matrix.shape
    return matrix.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def tensors(shape, params):
    """(name, float32 array as GGUF wants it: output rows x input columns)."""
    yield "token_embd.weight", params["token_embd"]
    for i in range(shape.layers):
        yield f"blk.{i}.attn_norm.weight", params["attn_norm"][i]
        for name, heads in (("attn_q", shape.heads), ("attn_k", shape.kv_heads), ("attn_v", None),
                            ("attn_output", None)):
            matrix = params[name][i].T
            yield f"blk.{i}.{name}.weight", interleave_heads(matrix, heads) if heads else matrix
        yield f"blk.{i}.ffn_norm.weight", params["ffn_norm"][i]
        for name in ("ffn_gate", "ffn_up", "ffn_down"):
            yield f"blk.{i}.{name}.weight", params[name][i].T
    yield "output_norm.weight", params["output_norm"]
    yield "output.weight", params["output"]


def _padded(data):
    return data + bytes(-len(data) % ALIGNMENT)


def write(path, name, shape, params, tokenizer):
    """Writes the file beside `path` first and renames it, so that a reader never sees half of one."""
    table, data, offset, count = [], [], 0, 0
    for tensor_name, array in tensors(shape, params):
        array = np.asarray(array, np.float32)
        kind, raw = ((TENSOR_F32, array.astype("<f4").tobytes()) if array.ndim == 1
                     else (TENSOR_Q8_0, quantize_q8_0(array)))
        sizes = array.shape[::-1]
        table.append(_string(tensor_name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset))
        data.append(_padded(raw))
        offset += len(data[-1])
        count += 1
    pairs = _metadata(name, shape, tokenizer)
    head = b"GGUF" + struct.pack("<IQQ", 3, count, len(pairs)) + b"".join(_pair(*p) for p in pairs) + b"".join(table)
    part = path.with_suffix(".part")
    part.write_bytes(_padded(head) + b"".join(data))
    part.replace(path)


def quantized(params):
    """The weights as they are after a round trip through Q8_0, for comparing with libllama."""
    out = {}
    for name, p in params.items():
        p = np.asarray(p, np.float32)
        if name in ("token_embd", "output"):
            out[name] = dequantize_q8_0(quantize_q8_0(p), p.shape)
        elif p.ndim == 3:
            turned = np.ascontiguousarray(p.transpose(0, 2, 1))
            out[name] = dequantize_q8_0(quantize_q8_0(turned), turned.shape).transpose(0, 2, 1)
        else:
            out[name] = p
    return out
