#!/usr/bin/env python3
"""Writes chat.json and the seeds of its fuzz target, from the page and not from the C++.

Run it again only when chat.md changes, and read the difference.
"""
from generate import Page, f32, run, t16, t32, u8, u16, u32, u64, zeros


def chat(flags=0, seed=0, temperature=1.0, top_p=1.0, min_p=0.0, presence=0.0, frequency=0.0, top_k=0, tokens=0,
         stop=(), messages=((1, b"hi"),), scope=b"", source=b""):
    out = u8(flags) + u64(seed) + f32(temperature) + f32(top_p) + f32(min_p) + f32(presence) + f32(frequency)
    out += u32(top_k) + u32(tokens) + u8(len(stop)) + b"".join(t16(s) for s in stop)
    return out + u16(len(messages)) + b"".join(u8(role) + t32(text) for role, text in messages) + scope + source


def kept(tokens=640, count=2_621_440, digest=run(11, 32)): return u32(tokens) + u64(count) + digest
def kept_json(tokens=640, count=2_621_440, digest=run(11, 32)):
    return {"tokens": tokens, "bytes": count, "digest": digest.hex()}


def chat_page():
    p = Page("chat", {"chat_request": 0, "reply": 1})

    def good(name, messages, stop=(), seed=None, source=None, **s):
        data = chat(flags=int(seed is not None) + 2 * int("scope" in s) + 4 * int(source is not None), seed=seed or 0,
                    messages=[(r, t.encode()) for r, t in messages], stop=[t.encode() for t in stop],
                    source=source[0] + kept(*source[1:]) if source else b"", **s)
        p.good(name, "chat_request", data, messages=[{"role": r, "content": t} for r, t in messages], stop=list(stop),
               seed=seed, temperature=s.get("temperature", 1.0), top_p=s.get("top_p", 1.0), min_p=s.get("min_p", 0.0),
               presence_penalty=s.get("presence", 0.0), frequency_penalty=s.get("frequency", 0.0),
               top_k=s.get("top_k", 0), completion_tokens_max=s.get("tokens", 0),
               scope=s["scope"].hex() if "scope" in s else None,
               source={"node": source[0].hex(), **kept_json(*source[1:])} if source else None)

    def bad(name, error="invalid", **s):
        p.bad(name, "chat_request", chat(**s), error)

    nan = float("nan")
    good("one_message", [(1, "Which river flows through Vienna?")])
    good("everything", [(0, "Be brief."), (1, "Größe?"), (2, ""), (3, "{\"m\": 3}"), (1, "日本語 and 🐟")],
         stop=["\n\n", "§"], seed=2**64 - 1, temperature=0.75, top_p=0.5, min_p=0.125, presence=-2.0, frequency=2.0,
         top_k=100_000, tokens=2**20)
    good("seed_zero_is_a_seed", [(1, "x")], seed=0)
    good("greedy", [(1, "x")], temperature=0.0)
    good("hottest", [(1, "x")], temperature=2.0)
    good("longest_stops", [(1, "x")], stop=["s" * 256] * 16)
    good("scope", [(1, "x")], scope=run(9, 32))
    good("scope_and_seed", [(1, "x")], seed=7, scope=run(9, 32))
    source_entries(good, bad)
    bad("flag_8", "malformed", flags=8)
    bad("scope_zero", flags=2, scope=zeros(32))
    bad("scope_missing", "malformed", flags=2)
    bad("scope_short", "malformed", flags=2, scope=run(9, 31))
    bad("scope_without_flag", "malformed", scope=run(9, 32))
    bad("seed_without_flag", "malformed", seed=1)
    for name, low, high in (("temperature", -0.125, 2.125), ("top_p", -0.5, 1.0625), ("min_p", -0.125, 1.0625),
                            ("presence", -2.125, 2.125), ("frequency", -2.125, 2.125)):
        bad(f"{name}_nan", **{name: nan})
        bad(f"{name}_low", **{name: low})
        bad(f"{name}_high", **{name: high})
        bad(f"{name}_infinite", **{name: float("inf")})
    bad("top_p_zero", top_p=0.0)
    bad("top_k_too_many", top_k=100_001)
    bad("tokens_beyond_any_context", tokens=2**20 + 1)
    bad("stops_17", stop=[b"s"] * 17)
    bad("stop_empty", stop=[b""])
    bad("stop_too_long", "malformed", stop=[b"s" * 257])
    bad("stop_nul", stop=[b"a\0b"])
    bad("stop_not_utf8", stop=[b"\xff"])
    bad("no_messages", messages=())
    bad("messages_513", messages=[(1, b"")] * 513)
    bad("role_4", "malformed", messages=[(4, b"x")])
    bad("content_nul", messages=[(1, b"a\0b")])
    for name, text in (("lone_continuation", b"\x80"), ("overlong_2", b"\xc0\xaf"), ("overlong_3", b"\xe0\x80\xaf"),
                       ("overlong_4", b"\xf0\x80\x80\xaf"), ("surrogate", b"\xed\xa0\x80"),
                       ("above_10ffff", b"\xf4\x90\x80\x80"), ("cut_short", b"abc\xe2\x82")):
        bad(f"content_{name}", messages=[(1, text)])
    p.bad("left_over", "chat_request", chat() + b"\0")
    reply_entries(p)
    p.write()


