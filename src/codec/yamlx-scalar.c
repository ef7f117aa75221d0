/* SPDX-License-Identifier: Apache-2.0 */
/* Words first, then numbers by yaml.v2's order: integer of any base that Go's
 * ParseInt(s, 0, 64) takes, then a float, else a string. Time stamps stay
 * strings, as there.
 */
#include "codec/yamlx-scalar.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NUMBER 64 /* longer text is no number that anybody writes */

static const struct {
    const char *word;
    char what; /* n null, t true, f false, x not in JSON */
} words[] = {
    { "", 'n' },      { "~", 'n' },     { "null", 'n' },  { "Null", 'n' },
    { "NULL", 'n' },  { "y", 't' },     { "Y", 't' },     { "yes", 't' },
    { "Yes", 't' },   { "YES", 't' },   { "true", 't' },  { "True", 't' },
    { "TRUE", 't' },  { "on", 't' },    { "On", 't' },    { "ON", 't' },
    { "n", 'f' },     { "N", 'f' },     { "no", 'f' },    { "No", 'f' },
    { "NO", 'f' },    { "false", 'f' }, { "False", 'f' }, { "FALSE", 'f' },
    { "off", 'f' },   { "Off", 'f' },   { "OFF", 'f' },   { ".nan", 'x' },
    { ".NaN", 'x' },  { ".NAN", 'x' },  { ".inf", 'x' },  { ".Inf", 'x' },
    { ".INF", 'x' },  { "+.inf", 'x' }, { "+.Inf", 'x' }, { "+.INF", 'x' },
    { "-.inf", 'x' }, { "-.Inf", 'x' }, { "-.INF", 'x' },
};

static const char *
skip_digits(const char *p, bool *ret_any)
{
    const char *start = p;

    while (*p >= '0' && *p <= '9')
        p++;
    *ret_any = p > start;
    return p;
}

/* ^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$ */
static bool
is_float(const char *p)
{
    bool before, after = false;

    if (*p == '-' || *p == '+')
        p++;
    p = skip_digits(p, &before);
    if (*p == '.')
        p = skip_digits(p + 1, &after);
    if (!before && !after)
        return false;
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '-' || *p == '+')
            p++;
        p = skip_digits(p, &after);
        if (!after)
            return false;
    }
    return *p == 0;
}

/* Go's ParseInt with base 0: 0x, 0o, 0b and a leading 0 for octal. */
static bool
parse_int(const char *s, int64_t *ret_value)
{
    const char *p = s + (*s == '-' || *s == '+');
    int base = 10;
    char *end;

    if (*p < '0' || *p > '9')
        return false;
    if (p[0] == '0' && p[1] != 0) {
        char c = (char)(p[1] | 0x20);

        base = c == 'x' ? 16 : c == 'b' ? 2 : 8;
        p += c == 'x' || c == 'b' || c == 'o' ? 2 : 1;
        if (*p == '-' || *p == '+' || *p == 0)
            return false;
    }
    errno = 0;
    unsigned long long v = strtoull(p, &end, base);

    if (errno != 0 || *end != 0 || end == p)
        return false;
    if (*s == '-') {
        if (v > (unsigned long long)INT64_MAX + 1)
            return false;
        *ret_value = (int64_t)(0 - v);
        return true;
    }
    *ret_value = (int64_t)v;
    return v <= INT64_MAX;
}

/* Go prints a whole float without a point, so it is an integer in JSON. */
static json_t *
number_of(double d)
{
    if (d == floor(d) && fabs(d) < 9007199254740992.0)
        return json_integer((json_int_t)d);
    return json_real(d); /* NULL when it is infinite */
}

static json_t *
resolve_number(const char *s, size_t len)
{
    char plain[MAX_NUMBER];
    size_t n = 0;
    int64_t value;

    if (len >= MAX_NUMBER || strchr("+-.0123456789", *s) == NULL)
        return NULL;
    for (size_t i = 0; i < len; i++) {
        if (s[i] != '_')
            plain[n++] = s[i];
    }
    plain[n] = 0;
    if (parse_int(plain, &value))
        return json_integer(value);
    if (!is_float(plain))
        return NULL;
    return number_of(strtod(plain, NULL));
}

json_t *
yamlx_scalar_resolve(const char *s, size_t len)
{
    json_t *number;

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        if (strlen(words[i].word) != len || memcmp(words[i].word, s, len) != 0)
            continue;
        switch (words[i].what) {
        case 'n':
            return json_null();
        case 'x':
            return NULL;
        default:
            return json_boolean(words[i].what == 't');
        }
    }
    number = resolve_number(s, len);
    return number != NULL ? number : json_stringn(s, len);
}
