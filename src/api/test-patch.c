/* SPDX-License-Identifier: Apache-2.0 */
#include "api/patch.h"
#include "test.h"

static json_t *
parse(const char *text)
{
    struct err err = { 0 };
    json_t *v = jsonx_parse(text, strlen(text), &err);

    CHECK(v != NULL);
    return v;
}

static void
strategic_merge_follows_its_rules(void)
{
    static const struct {
        const char *object, *patch, *want;
    } rows[] = {
        { "{\"a\":{\"b\":1,\"c\":2}}", "{\"a\":{\"b\":null,\"d\":3}}",
          "{\"a\":{\"c\":2,\"d\":3}}" },
        { "{\"l\":[1,2]}", "{\"l\":[3]}", "{\"l\":[3]}" },
        { "{\"finalizers\":[\"a\"]}", "{\"finalizers\":[\"a\",\"b\"]}",
          "{\"finalizers\":[\"a\",\"b\"]}" },
        { "{\"finalizers\":[\"a\",\"b\"]}",
          "{\"$deleteFromPrimitiveList/finalizers\":[\"a\"]}",
          "{\"finalizers\":[\"b\"]}" },
        { "{\"conditions\":[{\"type\":\"A\",\"status\":\"False\",\"x\":1}]}",
          "{\"conditions\":[{\"type\":\"A\",\"status\":\"True\"},{\"type\":\"B\"}]}",
          "{\"conditions\":[{\"type\":\"A\",\"status\":\"True\",\"x\":1},{\"type\":\"B\"}]}" },
        { "{\"ownerReferences\":[{\"uid\":\"1\"},{\"uid\":\"2\"}]}",
          "{\"$setElementOrder/ownerReferences\":[{\"uid\":\"2\"}],"
          "\"ownerReferences\":[{\"$patch\":\"delete\",\"uid\":\"1\"}]}",
          "{\"ownerReferences\":[{\"uid\":\"2\"}]}" },
        { "{\"a\":{\"b\":1}}", "{\"a\":{\"$patch\":\"replace\",\"c\":2}}",
          "{\"a\":{\"c\":2}}" },
        { "{\"a\":{\"b\":1,\"c\":2}}",
          "{\"a\":{\"$retainKeys\":[\"b\"],\"b\":3}}", "{\"a\":{\"b\":3}}" },
        { "{\"a\":1}", "{\"a\":{\"x\":{\"y\":null,\"z\":1}}}",
          "{\"a\":{\"x\":{\"z\":1}}}" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        CLEANUP(json_decref) json_t *object = parse(rows[i].object);
        CLEANUP(json_decref) json_t *copy = json_deep_copy(object);
        CLEANUP(json_decref) json_t *patch = parse(rows[i].patch);
        CLEANUP(json_decref) json_t *want = parse(rows[i].want);
        CLEANUP(json_decref) json_t *got = patch_strategic(object, patch);

        if (!jsonx_equal(got, want)) {
            printf("# row %zu: %s\n", i, jsonx_canonical(got));
            CHECK(false);
        }
        CHECK(jsonx_equal(object, copy));
    }
}

static void
a_patch_that_is_no_object_is_refused(void)
{
    struct err err = { 0 };
    CLEANUP(json_decref) json_t *object = parse("{}");
    CLEANUP(json_decref) json_t *patch = parse("[]");

    CHECK(patch_apply(PATCH_MERGE, object, patch, &err) == NULL);
    CHECK_INT(err.code, ==, ERR_INVALID);
    CHECK(patch_apply(PATCH_STRATEGIC, object, patch, &err) == NULL);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "strategic merge follows its rules",
          strategic_merge_follows_its_rules },
        { "a patch that is no object is refused",
          a_patch_that_is_no_object_is_refused },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
