/* SPDX-License-Identifier: Apache-2.0 */
/* repo/repo-cfg.h: the object repo.cfg.
 *
 * Bytes: docs/formats/repository.md. Threads: any.
 */
#pragma once
#include <stdint.h>

#include "base/err.h"

#define REPO_CFG_SIZE 128

struct repo_cfg {
    uint8_t cipher; /* 0 none, 1 AES-256-GCM */
    uint8_t chunk_log2;
    uint8_t uuid[16];
    int64_t created_unix_s;
    bool is_read_only; /* an unknown ro_compat bit is set */
    bool makes_parity; /* compat bit PARITY */
};

void repo_cfg_encode(const struct repo_cfg *c, uint8_t out[REPO_CFG_SIZE]);
/* Set that bit in what repo_cfg_decode() accepts; what is unknown stays. */
void repo_cfg_set_parity(uint8_t data[REPO_CFG_SIZE]);
int repo_cfg_decode(const uint8_t *data, size_t len, struct repo_cfg *ret,
                    struct err *err) NODISCARD;
