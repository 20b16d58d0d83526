# build: accept
"""F3: who recorded a link and later gets every key that its two ends keep, and those of all other nodes, opens nothing.

Every 32 bytes that stand in a state directory are tried as the secret of the recorded key exchange. That the trying
works: a peer that tells its ephemeral secret, and one that writes down the secrets of its connection, are opened."""

import hashlib
import os
import ssl
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import Skip, Tapped, check, main, tls, until
from harness.network import fixture
from harness.wired import WithWire

BASE_POINT = (9).to_bytes(32, "little")
KEY_FILE_BYTES_MAX = 1024  # the others are directories: long, and public
CELL_BYTES = 1400
CERTIFICATE, CERTIFICATE_VERIFY, ED25519 = 11, 15, 0x0807


def test(folder):
    with WithWire(folder, relays=12, models=1, model_file=fixture("slow")) as net:
        check(net.client.api.chat("The first day.", max_tokens=20).done, "no answer through the wire")
        first = net.wire.connections
        net.wire.cut()
        check(net.client.api.chat("The second day.", max_tokens=20).done, "no answer after the wire was cut")
        before, after = whole(net.wire.captures[:first]), whole(net.wire.captures[first:])
        check(before and after, f"the wire saw {len(before)} links, and {len(after)} that were dialled again")
        captures = before + after
        for connection in captures:
            agreed_afresh(connection)
        nothing_twice(captures)
        its_own_secret_opens_it(net.relays[0])
        its_own_log_opens_all_of_it(net.relays[0], folder)
        net.stop()
        todays_keys_open_nothing(net, captures[0])


def whole(captures):
    """Those that came as far as to carry something."""
    connections = [tls.Connection(capture) for capture in captures]
    return [connection for connection in connections if connection.server and len(connection.received) > 2]


def agreed_afresh(connection):
    """One way only to have come to its keys: X25519, TLS 1.3, nothing shared before, no ticket to go on from."""
    client, server = connection.client, connection.server
    check(client.versions() == [0x0304] and server.versions() == [0x0304], "the link could be older than TLS 1.3")
    check(list(client.key_shares()) == list(server.key_shares()) == [tls.X25519], "another key exchange was offered")
    check(server.ciphers == [tls.AES_256_GCM_SHA384], f"another suite: {server.ciphers}")
    for hello in (client, server):
        for name in (tls.PRE_SHARED_KEY, tls.EARLY_DATA, tls.TICKET):
            check(name not in hello.extensions, f"a Hello has extension {name}: something of an earlier link is used")


def nothing_twice(captures):
    """Also not of the links that were dialled again by the same two nodes."""
    drawn = [value for connection in captures for hello in (connection.client, connection.server)
             for value in (hello.random, hello.key_shares()[tls.X25519])]
    check(len(set(drawn)) == 4 * len(captures), "a random number or a key share is used in two links")


# ---- the attack --------------------------------------------------------------------------------------------------


def todays_keys_open_nothing(net, connection):
    keys = set().union(*(secrets_of(node.state) for node in net.nodes()))
    check(len(keys) > 1000, f"only {len(keys)} secrets in {len(net.nodes())} state directories")
    # The harvest has what it should: of every relay and of the model node both keys of its descriptor.
    directory = (net.client.state / "directory").read_bytes()
    published = {key for key in keys if tls.x25519(key, BASE_POINT) in directory}
    check(len(published) >= 2 * (len(net.relays) + 1), f"only {len(published)} keys of descriptors were found")
    shares = connection.client.key_shares()[tls.X25519], connection.server.key_shares()[tls.X25519]
    for key in keys:
        for share in shares:
            check(not tls.opens(connection, tls.x25519(key, share)), "a key of today opens yesterday's capture")


def secrets_of(state):
    """Every 32 bytes that stand in a file there, as bytes and as hexadecimal, and what a signing key is made of."""
    found = set()
    for path in state.rglob("*"):
        if not path.is_file() or path.stat().st_size > KEY_FILE_BYTES_MAX:
            continue
        data = path.read_bytes()
        try:
            data = bytes.fromhex(data.decode())
        except ValueError:
            pass
        for at in range(len(data) - 31):
            found.add(data[at:at + 32])
        if len(data) == 32:
            found.add(hashlib.sha512(data).digest()[:32])
    return found


