/* A program that sits in system calls which a tracer interrupts and the kernel must restart.
 *
 * Every thread repeats one blocking call whose answer is known beforehand; a wrong answer (EINTR
 * where no signal was sent, a short sleep, a lost byte) is told on standard error and ends in exit
 * code 1. The main thread, which an attaching program is likely to borrow, does what --main says.
 *
 * usage: sleeper [--main nanosleep|poll|futex|read|registers] [--wait-ms N]
 * prints "ready PID", then "beat ROUNDS..." lines (one count a thread, the main thread first),
 * then "verdict ERRORS" after SIGTERM.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum role { NANOSLEEP, POLL, FUTEX, READ, REGISTERS, ROLES };
static const char *const role_names[] = {"nanosleep", "poll", "futex", "read", "registers"};

static volatile int stop_requested;
static unsigned long errors, rounds[ROLES + 1];
static long wait_ms = 40;
static int silent_pipe[2], fed_pipes[ROLES + 1][2];

static void wrong(const char *what, long expected, long found) {
    __atomic_add_fetch(&errors, 1, __ATOMIC_RELAXED);
    fprintf(stderr, "sleeper: %s: expected %ld, found %ld (errno %d)\n", what, expected, found,
            errno);
}

static void expect(const char *what, long expected, long found) {
    if (expected != found)
        wrong(what, expected, found);
}

static long now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static struct timespec wait_time(void) {
    return (struct timespec){wait_ms / 1000, wait_ms % 1000 * 1000000};
}

static void one_nanosleep(void) {
    struct timespec pause = wait_time();
    expect("nanosleep", 0, syscall(SYS_nanosleep, &pause, NULL));
}

static void one_poll(void) {
    struct pollfd quiet = {silent_pipe[0], POLLIN, 0};
    struct timespec pause = wait_time();
    static _Thread_local int turn;
    long found = ++turn % 2 ? poll(&quiet, 1, wait_ms) : ppoll(&quiet, 1, &pause, NULL);
    expect("poll", 0, found);
}

static void one_futex(void) {
    static _Thread_local uint32_t word;
    struct timespec pause = wait_time();
    long found = syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &pause, NULL, 0);
    if (found != -1 || errno != ETIMEDOUT)
        wrong("futex", ETIMEDOUT, found);
}

/* Blocks until the feeder writes the next number; none may be lost, doubled or torn. */
static void one_read(int slot) {
    static _Thread_local uint64_t last;
    uint64_t next = 0;
    expect("read", sizeof next, read(fed_pipes[slot][0], &next, sizeof next));
    expect("number read", last + 1, next);
    last = next;
}

/* Fills every register the ABI lets us keep, spins, and looks again: 1 if one of them changed. */
static long spin_on_registers(void) {
    long changed = 0;
#if defined(__x86_64__)
    asm volatile(
        "mov $0x1111, %%rbx\n\tmov $0x2222, %%rcx\n\tmov $0x3333, %%rdx\n\tmov $0x4444, %%rsi\n\t"
        "mov $0x5555, %%rdi\n\tmov $0x8888, %%r8\n\tmov $0x9999, %%r9\n\tmov $0xaaaa, %%r10\n\t"
        "mov $0xbbbb, %%r11\n\tmov $0xcccc, %%r12\n\tmov $0xdddd, %%r13\n\tmov $0xeeee, %%r14\n\t"
        "movq %%rbx, %%xmm0\n\tmovq %%rcx, %%xmm7\n\tmovq %%rdx, %%xmm15\n\t"
        "mov $3000000, %%r15\n\t1: dec %%r15\n\tjnz 1b\n\t"
        "xor $0x1111, %%rbx\n\txor $0x2222, %%rcx\n\txor $0x3333, %%rdx\n\txor $0x4444, %%rsi\n\t"
        "xor $0x5555, %%rdi\n\txor $0x8888, %%r8\n\txor $0x9999, %%r9\n\txor $0xaaaa, %%r10\n\t"
        "xor $0xbbbb, %%r11\n\txor $0xcccc, %%r12\n\txor $0xdddd, %%r13\n\txor $0xeeee, %%r14\n\t"
        "or %%rcx, %%rbx\n\tor %%rdx, %%rbx\n\tor %%rsi, %%rbx\n\tor %%rdi, %%rbx\n\t"
        "or %%r8, %%rbx\n\tor %%r9, %%rbx\n\tor %%r10, %%rbx\n\tor %%r11, %%rbx\n\t"
        "or %%r12, %%rbx\n\tor %%r13, %%rbx\n\tor %%r14, %%rbx\n\t"
        "movq %%xmm0, %%rcx\n\txor $0x1111, %%rcx\n\tor %%rcx, %%rbx\n\t"
        "movq %%xmm7, %%rcx\n\txor $0x2222, %%rcx\n\tor %%rcx, %%rbx\n\t"
        "movq %%xmm15, %%rcx\n\txor $0x3333, %%rcx\n\tor %%rcx, %%rbx\n\t"
        "mov %%rbx, %0"
        : "=a"(changed)
        : : "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
            "r15", "xmm0", "xmm7", "xmm15", "memory", "cc");
#else
    asm volatile(
        "mov x0, #0x1111\n\tmov x1, #0x2222\n\tmov x7, #0x3333\n\tmov x8, #0x4444\n\t"
        "mov x16, #0x5555\n\tmov x17, #0x6666\n\tmov x27, #0x7777\n\tfmov d15, x7\n\t"
        "mov x20, #0xc6c0\n\tmovk x20, #0x2d, lsl #16\n\t1: subs x20, x20, #1\n\tb.ne 1b\n\t"
        "mov x20, #0x1111\n\teor x21, x0, x20\n\tmov x20, #0x2222\n\teor x22, x1, x20\n\t"
        "orr x21, x21, x22\n\tmov x20, #0x3333\n\teor x22, x7, x20\n\torr x21, x21, x22\n\t"
        "mov x20, #0x4444\n\teor x22, x8, x20\n\torr x21, x21, x22\n\t"
        "mov x20, #0x5555\n\teor x22, x16, x20\n\torr x21, x21, x22\n\t"
        "mov x20, #0x6666\n\teor x22, x17, x20\n\torr x21, x21, x22\n\t"
        "mov x20, #0x7777\n\teor x22, x27, x20\n\torr x21, x21, x22\n\t"
        "fmov x22, d15\n\teor x22, x22, x7\n\torr x21, x21, x22\n\tmov %0, x21"
        : "=r"(changed)
        : : "x0", "x1", "x7", "x8", "x16", "x17", "x20", "x21", "x22", "x27", "d15", "memory",
            "cc");
#endif
    return changed;
}

