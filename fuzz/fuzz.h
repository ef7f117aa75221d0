/* SPDX-License-Identifier: Apache-2.0 */
/* fuzz/fuzz.h: a fuzz target is one function, which libFuzzer calls with what
 * it invents and replay.c with the files of a corpus.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Like assert(), also where NDEBUG is set. */
#define FUZZ_CHECK(cond)                                                       \
    do {                                                                       \
        if (!(cond))                                                           \
            abort();                                                           \
    } while (0)
