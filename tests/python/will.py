"""will_set, then the process ends without a word.

usage: will.py PORT API PROTOCOL
"""

import os
import sys

import article

port, api, protocol = sys.argv[1:4]


def on_connect(client, userdata, flags, rc, properties=None):
    os._exit(0)


client = article.make_client(api, client_id="mortal", protocol=article.PROTOCOLS[protocol])
client.will_set("will", payload="gone", qos=1, retain=False)
client.on_connect = on_connect
client.connect("127.0.0.1", int(port), 60)
client.loop_forever()
