"""Plays the person at the terminal for a program that asks for passwords.

usage: ask_password.py ANSWER... -- PROGRAM ARGUMENT...

The program gets a terminal of its own. After each prompt (output that ends with a colon and
perhaps a space) the next answer is typed. Prints what the terminal showed, one line for its
echo setting while the answers were typed, and ends with the program's exit code.
"""

import os
import pty
import re
import select
import sys
import termios
import time

PATIENCE_SECONDS = 20


def main():
    split = sys.argv.index("--")
    answers = sys.argv[1:split]
    command = sys.argv[split + 1:]
    child, terminal = pty.fork()
    if child == 0:
        os.execv(command[0], command)
    shown = b""
    since_answer = b""
    echoed = []
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # Linux's way to say that the other side is closed
            break
        if not chunk:
            break
        shown += chunk
        since_answer += chunk
        if answers and re.search(rb":\s*$", since_answer):
            # The echo is switched off around the prompt; wait for it, but not for ever.
            is_echo = wait_for_no_echo(terminal)
            echoed.append(is_echo)
            os.write(terminal, answers.pop(0).encode() + b"\n")
            since_answer = b""
    else:
        sys.exit("the program neither asks nor ends: " + shown.decode(errors="replace"))
    _, status = os.waitpid(child, 0)
    sys.stdout.write(shown.decode(errors="replace").replace("\r\n", "\n"))
    print("\necho while typing:", " ".join("on" if it else "off" for it in echoed))
    print("answers left:", len(answers))
    sys.exit(os.waitstatus_to_exitcode(status))


def wait_for_no_echo(terminal):
    for _ in range(100):
        if not termios.tcgetattr(terminal)[3] & termios.ECHO:
            return False
        time.sleep(0.01)
    return True


main()
