/* SPDX-License-Identifier: Apache-2.0 */
/* controller/manifest.c: JSON Patch on a VM, and the few fields of it that a
 * new domain takes over. */
#include "controller/manifest.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define DOMAIN    "spec.template.spec.domain"
#define DEPTH_MAX 16

/* ---- JSON Pointer ---- */

struct pointer {
    char *text; /* owns the bytes of the words */
    char *words[DEPTH_MAX];
    size_t n;
};

static void
pointer_fini_p(struct pointer *p)
{
    free(p->text);
}

/* "~1" is a slash and "~0" a tilde; in place. */
static void
unescape(char *word)
{
    char *to = word;

    for (const char *from = word; *from != 0; from++) {
        if (from[0] == '~' && (from[1] == '0' || from[1] == '1'))
            *to++ = *++from == '1' ? '/' : '~';
        else
            *to++ = *from;
    }
    *to = 0;
}

static int
pointer_parse(const char *path, struct pointer *p, struct err *err)
{
    char *rest, *word;

    if (path[0] != '/')
        return err_set(err, ERR_INVALID, "patch: path %.90s is no pointer",
                       path);
    p->text = xstrdup(path + 1);
    rest = p->text;
    while ((word = strsep(&rest, "/")) != NULL) {
        if (p->n == DEPTH_MAX)
            return err_set(err, ERR_INVALID, "patch: path %.90s is too deep",
                           path);
        unescape(word);
        p->words[p->n++] = word;
    }
    return 0;
}

/* A place in an array of `size`; -1: none. "-" is behind the last. */
static long
array_place(const char *word, size_t size)
{
    char *end;
    unsigned long at;

    if (strcmp(word, "-") == 0)
        return (long)size;
    if (!isdigit((unsigned char)word[0]) || (word[0] == '0' && word[1] != 0))
        return -1;
    at = strtoul(word, &end, 10);
    return *end == 0 && at <= size ? (long)at : -1;
}

static json_t *
member(json_t *v, const char *word)
{
    if (json_is_array(v)) {
        long at = array_place(word, json_array_size(v));

        return at < 0 ? NULL : json_array_get(v, (size_t)at);
    }
    return json_object_get(v, word);
}

/* The parent of the last word; missing objects are made if `make`. */
static json_t *
parent_of(json_t *v, const struct pointer *p, bool make)
{
    for (size_t i = 0; v != NULL && i + 1 < p->n; i++) {
        json_t *next = member(v, p->words[i]);

        if (next == NULL && make && json_is_object(v)) {
            next = json_object();
            (void)json_object_set_new(v, p->words[i], next);
        }
        v = next;
    }
    return v;
}

/* ---- JSON Patch ---- */

static int
put(json_t *parent, const char *word, json_t *value, bool is_add)
{
    if (json_is_array(parent)) {
        long at = array_place(word, json_array_size(parent));

        if (at < 0)
            return -1;
        return is_add ? json_array_insert(parent, (size_t)at, value)
                      : json_array_set(parent, (size_t)at, value);
    }
    if (!is_add && json_object_get(parent, word) == NULL)
        return -1;
    return json_object_set(parent, word, value);
}

static int
take_out(json_t *parent, const char *word)
{
    if (json_is_array(parent)) {
        long at = array_place(word, json_array_size(parent));

        return at < 0 ? -1 : json_array_remove(parent, (size_t)at);
    }
    return json_object_del(parent, word);
}

static int
apply_one(json_t *vm, const json_t *operation, struct err *err)
{
    CLEANUP(pointer_fini) struct pointer p = { .text = NULL };
    const char *op = jsonx_str_or(operation, "op", "");
    const char *path = jsonx_str_or(operation, "path", "");
    json_t *value = json_object_get(operation, "value");
    int rc = -1;

    if (pointer_parse(path, &p, err) < 0)
        return -1;

    bool is_add = strcmp(op, "add") == 0;
    json_t *parent = parent_of(vm, &p, is_add);
    const char *last = p.words[p.n - 1];

    if (parent == NULL)
        return err_set(err, ERR_INVALID, "patch: %s %.90s: no such place", op,
                       path);
    if (is_add || strcmp(op, "replace") == 0)
        rc = put(parent, last, value, is_add);
    else if (strcmp(op, "remove") == 0)
        rc = take_out(parent, last);
    else if (strcmp(op, "test") == 0)
        rc = value != NULL && jsonx_equal(member(parent, last), value) ? 0 : -1;
    if (rc < 0)
        return err_set(err, ERR_INVALID, "patch: %s %.90s: %s", op, path,
                       strcmp(op, "test") == 0 ? "another value is there"
                                               : "no such place");
    return 0;
}

