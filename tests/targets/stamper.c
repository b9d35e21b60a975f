/* A program that is easy to snapshot wrongly.
 *
 * Writer threads stamp all their pages in a known order for as long as the program runs; one more
 * thread grows, frees and remaps memory; a few words of every page and a register of every thread
 * tell how far each one was. stamper.h lists the promises a snapshot must keep.
 *
 * The program checks itself while it runs: a writer reads back what it wrote one lap earlier before
 * it writes again, and the churn thread reads every slot before it drops it. Any difference is
 * counted, told on standard error, and ends in exit code 1.
 *
 * usage: stamper [--size MiB] [--threads N] [--seed N] [--slots N] [--churn-us N] [--fork-every N]
 *                [--spawn-every N] [--burst N --rest-us N] [--beat-ms N] [--seconds N]
 *                [--hugetlb MiB] [--alias 1] [--check]
 * prints "ready PID", then "beat MS ERRORS CHURN-OPS STAMPS..." lines, then "verdict ERRORS".
 */
#define _GNU_SOURCE
#include "stamper.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Dirty pages of a private file mapping: the one kind userfaultfd cannot protect. The non-zero
 * start value keeps the array out of .bss. */
#define DATA_PAGES (THREADS_MAX * 8)
static uint64_t data_pages[DATA_PAGES * 512] __attribute__((aligned(4096))) = {1};

#define SHMEM_REGION 2 /* as map_regions adds them */

struct options options = {
    .mib = 256, .threads = 4, .seed = 1, .slots = 24, .churn_us = 100, .beat_ms = 100,
};
volatile int stop_requested;

long bare_syscall(long number, long a, long b, long c, long d) {
#if defined(__x86_64__)
    register long r10 asm("r10") = d;
    long result;
    asm volatile("syscall"
                 : "=a"(result)
                 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                 : "rcx", "r11", "memory");
    return result;
#else
    register long x8 asm("x8") = number;
    register long x0 asm("x0") = a;
    register long x1 asm("x1") = b;
    register long x2 asm("x2") = c;
    register long x3 asm("x3") = d;
    asm volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
    return x0;
#endif
}

static void say(int fd, const char *text, size_t length) {
    while (length > 0) {
        ssize_t done = write(fd, text, length);
        if (done <= 0) {
            if (done < 0 && errno == EINTR)
                __atomic_add_fetch(&HEADER->errors, 1, __ATOMIC_RELAXED);
            return;
        }
        text += done;
        length -= done;
    }
}

void fault_found(const char *what, uint64_t where, uint64_t expected, uint64_t found) {
    char line[256];
    int length = snprintf(line, sizeof line,
                          "stamper: %s at 0x%llx: expected 0x%llx, found 0x%llx\n", what,
                          (unsigned long long)where, (unsigned long long)expected,
                          (unsigned long long)found);
    /* The first ones say what happened; a thousand more would only fill a pipe. */
    if (__atomic_add_fetch(&HEADER->errors, 1, __ATOMIC_RELAXED) <= 20)
        say(2, line, length);
}

static void die(const char *what) {
    fprintf(stderr, "stamper: %s: %s\n", what, strerror(errno));
    exit(2);
}

/* Page number `index` of thread `t`: the regions one after the other, each striped over threads. */
static inline volatile uint64_t *page_of(uint64_t t, uint64_t index) {
    for (uint64_t r = 0; r < HEADER->regions; r++) {
        uint64_t own = HEADER->region[r].pages / HEADER->threads;
        if (index < own)
            return (volatile uint64_t *)(HEADER->region[r].base +
                                         (index * HEADER->threads + t) * PAGE);
        index -= own;
    }
    return NULL;
}

/* The same page through the other mapping of its memory, where there is one and it is its turn. */
static inline volatile uint64_t *through(volatile uint64_t *page, uint64_t turn) {
    volatile struct region *region = &HEADER->region[SHMEM_REGION];
    uint64_t offset = (uint64_t)page - region->base;
    if (!region->alias || turn % 2 == 0 || offset >= region->pages * PAGE)
        return page;
    return (volatile uint64_t *)(region->alias + offset);
}

static inline uint64_t identity_of(uint64_t t, uint64_t index) {
    return IDENTITY_PAGE | t << 48 | index;
}

/* Writes stamp reg_seq + 1. The register changes first, then the words in this order: that order
 * is a promise, hence one piece of assembly that no compiler can reshuffle. */
