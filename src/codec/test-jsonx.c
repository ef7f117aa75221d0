/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/jsonx.h"
#include "test.h"

static void
paths_reach_members_and_elements(void)
{
    struct err err = { 0 };
    static const char text[] = "{\"a\":{\"b\":[{\"c\":\"x\"},7]}}";
    CLEANUP(json_decref) json_t *v = jsonx_parse(text, strlen(text), &err);

    CHECK(v != NULL);
    CHECK(strcmp(jsonx_str(v, "a.b.0.c"), "x") == 0);
    CHECK_INT(jsonx_int(v, "a.b.1", -1), ==, 7);
    CHECK(jsonx_get(v, "a.b.2") == NULL);
    CHECK(jsonx_get(v, "a.z.y") == NULL);
}

static void
set_makes_objects_on_the_way(void)
{
    CLEANUP(json_decref) json_t *v = json_object();
    CLEANUP(mem_free) char *text = NULL;

    jsonx_set_str(v, "status.phase", "Succeeded");
    jsonx_set(v, "metadata.generation", json_integer(2));
    text = jsonx_canonical(v);
    CHECK(
        strcmp(
            text,
            "{\"metadata\":{\"generation\":2},\"status\":{\"phase\":\"Succeeded\"}}") ==
        0);
    jsonx_del(v, "status.phase");
    CHECK(jsonx_str(v, "status.phase") == NULL);
}

static void
hostile_text_is_refused(void)
{
    static const char *const bad[] = { "",     "{",        "{\"a\":1,\"a\":2}",
                                       "[1,]", "\"\xff\"", "{} x" };
    struct err err = { 0 };
    char deep[400];

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        CHECK(jsonx_parse(bad[i], strlen(bad[i]), &err) == NULL);
        CHECK_INT(err.code, ==, ERR_INVALID);
    }
    memset(deep, '[', 200);
    memset(deep + 200, ']', 200);
    CHECK(jsonx_parse(deep, sizeof deep, &err) == NULL);
}

static void
a_member_of_a_list_is_found_by_its_name(void)
{
    struct err e;
    static const char text[] =
        "[1,{\"a.b\":\"x\"},{\"n\":2},{\"n\":\"x\",\"i\":1},{\"n\":\"x\"}]";
    CLEANUP(json_decref) json_t *v = jsonx_parse(text, strlen(text), &e);

    CHECK_INT(jsonx_int(jsonx_find(v, "n", "x"), "i", 0), ==, 1);
    CHECK(jsonx_find(v, "a.b", "x") == json_array_get(v, 1));
    CHECK(jsonx_find(v, "n", "y") == NULL);
    CHECK(jsonx_find(v, "n", "") == NULL);
    CHECK(jsonx_find(NULL, "n", "x") == NULL);
}

static void
depth_and_number_of_values(void)
{
    struct err e;
    static const char text[] = "{\"a\":[1,{\"b\":[]}],\"c\":2}";
    CLEANUP(json_decref) json_t *v = jsonx_parse(text, strlen(text), &e);

    CHECK_INT(jsonx_depth(v), ==, 4);
    CHECK_INT(jsonx_count(v), ==, 6);
    CHECK_INT(jsonx_depth(json_object_get(v, "c")), ==, 0);
    CHECK_INT(jsonx_depth(NULL), ==, 0);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "depth and number of values", depth_and_number_of_values },
        { "paths reach members and elements",
          paths_reach_members_and_elements },
        { "set makes objects on the way", set_makes_objects_on_the_way },
        { "a member of a list is found by its name",
          a_member_of_a_list_is_found_by_its_name },
        { "hostile text is refused", hostile_text_is_refused },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
