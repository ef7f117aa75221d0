/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/repo-cfg.h"

#include <string.h>

#include "codec/crc.h"
#include "codec/format.h"
#include "codec/le.h"

#define MAGIC         "VMKREPO" /* 8 bytes with its NUL */
#define COMPAT_PARITY ((uint64_t)1)

enum {
    AT_VERSION = 8,
    AT_CIPHER = 10,
    AT_CHUNK = 11,
    AT_ZERO = 12,
    AT_COMPAT = 16,
    AT_RO_COMPAT = 24,
    AT_INCOMPAT = 32,
    AT_UUID = 40,
    AT_CREATED = 56,
    AT_ZERO2 = 64,
    AT_CRC = 124,
};

void
repo_cfg_encode(const struct repo_cfg *c, uint8_t out[REPO_CFG_SIZE])
{
    memset(out, 0, REPO_CFG_SIZE);
    memcpy(out, MAGIC, 8);
    le_put16(out + AT_VERSION, FORMAT_VERSION);
    out[AT_CIPHER] = c->cipher;
    out[AT_CHUNK] = c->chunk_log2;
    memcpy(out + AT_UUID, c->uuid, 16);
    le_put64(out + AT_COMPAT, c->makes_parity ? COMPAT_PARITY : 0);
    le_put64(out + AT_CREATED, (uint64_t)c->created_unix_s);
    le_put32(out + AT_CRC, crc_32c(0, out, AT_CRC));
}

void
repo_cfg_set_parity(uint8_t data[REPO_CFG_SIZE])
{
    le_put64(data + AT_COMPAT, le_get64(data + AT_COMPAT) | COMPAT_PARITY);
    le_put32(data + AT_CRC, crc_32c(0, data, AT_CRC));
}

int
repo_cfg_decode(const uint8_t *data, size_t len, struct repo_cfg *ret,
                struct err *err)
{
    if (len != REPO_CFG_SIZE || memcmp(data, MAGIC, 8) != 0)
        return err_set(err, ERR_CORRUPT, "repo.cfg: not a vmkeep repository");
    if (le_get32(data + AT_CRC) != crc_32c(0, data, AT_CRC))
        return err_set(err, ERR_CORRUPT, "repo.cfg: checksum mismatch");
    if (le_get16(data + AT_VERSION) != FORMAT_VERSION ||
        le_get64(data + AT_INCOMPAT) != 0)
        return err_set(err, ERR_UNSUPPORTED,
                       "repo.cfg: a newer format; upgrade vmkeep");
    if (data[AT_CIPHER] > 1 || data[AT_CHUNK] < 16 || data[AT_CHUNK] > 22 ||
        !le_is_zero(data + AT_ZERO, 4) || !le_is_zero(data + AT_ZERO2, 60))
        return err_set(err, ERR_CORRUPT, "repo.cfg: impossible fields");
    ret->cipher = data[AT_CIPHER];
    ret->chunk_log2 = data[AT_CHUNK];
    memcpy(ret->uuid, data + AT_UUID, 16);
    ret->created_unix_s = (int64_t)le_get64(data + AT_CREATED);
    ret->is_read_only = le_get64(data + AT_RO_COMPAT) != 0;
    ret->makes_parity = (le_get64(data + AT_COMPAT) & COMPAT_PARITY) != 0;
    return 0;
}
