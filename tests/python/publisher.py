"""The publisher of the articles: loop_start, then numbers and a dict as text, one after another.

usage: publisher.py PORT API PROTOCOL TRANSPORT QOS TOPIC RETAIN

Prints "published N" when on_publish has been called for all of them.
"""

import sys
import threading

import article

port, api, protocol, transport, qos, topic, retain = sys.argv[1:8]
connected = threading.Event()
done = []


def on_connect(client, userdata, flags, rc, properties=None):
    if article.number(rc) == 0:
        connected.set()


def on_publish(client, userdata, mid, reason=None, properties=None):
    done.append(mid)


client = article.make_client(
    api, protocol=article.PROTOCOLS[protocol], transport=transport
)
client.on_connect = on_connect
client.on_publish = on_publish
client.connect("127.0.0.1", int(port), 60)
client.loop_start()
if not connected.wait(20):
    sys.exit("not connected")
values = [0, 1, 2, 3.5, str({"id": 1, "温度": 21.5}), None, bytes([104, 105]), "end"]
for value in values:
    info = client.publish(topic, payload=value, qos=int(qos), retain=retain == "True")
    info.wait_for_publish()
    if info.rc != 0:
        sys.exit(f"publish: {info.rc}")
client.disconnect()
client.loop_stop()
print("published", len(set(done)))
