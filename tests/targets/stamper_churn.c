/* The thread of the stamping target that grows, frees and remaps memory.
 *
 * Each slot goes through the life of its kind, one operation at a time. Before an operation the
 * slot is marked `changing`, afterwards its entry says again what it holds. Pages carry their slot,
 * generation and number, so that a page found in a snapshot tells where and when it belongs.
 */
#define _GNU_SOURCE
#include "stamper.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int memory_fd[SLOTS_MAX];
static uint64_t random_state;

static uint64_t next_random(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static uint64_t home_of(uint64_t s) {
    return CHURN_BASE + s * SLOT_STRIDE;
}

static uint64_t content_of(uint64_t s, uint64_t generation, uint64_t page) {
    return IDENTITY_SLOT | s << 48 | generation << 16 | page;
}

static int is_hole(uint64_t s, uint64_t page) {
    return SLOT(s)->holes == HOLES_ODD && page % 2 == 1;
}

static volatile uint64_t *slot_page(uint64_t s, uint64_t page) {
    return (volatile uint64_t *)(SLOT(s)->base + page * PAGE);
}

static void fill(uint64_t s, uint64_t from, uint64_t to) {
    for (uint64_t p = from; p < to; p++) {
        volatile uint64_t *page = slot_page(s, p);
        page[WORD_FIRST] = page[WORD_MIDDLE] = page[WORD_LAST] =
            content_of(s, SLOT(s)->generation, p);
    }
}

static void refill(uint64_t s) {
    SLOT(s)->generation++;
    SLOT(s)->holes = HOLES_NONE;
    fill(s, 0, SLOT(s)->pages);
}

/* Reads every page of a mapped slot against its entry; holes must read as zeros. */
static void check_slot(uint64_t s) {
    if (SLOT(s)->state != STATE_MAPPED || SLOT(s)->prot == PROT_NONE)
        return;
    static const int words[] = {WORD_FIRST, WORD_MIDDLE, WORD_LAST};
    for (uint64_t p = 0; p < SLOT(s)->pages; p++) {
        uint64_t expected = is_hole(s, p) ? 0 : content_of(s, SLOT(s)->generation, p);
        for (int i = 0; i < 3; i++) {
            uint64_t found = slot_page(s, p)[words[i]];
            if (found != expected)
                fault_found("slot", (uint64_t)(slot_page(s, p) + words[i]), expected, found);
        }
    }
}

static void expect(const char *what, uint64_t s, uint64_t expected, uint64_t found) {
    if (expected != found)
        fault_found(what, SLOT(s)->base, expected, found == (uint64_t)-1 ? errno : found);
}

static void map_slot(uint64_t s, int flags, int fd) {
    uint64_t base = SLOT(s)->base, length = SLOT(s)->pages * PAGE;
    void *at = mmap((void *)base, length, PROT_READ | PROT_WRITE, flags, fd, 0);
    expect("mmap", s, base, (uint64_t)at);
}

static void unmap_slot(uint64_t s) {
    expect("munmap", s, 0, munmap((void *)SLOT(s)->base, SLOT(s)->pages * PAGE));
}

static void advise(uint64_t s, uint64_t from, uint64_t pages, int advice) {
    expect("madvise", s, 0, madvise((void *)slot_page(s, from), pages * PAGE, advice));
}

static void drop_odd_pages(uint64_t s, int advice) {
    for (uint64_t p = 1; p < SLOT(s)->pages; p += 2)
        advise(s, p, 1, advice);
    SLOT(s)->holes = HOLES_ODD;
}

static void protect(uint64_t s, int prot) {
    expect("mprotect", s, 0, mprotect((void *)SLOT(s)->base, SLOT(s)->pages * PAGE, prot));
    SLOT(s)->prot = prot;
}

/* Moves the slot to its other window; `flags` adds MREMAP_DONTUNMAP where the kind asks for it. */
static void move_slot(uint64_t s, int flags) {
    uint64_t from = SLOT(s)->base, length = SLOT(s)->pages * PAGE;
    uint64_t to = from == home_of(s) ? home_of(s) + SLOT_OTHER : home_of(s);
    void *at = mremap((void *)from, length, length, MREMAP_MAYMOVE | MREMAP_FIXED | flags,
                      (void *)to);
    expect("mremap", s, to, (uint64_t)at);
    SLOT(s)->base = to;
}

static void resize_slot(uint64_t s) {
    uint64_t old = SLOT(s)->pages, new = 1 + next_random() % SLOT_PAGES_SMALL;
    void *at = mremap((void *)SLOT(s)->base, old * PAGE, new * PAGE, 0);
    expect("mremap", s, SLOT(s)->base, (uint64_t)at);
    SLOT(s)->pages = new;
    if (new > old)
        fill(s, old, new);
}

/* Heap end up, stamped; or down again to exactly where it was. */
static uint64_t turn_brk(uint64_t s) {
    static uint64_t before;
    if (SLOT(s)->pages) {
        expect("brk", s, 0, brk((void *)before));
        SLOT(s)->pages = 0;
        return STATE_UNMAPPED;
    }
    before = (uint64_t)sbrk(0);
    SLOT(s)->base = (before + PAGE - 1) & ~(PAGE - 1);
    SLOT(s)->pages = SLOT_PAGES_SMALL;
    expect("brk", s, 0, brk((void *)(SLOT(s)->base + SLOT_PAGES_SMALL * PAGE)));
    refill(s);
    return STATE_MAPPED;
}

/* The kinds that come and go: mapped and filled, or unmapped. */
static uint64_t turn_unmap(uint64_t s, uint64_t was) {
    if (was == STATE_MAPPED) {
        unmap_slot(s);
        return STATE_UNMAPPED;
    }
    map_slot(s, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1);
    refill(s);
    return STATE_MAPPED;
}

static uint64_t turn_shm_remap(uint64_t s, uint64_t was) {
    if (was == STATE_MAPPED) {
        unmap_slot(s);
        return STATE_UNMAPPED;
    }
    map_slot(s, MAP_SHARED | MAP_FIXED_NOREPLACE, memory_fd[s]);
    return STATE_MAPPED;
}

/* Leaves an empty window behind, or cleans one up; refills now and then. */
static void turn_leave(uint64_t s) {
    uint64_t before = SLOT(s)->base;
    if (!SLOT(s)->shadow) {
        move_slot(s, MREMAP_DONTUNMAP);
        SLOT(s)->shadow = before;
        return;
    }
    expect("munmap", s, 0, munmap((void *)SLOT(s)->shadow, SLOT(s)->pages * PAGE));
    SLOT(s)->shadow = 0;
    if (next_random() % 2)
        refill(s);
}

static void turn_protect(uint64_t s) {
    if (next_random() % 2) {
        protect(s, PROT_READ | PROT_WRITE);
        refill(s);
    }
    protect(s, next_random() % 2 ? PROT_READ : PROT_NONE);
}

static uint64_t turn(uint64_t s, uint64_t was) {
    int full = SLOT(s)->holes == HOLES_NONE;
    switch (SLOT(s)->kind) {
    case SLOT_UNMAP: return turn_unmap(s, was);
    case SLOT_SHM_REMAP: return turn_shm_remap(s, was);
    case SLOT_BRK: return turn_brk(s);
    case SLOT_MOVE:
        move_slot(s, 0);
        if (next_random() % 4 == 0)
            refill(s);
        break;
    case SLOT_DONTNEED:
    case SLOT_THP:
        if (full) drop_odd_pages(s, MADV_DONTNEED); else refill(s);
        break;
    case SLOT_SHM_PUNCH:
        if (full) drop_odd_pages(s, MADV_REMOVE); else refill(s);
        break;
    case SLOT_FIXED:
        map_slot(s, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1);
        refill(s);
        break;
    case SLOT_SHM_ZAP:
        if (next_random() % 2) advise(s, 0, SLOT(s)->pages, MADV_DONTNEED); else refill(s);
        break;
    case SLOT_PROTECT: turn_protect(s); break;
    case SLOT_RESIZE: resize_slot(s); break;
    case SLOT_LEAVE: turn_leave(s); break;
    }
    return STATE_MAPPED;
}

static int is_shared(uint64_t kind) {
    return kind == SLOT_SHM_ZAP || kind == SLOT_SHM_PUNCH || kind == SLOT_SHM_REMAP;
}

static void prepare_slot(uint64_t s) {
    uint64_t kind = s % SLOT_KINDS;
    /* There is only one heap end. */
    if (kind == SLOT_BRK && s != SLOT_BRK)
        kind = SLOT_UNMAP;
    SLOT(s)->kind = kind;
    SLOT(s)->base = home_of(s);
    SLOT(s)->prot = PROT_READ | PROT_WRITE;
    if (kind == SLOT_BRK)
        return;
    SLOT(s)->pages = kind == SLOT_THP ? SLOT_PAGES_HUGE : SLOT_PAGES_SMALL;
    if (is_shared(kind)) {
        memory_fd[s] = memfd_create("churn", MFD_CLOEXEC);
        expect("memfd", s, 0, ftruncate(memory_fd[s], SLOT(s)->pages * PAGE));
        map_slot(s, MAP_SHARED | MAP_FIXED_NOREPLACE, memory_fd[s]);
    } else {
        map_slot(s, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1);
    }
    if (kind == SLOT_THP)
        advise(s, 0, SLOT(s)->pages, MADV_HUGEPAGE);
    refill(s);
    __atomic_store_n(&SLOT(s)->state, STATE_MAPPED, __ATOMIC_RELEASE);
}

/* A child that looks at its inherited memory, writes to it, and goes. */
static void fork_once(void) {
    pid_t child = fork();
    if (child == 0) {
        uint64_t before = HEADER->version;
        HEADER->version = before + 1;
        _exit(before == STAMP_VERSION && HEADER->version == STAMP_VERSION + 1 ? 7 : 8);
    }
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 7 << 8)
        fault_found("fork", child, 7 << 8, status);
}

