"""A client over TLS: connects, subscribes, hears itself.

usage: secure.py PORT API TRANSPORT CAFILE [CERTFILE KEYFILE]

Prints the payload that came back; ends with an error when the connection is refused.
"""

import sys

import article

port, api, transport, cafile = sys.argv[1:5]
own = sys.argv[5:7]


def on_connect(client, userdata, flags, rc, properties=None):
    if article.number(rc) != 0:
        sys.exit(f"refused: {rc}")
    client.subscribe("secure/echo", qos=1)


def on_subscribe(client, userdata, mid, granted, properties=None):
    client.publish("secure/echo", "hello over tls", qos=1)


def on_message(client, userdata, msg):
    print(msg.payload.decode("utf-8"))
    client.disconnect()


client = article.make_client(api, transport=transport)
client.tls_set(cafile, *own)
client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = on_message
client.connect("localhost", int(port), 60)
client.loop_forever()
