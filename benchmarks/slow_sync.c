/* Preloaded into a process, lets each of its syncs take SYNC_MS milliseconds longer, as on a slower disk. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static int slow(const char *name, int descriptor) {
    int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int result = sync(descriptor);
    double seconds = atof(getenv("SYNC_MS")) / 1000;
    struct timespec rest = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    nanosleep(&rest, NULL);
    return result;
}

int fsync(int descriptor) { return slow("fsync", descriptor); }

int fdatasync(int descriptor) { return slow("fdatasync", descriptor); }
