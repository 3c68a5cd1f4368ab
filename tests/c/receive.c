/* A socket that lies, for tests: loaded before the C library (LD_PRELOAD), `recv` says that it has filled
 * one byte more than it was given room for whenever the word in the file that MQTTD_TEST_RECEIVE names is
 * among what has come. No kernel does that; the runtime of whoever believes it runs into its own bounds
 * check and panics, at the place where a bug in the work for one connection would.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

static int word(char *into)
{
    const char *path = getenv("MQTTD_TEST_RECEIVE");
    FILE *file = path ? fopen(path, "re") : NULL;
    if (!file)
        return 0;
    int found = fscanf(file, "%63s", into);
    fclose(file);
    return found == 1;
}

ssize_t recv(int socket, void *bytes, size_t room, int flags)
{
    static ssize_t (*real)(int, void *, size_t, int);
    char wanted[64];
    if (!real)
        real = (ssize_t(*)(int, void *, size_t, int))dlsym(RTLD_NEXT, "recv");
    ssize_t count = real(socket, bytes, room, flags);
    if (count > 0 && word(wanted) && memmem(bytes, count, wanted, strlen(wanted)))
        return room + 1;
    return count;
}
