/*
 * Runs a program under a seccomp filter that refuses one system call, as container managers and
 * service managers do.
 *
 * usage: refuse_syscall NUMBER ERRNO PROGRAM [ARGUMENT...]
 *
 * An ERRNO of 0 kills the caller with SIGSYS instead.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: %s NUMBER ERRNO PROGRAM [ARGUMENT...]\n", argv[0]);
		return 2;
	}
	unsigned int number = strtoul(argv[1], NULL, 10);
	unsigned int refusal = strtoul(argv[2], NULL, 10);
	unsigned int action = refusal ? SECCOMP_RET_ERRNO | refusal : SECCOMP_RET_KILL_PROCESS;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { sizeof code / sizeof code[0], code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) {
		fprintf(stderr, "seccomp: %s\n", strerror(errno));
		return 3;
	}
	execvp(argv[3], argv + 3);
	fprintf(stderr, "%s: %s\n", argv[3], strerror(errno));
	return 3;
}
