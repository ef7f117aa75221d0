/* SPDX-License-Identifier: Apache-2.0 */
#include "api/selector.h"

#include <ctype.h>
#include <string.h>

#include "base/mem.h"

static struct selector_term *
add_term(struct selector *s, const char *key, size_t len, struct err *err)
{
    struct selector_term *t;

    if (s->n == SELECTOR_TERMS_MAX)
        return err_set_null(err, ERR_INVALID, "more than %d requirements",
                            SELECTOR_TERMS_MAX);
    s->v = xrealloc(s->v, s->n + 1, sizeof *s->v);
    t = &s->v[s->n++];
    *t = (struct selector_term){ .key = xstrndup(key, len) };
    return t;
}

static void
add_value(struct selector_term *t, char *value)
{
    t->values = xrealloc(t->values, t->nvalues + 1, sizeof *t->values);
    t->values[t->nvalues++] = value;
}

void
selector_fini(struct selector *s)
{
    for (size_t i = 0; i < s->n; i++) {
        for (size_t k = 0; k < s->v[i].nvalues; k++)
            free(s->v[i].values[k]);
        free(s->v[i].values);
        free(s->v[i].key);
    }
    free(s->v);
    *s = (struct selector){ 0 };
}

static void
skip_blanks(const char **at)
{
    while (**at == ' ' || **at == '\t')
        (*at)++;
}

static size_t
word_len(const char *s)
{
    size_t n = 0;

    while (isalnum((unsigned char)s[n]) ||
           (s[n] != 0 && strchr("-_./", s[n]) != NULL))
        n++;
    return n;
}

static bool
take_word(const char **at, const char *word)
{
    size_t n = word_len(*at);

    if (n != strlen(word) || strncmp(*at, word, n) != 0)
        return false;
    *at += n;
    return true;
}

/* "(x, y)" */
static int
parse_set(const char **at, struct selector_term *t, struct err *err)
{
    skip_blanks(at);
    if (**at != '(')
        return err_set(err, ERR_INVALID, "expected '(' after in or notin");
    do {
        size_t n;

        (*at)++;
        skip_blanks(at);
        n = word_len(*at);
        if (t->nvalues >= 256)
            return err_set(err, ERR_INVALID, "too many values");
        add_value(t, xstrndup(*at, n));
        *at += n;
        skip_blanks(at);
    } while (**at == ',');
    if (**at != ')')
        return err_set(err, ERR_INVALID, "expected ',' or ')' in a set");
    (*at)++;
    return 0;
}

static int
parse_operator(const char **at, struct selector_term *t, struct err *err)
{
    size_t n;

    if (take_word(at, "in"))
        return parse_set(at, t, err);
    if (take_word(at, "notin")) {
        t->op = SELECTOR_NOT_IN;
        return parse_set(at, t, err);
    }
    if (**at == 0 || **at == ',') {
        t->op = SELECTOR_EXISTS;
        return 0;
    }
    if (**at == '!') {
        t->op = SELECTOR_NOT_IN;
        (*at)++;
    }
    if (**at != '=')
        return err_set(err, ERR_INVALID,
                       "found '%.20s', expected: !, in, notin, =, ==, !=", *at);
    (*at)++;
    if (**at == '=' && t->op == SELECTOR_IN)
        (*at)++;
    skip_blanks(at);
    n = word_len(*at);
    add_value(t, xstrndup(*at, n));
    *at += n;
    return 0;
}

static int
parse_label_term(const char **at, struct selector *s, struct err *err)
{
    struct selector_term *t;
    bool is_absent;
    size_t n;

    skip_blanks(at);
    is_absent = **at == '!';
    if (is_absent)
        (*at)++;
    skip_blanks(at);
    n = word_len(*at);
    if (n == 0 || n > 317) /* 253 + "/" + 63 */
        return err_set(err, ERR_INVALID, "found '%.20s', expected a label key",
                       *at);
    t = add_term(s, *at, n, err);
    if (t == NULL)
        return -1;
    *at += n;
    skip_blanks(at);
    if (is_absent)
        t->op = SELECTOR_ABSENT;
    else if (parse_operator(at, t, err) < 0)
        return -1;
    skip_blanks(at);
    if (**at != 0 && **at != ',')
        return err_set(err, ERR_INVALID,
                       "found '%.20s', expected ',' or the end", *at);
    return 0;
}

