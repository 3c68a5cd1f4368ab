"""Runs a program on a pseudo-terminal: what it writes comes out of stdout, lines of stdin are typed.
A line that begins with "secret:" is typed (without that word) once the terminal does not echo."""
import os, pty, select, sys, termios, time

pid, fd = pty.fork()
if pid == 0:
    os.environ["TERM"] = "xterm"
    os.execv(sys.argv[1], sys.argv[1:])

def type_line(line):
    word = b"secret:"
    if line.startswith(word):
        line = line[len(word):]
        while termios.tcgetattr(fd)[3] & termios.ECHO:
            time.sleep(0.01)
    os.write(fd, line)

sources, typed = [fd, 0], b""
while True:
    ready = select.select(sources, [], [])[0]
    if 0 in ready:
        more = os.read(0, 1000)
        if not more:
            sources.remove(0)
        typed += more
        # A line ends with a newline; a lone part that ends in a tab is typed as it stands.
        while b"\n" in typed or typed.endswith(b"\t"):
            cut = typed.index(b"\n") + 1 if b"\n" in typed else len(typed)
            type_line(typed[:cut])
            typed = typed[cut:]
    if fd in ready:
        try:
            more = os.read(fd, 1000)
        except OSError:
            break
        if not more:
            break
        os.write(1, more)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
