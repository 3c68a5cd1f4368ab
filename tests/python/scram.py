"""The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), from hashlib and hmac alone.

scram.py PORT USER PASSWORD CLIENT_NONCE SERVER_FIRST prints the client's last message and what the
server has to answer, a line each. The port is not used: nothing here talks to a broker.
"""

import base64
import hashlib
import hmac
import sys

_, user, password, nonce, server_first = sys.argv[1:]


def mac(key, text):
    return hmac.new(key, text, hashlib.sha256).digest()


parts = dict(part.split("=", 1) for part in server_first.split(","))
assert parts["r"].startswith(nonce) and len(parts["r"]) > len(nonce), parts
salted = hashlib.pbkdf2_hmac(
    "sha256", password.encode(), base64.b64decode(parts["s"]), int(parts["i"])
)
client_key = mac(salted, b"Client Key")
unproved = "c=biws,r=" + parts["r"]
said = ",".join([f"n={user},r={nonce}", server_first, unproved]).encode()
signature = mac(hashlib.sha256(client_key).digest(), said)
proof = bytes(a ^ b for a, b in zip(client_key, signature))
print(unproved + ",p=" + base64.b64encode(proof).decode())
print("v=" + base64.b64encode(mac(mac(salted, b"Server Key"), said)).decode())