int
manifest_patch(json_t *vm, const json_t *operations, struct err *err)
{
    for (size_t i = 0; i < json_array_size(operations); i++) {
        if (apply_one(vm, json_array_get(operations, i), err) < 0)
            return -1;
    }
    return 0;
}

/* ---- reading ---- */

int
manifest_quantity(const char *text, uint64_t *ret_bytes, struct err *err)
{
    static const struct {
        const char *unit;
        uint64_t factor;
    } units[] = {
        { "", 1 },
        { "k", 1000 },
        { "M", 1000000 },
        { "G", 1000000000 },
        { "T", 1000000000000 },
        { "Ki", 1ull << 10 },
        { "Mi", 1ull << 20 },
        { "Gi", 1ull << 30 },
        { "Ti", 1ull << 40 },
    };
    size_t digits = strspn(text, "0123456789");
    uint64_t whole = 0, fraction = 0, scale = 1;
    const char *unit = text + digits;

    for (size_t i = 0; i < digits && digits <= 15; i++)
        whole = whole * 10 + (uint64_t)(text[i] - '0');
    if (*unit == '.')
        for (unit++; isdigit((unsigned char)*unit) && scale < 1000000; unit++) {
            fraction = fraction * 10 + (uint64_t)(*unit - '0');
            scale *= 10;
        }
    for (size_t i = 0; i < ARRAY_SIZE(units) && digits > 0 && digits <= 15;
         i++) {
        uint64_t bytes;

        if (strcmp(unit, units[i].unit) != 0)
            continue;
        if (__builtin_mul_overflow(whole, units[i].factor, &bytes) ||
            __builtin_add_overflow(bytes, fraction * units[i].factor / scale,
                                   ret_bytes))
            break;
        return 0;
    }
    return err_set(err, ERR_INVALID, "\"%.40s\" is no quantity, as 2Gi is",
                   text);
}

int
manifest_read(const json_t *vm, struct manifest_domain *ret_domain,
              struct err *err)
{
    const json_t *domain = jsonx_get(vm, DOMAIN);
    const char *memory = jsonx_str(domain, "memory.guest");
    int64_t cores = jsonx_int(domain, "cpu.cores", 0);
    int64_t sockets = jsonx_int(domain, "cpu.sockets", 1);
    int64_t threads = jsonx_int(domain, "cpu.threads", 1);
    struct manifest_domain d = { .uuid = jsonx_str(domain, "firmware.uuid"),
                                 .serial =
                                     jsonx_str(domain, "firmware.serial") };
    uint64_t bytes = 0;

    if (memory == NULL)
        memory = jsonx_str(domain, "resources.requests.memory");
    if (memory != NULL && manifest_quantity(memory, &bytes, err) < 0)
        return err_wrap(err, "memory");
    d.memory_kib = bytes / 1024;
    if (cores > 0 && sockets > 0 && threads > 0 && cores <= 4096 &&
        sockets <= 4096 && threads <= 4096)
        d.vcpus = (unsigned)(cores * sockets * threads);
    *ret_domain = d;
    return 0;
}

bool
manifest_mac(const json_t *vm, size_t i, char ret_mac[18])
{
    const json_t *list = jsonx_get(vm, DOMAIN ".devices.interfaces");
    const char *mac = jsonx_str(json_array_get(list, i), "macAddress");

    if (mac == NULL || (*mac != 0 && strlen(mac) != 17))
        return false;
    memset(ret_mac, 0, 18);
    for (size_t at = 0; mac[at] != 0; at++)
        ret_mac[at] =
            (char)(mac[at] == '-' ? ':' : tolower((unsigned char)mac[at]));
    return true;
}