int
selector_parse_labels(const char *text, struct selector *ret_sel,
                      struct err *err)
{
    struct selector s = { 0 };
    const char *at = text != NULL ? text : "";

    skip_blanks(&at);
    while (*at != 0) {
        if (parse_label_term(&at, &s, err) < 0) {
            selector_fini(&s);
            return err_wrap(err, "unable to parse requirement");
        }
        if (*at == ',' && *++at == 0) {
            selector_fini(&s);
            return err_set(err, ERR_INVALID,
                           "unable to parse requirement: nothing after ','");
        }
    }
    *ret_sel = s;
    return 0;
}

/* One "key OP value" between commas, with the escapes resolved. */
static int
parse_field_term(const char *at, size_t len, struct selector *s,
                 struct err *err)
{
    size_t k = strcspn(at, "=!");
    struct selector_term *t;
    char *value, *out;

    if (k >= len || k == 0 || (at[k] == '!' && at[k + 1] != '='))
        return err_set(err, ERR_INVALID,
                       "invalid field selector: '%.*s'; can't understand it",
                       (int)(len < 80 ? len : 80), at);
    t = add_term(s, at, k, err);
    if (t == NULL)
        return -1;
    if (at[k] == '!') {
        t->op = SELECTOR_NOT_IN;
        k++;
    } else if (k + 1 < len && at[k + 1] == '=') {
        k++;
    }
    value = out = xcalloc(len - k, 1);
    for (size_t i = k + 1; i < len; i++) {
        if (at[i] == '\\' && i + 1 < len)
            i++;
        *out++ = at[i];
    }
    add_value(t, value);
    return 0;
}

int
selector_parse_fields(const char *text, struct selector *ret_sel,
                      struct err *err)
{
    struct selector s = { 0 };
    const char *at = text != NULL ? text : "";

    while (*at != 0) {
        size_t len = 0;

        while (at[len] != 0 && at[len] != ',')
            len += at[len] == '\\' && at[len + 1] != 0 ? 2 : 1;
        if (len > 0 && parse_field_term(at, len, &s, err) < 0) {
            selector_fini(&s);
            return -1;
        }
        at += len + (at[len] == ',');
    }
    *ret_sel = s;
    return 0;
}

static bool
has_value(const struct selector_term *t, const char *value)
{
    for (size_t i = 0; i < t->nvalues; i++) {
        if (strcmp(t->values[i], value) == 0)
            return true;
    }
    return false;
}

static bool
match_term(const struct selector_term *t, const char *value)
{
    switch (t->op) {
    case SELECTOR_IN:
        return value != NULL && has_value(t, value);
    case SELECTOR_NOT_IN:
        return value == NULL || !has_value(t, value);
    case SELECTOR_EXISTS:
        return value != NULL;
    case SELECTOR_ABSENT:
        return value == NULL;
    }
    return false;
}

bool
selector_match(const struct selector *s, selector_get_fn get, void *arg)
{
    for (size_t i = 0; i < s->n; i++) {
        if (!match_term(&s->v[i], get(arg, s->v[i].key)))
            return false;
    }
    return true;
}

const char *
selector_exact(const struct selector *s, const char *key)
{
    for (size_t i = 0; i < s->n; i++) {
        const struct selector_term *t = &s->v[i];

        if (t->op == SELECTOR_IN && t->nvalues == 1 && strcmp(t->key, key) == 0)
            return t->values[0];
    }
    return NULL;
}
