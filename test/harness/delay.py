"""A link with delay, jitter and a rate: a process that forwards TCP connections, since few kernels here have netem.

    python3 -m harness.delay LISTEN TARGET --delay-ms 50 [--jitter-ms 5] [--rate BYTES_PER_SECOND] [--from IP=MS]

Each chunk leaves `delay` (and a part of the jitter) after it came, in order, in both directions; so a round trip costs
twice the delay. `--from` adds to it for connections from that address. It prints one line once it listens.
"""

import argparse
import asyncio
import random
import socket

CHUNK = 64 * 1024
# What may be under way in one direction: as much as a line of this delay holds at a gigabit, and no more.
UNDER_WAY_MAX = 32 * 1024 * 1024
CHUNKS_MAX = 16 * 1024  # small ones weigh more than their bytes


async def forward(reader, writer, options, chance, delay_ms):
    """Chunks wait in a queue until their time has come; what is read too early for the queue waits in the kernel."""
    queue = asyncio.Queue()
    under_way = 0
    room = asyncio.Event()
    room.set()
    loop = asyncio.get_running_loop()

    async def deliver():
        nonlocal under_way
        try:
            while True:
                due, data = await queue.get()
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                if not data:
                    break
                writer.write(data)
                await writer.drain()
                under_way -= len(data)
                room.set()
            if writer.can_write_eof():
                writer.write_eof()
        finally:
            room.set()  # whoever waits sees that nothing is delivered any more

    delivery = asyncio.create_task(deliver())
    free = last = loop.time()
    try:
        while not delivery.done() and (data := await reader.read(CHUNK)):
            now = loop.time()
            free = max(free, now) + (len(data) / options.rate if options.rate else 0)
            last = max(last, free + delay_ms / 1e3 + chance.random() * options.jitter_ms / 1e3)
            queue.put_nowait((last, data))
            under_way += len(data)
            while (under_way > UNDER_WAY_MAX or queue.qsize() >= CHUNKS_MAX) and not delivery.done():
                room.clear()
                await room.wait()
    except ConnectionError:
        pass
    queue.put_nowait((max(last, loop.time() + delay_ms / 1e3), b""))
    try:
        await delivery
    except ConnectionError:
        delivery.cancel()


async def serve(options):
    listen, target = (text.rsplit(":", 1) for text in (options.listen, options.target))
    chance = random.Random(options.seed)
    extra = dict(text.split("=") for text in options.more)

    async def on_connection(reader, writer):
        # Nodes of one machine have an address each: the connection goes on from where it came.
        source = (writer.get_extra_info("peername")[0], 0)
        try:
            onward = await asyncio.open_connection(target[0], int(target[1]), local_addr=source)
        except OSError:
            writer.close()
            return
        for end in (writer, onward[1]):
            end.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        delay_ms = options.delay_ms + float(extra.get(source[0], 0))
        await asyncio.gather(forward(reader, onward[1], options, chance, delay_ms),
                             forward(onward[0], writer, options, chance, delay_ms))
        for end in (writer, onward[1]):
            end.close()

    server = await asyncio.start_server(on_connection, listen[0], int(listen[1]))
    print("listening", flush=True)
    async with server:
        await server.serve_forever()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("listen")
    parser.add_argument("target")
    parser.add_argument("--delay-ms", type=float, default=0)
    parser.add_argument("--jitter-ms", type=float, default=0)
    parser.add_argument("--rate", type=float, default=0, help="bytes a second of each direction; 0: no limit")
    parser.add_argument("--from", dest="more", action="append", default=[], metavar="IP=MS")
    parser.add_argument("--seed", type=int, default=1)
    try:
        asyncio.run(serve(parser.parse_args()))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
