/* SPDX-License-Identifier: Apache-2.0 */
/* controller/secrets.c: a directory of sealed texts and its key.
 *
 * On crash: file_replace() leaves the old text or the new one. The key is
 * written with the same care before the first text is.
 */
#include "controller/secrets.h"

#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/uuid.h"
#include "codec/hash.h"
#include "codec/seal.h"

#define KEY_NAME "seal.key"

_Static_assert(SEAL_KEY_SIZE == HASH_SIZE, "one key serves both");

struct secrets {
    uint8_t key[SEAL_KEY_SIZE];
    int dir_fd;
    char *dir;
};

static void
wipe_buf(struct buf *b)
{
    if (b->data != NULL)
        mem_wipe(b->data, b->len);
    buf_fini(b);
}

static int
key_make(const char *state_dir, uint8_t key[SEAL_KEY_SIZE], struct err *err)
{
    CLEANUP(fd_close) int fd = -1;

    if (file_open_dir(state_dir, &fd, err) < 0)
        return -1;
    uuid_random_bytes(key, SEAL_KEY_SIZE);
    return file_replace(fd, KEY_NAME, key, SEAL_KEY_SIZE, 0600, err);
}

static int
key_load(const char *state_dir, uint8_t key[SEAL_KEY_SIZE], struct err *err)
{
    CLEANUP(mem_free) char *path = xasprintf("%s/" KEY_NAME, state_dir);
    struct buf b = BUF_INIT;
    struct stat st;

    if (stat(path, &st) < 0 && errno == ENOENT)
        return key_make(state_dir, key, err);
    if (file_read_all(path, SEAL_KEY_SIZE, &b, err) < 0)
        return -1;

    bool is_good = b.len == SEAL_KEY_SIZE;

    if (is_good)
        memcpy(key, b.data, SEAL_KEY_SIZE);
    wipe_buf(&b);
    if (!is_good)
        return err_set(
            err, ERR_CORRUPT,
            "%s is not a key of %d bytes: restore it from a copy, or remove it; then the passwords in definitions that snapshots keep are lost",
            path, SEAL_KEY_SIZE);
    return 0;
}

struct secrets *
secrets_open(const char *state_dir, struct err *err)
{
    CLEANUP(secrets_close) struct secrets *s = xcalloc(1, sizeof *s);

    s->dir_fd = -1;
    s->dir = xasprintf("%s/secrets", state_dir);
    if (file_make_dirs(s->dir, 0700, err) < 0 || file_sweep(s->dir, err) < 0 ||
        file_sweep(state_dir, err) < 0 ||
        file_open_dir(s->dir, &s->dir_fd, err) < 0 ||
        key_load(state_dir, s->key, err) < 0)
        return err_wrap_null(err, "secrets");
    return TAKE(s);
}

void
secrets_close(struct secrets *s)
{
    if (s == NULL)
        return;
    if (s->dir_fd >= 0)
        (void)close(s->dir_fd);
    mem_wipe(s->key, sizeof s->key);
    free(s->dir);
    free(s);
}

int
secrets_put(struct secrets *s, const char *name, const char *text,
            struct err *err)
{
    CLEANUP(buf_fini) struct buf blob = BUF_INIT;

    if (!uuid_is_valid(name))
        return err_set(err, ERR_INVALID, "secrets: bad name");
    if (seal_make(s->key, name, text, strlen(text), &blob, err) < 0)
        return -1;
    return file_replace(s->dir_fd, name, blob.data, blob.len, 0600, err);
}

int
secrets_get(struct secrets *s, const char *name, char **ret_text,
            struct err *err)
{
    CLEANUP(buf_fini) struct buf blob = BUF_INIT;
    CLEANUP(fd_close) int fd = -1;
    struct buf text = BUF_INIT;

    if (!uuid_is_valid(name))
        return err_set(err, ERR_INVALID, "secrets: bad name");
    if (file_open_beneath(s->dir_fd, name, O_RDONLY, 0, &fd, err) < 0 ||
        file_read_fd(fd, SEAL_MAX + SEAL_EXTRA, name, &blob, err) < 0)
        return err_wrap(err, "secrets");
    if (seal_open(s->key, name, blob.data, blob.len, &text, err) < 0) {
        buf_fini(&text);
        return -1;
    }
    *ret_text = buf_take_str(&text);
    return 0;
}

int
secrets_delete(struct secrets *s, const char *name, struct err *err)
{
    if (!uuid_is_valid(name))
        return err_set(err, ERR_INVALID, "secrets: bad name");
    return file_unlink(s->dir_fd, name, err);
}

void
secrets_free_text(char *text)
{
    if (text != NULL)
        mem_wipe(text, strlen(text));
    free(text);
}

void
secrets_mark(const struct secrets *s, const char *text,
             char ret_mark[SECRETS_MARK_SIZE])
{
    static const char label[] = "vmkeep/definition/0";
    uint8_t key[HASH_SIZE], mac[HASH_SIZE];
    struct hash_key k;

    hash_key_init(&k, s->key);
    hash_hmac(&k, label, sizeof label, key); /* sealing has its own use of it */
    hash_key_init(&k, key);
    hash_hmac(&k, text, strlen(text), mac);
    for (size_t i = 0; i < HASH_SIZE; i++)
        (void)snprintf(ret_mark + 2 * i, 3, "%02x", mac[i]);
    mem_wipe(key, sizeof key);
    mem_wipe(&k, sizeof k);
}
