"""The shortest program of the articles: a client without any argument that talks to itself.

usage: bare.py PORT API
"""

import sys

import article

port, api = sys.argv[1:3]


def on_connect(client, userdata, flags, rc, properties=None):
    print("connected", article.number(rc))
    client.subscribe("self/#")


def on_subscribe(client, userdata, mid, granted, properties=None):
    client.publish("self/talk", "hello me")


def on_message(client, userdata, msg):
    print(msg.topic, str(msg.payload, "utf-8"))
    client.disconnect()


def on_disconnect(client, userdata, *rest):
    # VERSION2 puts its flags before the reason.
    print("disconnected", article.number(rest[1] if api == "v2" else rest[0]))


client = article.make_client(api)
client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = on_message
client.on_disconnect = on_disconnect
client.connect("127.0.0.1", int(port))
client.loop_forever()