def source_entries(good, bad):
    good("source", [(1, "x")], scope=run(9, 32), source=(run(10, 32),))
    good("source_smallest", [(1, "x")], scope=run(9, 32), source=(run(10, 32), 1, 1, zeros(32)))
    good("source_largest", [(1, "x")], seed=7, scope=run(9, 32), source=(run(10, 32), 2**20, 2**30))
    node = run(10, 32)
    bad("source_without_scope", flags=4, source=node + kept())
    bad("source_of_nobody", flags=6, scope=run(9, 32), source=zeros(32) + kept())
    bad("source_without_tokens", flags=6, scope=run(9, 32), source=node + kept(tokens=0))
    bad("source_without_bytes", flags=6, scope=run(9, 32), source=node + kept(count=0))
    bad("source_of_too_many_tokens", flags=6, scope=run(9, 32), source=node + kept(tokens=2**20 + 1))
    bad("source_too_large", flags=6, scope=run(9, 32), source=node + kept(count=2**30 + 1))
    bad("source_missing", "malformed", flags=6, scope=run(9, 32))
    bad("source_short", "malformed", flags=6, scope=run(9, 32), source=(node + kept())[:-1])
    bad("source_without_flag", "malformed", flags=2, scope=run(9, 32), source=node + kept())


def reply_entries(p):
    def frame(kind, body): return u8(kind) + u16(len(body)) + body
    def end(reason, prompt, completion, reused=0, held=b""):
        return frame(2, u8(reason) + u32(prompt) + u32(completion) + u32(reused) + held)

    def reply(name, data, frames):
        p.good(name, "reply", data, frames=frames)

    reply("reply_text_and_end", frame(1, b"The ") + frame(1, "Donau.".encode()) + end(0, 17, 4),
          [{"text": "The "}, {"text": "Donau."}, {"reason": 0, "prompt": 17, "completion": 4, "reused": 0}])
    reply("reply_cut_by_length", frame(1, "ü".encode()) + end(1, 2**32 - 1, 1, 2**32 - 1),
          [{"text": "ü"}, {"reason": 1, "prompt": 2**32 - 1, "completion": 1, "reused": 2**32 - 1}])
    reply("reply_reused", end(0, 17, 4, 16), [{"reason": 0, "prompt": 17, "completion": 4, "reused": 16}])
    reply("reply_kept", end(0, 17, 4, 16, kept()),
          [{"reason": 0, "prompt": 17, "completion": 4, "reused": 16, "kept": kept_json()}])
    reply("reply_kept_largest", end(0, 17, 4, 0, kept(2**20, 2**30)),
          [{"reason": 0, "prompt": 17, "completion": 4, "reused": 0, "kept": kept_json(2**20, 2**30)}])
    reply("reply_fault", frame(3, u8(6) + b"the engine stopped"), [{"fault": 6, "message": "the engine stopped"}])
    reply("reply_fault_longest", frame(3, u8(10) + b"m" * 512), [{"fault": 10, "message": "m" * 512}])
    reply("reply_nul_is_text", frame(1, b"a\0b"), [{"text": "a\0b"}])
    for name, data in (
            ("reply_kind_0", frame(0, b"x")), ("reply_kind_4", frame(4, b"x")), ("reply_empty_text", frame(1, b"")),
            ("reply_text_8193", frame(1, b"x" * 8193)), ("reply_text_not_utf8", frame(1, b"\xff")),
            ("reply_text_half_a_character", frame(1, b"\xe2\x82")), ("reply_end_short", frame(2, zeros(12))),
            ("reply_end_long", frame(2, zeros(14))), ("reply_end_reason_2", end(2, 0, 0)),
            ("reply_kept_no_tokens", end(0, 17, 4, 0, kept(tokens=0))),
            ("reply_kept_short", end(0, 1, 1, 0, kept()[1:])),
            ("reply_kept_no_bytes", end(0, 17, 4, 0, kept(count=0))),
            ("reply_kept_too_many_tokens", end(0, 17, 4, 0, kept(tokens=2**20 + 1))),
            ("reply_kept_too_large", end(0, 17, 4, 0, kept(count=2**30 + 1))),
            ("reply_end_more_reused_than_read", end(0, 16, 4, 17)),
            ("reply_fault_empty", frame(3, b"")), ("reply_fault_11", frame(3, u8(11))),
            ("reply_fault_513", frame(3, u8(0) + b"m" * 513)), ("reply_fault_escape", frame(3, u8(0) + b"\x1b")),
            ("reply_after_end", end(0, 1, 1) + u8(1)), ("reply_after_fault", frame(3, u8(6)) + u8(1))):
        p.bad(name, "reply", data)


chat_page()
