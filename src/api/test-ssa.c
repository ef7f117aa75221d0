/* SPDX-License-Identifier: Apache-2.0 */
#include "api/ssa.h"
#include "test.h"

static const struct ssa_writer kubectl = { "kubectl", "v1",
                                           "2026-01-01T00:00:00Z" };
static const struct ssa_writer other = { "other", "v1",
                                         "2026-01-02T00:00:00Z" };

static json_t *
parse(const char *text)
{
    struct err err = { 0 };
    json_t *v = jsonx_parse(text, strlen(text), &err);

    CHECK(v != NULL);
    return v;
}

/* Apply `config`; `live` is consumed. */
static json_t *
apply(json_t *live, const char *config, const struct ssa_writer *who,
      bool is_forced, struct ssa_conflicts *found)
{
    CLEANUP(json_decref) json_t *c = parse(config);
    json_t *out = ssa_apply(live, c, who, is_forced, found);

    json_decref(live);
    return out;
}

static void
what_is_left_out_is_removed(void)
{
    struct ssa_conflicts found;
    json_t *v = apply(
        NULL,
        "{\"metadata\":{\"name\":\"x\",\"labels\":{\"a\":\"1\",\"b\":\"2\"}},\"spec\":{\"r\":1,\"l\":[1]}}",
        &kubectl, false, &found);

    CHECK(v != NULL);
    CHECK(jsonx_get(v, "metadata.managedFields.0.fieldsV1.f:spec.f:l") != NULL);
    CHECK(jsonx_get(v, "metadata.managedFields.0.fieldsV1.f:metadata.f:name") ==
          NULL);
    v = apply(v, "{\"metadata\":{\"name\":\"x\"},\"spec\":{\"r\":1}}", &kubectl,
              false, &found);
    CHECK(jsonx_get(v, "metadata.labels") == NULL);
    CHECK(jsonx_get(v, "spec.l") == NULL);
    CHECK_INT(jsonx_int(v, "spec.r", 0), ==, 1);
    json_decref(v);
}

static void
an_equal_apply_changes_nothing(void)
{
    static const struct ssa_writer later = { "kubectl", "v1",
                                             "2026-02-02T00:00:00Z" };
    struct ssa_conflicts found;
    json_t *v = apply(NULL, "{\"spec\":{\"r\":1}}", &kubectl, false, &found);
    CLEANUP(json_decref) json_t *before = json_deep_copy(v);

    v = apply(v, "{\"spec\":{\"r\":1}}", &later, false, &found);
    CHECK(jsonx_equal(v, before));
    json_decref(v);
}

static void
conflicts_are_found_and_forced(void)
{
    struct ssa_conflicts found;
    json_t *v =
        apply(NULL, "{\"spec\":{\"r\":1,\"s\":2}}", &kubectl, false, &found);
    CLEANUP(json_decref) json_t *copy = json_deep_copy(v);

    CHECK(apply(json_incref(copy), "{\"spec\":{\"r\":9}}", &other, false,
                &found) == NULL);
    CHECK_INT(found.n, ==, 1);
    CHECK(strcmp(found.v[0].manager, "kubectl") == 0);
    CHECK(strcmp(found.v[0].field, ".spec.r") == 0);
    v = apply(v, "{\"spec\":{\"r\":9}}", &other, true, &found);
    CHECK_INT(jsonx_int(v, "spec.r", 0), ==, 9);
    CHECK_INT(jsonx_int(v, "spec.s", 0), ==, 2);
    CHECK(jsonx_get(v, "metadata.managedFields.0.fieldsV1.f:spec.f:r") == NULL);
    CHECK(jsonx_get(v, "metadata.managedFields.1.fieldsV1.f:spec.f:r") != NULL);
    /* The same value is no conflict: both have it then. */
    v = apply(v, "{\"spec\":{\"r\":9,\"s\":2}}", &kubectl, false, &found);
    CHECK(v != NULL);
    v = apply(v, "{\"spec\":{\"s\":2}}", &other, false, &found);
    CHECK_INT(jsonx_int(v, "spec.r", 0), ==, 9); /* kubectl has it still */
    json_decref(v);
}

