"""What the programs beside this file share: one way to make a client for every paho version.

API is "old" (paho 1.x has no choice), "v1" or "v2" (the callback versions of paho 2.x).
"""

import paho.mqtt.client as mqtt

PROTOCOLS = {"31": mqtt.MQTTv31, "311": mqtt.MQTTv311, "5": mqtt.MQTTv5}


def make_client(api, **options):
    """mqtt.Client(...), with the callback version in front where paho 2.x wants one."""
    if api == "old":
        return mqtt.Client(**options)
    version = {
        "v1": mqtt.CallbackAPIVersion.VERSION1,
        "v2": mqtt.CallbackAPIVersion.VERSION2,
    }[api]
    return mqtt.Client(version, **options)


def number(reason):
    """A reason code as a number: an int in the old callbacks, an object in the new ones."""
    return getattr(reason, "value", reason)
