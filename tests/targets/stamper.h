/* The memory layout and the promises of the stamping target.
 *
 * Everything a checker must know lies at fixed addresses and describes itself, so that a core file
 * alone is enough to judge it: no symbols, no second source. The Rust mirror of this file is
 * xtask/src/soak/cut/layout.rs; change both together and raise STAMP_VERSION.
 *
 * Promises (they hold at every instant, so they hold in every snapshot that is one):
 *  - A writer thread keeps the number of the stamp it is writing in REG_SEQ (r15 / x28) and its
 *    mark in REG_MARK (r14 / x27). Stamp n goes to page order(n), where order() walks all pages of
 *    the thread once in every P stamps. So with n in the register, every other page carries exactly
 *    the last stamp below n that fell on it, in its first, middle and last word.
 *  - A page also carries what the writer had last seen of its neighbour's published number. The
 *    neighbour's published number is never below any of those.
 *  - A churn slot that is not `changing` holds what its table entry says, byte for byte.
 */
#ifndef STAMPER_H
#define STAMPER_H

#include <stddef.h>
#include <stdint.h>

#define STAMP_MAGIC 0x31504d4154534c46ull /* "FLSTAMP1" in memory */
#define STAMP_VERSION 1ull
#define PAGE 4096ull

/* All below 2^39, which every aarch64 kernel offers. */
#define HEADER_BASE 0x2000000000ull
#define COUNTERS_BASE 0x2080000000ull /* one page of a memfd, for stamps the kernel writes */
#define REGION_BASE 0x2100000000ull
#define REGION_STRIDE 0x0400000000ull
#define CHURN_BASE 0x3800000000ull
#define SLOT_STRIDE 0x0010000000ull
#define SLOT_OTHER 0x0008000000ull /* the second window of a slot lies this far above the first */

#define THREADS_MAX 14
#define REGIONS_MAX 8
#define SLOTS_MAX 64
#define CHURN_BLOCK 15 /* header page of the churn thread; the writers have pages 1.. */
#define SLOT_TABLE 16  /* header page of the slot table */
#define HEADER_PAGES 17

#define SLOT_PAGES_SMALL 64ull
#define SLOT_PAGES_HUGE 1024ull /* of SLOT_THP: two huge pages */

/* Word positions in a stamped page. */
#define WORD_FIRST 0
#define WORD_IDENTITY 1
#define WORD_SEEN 2
#define WORD_MIDDLE 256
#define WORD_LAST 511

#define MARK_WRITER 0x57a3b00000000000ull
#define MARK_CHURN 0x57a3c00000000000ull
#define IDENTITY_PAGE 0x1d00000000000000ull
#define IDENTITY_SLOT 0x5100000000000000ull

enum region_kind { REGION_ANON = 1, REGION_THP, REGION_SHMEM, REGION_DATA, REGION_HUGETLB };

enum slot_kind {
    SLOT_UNMAP,      /* mapped and unmapped */
    SLOT_MOVE,       /* mremap to the other window and back */
    SLOT_DONTNEED,   /* odd pages dropped, later refilled */
    SLOT_BRK,        /* the heap end moved up and down */
    SLOT_FIXED,      /* a new mapping laid over the old one */
    SLOT_THP,        /* huge pages, partly dropped */
    SLOT_SHM_ZAP,    /* shared memory: page tables dropped, content stays */
    SLOT_SHM_PUNCH,  /* shared memory: holes punched */
    SLOT_PROTECT,    /* content behind PROT_READ and PROT_NONE */
    SLOT_RESIZE,     /* grown and shrunk in place */
    SLOT_LEAVE,      /* moved with MREMAP_DONTUNMAP: the old window stays, empty */
    SLOT_SHM_REMAP,  /* shared memory: mapping gone and back, content stays */
    SLOT_KINDS
};

enum slot_state { STATE_UNMAPPED, STATE_MAPPED, STATE_CHANGING };
enum slot_holes { HOLES_NONE, HOLES_ODD };

struct region {
    uint64_t base, pages, kind;
    uint64_t alias; /* a second mapping of the same memory, or 0 */
};

struct header {
    uint64_t magic, version, threads, pages_per_thread, step, start, regions, slots;
    uint64_t pid, errors, seed, churn_ops;
    uint64_t spare[4];
    struct region region[REGIONS_MAX];
};

/* One page each, written by its own thread only. */
struct block {
    uint64_t tid, published, seen, loops;
};

struct slot {
    uint64_t state, base, pages, generation, holes, prot, kind;
    uint64_t shadow; /* start of the slot's other window while it is mapped and empty, or 0 */
};

#define HEADER ((volatile struct header *)HEADER_BASE)
#define BLOCK(t) ((volatile struct block *)(HEADER_BASE + PAGE * (1 + (t))))
#define SLOT(s) ((volatile struct slot *)(HEADER_BASE + PAGE * SLOT_TABLE) + (s))

/* Whole-program register variables: no function of ours ever uses these registers otherwise, and
 * the C library saves them around its own use, so a writer's loop always shows them. */
#if defined(__x86_64__)
register uint64_t reg_seq asm("r15");
register uint64_t reg_mark asm("r14");
#define MOVE_1_TO_0 "mov %1, %0"
#elif defined(__aarch64__)
register uint64_t reg_seq asm("x28");
register uint64_t reg_mark asm("x27");
#define MOVE_1_TO_0 "mov %0, %1"
#else
#error "the stamper knows x86-64 and aarch64"
#endif

/* Notes one broken promise seen from inside, and says it on standard error. */
void fault_found(const char *what, uint64_t where, uint64_t expected, uint64_t found);

/* A system call without the C library, so that a writer's loop never leaves our own code. */
long bare_syscall(long number, long a, long b, long c, long d);

/* The thread that grows, frees and remaps; `argument` is ignored. */
void *churn(void *argument);

struct options {
    uint64_t mib, threads, seed, slots, churn_us, fork_every, spawn_every;
    uint64_t burst, rest_us, beat_ms, seconds, huge_mib, alias;
};
extern struct options options;
extern volatile int stop_requested;

#endif
