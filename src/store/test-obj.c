/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "store/obj.h"
#include "store/objmeta.h"
#include "store/test-store-dir.h"

static const struct gvr namespaces = { .group = "",
                                       .version = "v1",
                                       .resource = "namespaces",
                                       .kind = "Namespace",
                                       .has_status = true };
static const struct gvr things = { .group = "example.io",
                                   .version = "v1beta1",
                                   .resource = "things",
                                   .kind = "Thing",
                                   .is_namespaced = true,
                                   .has_status = true,
                                   .has_generation = true };
static const struct obj_write as_main = { .part = OBJ_MAIN };
static const struct obj_write as_status = { .part = OBJ_STATUS };
static const struct obj_write as_all = { .part = OBJ_ALL };

static json_t *
parse(const char *text)
{
    struct err err;
    json_t *v = jsonx_parse(text, strlen(text), &err);

    if (v == NULL)
        test_fail(__FILE__, __LINE__, text, err.msg);
    return v;
}

static struct object *
create(struct store *s, const struct gvr *gvr, const char *text)
{
    CLEANUP(json_decref) json_t *v = parse(text);
    struct object *o = NULL;
    struct err err;

    CHECK_OK(obj_create(s, gvr, gvr->is_namespaced ? "default" : "", v,
                        &as_main, &o, &err),
             &err);
    return o;
}

static void
refused(struct store *s, const struct gvr *gvr, const char *text,
        enum err_code code)
{
    CLEANUP(json_decref) json_t *v = parse(text);
    struct object *o = NULL;
    struct err err;

    CHECK_ERR(obj_create(s, gvr, gvr->is_namespaced ? "default" : "", v,
                         &as_main, &o, &err),
              &err, code);
}

static struct store *
store_with_default(void)
{
    struct store *s = test_store_new();

    object_unref(
        create(s, &namespaces, "{\"metadata\":{\"name\":\"default\"}}"));
    return s;
}

/* Replace the object by what this text says, but for its metadata, which is
 * merged. */
static int
apply_text(void *arg, json_t *object, struct err *err)
{
    CLEANUP(json_decref) json_t *v = parse(arg);
    const char *key;
    json_t *value;

    (void)err;
    json_object_foreach(v, key, value)
    {
        if (strcmp(key, "metadata") == 0)
            (void)json_object_update(json_object_get(object, key), value);
        else
            (void)json_object_set(object, key, value);
    }
    return 0;
}

static struct object *
update(struct store *s, const char *name, const struct obj_write *how,
       const char *text)
{
    struct obj_ref ref = { &things, "default", name };
    struct object *o = NULL;
    struct err err;

    CHECK_OK(obj_update(s, &ref, how, apply_text, (void *)(uintptr_t)text, &o,
                        NULL, &err),
             &err);
    return o;
}

static void
expect(struct object *o, const char *path, const char *want)
{
    CLEANUP(json_decref) json_t *v = object_json(o);
    const char *is = jsonx_str_or(v, path, "(none)");

    if (strcmp(is, want) != 0)
        test_fail(__FILE__, __LINE__, path, is);
}

static long long
number(struct object *o, const char *path)
{
    CLEANUP(json_decref) json_t *v = object_json(o);

    return jsonx_int(v, path, -1);
}

static void
create_sets_what_the_server_owns(void)
{
    CLEANUP(store_close) struct store *s = store_with_default();
    CLEANUP(object_unref)
    struct object *o = create(
        s, &things,
        "{\"metadata\":{\"name\":\"a\",\"uid\":\"mine\",\"generation\":9,"
        "\"creationTimestamp\":null,\"deletionTimestamp\":\"x\"},"
        "\"spec\":{\"x\":1},\"status\":{\"y\":1}}");

    CHECK_INT(strlen(object_uid(o)), ==, 36);
    CHECK_INT(number(o, "metadata.generation"), ==, 1);
    expect(o, "apiVersion", "example.io/v1beta1");
    expect(o, "kind", "Thing");
    expect(o, "metadata.namespace", "default");
    expect(o, "status.y", "(none)");
    CHECK(!object_is_deleting(o));
    CHECK_INT(object_rev(o), >, 1000);
}

