"""Holds listening sockets as systemd does, and runs a program with them (LISTEN_FDS).

    hold_sockets.py RUNS ADDRESS... -- PROGRAM...

Runs it again each time it ends, RUNS times in all; says `run PID` each time. An address is
`127.0.0.1:1883`, `[::]:1883` (which serves IPv4 too) or a path.
"""

import fcntl
import os
import socket
import sys


def listen(address):
    if address.startswith("/"):
        held = socket.socket(socket.AF_UNIX)
        held.bind(address)
    else:
        host, port = address.rsplit(":", 1)
        family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
        held = socket.socket(family)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        held.bind((host.strip("[]"), int(port)))
    held.listen(1024)
    return held


def run(program, held):
    child = os.fork()
    if child:
        return child
    # Out of the way of the numbers they are to get.
    high = [fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, 100) for one in held]
    for number, one in enumerate(high):
        os.dup2(one, 3 + number)
        os.close(one)
    os.environ.update(
        LISTEN_FDS=str(len(held)),
        LISTEN_PID=str(os.getpid()),
        LISTEN_FDNAMES=":".join(f"socket{number}" for number in range(len(held))),
    )
    os.execv(program[0], program)


def main():
    split = sys.argv.index("--")
    held = [listen(address) for address in sys.argv[2:split]]
    status = 0
    for _ in range(int(sys.argv[1])):
        child = run(sys.argv[split + 1 :], held)
        print("run", child, flush=True)
        status = os.waitpid(child, 0)[1]
    sys.exit(os.waitstatus_to_exitcode(status))


main()
