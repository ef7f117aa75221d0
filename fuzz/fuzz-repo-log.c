/* SPDX-License-Identifier: Apache-2.0 */
/* Entries of the commit log, without their MAC and with a right one. */
#include <string.h>

#include "base/mem.h"
#include "fuzz.h"
#include "repo/commitlog.h"

static void
check_commit(const struct commitlog_entry *e)
{
    CLEANUP(buf_fini) struct buf again = BUF_INIT;
    struct commitlog_commit c;
    struct err err;

    if (commitlog_commit_decode(e->body, e->body_len, &c, &err) < 0)
        return;
    commitlog_commit_encode(&c, &again);
    FUZZ_CHECK(again.len == e->body_len &&
               memcmp(again.data, e->body, again.len) == 0);
}

static void
check_condemn(const struct commitlog_entry *e)
{
    CLEANUP(buf_fini) struct buf again = BUF_INIT;
    CLEANUP(commitlog_condemn_fini) struct commitlog_condemn c = { 0 };
    struct err err;

    if (commitlog_condemn_decode(e->body, e->body_len, &c, &err) < 0)
        return;
    commitlog_condemn_encode(&c, &again);
    FUZZ_CHECK(again.len == e->body_len &&
               memcmp(again.data, e->body, again.len) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const uint8_t bytes[HASH_SIZE];
    CLEANUP(buf_fini) struct buf again = BUF_INIT;
    struct commitlog_entry e, back;
    static struct keys keys;
    uint8_t repo[16] = { 0 };
    struct err err;

    if (keys.epoch_count == 0)
        keys_init(&keys, bytes);
    if (len >= 72)
        memcpy(repo, data + 56, 16);
    if (commitlog_decode(data, len, repo, NULL, &e, &err) < 0)
        return 0;
    commitlog_encode(&e, repo, &keys, &again);
    FUZZ_CHECK(again.len == len);
    FUZZ_CHECK(memcmp(again.data, data,
                      len - HASH_SIZE - (e.is_signed ? KEYS_SIGN_SIZE : 0)) ==
               0);
    FUZZ_CHECK(commitlog_decode((const uint8_t *)again.data, again.len, repo,
                                &keys, &back, &err) == 0);
    check_commit(&e);
    check_condemn(&e);
    return 0;
}