static void
bad_objects_are_refused(void)
{
    CLEANUP(store_close) struct store *s = store_with_default();
    static const char *const bad[] = {
        "{}",
        "{\"metadata\":{\"name\":\"A_b\"}}",
        "{\"metadata\":{\"name\":\"a\",\"namespace\":\"other\"}}",
        "{\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"7\"}}",
        "{\"metadata\":{\"name\":\"a\",\"labels\":{\"a\":1}}}",
        "{\"metadata\":{\"name\":\"a\",\"labels\":{\"a\":\"-\"}}}",
        "{\"metadata\":{\"name\":\"a\",\"finalizers\":[1]}}",
        "{\"metadata\":{\"name\":\"a\",\"ownerReferences\":[{\"uid\":\"u\"}]}}",
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        refused(s, &things, bad[i], ERR_INVALID);
    object_unref(create(s, &things, "{\"metadata\":{\"name\":\"a\"}}"));
    refused(s, &things, "{\"metadata\":{\"name\":\"a\"}}", ERR_EXISTS);
}

static void
generate_name_makes_a_name(void)
{
    CLEANUP(store_close) struct store *s = store_with_default();
    CLEANUP(object_unref)
    struct object *a =
        create(s, &things, "{\"metadata\":{\"generateName\":\"web-\"}}");
    CLEANUP(object_unref)
    struct object *b =
        create(s, &things, "{\"metadata\":{\"generateName\":\"web-\"}}");

    CHECK_INT(strlen(object_name(a)), ==, 9);
    CHECK(strncmp(object_name(a), "web-", 4) == 0);
    CHECK(strcmp(object_name(a), object_name(b)) != 0);
}

static void
generation_counts_changes_of_the_spec_only(void)
{
    CLEANUP(store_close) struct store *s = store_with_default();
    struct object *o;

    object_unref(create(s, &things, "{\"metadata\":{\"name\":\"a\"}}"));
    o = update(s, "a", &as_main, "{\"spec\":{\"x\":1}}");
    CHECK_INT(number(o, "metadata.generation"), ==, 2);
    object_unref(o);
    o = update(s, "a", &as_main, "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}");
    CHECK_INT(number(o, "metadata.generation"), ==, 2);
    CHECK(strcmp(object_label(o, "a"), "b") == 0);
    object_unref(o);
    o = update(s, "a", &as_status, "{\"status\":{\"y\":1}}");
    CHECK_INT(number(o, "metadata.generation"), ==, 2);
    object_unref(o);
}

static void
status_and_the_rest_are_written_apart(void)
{
    CLEANUP(store_close) struct store *s = store_with_default();
    struct object *o;

    object_unref(create(s, &things,
                        "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"x\":1}}"));
    o = update(s, "a", &as_status,
               "{\"spec\":{\"x\":2},\"status\":{\"y\":\"s\"}}");
    CHECK_INT(number(o, "spec.x"), ==, 1);
    expect(o, "status.y", "s");
    object_unref(o);
    o = update(s, "a", &as_main,
               "{\"spec\":{\"x\":3},\"status\":{\"y\":\"no\"}}");
    CHECK_INT(number(o, "spec.x"), ==, 3);
    expect(o, "status.y", "s");
    object_unref(o);
}

static void
an_equal_write_writes_nothing(void)
{
    CLEANUP(store_close) struct store *s = store_with_default();
    CLEANUP(object_unref)
    struct object *a = create(
        s, &things, "{\"metadata\":{\"name\":\"a\"},\"spec\":{\"x\":1}}");
    CLEANUP(object_unref)
    struct object *b = update(
        s, "a", &as_main, "{\"spec\":{\"x\":1},\"metadata\":{\"labels\":{}}}");

    CHECK_INT(object_rev(a), ==, object_rev(b));
}

static void
dry_run_writes_nothing(void)
{
    CLEANUP(store_close) struct store *s = store_with_default();
    CLEANUP(json_decref) json_t *v = parse("{\"metadata\":{\"name\":\"a\"}}");
    struct obj_write how = { .part = OBJ_MAIN, .is_dry_run = true };
    struct obj_ref ref = { &things, "default", "a" };
    struct object *o = NULL;
    struct err err;
    bool is_gone;

    CHECK_OK(obj_create(s, &things, "default", v, &how, &o, &err), &err);
    object_unref(o);
    CHECK_ERR(obj_get(s, &ref, &o, &err), &err, ERR_NOT_FOUND);
    CHECK(strcmp(err.msg, "things.example.io \"a\" not found") == 0);
    object_unref(create(s, &things, "{\"metadata\":{\"name\":\"a\"}}"));
    o = update(s, "a", &how, "{\"spec\":{\"x\":1}}");
    CHECK_INT(number(o, "spec.x"), ==, 1);
    object_unref(o);
    CHECK_OK(obj_delete(s, &ref, &how, &o, &is_gone, &err), &err);
    object_unref(o);
    CHECK_OK(obj_get(s, &ref, &o, &err), &err);
    CHECK_INT(number(o, "spec.x"), ==, -1);
    object_unref(o);
}

static void
preconditions_hold(void)
{
    CLEANUP(store_close) struct store *s = store_with_default();
    struct obj_write how = { .part = OBJ_MAIN, .resource_version = "7" };
    struct obj_write by_uid = { .part = OBJ_MAIN, .uid = "other" };
    struct obj_ref ref = { &things, "default", "a" };
    struct object *o = NULL;
    struct err err;
    char text[] = "{\"metadata\":{\"resourceVersion\":\"8\"}}";
    char uid[] = "{\"metadata\":{\"uid\":\"8\"}}";

    object_unref(create(s, &things, "{\"metadata\":{\"name\":\"a\"}}"));
    CHECK_ERR(obj_update(s, &ref, &how, apply_text, text, &o, NULL, &err), &err,
              ERR_CONFLICT);
    CHECK_ERR(obj_update(s, &ref, &as_main, apply_text, text, &o, NULL, &err),
              &err, ERR_CONFLICT);
    CHECK_ERR(obj_update(s, &ref, &as_main, apply_text, uid, &o, NULL, &err),
              &err, ERR_CONFLICT);
    CHECK_ERR(obj_delete(s, &ref, &how, &o, NULL, &err), &err, ERR_CONFLICT);
    CHECK_ERR(obj_delete(s, &ref, &by_uid, &o, NULL, &err), &err, ERR_CONFLICT);
}

static void
deletion_waits_for_finalizers(void)
{
    CLEANUP(store_close) struct store *s = store_with_default();
    struct obj_ref ref = { &things, "default", "a" };
    struct object *o = NULL;
    struct err err;
    bool is_gone = true;
    char add[] = "{\"metadata\":{\"finalizers\":[\"x/a\",\"x/c\"]}}";
    char none[] = "{\"metadata\":{\"finalizers\":[]}}";

    object_unref(create(s, &things,
                        "{\"metadata\":{\"name\":\"a\",\"finalizers\":[\"x/a\","
                        "\"x/b\"]}}"));
    CHECK_OK(obj_delete(s, &ref, &as_main, &o, &is_gone, &err), &err);
    CHECK(!is_gone);
    CHECK(object_is_deleting(o));
    CHECK_INT(number(o, "metadata.generation"), ==, 2);
    CHECK_INT(number(o, "metadata.deletionGracePeriodSeconds"), ==, 0);
    object_unref(o);
    CHECK_ERR(obj_update(s, &ref, &as_main, apply_text, add, &o, NULL, &err),
              &err, ERR_INVALID);
    o = update(s, "a", &as_main, "{\"metadata\":{\"finalizers\":[\"x/b\"]}}");
    CHECK(object_is_deleting(o));
    object_unref(o);
    CHECK_OK(
        obj_update(s, &ref, &as_main, apply_text, none, &o, &is_gone, &err),
        &err);
    CHECK(is_gone);
    object_unref(o);
    CHECK_ERR(obj_get(s, &ref, &o, &err), &err, ERR_NOT_FOUND);
}

static void
nothing_is_created_in_a_namespace_that_ends(void)
{
    CLEANUP(store_close) struct store *s = store_with_default();
    CLEANUP(json_decref) json_t *v = parse("{\"metadata\":{\"name\":\"a\"}}");
    struct obj_ref ref = { &namespaces, "", "default" };
    struct object *o = NULL;
    struct err err;
    bool is_gone;
    char empty[] = "{\"spec\":{}}";

    CHECK_ERR(obj_create(s, &things, "nope", v, &as_main, &o, &err), &err,
              ERR_NOT_FOUND);
    CHECK(strcmp(err.msg, "namespaces \"nope\" not found") == 0);
    CHECK_OK(obj_delete(s, &ref, &as_main, &o, &is_gone, &err), &err);
    CHECK(!is_gone);
    expect(o, "status.phase", "Terminating");
    object_unref(o);
    CHECK_ERR(obj_create(s, &things, "default", v, &as_main, &o, &err), &err,
              ERR_DENIED);
    CHECK_OK(
        obj_update(s, &ref, &as_main, apply_text, empty, &o, &is_gone, &err),
        &err);
    CHECK(!is_gone); /* a client cannot take the finalizer away */
    object_unref(o);
    CHECK_OK(
        obj_update(s, &ref, &as_all, apply_text, empty, &o, &is_gone, &err),
        &err);
    CHECK(is_gone);
    object_unref(o);
}

#define ADDS 50

static int
add_one(void *arg, json_t *object, struct err *err)
{
    (void)arg;
    (void)err;
    jsonx_set(object, "spec.n",
              json_integer(jsonx_int(object, "spec.n", 0) + 1));
    return 0;
}

static void *
add_many(void *arg)
{
    struct obj_ref ref = { &things, "default", "a" };

    for (unsigned i = 0; i < ADDS; i++) {
        struct object *o = NULL;
        struct err err;

        CHECK_OK(obj_update(arg, &ref, &as_main, add_one, NULL, &o, NULL, &err),
                 &err);
        object_unref(o);
    }
    return NULL;
}

static void
updates_from_four_threads_lose_nothing(void)
{
    CLEANUP(store_close) struct store *s = store_with_default();
    struct obj_ref ref = { &things, "default", "a" };
    struct object *o = NULL;
    pthread_t threads[4];
    struct err err;

    object_unref(create(s, &things, "{\"metadata\":{\"name\":\"a\"}}"));
    for (unsigned i = 0; i < 4; i++)
        CHECK_INT(pthread_create(&threads[i], NULL, add_many, s), ==, 0);
    for (unsigned i = 0; i < 4; i++)
        (void)pthread_join(threads[i], NULL);
    CHECK_OK(obj_get(s, &ref, &o, &err), &err);
    CHECK_INT(number(o, "spec.n"), ==, 4 * ADDS);
    CHECK_INT(number(o, "metadata.generation"), ==, 4 * ADDS + 1);
    object_unref(o);
}

static void
text_is_spliced_like_it_is_parsed(void)
{
    static const char text[] =
        "{\"apiVersion\":\"a/v1\",\"data\":{\"metadata\":\"}\\\"{\"},"
        "\"kind\":\"K\",\"metadata\":{\"name\":\"n\",\"namespace\":\"s\"}}";
    CLEANUP(object_unref) struct object *o = NULL;
    CLEANUP(json_decref) json_t *a = NULL;
    CLEANUP(json_decref) json_t *b = NULL;
    CLEANUP(buf_fini) struct buf out = BUF_INIT;
    struct err err;

    o = object_new(&things, text, strlen(text), 42, &err);
    CHECK(o != NULL);
    object_text(o, NULL, &out);
    a = parse(buf_str(&out));
    b = object_json(o);
    CHECK(jsonx_equal(a, b));
    CHECK(strcmp(jsonx_str(a, "metadata.resourceVersion"), "42") == 0);
    buf_truncate(&out, 0);
    object_text(o, "a/v1alpha1", &out);
    json_decref(a);
    a = parse(buf_str(&out));
    CHECK(strcmp(jsonx_str(a, "apiVersion"), "a/v1alpha1") == 0);
    CHECK(strcmp(jsonx_str(a, "metadata.name"), "n") == 0);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "create sets what the server owns",
          create_sets_what_the_server_owns },
        { "bad objects are refused", bad_objects_are_refused },
        { "generateName makes a name", generate_name_makes_a_name },
        { "generation counts changes of the spec only",
          generation_counts_changes_of_the_spec_only },
        { "status and the rest are written apart",
          status_and_the_rest_are_written_apart },
        { "an equal write writes nothing", an_equal_write_writes_nothing },
        { "dry run writes nothing", dry_run_writes_nothing },
        { "preconditions hold", preconditions_hold },
        { "deletion waits for finalizers", deletion_waits_for_finalizers },
        { "nothing is created in a namespace that ends",
          nothing_is_created_in_a_namespace_that_ends },
        { "updates from four threads lose nothing",
          updates_from_four_threads_lose_nothing },
        { "text is spliced like it is parsed",
          text_is_spliced_like_it_is_parsed },
    };
    int rc = test_main(cases, ARRAY_SIZE(cases));

    test_dir_clear();
    return rc;
}
