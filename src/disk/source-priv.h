/* SPDX-License-Identifier: Apache-2.0 */
/* disk/source-priv.h: what the parts of a source share. */
#pragma once
#include "disk/chain.h"
#include "disk/nbdconn.h"
#include "disk/nbdserver.h"
#include "disk/source.h"

struct disk_source {
    char *what;               /* for messages */
    struct chain *chain;      /* NULL: an export of somebody else's */
    struct nbdserver *server; /* the same */
    struct nbdconn *conns[NBDSERVER_CONNECTIONS_MAX];
    size_t n_conns;
    uint64_t size;
    bool is_broken; /* a call failed: only close is left */
};

/* With the dirty bitmap `bitmap` in place of base:allocation; NULL: that. */
int disk_source_open_bitmap(const struct disk_source_options *options,
                            const char *bitmap, struct disk_source **ret_source,
                            struct err *err) NODISCARD;

/* Put into `add_to` what has (flags & mask) == value, in [from, to). */
struct source_query {
    uint64_t from, to;
    uint32_t mask, value;
};
int disk_source_query(struct disk_source *s, const struct source_query *q,
                      struct ranges *add_to, struct err *err) NODISCARD;

/* A call failed: the connections are closed, and with them go the requests
 * under way; `err` gets the server's last words. Returns -1. */
int disk_source_fail(struct disk_source *s, struct err *err);
