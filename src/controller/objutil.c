/* SPDX-License-Identifier: Apache-2.0 */
/* controller/objutil.c: status, finalizers and conditions of objects. */
#include "controller/objutil.h"

#include <string.h>

#include "base/clock.h"
#include "codec/jsonpatch.h"

static void
replace(struct object **object, struct object *by)
{
    if (by == NULL)
        return;
    object_unref(*object);
    *object = by;
}

static struct obj_ref
ref_of(const struct object *o)
{
    return (struct obj_ref){ object_gvr(o), object_ns(o), object_name(o) };
}

static int
put_status(void *arg, json_t *object, struct err *err)
{
    const json_t *status = arg;

    (void)err;
    if (jsonx_equal(json_object_get(object, "status"), status))
        return 1;
    (void)json_object_set_new(object, "status", json_deep_copy(status));
    return 0;
}

static int
merge_status(void *arg, json_t *object, struct err *err)
{
    const json_t *patch = arg;
    const json_t *was = json_object_get(object, "status");
    CLEANUP(json_decref) json_t *none = json_object();

    (void)err;
    (void)json_object_set_new(object, "status",
                              jsonpatch_merge(was == NULL ? none : was, patch));
    return 0;
}

static int
write_status(struct ctl *ctl, struct object **object, obj_mutate_fn fn,
             const json_t *arg, struct err *err)
{
    struct obj_ref ref = ref_of(*object);
    struct obj_write how = { .part = OBJ_STATUS, .uid = object_uid(*object) };
    struct object *now = NULL;

    if (obj_update(ctl->store, &ref, &how, fn, (void *)(uintptr_t)arg, &now,
                   NULL, err) < 0)
        return -1;
    replace(object, now);
    return 0;
}

int
objutil_merge_status(struct ctl *ctl, struct object **object,
                     const json_t *patch, struct err *err)
{
    return write_status(ctl, object, merge_status, patch, err);
}

int
objutil_set_status(struct ctl *ctl, struct object **object,
                   const json_t *status, struct err *err)
{
    return write_status(ctl, object, put_status, status, err);
}

bool
objutil_has_finalizer(const json_t *object, const char *finalizer)
{
    const json_t *list = jsonx_get(object, "metadata.finalizers");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));

        if (s != NULL && strcmp(s, finalizer) == 0)
            return true;
    }
    return false;
}

struct finalizer_change {
    const char *finalizer;
    bool add;
};

static int
put_finalizer(void *arg, json_t *object, struct err *err)
{
    const struct finalizer_change *c = arg;
    json_t *list = jsonx_get(object, "metadata.finalizers");

    (void)err;
    if (objutil_has_finalizer(object, c->finalizer) == c->add)
        return 1;
    if (c->add) {
        if (list == NULL) {
            list = json_array();
            jsonx_set(object, "metadata.finalizers", list);
        }
        (void)json_array_append_new(list, json_string(c->finalizer));
        return 0;
    }
    for (size_t i = json_array_size(list); i-- > 0;) {
        const char *s = json_string_value(json_array_get(list, i));

        if (s != NULL && strcmp(s, c->finalizer) == 0)
            (void)json_array_remove(list, i);
    }
    return 0;
}

int
objutil_finalizer(struct ctl *ctl, struct object **object,
                  const char *finalizer, bool add, struct err *err)
{
    struct obj_ref ref = ref_of(*object);
    struct obj_write how = { .part = OBJ_MAIN, .uid = object_uid(*object) };
    struct finalizer_change change = { finalizer, add };
    struct object *now = NULL;

    if (obj_update(ctl->store, &ref, &how, put_finalizer, &change, &now, NULL,
                   err) < 0)
        return !add && err->code == ERR_NOT_FOUND ? 0 : -1;
    replace(object, now);
    return 0;
}

struct obj_ref
objutil_ref(const struct kind *k, const char *ns, const char *name)
{
    return (struct obj_ref){ &k->gvr, ns, name };
}

int
objutil_find(struct ctl *ctl, const struct kind *k, const char *ns,
             const char *name, struct object **ret_object, struct err *err)
{
    struct obj_ref ref = objutil_ref(k, ns, name);

    *ret_object = NULL;
    if (obj_get(ctl->store, &ref, ret_object, err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    return 0;
}

static json_t *
find_condition(const json_t *status, const char *type)
{
    return jsonx_find(json_object_get(status, "conditions"), "type", type);
}

void
objutil_condition(json_t *status, const char *type, bool is_true,
                  const char *reason, int64_t now_s)
{
    json_t *list = json_object_get(status, "conditions");
    json_t *c = find_condition(status, type);
    const char *value = is_true ? "True" : "False";

    if (c != NULL && strcmp(jsonx_str_or(c, "status", ""), value) == 0 &&
        strcmp(jsonx_str_or(c, "reason", ""), reason) == 0)
        return;
    if (!json_is_array(list)) {
        list = json_array();
        (void)json_object_set_new(status, "conditions", list);
    }
    if (c == NULL) {
        c = json_object();
        (void)json_array_append_new(list, c);
    }
    (void)json_object_set_new(c, "lastProbeTime", json_null());
    (void)json_object_set_new(c, "lastTransitionTime", objutil_time(now_s));
    (void)json_object_set_new(c, "reason", json_string(reason));
    (void)json_object_set_new(c, "status", json_string(value));
    (void)json_object_set_new(c, "type", json_string(type));
}

const char *
objutil_condition_status(const json_t *status, const char *type)
{
    return jsonx_str(find_condition(status, type), "status");
}

const char *
objutil_condition_reason(const json_t *status, const char *type)
{
    return jsonx_str(find_condition(status, type), "reason");
}

void
objutil_error(json_t *status, const char *message, int64_t now_s)
{
    const char *before = jsonx_str(status, "error.message");

    if (message == NULL) {
        (void)json_object_del(status, "error");
        return;
    }
    if (before != NULL && strcmp(before, message) == 0)
        return;
    (void)json_object_set_new(status, "error",
                              json_pack("{s:s, s:o}", "message", message,
                                        "time", objutil_time(now_s)));
}

int64_t
objutil_time_ms(const json_t *v, const char *path)
{
    const char *text = jsonx_str(v, path);
    struct err err;
    int64_t s;

    return text != NULL && clock_parse_rfc3339(text, &s, &err) == 0 ? s * 1000
                                                                    : 0;
}

json_t *
objutil_time(int64_t unix_s)
{
    char text[CLOCK_RFC3339_SIZE];

    clock_format_rfc3339(unix_s, text);
    return json_string(text);
}
