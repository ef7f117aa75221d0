/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>

#include "api/selector.h"
#include "test.h"

/* The labels of an object, as pairs. */
static const char *
get(void *arg, const char *key)
{
    for (const char *const *l = arg; l[0] != NULL; l += 2) {
        if (strcmp(l[0], key) == 0)
            return l[1];
    }
    return NULL;
}

static bool
matches(const char *text, const char *const *labels)
{
    struct selector s;
    struct err err = { 0 };
    bool is;

    CHECK_OK(selector_parse_labels(text, &s, &err), &err);
    is = selector_match(&s, get, (void *)(uintptr_t)labels);
    selector_fini(&s);
    return is;
}

static void
label_selectors_mean_what_kubernetes_says(void)
{
    static const char *const web[] = { "app", "web", "a.b/c", "1", NULL };
    static const struct {
        const char *text;
        bool is;
    } rows[] = {
        { "", true },
        { "app=web", true },
        { "app==web", true },
        { "app = web , a.b/c=1", true },
        { "app=db", false },
        { "app!=web", false },
        { "app!=db", true },
        { "other!=x", true },
        { "app in (db, web)", true },
        { "app in (db)", false },
        { "app notin (db,x)", true },
        { "app notin (web)", false },
        { "other notin (web)", true },
        { "app", true },
        { "other", false },
        { "!other", true },
        { "!app", false },
        { "app=", false },
        { "in=x", false },
        { "app,!other,a.b/c in (1)", true },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        if (matches(rows[i].text, web) != rows[i].is) {
            printf("# %s\n", rows[i].text);
            CHECK(false);
        }
    }
}

static void
wrong_label_selectors_are_refused(void)
{
    static const char *const bad[] = {
        "=x", "a in x",  "a in (x", "a=b=c",   "a b",        ",",    "a=b,",
        "!",  "a notin", "a>1",     "a=b c=d", "a in (x;y)", "a===b"
    };
    struct selector s;
    struct err err = { 0 };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        if (selector_parse_labels(bad[i], &s, &err) == 0) {
            printf("# %s\n", bad[i]);
            CHECK(false);
        }
        CHECK_INT(err.code, ==, ERR_INVALID);
    }
}

static void
field_selectors_unescape_and_find_exact_values(void)
{
    static const char *const fields[] = { "metadata.name", "a,b=c", "type", "x",
                                          NULL };
    struct selector s;
    struct err err = { 0 };

    CHECK_OK(selector_parse_fields("metadata.name=a\\,b\\=c,type!=y", &s, &err),
             &err);
    CHECK_INT(s.n, ==, 2);
    CHECK(selector_match(&s, get, (void *)(uintptr_t)fields));
    CHECK(strcmp(selector_exact(&s, "metadata.name"), "a,b=c") == 0);
    CHECK(selector_exact(&s, "type") == NULL);
    selector_fini(&s);
    CHECK_ERR(selector_parse_fields("novalue", &s, &err), &err, ERR_INVALID);
    CHECK_ERR(selector_parse_fields("=x", &s, &err), &err, ERR_INVALID);
    CHECK_ERR(selector_parse_fields("a!b", &s, &err), &err, ERR_INVALID);
}

static void
requirements_are_bounded(void)
{
    char text[400] = "";
    struct selector s;
    struct err err = { 0 };

    for (int i = 0; i < 100; i++)
        strcat(text, "a,");
    strcat(text, "a");
    CHECK_ERR(selector_parse_labels(text, &s, &err), &err, ERR_INVALID);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "label selectors mean what Kubernetes says",
          label_selectors_mean_what_kubernetes_says },
        { "wrong label selectors are refused",
          wrong_label_selectors_are_refused },
        { "field selectors unescape, and find exact values",
          field_selectors_unescape_and_find_exact_values },
        { "requirements are bounded", requirements_are_bounded },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