# ---- the twins ---------------------------------------------------------------------------------------------------


def its_own_secret_opens_it(relay):
    """A dialler that tells the secret behind its key share: with that the same trial succeeds."""
    secret = os.urandom(32)
    share = tls.x25519(secret, BASE_POINT)
    host, port = relay.address.split(":")
    with Tapped(("127.0.0.1", 0), (host, int(port))) as wire:
        with tls.dial(wire.address, client_hello(share)):
            until(lambda: len(tls.records(wire.received)) >= 3, "the relay answers a ClientHello", 10)
        connection = tls.Connection(wire.captures[0])
    theirs = connection.server.key_shares()[tls.X25519]
    check(tls.opens(connection, tls.x25519(secret, theirs)), "the dialler's own secret does not open its capture")
    check(not tls.opens(connection, tls.x25519(os.urandom(32), theirs)), "any secret opens it")


def client_hello(share):
    def block(length_bytes, *parts):
        body = b"".join(parts)
        return len(body).to_bytes(length_bytes, "big") + body

    def extension(number, body):
        return number.to_bytes(2, "big") + block(2, body)

    extensions = block(2, extension(tls.VERSIONS, b"\x02\x03\x04"), extension(10, block(2, b"\0\x1d")),
                       extension(13, block(2, ED25519.to_bytes(2, "big"))),
                       extension(16, block(2, block(1, b"sc1/1"))),
                       extension(tls.KEY_SHARE, block(2, b"\0\x1d", block(2, share))))
    body = b"\x03\x03" + os.urandom(32) + b"\0" + block(2, b"\x13\x02") + b"\x01\0" + extensions
    return b"\x16\x03\x01" + block(2, b"\x01", block(3, body))


def its_own_log_opens_all_of_it(relay, folder):
    """A peer that writes the secrets of its connection down opens all that the relay said: its certificate, which
    only signs, and its first cell. No ticket is among it."""
    (folder / "peer.cnf").write_text("[req]\ndistinguished_name = dn\n[dn]\n")  # nodes refuse critical extensions
    made = subprocess.run(["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=peer",
                           "-config", folder / "peer.cnf", "-keyout", folder / "peer.key", "-out", folder / "peer.crt"],
                          capture_output=True, check=False)
    if made.returncode != 0:
        raise Skip(f"openssl makes no Ed25519 certificate: {made.stderr.decode()}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(folder / "peer.crt", folder / "peer.key")
    context.set_alpn_protocols(["sc1/1"])
    context.keylog_filename = folder / "peer.log"
    host, port = relay.address.split(":")
    with Tapped(("127.0.0.1", 0), (host, int(port))) as wire:
        with tls.dial(wire.address) as plain, context.wrap_socket(plain) as link:
            cell = b""
            while len(cell) < CELL_BYTES:
                cell += link.recv(CELL_BYTES - len(cell))
        connection = tls.Connection(wire.captures[0])
    secrets = {line.split()[0]: bytes.fromhex(line.split()[2])
               for line in (folder / "peer.log").read_text().splitlines() if not line.startswith("#")}
    messages, contents = tls.open_all(connection.received, secrets["SERVER_HANDSHAKE_TRAFFIC_SECRET"],
                                      secrets["SERVER_TRAFFIC_SECRET_0"])
    said = dict(messages)
    check(bytes.fromhex(relay.id()) in said[CERTIFICATE], "the relay's certificate is not in what was opened")
    signed_with = int.from_bytes(said[CERTIFICATE_VERIFY][:2], "big")
    check(signed_with == ED25519, f"the relay's key is used for {signed_with:#x} and not to sign")
    cells = b"".join(content for kind, content in contents if kind == tls.APPLICATION)
    check(cells[:CELL_BYTES] == cell, "what was opened is not what the peer read")
    check(all(kind != tls.HANDSHAKE for kind, _ in contents), "a ticket or another handshake message came later")


main(test)
