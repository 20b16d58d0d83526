#!/usr/bin/env python3
"""Writes channel.json and the seeds of its fuzz target, from the page and not from the C++.

Run it again only when channel.md changes, and read the difference.
"""
from generate import Page, run, u8, u32, u64

MESSAGE_MAX = 32 * 1024 * 1024 + 8 * 1024


def data(total, piece):
    return (u8(1) + u32(total) if total else u8(0)) + piece


def main():
    p = Page("channel", {"open": 0, "data": 1, "credit": 2, "close": 3})

    def good_data(name, total, piece):
        p.good(name, "data", data(total, piece), total=total, bytes=piece.hex())

    p.good("open_stage", "open", u8(1), protocol=1)
    p.good("open_prefix", "open", u8(2), protocol=2)
    p.bad("open_other_protocol", "open", u8(3), "unsupported")
    p.bad("open_protocol_0", "open", u8(0), "unsupported")
    p.bad("open_left_over", "open", u8(1) + b"\0")
    good_data("data_whole_message", 3, bytes.fromhex("aabbcc"))
    good_data("data_first_of_many", 5000, run(1, 1387))
    good_data("data_first_of_the_largest", MESSAGE_MAX, run(2, 1387))
    good_data("data_one_more", 0, run(3, 1391))
    good_data("data_last", 0, b"\x07")
    p.bad("data_too_large", "data", data(MESSAGE_MAX + 1, b"\x01"), "invalid")
    p.bad("data_total_0", "data", u8(1) + u32(0) + b"\x01", "invalid")
    p.bad("data_flag_2", "data", u8(2) + b"\x01")
    p.bad("data_without_bytes", "data", u8(0))
    p.bad("data_first_without_bytes", "data", u8(1) + u32(3))
    p.bad("data_longer_than_message", "data", data(3, b"\x01\x02\x03\x04"))
    p.bad("data_first_longer_than_a_cell", "data", data(5000, run(1, 1388)))
    p.bad("data_more_longer_than_a_cell", "data", data(0, run(1, 1392)))
    p.good("credit", "credit", u64(7), taken=7)
    p.good("credit_largest", "credit", u64(2**64 - 1), taken=2**64 - 1)
    p.bad("credit_left_over", "credit", u64(7) + b"\0")
    p.good("close_done", "close", u8(0), reason=0)
    p.good("close_protocol", "close", u8(3), reason=3)
    p.bad("close_unknown", "close", u8(4))
    p.bad("close_left_over", "close", u8(0) + b"\0")
    p.write()


main()
