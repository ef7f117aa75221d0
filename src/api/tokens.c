/* SPDX-License-Identifier: Apache-2.0 */
#include "api/tokens.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/mutex.h"
#include "base/uuid.h"
#include "codec/hash.h"

#define TOKENS_MAX 1000
#define FILE_MAX   (256u << 10)
#define USER_SIZE  64
#define HEX_SIZE   (2 * HASH_SIZE + 1)

struct token {
    char digest[HEX_SIZE];
    char user[USER_SIZE];
    char made[CLOCK_RFC3339_SIZE];
};

extern struct role tokens_lock; /* struct tokens.mutex */

struct tokens {
    char *dir; /* [C] */
    pthread_mutex_t mutex;
    struct token *v GUARDED_BY(tokens_lock);
    size_t n GUARDED_BY(tokens_lock);
};

static void
lock(struct tokens *t) ACQUIRE(tokens_lock) NO_TSA
{
    (void)pthread_mutex_lock(&t->mutex);
}

static void
unlock(struct tokens *t) RELEASE(tokens_lock) NO_TSA
{
    (void)pthread_mutex_unlock(&t->mutex);
}

/* 2 * len digits and NUL */
static void
to_hex(const uint8_t *data, size_t len, char *hex)
{
    for (size_t i = 0; i < len; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", data[i]);
}

static void
digest_of(const char *token, char hex[HEX_SIZE])
{
    uint8_t md[HASH_SIZE];

    hash_sha256(token, strlen(token), md);
    to_hex(md, sizeof md, hex);
}

static bool
is_user_name(const char *s)
{
    size_t n = 0;

    for (; s[n] != 0; n++) {
        if (!isalnum((unsigned char)s[n]) && strchr("-_.@:", s[n]) == NULL)
            return false;
    }
    return n > 0 && n < USER_SIZE;
}

static int
parse_locked(struct tokens *t, char *text, struct err *err)
    REQUIRES(tokens_lock)
{
    char *save = NULL;
    unsigned line = 0;

    for (char *s = strtok_r(text, "\n", &save); s != NULL;
         s = strtok_r(NULL, "\n", &save)) {
        struct token *k;

        line++;
        if (s[0] == '#')
            continue;
        t->v = xrealloc(t->v, t->n + 1, sizeof *t->v);
        k = &t->v[t->n];
        if (sscanf(s, "%64s %63s %20s", k->digest, k->user, k->made) != 3 ||
            strlen(k->digest) != 64 || !is_user_name(k->user))
            return err_set(
                err, ERR_CORRUPT,
                "%s/tokens: line %u is not \"DIGEST USER TIME\": correct or remove it",
                t->dir, line);
        t->n++;
    }
    return 0;
}

static int
load_locked(struct tokens *t, struct err *err) REQUIRES(tokens_lock)
{
    CLEANUP(mem_free) char *path = xasprintf("%s/tokens", t->dir);
    CLEANUP(mem_free) char *text = NULL;
    struct buf b = BUF_INIT;
    int rc = file_read_all(path, FILE_MAX, &b, err);

    text = buf_take_str(&b);
    if (rc < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    return parse_locked(t, text, err);
}

struct tokens *
tokens_open(const char *dir, struct err *err)
{
    struct tokens *t = xcalloc(1, sizeof *t);
    int rc;

    t->dir = xstrdup(dir);
    (void)pthread_mutex_init(&t->mutex, NULL);
    lock(t);
    rc = load_locked(t, err);
    unlock(t);
    if (rc < 0) {
        tokens_free(t);
        return NULL;
    }
    return t;
}

void
tokens_free(struct tokens *t) NO_TSA
{
    if (t == NULL)
        return;
    (void)pthread_mutex_destroy(&t->mutex);
    free(t->v);
    free(t->dir);
    free(t);
}

static int
save_locked(const struct tokens *t, struct err *err) REQUIRES(tokens_lock)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    CLEANUP(fd_close) int fd = -1;

    buf_add_str(&b, "# SHA-256 of the token, user, when it was made\n");
    for (size_t i = 0; i < t->n; i++)
        buf_printf(&b, "%s %s %s\n", t->v[i].digest, t->v[i].user,
                   t->v[i].made);
    if (file_open_dir(t->dir, &fd, err) < 0)
        return -1;
    return file_replace(fd, "tokens", buf_str(&b), b.len, 0600, err);
}

static int
add_locked(struct tokens *t, const struct token *k, struct err *err)
    REQUIRES(tokens_lock)
{
    if (t->n >= TOKENS_MAX)
        return err_set(
            err, ERR_NO_SPACE,
            "there are %d tokens: remove old lines from %s/tokens and restart vmkeepd",
            TOKENS_MAX, t->dir);
    t->v = xrealloc(t->v, t->n + 1, sizeof *t->v);
    t->v[t->n++] = *k;
    if (save_locked(t, err) < 0) {
        t->n--;
        return -1;
    }
    return 0;
}

int
tokens_mint(struct tokens *t, const char *user, char ret_token[TOKEN_SIZE],
            struct err *err)
{
    uint8_t secret[32]; /* 256 bits */
    char text[TOKEN_SIZE] = "vmk_";
    struct token k = { 0 };
    int rc;

    if (!is_user_name(user))
        return err_set(err, ERR_INVALID,
                       "a user's name has 1 to 63 letters, digits and -_.@:");
    uuid_random_bytes(secret, sizeof secret);
    to_hex(secret, sizeof secret, text + 4);
    mem_wipe(secret, sizeof secret);
    digest_of(text, k.digest);
    (void)snprintf(k.user, sizeof k.user, "%s", user);
    clock_format_rfc3339(clock_wall_s(), k.made);
    lock(t);
    rc = add_locked(t, &k, err);
    unlock(t);
    if (rc == 0)
        memcpy(ret_token, text, TOKEN_SIZE);
    mem_wipe(text, sizeof text);
    return rc;
}

char *
tokens_find(struct tokens *t, const char *token)
{
    char digest[HEX_SIZE];
    char *user = NULL;

    digest_of(token, digest);
    lock(t);
    for (size_t i = 0; i < t->n && user == NULL; i++) {
        /* Digests of secrets: how far they agree tells nothing. */
        if (strcmp(t->v[i].digest, digest) == 0)
            user = xstrdup(t->v[i].user);
    }
    unlock(t);
    return user;
}
