/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz/fuzz.h: a fuzz target is one function, which libFuzzer calls with what
 * it invents and replay.c with the files of a corpus.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* An object of a store in memory. */
struct fuzz_bytes {
    uint8_t *data;
    size_t size;
};

/* What blob_get() gives of it. */
static inline size_t
fuzz_read(const struct fuzz_bytes *b, uint64_t off, void *data, size_t len)
{
    size_t n = off >= b->size ? 0 : b->size - off < len ? b->size - off : len;

    if (n > 0)
        memcpy(data, b->data + off, n);
    return n;
}

/* Like assert(), also where NDEBUG is set. */
#define FUZZ_CHECK(cond)                                                       \
    do {                                                                       \
        if (!(cond))                                                           \
            abort();                                                           \
    } while (0)