static inline void stamp(volatile uint64_t *page, uint64_t seen) {
#if defined(__x86_64__)
    asm volatile("add $1, %0\n\tmov %0, (%1)\n\tmov %2, 16(%1)\n\tmov %0, 2048(%1)\n\t"
                 "mov %0, 4088(%1)"
                 : "+r"(reg_seq) : "r"(page), "r"(seen) : "memory", "cc");
#else
    asm volatile("add %0, %0, #1\n\tstr %0, [%1]\n\tstr %2, [%1, #16]\n\tstr %0, [%1, #2048]\n\t"
                 "str %0, [%1, #4088]"
                 : "+r"(reg_seq) : "r"(page), "r"(seen) : "memory");
#endif
}

static int counters_fd;

/* The same, but the middle word is written by the kernel: a write that faults there must be held
 * back and go on just like one of our own. */
static inline void stamp_by_kernel(volatile uint64_t *page, uint64_t seen, uint64_t t) {
    volatile uint64_t *counter = (volatile uint64_t *)COUNTERS_BASE + t;
#if defined(__x86_64__)
    asm volatile("add $1, %0\n\tmov %0, (%1)\n\tmov %2, 16(%1)\n\tmov %0, (%3)"
                 : "+r"(reg_seq) : "r"(page), "r"(seen), "r"(counter) : "memory", "cc");
#else
    asm volatile("add %0, %0, #1\n\tstr %0, [%1]\n\tstr %2, [%1, #16]\n\tstr %0, [%3]"
                 : "+r"(reg_seq) : "r"(page), "r"(seen), "r"(counter) : "memory");
#endif
    long done = bare_syscall(SYS_pread64, counters_fd, (long)(page + WORD_MIDDLE), 8, t * 8);
    if (done != 8)
        fault_found("pread", (uint64_t)page, 8, done);
#if defined(__x86_64__)
    asm volatile("mov %0, 4088(%1)" : : "r"(reg_seq), "r"(page) : "memory");
#else
    asm volatile("str %0, [%1, #4088]" : : "r"(reg_seq), "r"(page) : "memory");
#endif
}

static inline uint64_t read_seq(void) {
    uint64_t value;
    asm volatile(MOVE_1_TO_0 : "=r"(value) : "r"(reg_seq));
    return value;
}

static void check_page(volatile uint64_t *page, uint64_t t, uint64_t index, uint64_t expected) {
    if (page[WORD_IDENTITY] != identity_of(t, index))
        fault_found("identity", (uint64_t)page, identity_of(t, index), page[WORD_IDENTITY]);
    static const int words[] = {WORD_FIRST, WORD_MIDDLE, WORD_LAST};
    for (int i = 0; i < 3; i++)
        if (page[words[i]] != expected)
            fault_found("stamp", (uint64_t)(page + words[i]), expected, page[words[i]]);
}

/* Every 64 stamps: a system call must come back with the right answer, whoever is watching. */
static inline void check_syscall(uint64_t tid) {
    uint64_t answer = bare_syscall(SYS_gettid, 0, 0, 0, 0);
    if (answer != tid)
        fault_found("gettid", 0, tid, answer);
}

static inline void rest(uint64_t count) {
    if (options.burst && count % options.burst == 0) {
        struct timespec pause = {0, options.rest_us * 1000};
        long answer = bare_syscall(SYS_nanosleep, (long)&pause, 0, 0, 0);
        if (answer != 0)
            fault_found("nanosleep", 0, 0, answer);
    }
}

static void *writer(void *argument) {
    uint64_t t = (uint64_t)argument;
    uint64_t pages = HEADER->pages_per_thread, step = HEADER->step, index = HEADER->start;
    volatile struct block *own = BLOCK(t), *neighbour = BLOCK((t + 1) % HEADER->threads);
    uint64_t tid = bare_syscall(SYS_gettid, 0, 0, 0, 0);
    asm volatile(MOVE_1_TO_0 : "=r"(reg_seq) : "r"(0ull));
    asm volatile(MOVE_1_TO_0 : "=r"(reg_mark) : "r"(MARK_WRITER | t));
    __atomic_store_n(&own->tid, tid, __ATOMIC_RELEASE);
    while (!stop_requested) {
        uint64_t count = read_seq();
        volatile uint64_t *page = through(page_of(t, index), count);
        check_page(page, t, index, count + 1 > pages ? count + 1 - pages : 0);
        uint64_t seen = __atomic_load_n(&neighbour->published, __ATOMIC_ACQUIRE);
        if (count % 32 == 7)
            stamp_by_kernel(page, seen, t);
        else
            stamp(page, seen);
        __atomic_store_n(&own->published, read_seq(), __ATOMIC_RELEASE);
        own->seen = seen;
        index += step;
        if (index >= pages)
            index -= pages;
        if (count % 64 == 0)
            check_syscall(tid);
        rest(count);
    }
    return NULL;
}

