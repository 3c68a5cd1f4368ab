"""username_pw_set, and what on_connect is told.

usage: login.py PORT API PROTOCOL USER PASSWORD

Prints "connected CODE" and leaves.
"""

import sys

import article

port, api, protocol, user, password = sys.argv[1:6]


def on_connect(client, userdata, flags, rc, properties=None):
    print("connected", article.number(rc))
    client.disconnect()
    if article.number(rc) != 0:
        sys.exit(0)


client = article.make_client(api, protocol=article.PROTOCOLS[protocol])
client.username_pw_set(user, password=password)
client.on_connect = on_connect
client.connect("127.0.0.1", int(port), 60)
client.loop_forever()
