/* SPDX-License-Identifier: Apache-2.0 */
#include "api/accept.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

/* One media range; the parts point into the header. */
struct range {
    char type[64];
    char g[64], v[32], as[64];
};

static void
copy(char *to, size_t size, const char *from, size_t len)
{
    while (len > 0 && isspace((unsigned char)*from)) {
        from++;
        len--;
    }
    while (len > 0 && isspace((unsigned char)from[len - 1]))
        len--;
    if (len >= size)
        len = 0; /* nothing that we know is as long */
    memcpy(to, from, len);
    to[len] = 0;
}

static void
parse_param(const char *s, size_t len, struct range *r)
{
    const char *eq = memchr(s, '=', len);
    char key[16];

    if (eq == NULL)
        return;
    copy(key, sizeof key, s, (size_t)(eq - s));
    len -= (size_t)(eq + 1 - s);
    if (strcmp(key, "g") == 0)
        copy(r->g, sizeof r->g, eq + 1, len);
    else if (strcmp(key, "v") == 0)
        copy(r->v, sizeof r->v, eq + 1, len);
    else if (strcmp(key, "as") == 0)
        copy(r->as, sizeof r->as, eq + 1, len);
}

/* The next range at *at; false at the end. */
static bool
next_range(const char **at, struct range *r)
{
    const char *s = *at;
    size_t len = strcspn(s, ",");
    size_t used;

    if (*s == 0)
        return false;
    *r = (struct range){ 0 };
    used = strcspn(s, ";,");
    copy(r->type, sizeof r->type, s, used);
    while (used < len) {
        size_t n = strcspn(s + used + 1, ";,");

        parse_param(s + used + 1, n, r);
        used += 1 + n;
    }
    *at = s + len + (s[len] == ',');
    return true;
}

enum form
accept_form(const char *accept, const char **ret_version)
{
    struct range r;

    if (ret_version != NULL)
        *ret_version = "v1";
    if (accept == NULL)
        return FORM_PLAIN;
    while (next_range(&accept, &r)) {
        bool is_beta = strcmp(r.v, "v1beta1") == 0;

        if (strcmp(r.type, "application/json") != 0)
            continue;
        if (r.as[0] == 0)
            return FORM_PLAIN;
        if (strcmp(r.g, "meta.k8s.io") != 0 ||
            (!is_beta && strcmp(r.v, "v1") != 0))
            continue;
        if (ret_version != NULL)
            *ret_version = is_beta ? "v1beta1" : "v1";
        if (strcmp(r.as, "Table") == 0)
            return FORM_TABLE;
        if (strncmp(r.as, "PartialObjectMetadata", 21) == 0)
            return FORM_PARTIAL;
    }
    return FORM_PLAIN;
}

const char *
accept_discovery(const char *accept)
{
    const char *best = NULL;
    struct range r;

    while (accept != NULL && next_range(&accept, &r)) {
        if (strcmp(r.type, "application/json") != 0 ||
            strcmp(r.g, "apidiscovery.k8s.io") != 0 ||
            strcmp(r.as, "APIGroupDiscoveryList") != 0)
            continue;
        if (strcmp(r.v, "v2") == 0)
            return "v2";
        if (strcmp(r.v, "v2beta1") == 0)
            best = "v2beta1";
    }
    return best;
}