static void *idle(void *argument) {
    return argument;
}

static void spawn_once(void) {
    pthread_t thread;
    void *answer = NULL;
    if (pthread_create(&thread, NULL, idle, (void *)0x77) != 0 ||
        pthread_join(thread, &answer) != 0 || answer != (void *)0x77)
        fault_found("thread", 0, 0x77, (uint64_t)answer);
}

static void count_up(void) {
#if defined(__x86_64__)
    asm volatile("add $1, %0" : "+r"(reg_seq) : : "memory", "cc");
#else
    asm volatile("add %0, %0, #1" : "+r"(reg_seq) : : "memory");
#endif
}

static void pause_between(void) {
    struct timespec pause = {0, options.churn_us * 1000};
    if (options.churn_us && bare_syscall(SYS_nanosleep, (long)&pause, 0, 0, 0) != 0)
        fault_found("nanosleep", 0, 0, 1);
}

void *churn(void *argument) {
    random_state = options.seed * 0x9e3779b97f4a7c15ull | 1;
    for (uint64_t s = 0; s < options.slots; s++)
        prepare_slot(s);
    asm volatile(MOVE_1_TO_0 : "=r"(reg_seq) : "r"(0ull));
    asm volatile(MOVE_1_TO_0 : "=r"(reg_mark) : "r"(MARK_CHURN));
    __atomic_store_n(&BLOCK(CHURN_BLOCK - 1)->tid, bare_syscall(SYS_gettid, 0, 0, 0, 0),
                     __ATOMIC_RELEASE);
    for (uint64_t round = 1; !stop_requested; round++) {
        pause_between();
        count_up();
        if (options.slots) {
            uint64_t s = next_random() % options.slots, was = SLOT(s)->state;
            check_slot(s);
            __atomic_store_n(&SLOT(s)->state, STATE_CHANGING, __ATOMIC_SEQ_CST);
            uint64_t state = turn(s, was);
            __atomic_store_n(&SLOT(s)->state, state, __ATOMIC_SEQ_CST);
        }
        if (options.fork_every && round % options.fork_every == 0)
            fork_once();
        if (options.spawn_every && round % options.spawn_every == 0)
            spawn_once();
        HEADER->churn_ops = round;
    }
    return argument;
}
