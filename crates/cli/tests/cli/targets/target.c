/*
 * A process to be snapshotted. It answers every line on standard input with "alive", so that a
 * test can tell whether it still runs, and ends with its standard input.
 *
 * usage: target busy MIB      writes over MIB mebibytes for ever, in a thread of its own
 *        target resizing      grows and shrinks mappings for ever, in a thread of its own
 *        target registered    holds a userfaultfd on one of its own ranges
 *        target traced        is traced by its parent, whose answers these are; prints its id
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile uint64_t *memory;
static size_t words;

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(3);
}

static void *map(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		fail("mmap");
	return at;
}

static void *write_for_ever(void *unused)
{
	(void)unused;
	for (uint64_t stamp = 2;; stamp++)
		for (size_t i = 0; i < words; i += 512)
			memory[i] = stamp;
	return NULL;
}

static void busy(size_t mebibytes)
{
	pthread_t writer;

	words = (mebibytes << 20) / sizeof *memory;
	memory = map(words * sizeof *memory);
	for (size_t i = 0; i < words; i++)
		memory[i] = 1;
	if ((errno = pthread_create(&writer, NULL, write_for_ever, NULL)))
		fail("pthread_create");
}

/*
 * Each mapping has room behind it, so that it can always be resized where it is. A mapping that
 * is in two pieces for the kernel cannot: EFAULT.
 */
static void *resize_for_ever(void *unused)
{
	enum { MAPPINGS = 64, PAGES = 16 };
	size_t pages[MAPPINGS];
	char *room[MAPPINGS];

	for (size_t i = 0; i < MAPPINGS; i++) {
		pages[i] = PAGES;
		room[i] = map(2 * PAGES * 4096);
		if (munmap(room[i] + PAGES * 4096, PAGES * 4096))
			fail("munmap");
	}
	for (size_t i = 0;; i = (i + 1) % MAPPINGS) {
		size_t wanted = 1 + (pages[i] * 7 + i) % (PAGES - 1);

		if (mremap(room[i], pages[i] * 4096, wanted * 4096, 0) == MAP_FAILED)
			fail("mremap");
		room[i][(wanted - 1) * 4096] = 1;
		pages[i] = wanted;
	}
	return unused;
}

static void resizing(void)
{
	pthread_t thread;

	if ((errno = pthread_create(&thread, NULL, resize_for_ever, NULL)))
		fail("pthread_create");
}

static void own_a_range(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (uffd < 0)
		fail("userfaultfd");
	if (ioctl(uffd, UFFDIO_API, &api))
		fail("UFFDIO_API");
	range.range.len = 1 << 20;
	range.range.start = (uintptr_t)map(range.range.len);
	/* One page is there before the rest is watched: a snapshot has something to save. */
	*(volatile char *)(uintptr_t)range.range.start = 1;
	if (ioctl(uffd, UFFDIO_REGISTER, &range))
		fail("UFFDIO_REGISTER");
}

static void be_traced(void)
{
	pid_t child = fork();

	if (child < 0)
		fail("fork");
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(3);
		raise(SIGSTOP);
		for (;;)
			pause();
	}
	if (waitpid(child, NULL, 0) != child)
		fail("waitpid");
	printf("%d\n", child);
}

int main(int argc, char **argv)
{
	char line[64];

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 3 && !strcmp(argv[1], "busy")) {
		busy(strtoul(argv[2], NULL, 10));
	} else if (argc == 2 && !strcmp(argv[1], "resizing")) {
		resizing();
	} else if (argc == 2 && !strcmp(argv[1], "registered")) {
		own_a_range();
	} else if (argc == 2 && !strcmp(argv[1], "traced")) {
		be_traced();
	} else {
		fprintf(stderr, "usage: %s busy MIB | resizing | registered | traced\n", argv[0]);
		return 2;
	}
	puts("ready");
	while (fgets(line, sizeof line, stdin))
		puts("alive");
	return 0;
}
