"""What one publish that matches one filter costs the broker among many subscriptions of all kinds,
and what each subscription takes. Prints the second table of docs/benchmarks.md as JSON lines;
`scripts/bench` runs it.

    python3 tests/python/growth.py PORT PID SUBSCRIPTIONS TOPICS...

PID is the broker's, for its processor time and memory. For each of TOPICS that many topics get the
same number of messages in turn: few of them stay in the processor's caches, all of them are cold.
"""

import json
import os
import random
import selectors
import socket
import struct
import sys
import threading
import time

CLIENTS = 20
MESSAGES = 400_000
# Filters of one SUBSCRIBE, at most.
TOGETHER = 500
# Bytes of one write of the publisher.
WRITTEN = 64 * 1024
# Messages that have not arrived: more might be dropped as those of a slow reader.
AHEAD = 2_000


def connect(port, client_id):
    link = socket.create_connection(("127.0.0.1", port))
    name = client_id.encode()
    rest = b"\0\4MQTT\4\2\0\0" + struct.pack(">H", len(name)) + name
    link.sendall(b"\x10" + bytes([len(rest)]) + rest)
    if link.recv(4)[3:] != b"\0":
        sys.exit("growth: not accepted")
    return link


def length(count):
    out = bytearray()
    while True:
        count, low = divmod(count, 128)
        out.append(low | (128 if count else 0))
        if not count:
            return bytes(out)


def filter_of(number):
    site = number % 50
    return (f"site/{site}/device/{number}/state", f"site/+/device/{number}/state",
            f"site/{site}/device/{number}/#", f"+/{site}/+/{number}/state")[number % 4]


def publish(number):
    topic = f"site/{number % 50}/device/{number}/state".encode()
    rest = struct.pack(">H", len(topic)) + topic + b"x" * 64
    return b"\x30" + length(len(rest)) + rest


def subscribe(link, numbers):
    body = bytearray(b"\0\1")
    for number in numbers:
        text = filter_of(number).encode()
        body += struct.pack(">H", len(text)) + text + b"\0"
    link.sendall(b"\x82" + length(len(body)) + body)
    size = 2 + len(numbers)
    due = 1 + len(length(size)) + size
    while due:
        due -= len(link.recv(due))


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) * 1024


class Readers(threading.Thread):
    """Takes what the subscribers are sent and counts the bytes."""

    def __init__(self, links):
        super().__init__(daemon=True)
        self.received = 0
        self.selector = selectors.DefaultSelector()
        for link in links:
            self.selector.register(link, selectors.EVENT_READ)

    def run(self):
        buffer = bytearray(1 << 18)
        while True:
            for key, _ in self.selector.select():
                self.received += key.fileobj.recv_into(buffer)


def measure(pid, publisher, readers, numbers):
    """Processor time of the broker for each of MESSAGES messages, in microseconds."""
    packets = [publish(number) for number in numbers]
    begun, before, due = readers.received, cpu_seconds(pid), 0
    ahead = AHEAD * len(packets[0])
    chunk, size = [], 0
    for turn in range(MESSAGES):
        packet = packets[turn % len(packets)]
        chunk.append(packet)
        size += len(packet)
        if size >= WRITTEN or turn == MESSAGES - 1:
            publisher.sendall(b"".join(chunk))
            due += size
            chunk, size = [], 0
            end = time.monotonic() + 10
            while due - (readers.received - begun) > (ahead if turn < MESSAGES - 1 else 0):
                if time.monotonic() > end:
                    sys.exit(f"growth: {due - (readers.received - begun)} bytes have not arrived")
                time.sleep(0.0002)
    return (cpu_seconds(pid) - before) / MESSAGES * 1e6


def main():
    port, pid, subscriptions = (int(it) for it in sys.argv[1:4])
    links = [connect(port, f"reader-{number}") for number in range(CLIENTS)]
    before = resident(pid)
    together = max(1, min(TOGETHER, subscriptions // CLIENTS))
    for start in range(0, subscriptions, together):
        numbers = range(start, min(start + together, subscriptions))
        subscribe(links[start // together % CLIENTS], numbers)
    bytes_each = (resident(pid) - before) / subscriptions
    publisher = connect(port, "publisher")
    readers = Readers(links)
    readers.start()
    order = random.Random(7)
    for topics in (int(it) for it in sys.argv[4:]):
        numbers = order.sample(range(subscriptions), min(topics, subscriptions))
        measure(pid, publisher, readers, numbers[:1000])
        print(json.dumps({"subscriptions": subscriptions, "topics": len(numbers),
                          "cpu_us": measure(pid, publisher, readers, numbers),
                          "bytes_each": bytes_each}), flush=True)


main()
