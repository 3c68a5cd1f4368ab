"""clean_session=False: a first visit subscribes, a later one gets what came meanwhile.

usage: session.py PORT API PROTOCOL first|COUNT

"first" prints "ready" and leaves; a number waits for that many messages and prints the session
flag and each message.
"""

import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import article

port, api, protocol, part = sys.argv[1:5]
seen = []


def on_connect(client, userdata, flags, rc, properties=None):
    present = flags["session present"] if isinstance(flags, dict) else flags.session_present
    if part == "first":
        client.subscribe([("t/1", 1), ("t/2", 2)])
    else:
        print("session", int(present))


def on_subscribe(client, userdata, mid, granted, properties=None):
    print("ready")
    client.disconnect()


def on_message(client, userdata, msg):
    print(msg.topic, msg.qos, msg.payload.decode())
    seen.append(msg)
    if len(seen) == int(part):
        client.disconnect()


if protocol == "5":
    client = article.make_client(api, client_id="sleeper", protocol=mqtt.MQTTv5)
    expiry = Properties(PacketTypes.CONNECT)
    expiry.SessionExpiryInterval = 3600
    connect_options = {"clean_start": False, "properties": expiry}
else:
    client = article.make_client(
        api, client_id="sleeper", clean_session=False, protocol=article.PROTOCOLS[protocol]
    )
    connect_options = {}
client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = on_message
client.connect("127.0.0.1", int(port), 60, **connect_options)
client.loop_forever()
