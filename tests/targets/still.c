/* A program that holds still, with every kind of memory a core can hold, for comparing cores.
 *
 * Three threads and the main thread block for ever at different depths of calls. Prints "ready"
 * once all is set up; ends with its parent.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define MIB (1024 * 1024ul)

struct point {
    int x, y;
    const char *name;
};

int still_number = 42;
double still_real = 2.5;
char still_text[] = "hold still";
struct point still_points[] = {{1, 2, "one"}, {3, 4, "two"}};
struct point *still_heap;
uint64_t still_zeros[1024];
_Thread_local int still_own;

static pthread_barrier_t all_there;
static volatile int waiting = 1;

/* Fills vector registers with something to find, then waits for ever. */
static void wait_here(int depth) {
#if defined(__x86_64__)
    asm volatile("movq %0, %%xmm7" : : "r"(0x1122334455667788ul + depth) : "xmm7");
#endif
    while (waiting)
        pause();
}

__attribute__((noinline)) static void descend(int depth, const char *why) {
    char here[64];
    snprintf(here, sizeof here, "%s at depth %d", why, depth);
    if (depth > 0)
        descend(depth - 1, here);
    else
        wait_here(depth);
    asm volatile("" : : "r"(here) : "memory");
}

static void *run(void *argument) {
    still_own = 100 + (int)(intptr_t)argument;
    pthread_barrier_wait(&all_there);
    descend((int)(intptr_t)argument, "thread");
    return NULL;
}

static void fill(unsigned char *memory, size_t length) {
    for (size_t at = 0; at < length; at += 8)
        memcpy(memory + at, &(uint64_t){at * 0x9e3779b97f4a7c15ul}, 8);
}

static unsigned char *map(size_t length, int flags, int fd) {
    unsigned char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (memory == MAP_FAILED) {
        perror("still: mmap");
        exit(2);
    }
    return memory;
}

/* One mapping of each kind; some filled wholly, some with holes, some not readable. */
static void map_all_kinds(const char *own_name) {
    int private = MAP_PRIVATE | MAP_ANONYMOUS, shared = MAP_SHARED | MAP_ANONYMOUS;
    fill(map(4 * MIB, private, -1), 4 * MIB);
    unsigned char *huge = map(8 * MIB, private, -1);
    madvise(huge, 8 * MIB, MADV_HUGEPAGE);
    fill(huge, 8 * MIB);
    madvise(huge + 4 * MIB, 12288, MADV_DONTNEED);
    unsigned char *sparse = map(64 * MIB, private, -1);
    fill(sparse + 33 * MIB, 8192);
    fill(map(2 * MIB, shared, -1), 2 * MIB);
    unsigned char *zapped = map(1 * MIB, shared, -1);
    fill(zapped, 1 * MIB);
    madvise(zapped, 1 * MIB, MADV_DONTNEED);
    unsigned char *closed = map(65536, private, -1);
    fill(closed, 65536);
    mprotect(closed, 65536, PROT_NONE);
    unsigned char *constant = map(65536, private, -1);
    fill(constant, 65536);
    mprotect(constant, 65536, PROT_READ);
    unsigned char *secret = map(65536, private, -1);
    fill(secret, 65536);
    madvise(secret, 65536, MADV_DONTDUMP);
    int fd = open(own_name, O_RDONLY | O_CLOEXEC);
    unsigned char *dirty = map(8192, MAP_PRIVATE, fd);
    fill(dirty + 4096, 64);
}

int main(int count, char **words) {
    (void)count;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    map_all_kinds(words[0]);
    still_heap = malloc(sizeof *still_heap);
    *still_heap = (struct point){5, 6, "heap"};
    pthread_barrier_init(&all_there, NULL, 4);
    pthread_t thread;
    for (intptr_t i = 1; i <= 3; i++)
        if (pthread_create(&thread, NULL, run, (void *)i) != 0)
            return 2;
    pthread_barrier_wait(&all_there);
    puts("ready");
    fflush(stdout);
    descend(2, "main");
}
