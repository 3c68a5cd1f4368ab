"""Sends one message to itself through the broker and compares, with sockets alone.

usage: large_message.py PORT PAYLOAD_BYTES

The packet is made and checked piece by piece, so that this side stays small.
"""

import socket
import sys
import threading

PIECE = bytes((11 * number + number // 256) % 256 for number in range(1 << 20))


def variable_length(value):
    out = bytearray()
    while True:
        value, low = divmod(value, 128)
        out.append(low | (0x80 if value else 0))
        if not value:
            return bytes(out)


def take(link, count):
    got = b""
    while len(got) < count:
        more = link.recv(count - len(got))
        if not more:
            sys.exit(f"closed after {len(got)} of {count} bytes")
        got += more
    return got


def join(port, client_id):
    link = socket.create_connection(("127.0.0.1", port), timeout=60)
    body = b"\x00\x04MQTT\x04\x02\x00\x00" + len(client_id).to_bytes(2, "big") + client_id
    link.sendall(b"\x10" + variable_length(len(body)) + body)
    assert take(link, 4) == b"\x20\x02\x00\x00", "refused"
    return link


def send(link, head, size):
    link.sendall(head)
    left = size
    while left:
        step = min(left, len(PIECE))
        link.sendall(PIECE[:step])
        left -= step


def main():
    port, size = int(sys.argv[1]), int(sys.argv[2])
    receiver = join(port, b"receiver")
    receiver.sendall(b"\x82\x06\x00\x01\x00\x01t\x00")
    assert take(receiver, 5) == b"\x90\x03\x00\x01\x00", "not subscribed"
    sender = join(port, b"sender")
    head = b"\x30" + variable_length(3 + size) + b"\x00\x01t"
    threading.Thread(target=send, args=(sender, head, size), daemon=True).start()
    assert take(receiver, len(head)) == head, "another packet"
    left = size
    while left:
        step = min(left, len(PIECE))
        if take(receiver, step) != PIECE[:step]:
            sys.exit(f"wrong bytes, {left} before the end")
        left -= step
    print("received", size)


main()
