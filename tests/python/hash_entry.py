"""Prints a password-file entry, computed with Python's own hashlib.

usage: hash_entry.py USER PASSWORD sha512|pbkdf2 SALT_BYTES [ITERATIONS]
"""

import base64
import hashlib
import sys

user, password, kind, salt_bytes = sys.argv[1:5]
salt = bytes((7 * number + 3) % 256 for number in range(int(salt_bytes)))
salt_text = base64.b64encode(salt).decode()
if kind == "sha512":
    digest = hashlib.sha512(password.encode() + salt).digest()
    head = "$6$"
else:
    iterations = int(sys.argv[5])
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations)
    head = f"$7${iterations}$"
print(f"{user}:{head}{salt_text}${base64.b64encode(digest).decode()}")