static void *map_at(uint64_t address, uint64_t length, int flags, int fd) {
    void *at = mmap((void *)address, length, PROT_READ | PROT_WRITE,
                    MAP_FIXED_NOREPLACE | flags, fd, 0);
    if (at != (void *)address)
        die("mmap");
    return at;
}

static void add_region(uint64_t base, uint64_t pages, uint64_t kind) {
    uint64_t n = HEADER->regions;
    HEADER->region[n].base = base;
    HEADER->region[n].pages = pages;
    HEADER->region[n].kind = kind;
    HEADER->regions = n + 1;
    HEADER->pages_per_thread += pages / HEADER->threads;
}

static uint64_t region_address(void) {
    return REGION_BASE + HEADER->regions * REGION_STRIDE;
}

static int new_memory_file(uint64_t length) {
    int fd = memfd_create("stamper", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, length) != 0)
        die("memfd");
    return fd;
}

/* Half plain, a quarter huge-page advised, a quarter shared, and a little of everything else. */
static void map_regions(void) {
    uint64_t threads = options.threads, total = (options.mib << 20) / PAGE;
    uint64_t quarter = total / 4 / threads * threads, half = total / 2 / threads * threads;
    madvise(map_at(region_address(), half * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1), half * PAGE,
            MADV_NOHUGEPAGE);
    add_region(region_address(), half, REGION_ANON);
    madvise(map_at(region_address(), quarter * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1),
            quarter * PAGE, MADV_HUGEPAGE);
    add_region(region_address(), quarter, REGION_THP);
    int fd = new_memory_file(quarter * PAGE);
    map_at(region_address(), quarter * PAGE, MAP_SHARED, fd);
    if (options.alias) {
        HEADER->region[SHMEM_REGION].alias = region_address() + REGION_STRIDE / 2;
        map_at(region_address() + REGION_STRIDE / 2, quarter * PAGE, MAP_SHARED, fd);
    }
    add_region(region_address(), quarter, REGION_SHMEM);
    add_region((uint64_t)data_pages, DATA_PAGES / threads * threads, REGION_DATA);
    if (options.huge_mib) {
        uint64_t pages = (options.huge_mib << 20) / PAGE / threads * threads;
        map_at(region_address(), options.huge_mib << 20,
               MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1);
        add_region(region_address(), pages, REGION_HUGETLB);
    }
}

static uint64_t gcd(uint64_t a, uint64_t b) {
    return b ? gcd(b, a % b) : a;
}

/* A step that visits every page once a lap and jumps far, so that neighbours in the order are
 * strangers in memory. */
static void choose_order(void) {
    uint64_t pages = HEADER->pages_per_thread;
    uint64_t step = pages * 5 / 8 + options.seed % 97;
    while (gcd(step, pages) != 1)
        step++;
    HEADER->step = step % pages;
    HEADER->start = options.seed * 7919 % pages;
}

