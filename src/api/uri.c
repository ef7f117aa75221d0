/* SPDX-License-Identifier: Apache-2.0 */
#include "api/uri.h"

#include <string.h>
#include <strings.h>

#include "base/mem.h"

static int
hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* In place; the text only becomes shorter. */
static int
decode(char *s, bool is_query, struct err *err)
{
    char *out = s;

    for (; *s != 0; s++) {
        if (*s == '+' && is_query) {
            *out++ = ' ';
        } else if (*s == '%') {
            int hi = hex_digit(s[1]);
            int lo = hi < 0 ? -1 : hex_digit(s[2]);

            if (lo < 0 || hi * 16 + lo == 0)
                return err_set(err, ERR_INVALID,
                               "the URL has a wrong percent sequence");
            *out++ = (char)(hi * 16 + lo);
            s += 2;
        } else {
            *out++ = *s;
        }
    }
    *out = 0;
    return 0;
}

static int
parse_path(char *path, struct uri *u, struct err *err)
{
    char *save = NULL;

    u->ends_in_slash = path[strlen(path) - 1] == '/'; /* it begins with one */
    for (char *s = strtok_r(path, "/", &save); s != NULL;
         s = strtok_r(NULL, "/", &save)) {
        if (u->nseg == URI_SEGMENTS_MAX)
            return err_set(err, ERR_INVALID, "the URL has too many parts");
        if (decode(s, false, err) < 0)
            return -1;
        u->seg[u->nseg++] = s;
    }
    return 0;
}

static int
parse_query(char *query, struct uri *u, struct err *err)
{
    char *save = NULL;

    for (char *s = strtok_r(query, "&", &save); s != NULL;
         s = strtok_r(NULL, "&", &save)) {
        char *eq = strchr(s, '=');
        char *val = eq != NULL ? eq + 1 : s + strlen(s);

        if (u->npairs == URI_PAIRS_MAX)
            return err_set(err, ERR_INVALID,
                           "the URL has too many query parameters");
        if (eq != NULL)
            *eq = 0;
        if (decode(s, true, err) < 0 || decode(val, true, err) < 0)
            return -1;
        u->pair[u->npairs++] = (struct uri_pair){ s, val };
    }
    return 0;
}

int
uri_parse(const char *target, struct uri *ret_uri, struct err *err)
{
    struct uri u = { 0 };
    char *query;

    if (target[0] != '/')
        return err_set(err, ERR_INVALID, "the URL is not an absolute path");
    u.text = xstrdup(target);
    query = strchr(u.text, '?');
    if (query != NULL)
        *query++ = 0;
    if (parse_path(u.text, &u, err) < 0 ||
        (query != NULL && parse_query(query, &u, err) < 0)) {
        uri_fini(&u);
        return -1;
    }
    *ret_uri = u;
    return 0;
}

void
uri_fini(struct uri *u)
{
    free(u->text);
    *u = (struct uri){ 0 };
}

const char *
uri_query(const struct uri *u, const char *key)
{
    for (size_t i = 0; i < u->npairs; i++) {
        if (strcmp(u->pair[i].key, key) == 0)
            return u->pair[i].val;
    }
    return NULL;
}

bool
uri_query_bool(const struct uri *u, const char *key)
{
    const char *v = uri_query(u, key);

    return v != NULL && strcasecmp(v, "false") != 0 && strcmp(v, "0") != 0;
}
