"""The subscriber of the articles: on_connect subscribes, on_message prints, loop_forever runs.

usage: subscriber.py PORT API PROTOCOL TRANSPORT QOS TOPIC

Prints "ready" when the subscription is granted, then `topic qos retain payload` for each message;
the payload "end" ends it.
"""

import sys

import article

port, api, protocol, transport, qos, topic = sys.argv[1:7]


def on_connect(client, userdata, flags, rc, properties=None):
    if article.number(rc) != 0:
        sys.exit(f"refused: {rc}")
    client.subscribe(userdata["topic"], qos=userdata["qos"])


def on_subscribe(client, userdata, mid, granted, properties=None):
    print("ready")


def on_message(client, userdata, msg):
    text = msg.payload.decode("utf-8")
    print(msg.topic, msg.qos, int(msg.retain), text)
    if text == "end":
        client.disconnect()


options = {"protocol": article.PROTOCOLS[protocol], "transport": transport}
if protocol != "5":
    options["clean_session"] = True
client = article.make_client(
    api, client_id="myClient1", userdata={"topic": topic, "qos": int(qos)}, **options
)
client.on_connect = on_connect
client.on_subscribe = on_subscribe
client.on_message = on_message
client.connect("127.0.0.1", port=int(port), keepalive=240)
client.loop_forever()
