/* A disk with faults, for tests: loaded before the C library (LD_PRELOAD), it looks at the file that
 * MQTTD_TEST_DISK names before each write and sync, and does what stands there:
 *
 *   hold           syncs wait until the file says something else
 *   slow N         each sync takes N milliseconds longer
 *   sync-fails N   syncs fail with error number N
 *   write-fails N  writes at an offset (as the store's) fail with error number N
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

static int order(const char *wanted, int *number)
{
    const char *path = getenv("MQTTD_TEST_DISK");
    char word[32] = "";
    FILE *file = path ? fopen(path, "re") : NULL;
    if (!file)
        return 0;
    *number = 0;
    int found = fscanf(file, "%31s %d", word, number);
    fclose(file);
    return found > 0 && strcmp(word, wanted) == 0;
}

static void wait_ms(int milliseconds)
{
    struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    while (nanosleep(&time, &time) != 0 && errno == EINTR)
        ;
}

int fdatasync(int fd)
{
    static int (*real)(int);
    int number;
    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    while (order("hold", &number))
        wait_ms(5);
    if (order("slow", &number))
        wait_ms(number);
    if (order("sync-fails", &number)) {
        errno = number;
        return -1;
    }
    return real(fd);
}

typedef ssize_t writer(int, const void *, size_t, off64_t);

static ssize_t write_at(writer *real, int fd, const void *bytes, size_t count, off64_t offset)
{
    int number;
    if (order("write-fails", &number)) {
        errno = number;
        return -1;
    }
    return real(fd, bytes, count, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset)
{
    static writer *real;
    if (!real)
        real = (writer *)dlsym(RTLD_NEXT, "pwrite64");
    return write_at(real, fd, bytes, count, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset)
{
    static writer *real;
    if (!real)
        real = (writer *)dlsym(RTLD_NEXT, "pwrite64");
    return write_at(real, fd, bytes, count, offset);
}
