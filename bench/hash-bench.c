/* SPDX-License-Identifier: Apache-2.0 */
/* hash-bench: MB/s of one core that names chunks of 256 KiB, by path and by
 * how many are handed in at once, in CPU time. The paths take turns; medians.
 * What OpenSSL does on a CPU without SHA instructions:
 *     OPENSSL_ia32cap=:~0x20000000 hash-bench
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "codec/hash.h"

#define CHUNK  ((size_t)256 << 10)
#define BYTES  ((size_t)64 << 20) /* a measurement */
#define ROUNDS 7

static const char *const names[] = {
    [HASH_OPENSSL] = "OpenSSL",
    [HASH_AVX2] = "AVX2",
    [HASH_SHANI] = "SHA",
};

/* Of this thread: on a busy machine the wall clock tells about others. */
static uint64_t
cpu_ns(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double
measure(const struct hash_key *k, uint8_t *const data[], unsigned at_once)
{
    uint8_t ids[HASH_LANES][HASH_SIZE];
    const uint8_t *d[HASH_LANES];
    uint64_t begin_ns = cpu_ns();

    for (unsigned l = 0; l < HASH_LANES; l++)
        d[l] = data[l];
    for (size_t done = 0; done < BYTES; done += at_once * CHUNK)
        hash_hmac_lanes(k, d, at_once, CHUNK, ids);
    return (double)BYTES * 1e3 / (double)(cpu_ns() - begin_ns);
}

static int
compare(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

int
main(void)
{
    static const unsigned counts[] = { 1, 2, 4, 8 };
    static double results[3][4][ROUNDS];
    const uint8_t key[HASH_SIZE] = { 1 };
    uint8_t *data[HASH_LANES];
    struct hash_key k;

    for (unsigned l = 0; l < HASH_LANES; l++) {
        data[l] = xcalloc(1, CHUNK);
        memset(data[l], (int)(37 + l), CHUNK);
    }
    hash_key_init(&k, key);
    for (unsigned r = 0; r < ROUNDS; r++)
        for (unsigned p = 0; p < 3; p++)
            for (unsigned c = 0; c < 4; c++)
                if (hash_path_force((enum hash_path)p))
                    results[p][c][r] = measure(&k, data, counts[c]);
    printf("MB/s, at once:      1      2      4      8\n");
    for (unsigned p = 0; p < 3; p++) {
        printf("%-14s", names[p]);
        for (unsigned c = 0; c < 4; c++) {
            qsort(results[p][c], ROUNDS, sizeof(double), compare);
            printf("%7.0f", results[p][c][ROUNDS / 2]);
        }
        printf("\n");
    }
    for (unsigned l = 0; l < HASH_LANES; l++)
        free(data[l]);
    return 0;
}
