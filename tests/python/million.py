"""A million messages of 64 bytes for one absent session: what the store writes, and three starts
after kill -9. Prints the figures of docs/durability.md.

    python3 tests/python/million.py target/release/mqttd [MESSAGES]

Needs mosquitto_sub for $SYS.
"""

import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

PORT = 28742
CONFIG = """listener {port} 127.0.0.1
allow_anonymous true
persistence true
persistence_location {folder}
user root
shards 1
max_queued_messages 0
max_queued_bytes 0
sys_interval 1
log_dest file {folder}/log
"""


def start(program, folder):
    """Returns the process, and seconds and processor time until it says that it runs."""
    log = os.path.join(folder, "log")
    open(log, "a").close()
    before, begun = os.path.getsize(log), time.time()
    broker = subprocess.Popen([program, "-c", os.path.join(folder, "conf")])
    while " running\n" not in open(log).read()[before:]:
        time.sleep(0.005)
    took = time.time() - begun
    fields = open(f"/proc/{broker.pid}/stat").read().rsplit(")", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    return broker, took, ticks / os.sysconf("SC_CLK_TCK")


def memory(broker):
    lines = [line.split() for line in open(f"/proc/{broker.pid}/status")]
    return {line[0]: line[1] for line in lines if line[0] in ("VmRSS:", "VmHWM:")}


def connect(client_id, flags):
    link = socket.create_connection(("127.0.0.1", PORT))
    name = client_id.encode()
    rest = b"\0\4MQTT\4" + flags + b"\0\0" + struct.pack(">H", len(name)) + name
    link.sendall(b"\x10" + bytes([len(rest)]) + rest)
    link.recv(4)
    return link


def publish(count):
    link = connect("publisher", b"\2")
    seen = 0

    def read():
        nonlocal seen
        while seen < 4 * count:
            seen += len(link.recv(1 << 20)) or sys.exit("the broker is gone")

    reader = threading.Thread(target=read)
    reader.start()
    head, payload = b"\x32\x49\0\5queue", b"x" * 64
    for first in range(0, count, 500):
        numbers = range(first, min(first + 500, count))
        ids = (struct.pack(">H", number % 60000 + 1) for number in numbers)
        link.sendall(b"".join(head + packet_id + payload for packet_id in ids))
    reader.join()


def main():
    program, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
    folder = tempfile.mkdtemp()
    with open(os.path.join(folder, "conf"), "w") as conf:
        conf.write(CONFIG.format(port=PORT, folder=folder))
    broker, _, _ = start(program, folder)
    sleeper = connect("sleeper", b"\0")
    sleeper.sendall(b"\x82\x0a\0\1\0\5queue\1")
    sleeper.recv(5)
    sleeper.close()
    publish(count)
    print("queued:", memory(broker), "kB")
    arguments = ["-p", str(PORT), "-t", "$SYS/broker/store/#", "-v", "-W", "3"]
    print(subprocess.run(["mosquitto_sub", *arguments], capture_output=True, text=True).stdout)
    for _ in range(3):
        broker.kill()
        broker.wait()
        broker, took, processor = start(program, folder)
        print(f"start {took:.2f} s, {processor:.2f} s of a processor,", memory(broker), "kB")
    broker.kill()
    broker.wait()
    shutil.rmtree(folder)


main()
