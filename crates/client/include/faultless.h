/*
 * Memory that a faultless page server fills as it is touched.
 *
 * Link with libfaultless_client.a (cargo build -p faultless-client --release), -lpthread -ldl -lm.
 * Functions may be called from any thread, but for one client from one thread at a time.
 */
#ifndef FAULTLESS_H
#define FAULTLESS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A connection to a page server. */
typedef struct faultless_client faultless_client;

/*
 * Hands memory over to the server that listens at `socket`.
 *
 * `memory` is private anonymous memory, `memory` and `len` multiples of the page size, nothing in
 * it touched so far: it is filled from `image_offset` of the server's image on. The first access
 * to a page waits for the server. What is given up with MADV_DONTNEED is zeros afterwards, so
 * madvise must not be called before faultless_connect returns.
 *
 * Returns NULL on error, with the reason in `error`, if that is not NULL.
 */
faultless_client *faultless_connect(const char *socket, void *memory, size_t len,
                                    uint64_t image_offset, char *error, size_t error_len);

/* Tells the server that memory is about to be touched. Returns 0, or -1 if the server is gone. */
int faultless_prefetch(faultless_client *client, const void *memory, size_t len);

/*
 * Returns how many bytes the server has told to be lost since this was asked last, or -1 if the
 * server is gone. Accesses to lost memory raise SIGBUS. Never waits.
 */
int64_t faultless_lost(faultless_client *client);

/* Returns a descriptor that is readable when faultless_lost has something to tell. */
int faultless_fd(const faultless_client *client);

/*
 * Lets the server go. Memory that was not touched yet reads as zeros from then on, so unmap it, or
 * see to it before that all of it is there. NULL is allowed.
 */
void faultless_disconnect(faultless_client *client);

#ifdef __cplusplus
}
#endif

#endif
