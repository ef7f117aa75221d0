/* SPDX-License-Identifier: Apache-2.0 */
/* The generator is the identity above the rows of P (all ones) and Q (powers of
 * two). What is lost is a linear function of any `count` stripes that are left:
 * their rows are inverted, and the row of a lost stripe is multiplied by that.
 */
#include "codec/erasure.h"

#include <assert.h>
#include <isa-l/erasure_code.h>
#include <string.h>

#define TABLE 32u /* bytes that ISA-L makes of a coefficient */

struct matrix {
    uint8_t at[ERASURE_STRIPES_MAX * ERASURE_DATA_MAX];
};

/* ISA-L leaves the upper halves of the vector registers as they are after AVX,
 * and every SSE instruction that follows in this thread waits for them: SHA-256
 * of what was just encoded took 1.2 ns a byte instead of 0.35. */
static void
leave_avx(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx"))
        __asm__ volatile("vzeroupper");
#endif
}

static void
run(unsigned count, size_t len, unsigned rows, uint8_t *coefficients,
    uint8_t *const from[], uint8_t *const to[])
{
    uint8_t tables[TABLE * ERASURE_DATA_MAX * ERASURE_PARITY];

    assert(count >= 1 && count <= ERASURE_DATA_MAX && rows <= ERASURE_PARITY);
    assert(len >= 1 && len <= ERASURE_LEN_MAX);
    ec_init_tables((int)count, (int)rows, coefficients, tables);
    /* It changes neither the arrays nor what `from` points to. */
    ec_encode_data((int)len, (int)count, (int)rows, tables,
                   (uint8_t **)(uintptr_t)from, (uint8_t **)(uintptr_t)to);
    leave_avx();
}

void
erasure_encode(unsigned count, size_t len, const uint8_t *const data[],
               uint8_t *const parity[ERASURE_PARITY])
{
    struct matrix m;

    gf_gen_rs_matrix(m.at, (int)(count + ERASURE_PARITY), (int)count);
    run(count, len, ERASURE_PARITY, m.at + (size_t)count * count,
        (uint8_t *const *)(uintptr_t)data, parity);
}

/* The row of stripe `lost` as a function of the stripes whose rows `inverse`
 * is the inverse of. */
static void
multiply(unsigned count, const struct matrix *generator, unsigned lost,
         const struct matrix *inverse, uint8_t *out)
{
    for (unsigned i = 0; i < count; i++) {
        out[i] = 0;
        for (unsigned k = 0; k < count; k++)
            out[i] ^= gf_mul(generator->at[lost * count + k],
                             inverse->at[k * count + i]);
    }
}

int
erasure_rebuild(unsigned count, size_t len, uint8_t *const stripes[],
                const bool is_lost[], struct err *err)
{
    uint8_t rows[ERASURE_PARITY * ERASURE_DATA_MAX];
    uint8_t *from[ERASURE_DATA_MAX], *to[ERASURE_PARITY];
    struct matrix generator, left, inverse;
    unsigned lost = 0, n = 0;

    assert(count >= 1 && count <= ERASURE_DATA_MAX);
    for (unsigned i = 0; i < count + ERASURE_PARITY; i++)
        lost += is_lost[i];
    if (lost == 0)
        return 0;
    if (lost > ERASURE_PARITY)
        return err_set(err, ERR_CORRUPT,
                       "%u of %u stripes are damaged, and parity repairs %u",
                       lost, count + ERASURE_PARITY, ERASURE_PARITY);
    gf_gen_rs_matrix(generator.at, (int)(count + ERASURE_PARITY), (int)count);
    for (unsigned i = 0; n < count; i++) {
        if (is_lost[i])
            continue;
        memcpy(left.at + (size_t)n * count, generator.at + (size_t)i * count,
               count);
        from[n++] = stripes[i];
    }
    if (gf_invert_matrix(left.at, inverse.at, (int)count) != 0)
        return err_set(err, ERR_INTERNAL, "the parity has no solution");
    lost = 0;
    for (unsigned i = 0; i < count + ERASURE_PARITY; i++) {
        if (!is_lost[i])
            continue;
        multiply(count, &generator, i, &inverse, rows + (size_t)lost * count);
        to[lost++] = stripes[i];
    }
    run(count, len, lost, rows, from, to);
    return 0;
}