static void prepare(void) {
    map_at(HEADER_BASE, HEADER_PAGES * PAGE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    HEADER->version = STAMP_VERSION;
    HEADER->threads = options.threads;
    HEADER->pid = getpid();
    HEADER->seed = options.seed;
    HEADER->slots = options.slots;
    counters_fd = new_memory_file(PAGE);
    map_at(COUNTERS_BASE, PAGE, MAP_SHARED, counters_fd);
    map_regions();
    choose_order();
    for (uint64_t t = 0; t < options.threads; t++)
        for (uint64_t i = 0; i < HEADER->pages_per_thread; i++)
            page_of(t, i)[WORD_IDENTITY] = identity_of(t, i);
    data_pages[0] = 0;
}

static void on_stop(int signal) {
    (void)signal;
    stop_requested = 1;
}

static uint64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void beat(uint64_t since) {
    char line[64 + 24 * THREADS_MAX];
    int n = snprintf(line, sizeof line, "beat %llu %llu %llu",
                     (unsigned long long)(now_ms() - since), (unsigned long long)HEADER->errors,
                     (unsigned long long)HEADER->churn_ops);
    for (uint64_t t = 0; t < options.threads; t++)
        n += snprintf(line + n, sizeof line - n, " %llu",
                      (unsigned long long)BLOCK(t)->published);
    line[n++] = '\n';
    say(1, line, n);
}

static void beat_until_stopped(void) {
    uint64_t since = now_ms();
    while (!stop_requested) {
        struct timespec pause = {options.beat_ms / 1000, options.beat_ms % 1000 * 1000000};
        int answer = clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        if (answer != 0 && !stop_requested)
            fault_found("clock_nanosleep", 0, 0, answer);
        beat(since);
        if (options.seconds && now_ms() - since >= options.seconds * 1000)
            stop_requested = 1;
    }
}

/* After all threads stopped: every page of every thread against the last number it published. */
static void check_everything(void) {
    uint64_t pages = HEADER->pages_per_thread;
    for (uint64_t t = 0; t < options.threads; t++) {
        uint64_t index = HEADER->start, last = BLOCK(t)->published;
        for (uint64_t n = 1; n <= pages; n++) {
            check_page(page_of(t, index), t, index,
                       last < n ? 0 : last - (last - n) % pages);
            index = (index + HEADER->step) % pages;
        }
    }
}

static void parse(int count, char **words) {
    static const struct { const char *name; uint64_t *value; } table[] = {
        {"--size", &options.mib}, {"--threads", &options.threads}, {"--seed", &options.seed},
        {"--slots", &options.slots}, {"--churn-us", &options.churn_us},
        {"--fork-every", &options.fork_every}, {"--spawn-every", &options.spawn_every},
        {"--burst", &options.burst}, {"--rest-us", &options.rest_us},
        {"--beat-ms", &options.beat_ms}, {"--seconds", &options.seconds},
        {"--hugetlb", &options.huge_mib}, {"--alias", &options.alias},
    };
    for (int i = 1; i < count; i++) {
        size_t k = 0, known = sizeof table / sizeof table[0];
        while (k < known && strcmp(words[i], table[k].name) != 0)
            k++;
        if (!strcmp(words[i], "--check")) {
            options.seconds = 3;
        } else if (k < known && i + 1 < count) {
            *table[k].value = strtoull(words[++i], NULL, 10);
        } else {
            fprintf(stderr, "stamper: unknown argument %s\n", words[i]);
            exit(2);
        }
    }
    if (options.threads < 1 || options.threads > THREADS_MAX || options.slots > SLOTS_MAX ||
        options.mib < 1) {
        fprintf(stderr, "stamper: 1 to %d threads, at most %d slots, at least 1 MiB\n", THREADS_MAX,
                SLOTS_MAX);
        exit(2);
    }
}

int main(int count, char **words) {
    parse(count, words);
    /* A spinning orphan would disturb whatever runs next on the machine. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGTERM, on_stop);
    signal(SIGPIPE, SIG_IGN);
    prepare();
    pthread_t threads[THREADS_MAX], churner;
    for (uint64_t t = 0; t < options.threads; t++)
        if (pthread_create(&threads[t], NULL, writer, (void *)t) != 0)
            die("pthread_create");
    if (pthread_create(&churner, NULL, churn, NULL) != 0)
        die("pthread_create");
    char line[64];
    /* Ready means: every thread shows its mark, so a snapshot taken from now on can be judged. */
    for (uint64_t t = 0; t <= options.threads; t++)
        while (!__atomic_load_n(&BLOCK(t < options.threads ? t : CHURN_BLOCK - 1)->tid,
                                __ATOMIC_ACQUIRE))
            usleep(1000);
    HEADER->magic = STAMP_MAGIC;
    say(1, line, snprintf(line, sizeof line, "ready %d\n", getpid()));
    beat_until_stopped();
    for (uint64_t t = 0; t < options.threads; t++)
        pthread_join(threads[t], NULL);
    pthread_join(churner, NULL);
    check_everything();
    say(1, line, snprintf(line, sizeof line, "verdict %llu\n", (unsigned long long)HEADER->errors));
    return HEADER->errors ? 1 : 0;
}
