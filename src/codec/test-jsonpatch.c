/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "codec/jsonpatch.h"
#include "test.h"

static json_t *
parse(const char *text)
{
    struct err err = { 0 };
    json_t *v = jsonx_parse(text, strlen(text), &err);

    if (v == NULL)
        test_fail(__FILE__, __LINE__, text, err.msg);
    return v;
}

struct row {
    const char *doc, *patch, *want; /* want NULL: refused */
};

static void
run_patch(const struct row *row)
{
    CLEANUP(json_decref) json_t *doc = parse(row->doc);
    CLEANUP(json_decref) json_t *ops = parse(row->patch);
    struct err err = { 0 };
    CLEANUP(json_decref) json_t *got = jsonpatch_apply(doc, ops, &err);

    if (row->want == NULL) {
        if (got != NULL)
            test_fail(__FILE__, __LINE__, row->patch, " was not refused");
        CHECK_INT(err.code, ==, ERR_INVALID);
        return;
    }
    if (got == NULL)
        test_fail(__FILE__, __LINE__, row->patch, err.msg);
    CLEANUP(json_decref) json_t *want = parse(row->want);

    if (!jsonx_equal(got, want))
        test_fail(__FILE__, __LINE__, row->patch, jsonx_canonical(got));
}

/* Most rows are the appendix of RFC 6902. */
static void
the_examples_of_the_rfc_hold(void)
{
    static const struct row rows[] = {
        { "{\"foo\":\"bar\"}",
          "[{\"op\":\"add\",\"path\":\"/baz\",\"value\":\"qux\"}]",
          "{\"baz\":\"qux\",\"foo\":\"bar\"}" },
        { "{\"foo\":[\"bar\",\"baz\"]}",
          "[{\"op\":\"add\",\"path\":\"/foo/1\",\"value\":\"qux\"}]",
          "{\"foo\":[\"bar\",\"qux\",\"baz\"]}" },
        { "{\"foo\":[\"bar\",\"qux\",\"baz\"]}",
          "[{\"op\":\"remove\",\"path\":\"/foo/1\"}]",
          "{\"foo\":[\"bar\",\"baz\"]}" },
        { "{\"baz\":\"qux\"}",
          "[{\"op\":\"replace\",\"path\":\"/baz\",\"value\":\"boo\"}]",
          "{\"baz\":\"boo\"}" },
        { "{\"foo\":{\"bar\":\"baz\",\"waldo\":\"fred\"},\"qux\":{}}",
          "[{\"op\":\"move\",\"from\":\"/foo/waldo\",\"path\":\"/qux/t\"}]",
          "{\"foo\":{\"bar\":\"baz\"},\"qux\":{\"t\":\"fred\"}}" },
        { "{\"foo\":[1,2,3,4]}",
          "[{\"op\":\"move\",\"from\":\"/foo/1\",\"path\":\"/foo/3\"}]",
          "{\"foo\":[1,3,4,2]}" },
        { "{\"a\":[1]}", "[{\"op\":\"copy\",\"from\":\"/a\",\"path\":\"/b\"}]",
          "{\"a\":[1],\"b\":[1]}" },
        { "{\"/\":9,\"~1\":10}",
          "[{\"op\":\"test\",\"path\":\"/~01\",\"value\":10}]",
          "{\"/\":9,\"~1\":10}" },
        { "{\"foo\":[1]}",
          "[{\"op\":\"add\",\"path\":\"/foo/-\",\"value\":[\"a\"]}]",
          "{\"foo\":[1,[\"a\"]]}" },
        { "{\"a\":1}", "[{\"op\":\"replace\",\"path\":\"\",\"value\":2}]",
          "2" },
        { "{\"foo\":null}", "[{\"op\":\"add\",\"path\":\"/foo\",\"value\":1}]",
          "{\"foo\":1}" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        run_patch(&rows[i]);
}

static void
bad_patches_are_refused(void)
{
    static const struct row rows[] = {
        { "{\"baz\":\"qux\"}",
          "[{\"op\":\"test\",\"path\":\"/baz\",\"value\":\"bar\"}]", NULL },
        { "{}", "[{\"op\":\"add\",\"path\":\"/a/b\",\"value\":1}]", NULL },
        { "{}", "[{\"op\":\"remove\",\"path\":\"/a\"}]", NULL },
        { "{}", "[{\"op\":\"replace\",\"path\":\"/a\",\"value\":1}]", NULL },
        { "[1]", "[{\"op\":\"add\",\"path\":\"/01\",\"value\":1}]", NULL },
        { "[1]", "[{\"op\":\"add\",\"path\":\"/3\",\"value\":1}]", NULL },
        { "[1]", "[{\"op\":\"remove\",\"path\":\"/-\"}]", NULL },
        { "{}", "[{\"op\":\"add\",\"path\":\"a\",\"value\":1}]", NULL },
        { "{}", "[{\"op\":\"add\",\"path\":\"/~2\",\"value\":1}]", NULL },
        { "{\"a\":{}}", "[{\"op\":\"move\",\"from\":\"/a\",\"path\":\"/a/b\"}]",
          NULL },
        { "{\"a\":1}", "[{\"op\":\"move\",\"from\":\"\",\"path\":\"/b\"}]",
          NULL },
        { "{}", "[{\"op\":\"add\",\"path\":\"/a\"}]", NULL },
        { "{}", "[{\"op\":\"spam\",\"path\":\"/a\"}]", NULL },
        { "{}", "[7]", NULL },
        { "{}", "{\"op\":\"add\"}", NULL },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        run_patch(&rows[i]);
}

/* Copying the root into itself doubles the document each time. */
static void
a_patch_cannot_multiply_the_document(void)
{
    CLEANUP(json_decref) json_t *doc = parse("{\"a\":[1,2,3,4,5,6,7,8]}");
    CLEANUP(json_decref) json_t *ops = json_array();
    struct err err = { 0 };

    for (int i = 0; i < 60; i++) {
        char path[16];

        (void)snprintf(path, sizeof path, "/k%d", i);
        json_array_append_new(ops, json_pack("{ssssss}", "op", "copy", "from",
                                             "/a", "path", path));
        json_array_append_new(ops, json_pack("{ssssss}", "op", "copy", "from",
                                             "", "path", "/a/0"));
    }
    CHECK(jsonpatch_apply(doc, ops, &err) == NULL);
    CHECK_INT(err.code, ==, ERR_INVALID);
}

static void
merge_patches_follow_the_rfc(void)
{
    static const struct row rows[] = {
        { "{\"a\":\"b\"}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
        { "{\"a\":\"b\",\"b\":\"c\"}", "{\"a\":null}", "{\"b\":\"c\"}" },
        { "{\"a\":[\"b\"]}", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
        { "{\"a\":{\"b\":\"c\"}}", "{\"a\":{\"b\":\"d\",\"c\":null}}",
          "{\"a\":{\"b\":\"d\"}}" },
        { "[\"a\"]", "{\"a\":\"c\"}", "{\"a\":\"c\"}" },
        { "{\"e\":null}", "{\"a\":1}", "{\"e\":null,\"a\":1}" },
        { "{}", "{\"a\":{\"bb\":{\"ccc\":null}}}", "{\"a\":{\"bb\":{}}}" },
        { "{\"a\":1}", "[\"c\"]", "[\"c\"]" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        CLEANUP(json_decref) json_t *doc = parse(rows[i].doc);
        CLEANUP(json_decref) json_t *patch = parse(rows[i].patch);
        CLEANUP(json_decref) json_t *want = parse(rows[i].want);
        CLEANUP(json_decref) json_t *got = jsonpatch_merge(doc, patch);

        if (!jsonx_equal(got, want))
            test_fail(__FILE__, __LINE__, rows[i].patch, jsonx_canonical(got));
    }
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "the examples of the RFC hold", the_examples_of_the_rfc_hold },
        { "bad patches are refused", bad_patches_are_refused },
        { "a patch cannot multiply the document",
          a_patch_cannot_multiply_the_document },
        { "merge patches follow the RFC", merge_patches_follow_the_rfc },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