/* One round; sleeping roles also prove that they slept at least as long as they asked. */
static void one_round(enum role role, int slot) {
    long before = now_us();
    switch (role) {
    case NANOSLEEP: one_nanosleep(); break;
    case POLL: one_poll(); break;
    case FUTEX: one_futex(); break;
    case READ: one_read(slot); break;
    default: expect("registers", 0, spin_on_registers()); break;
    }
    long slept = now_us() - before;
    if (role <= FUTEX && slept < wait_ms * 1000)
        wrong("microseconds slept", wait_ms * 1000, slept);
    __atomic_add_fetch(&rounds[slot], 1, __ATOMIC_RELAXED);
}

static void *run_role(void *argument) {
    enum role role = (enum role)(uintptr_t)argument;
    while (!stop_requested)
        one_round(role, role + 1);
    return NULL;
}

static void *feed(void *argument) {
    for (uint64_t number = 1; !stop_requested; number++) {
        usleep(wait_ms * 1000);
        for (int slot = 0; slot <= ROLES; slot++)
            if (slot == 0 || slot == READ + 1)
                expect("write", sizeof number, write(fed_pipes[slot][1], &number, sizeof number));
    }
    /* The readers are waiting for one more. */
    for (int slot = 0; slot <= ROLES; slot++)
        close(fed_pipes[slot][1]);
    return argument;
}

static void *beat(void *argument) {
    while (!stop_requested) {
        usleep(100000);
        printf("beat");
        for (int i = 0; i <= ROLES; i++)
            printf(" %lu", __atomic_load_n(&rounds[i], __ATOMIC_RELAXED));
        printf("\n");
        fflush(stdout);
    }
    return argument;
}

/* Stops the program from a thread of its own: no call of the others ever sees a signal. */
static void *wait_for_stop(void *argument) {
    sigset_t *set = argument;
    int signal;
    sigwait(set, &signal);
    stop_requested = 1;
    usleep(3 * wait_ms * 1000);
    printf("verdict %lu\n", errors);
    fflush(stdout);
    _exit(errors ? 1 : 0);
}

static enum role role_named(const char *name) {
    for (int i = 0; i < ROLES; i++)
        if (!strcmp(name, role_names[i]))
            return i;
    fprintf(stderr, "sleeper: unknown role %s\n", name);
    exit(2);
}

int main(int count, char **words) {
    enum role role = NANOSLEEP;
    for (int i = 1; i + 1 < count; i += 2) {
        if (!strcmp(words[i], "--main"))
            role = role_named(words[i + 1]);
        else if (!strcmp(words[i], "--wait-ms"))
            wait_ms = strtol(words[i + 1], NULL, 10);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigprocmask(SIG_BLOCK, &stop, NULL);
    int broken = pipe(silent_pipe);
    for (int slot = 0; slot <= ROLES; slot++)
        broken |= pipe(fed_pipes[slot]);
    if (broken)
        return 2;
    pthread_t thread;
    for (uintptr_t i = 0; i < ROLES; i++)
        pthread_create(&thread, NULL, run_role, (void *)i);
    pthread_create(&thread, NULL, feed, NULL);
    pthread_create(&thread, NULL, beat, NULL);
    pthread_create(&thread, NULL, wait_for_stop, &stop);
    printf("ready %d\n", getpid());
    fflush(stdout);
    while (!stop_requested)
        one_round(role, 0);
    for (;;)
        pause();
}