static void
other_writes_take_fields_over(void)
{
    struct ssa_conflicts found;
    json_t *v =
        apply(NULL, "{\"spec\":{\"r\":1,\"s\":2}}", &kubectl, false, &found);
    CLEANUP(json_decref) json_t *old = json_deep_copy(v);

    jsonx_set(v, "spec.r", json_integer(5));
    jsonx_del(v, "spec.s");
    ssa_track(old, v, &other);
    CHECK_INT(json_array_size(jsonx_get(v, "metadata.managedFields")), ==, 1);
    CHECK(strcmp(jsonx_str(v, "metadata.managedFields.0.manager"), "other") ==
          0);
    CHECK(strcmp(jsonx_str(v, "metadata.managedFields.0.operation"),
                 "Update") == 0);
    CHECK(jsonx_get(v, "metadata.managedFields.0.fieldsV1.f:spec.f:s") == NULL);
    json_decref(v);
}

static void
a_write_without_change_keeps_the_entries(void)
{
    CLEANUP(json_decref)
    json_t *v = parse("{\"metadata\":{},\"spec\":{\"a\":1}}");
    CLEANUP(json_decref) json_t *copy = NULL;

    ssa_track(NULL, v, &kubectl);
    copy = json_deep_copy(v);
    ssa_track(copy, v, &other);
    CHECK(jsonx_equal(v, copy));
    jsonx_set(v, "metadata.managedFields", json_pack("[{}]"));
    ssa_track(copy, v, &other);
    CHECK(jsonx_get(v, "metadata.managedFields") == NULL);
}

static void
many_writers_are_put_together(void)
{
    CLEANUP(json_decref) json_t *v = parse("{\"metadata\":{},\"spec\":{}}");

    for (int i = 0; i < 40; i++) {
        CLEANUP(json_decref) json_t *old = json_deep_copy(v);
        char name[16], key[32];
        struct ssa_writer who = { name, "v1", "2026-01-01T00:00:00Z" };

        (void)snprintf(name, sizeof name, "m%d", i);
        (void)snprintf(key, sizeof key, "spec.f%d", i);
        jsonx_set(v, key, json_integer(i));
        ssa_track(old, v, &who);
    }
    CHECK_INT(json_array_size(jsonx_get(v, "metadata.managedFields")), <=, 11);
    CHECK(jsonx_get(v, "metadata.managedFields.0.fieldsV1.f:spec.f:f0") !=
          NULL);
}

static void
conflicts_beyond_the_table_are_counted(void)
{
    struct buf a = BUF_INIT, b = BUF_INIT;
    struct ssa_conflicts found;
    json_t *v;

    for (int i = 0; i < 40; i++) {
        buf_printf(&a, "%s\"f%d\":1", i > 0 ? "," : "{", i);
        buf_printf(&b, "%s\"f%d\":2", i > 0 ? "," : "{", i);
    }
    buf_add_char(&a, '}');
    buf_add_char(&b, '}');
    v = apply(NULL, buf_str(&a), &kubectl, false, &found);
    CHECK(apply(v, buf_str(&b), &other, false, &found) == NULL);
    CHECK_INT(found.n, ==, 40);
    buf_fini(&a);
    buf_fini(&b);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "what is left out is removed", what_is_left_out_is_removed },
        { "an equal apply changes nothing", an_equal_apply_changes_nothing },
        { "conflicts are found and can be forced",
          conflicts_are_found_and_forced },
        { "other writes take fields over", other_writes_take_fields_over },
        { "a write without a change keeps the entries",
          a_write_without_change_keeps_the_entries },
        { "many writers are put together", many_writers_are_put_together },
        { "conflicts beyond the table are counted",
          conflicts_beyond_the_table_are_counted },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
