/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/projectput.h"

static const struct obj_write all = { .part = OBJ_ALL };

struct change {
    projectput_change_fn fn;
    void *arg;
};

static int
apply(void *arg, json_t *object, struct err *err)
{
    const struct change *c = arg;

    (void)err;
    c->fn(c->arg, object);
    return 0;
}

static int
create(struct ctl *ctl, const struct obj_ref *ref, const char *uid,
       const struct change *c, struct object **ret_object, struct err *err)
{
    CLEANUP(json_decref)
    json_t *v = json_pack("{s:{s:s}}", "metadata", "name", ref->name);

    jsonx_set_str(v, "metadata.uid", uid);
    if (ref->gvr->is_namespaced)
        jsonx_set_str(v, "metadata.namespace", ref->ns);
    c->fn(c->arg, v);
    return obj_create(ctl->store, ref->gvr, ref->ns, v, &all, ret_object, err);
}

int
projectput_write(struct ctl *ctl, const struct obj_ref *ref, const char *uid,
                 projectput_change_fn change, void *arg,
                 struct object **ret_object, struct err *err)
{
    struct obj_write how = { .part = OBJ_ALL, .uid = uid };
    struct change c = { change, arg };
    struct object *o = NULL;
    int rc;

    rc = obj_update(ctl->store, ref, &how, apply, &c, &o, NULL, err);
    if (rc < 0 && err->code == ERR_NOT_FOUND)
        rc = create(ctl, ref, uid, &c, &o, err);
    if (rc < 0)
        return -1;
    if (ret_object == NULL)
        object_unref(o);
    else
        *ret_object = o;
    return 0;
}

static void
drop_finalizers(void *arg, json_t *object)
{
    (void)arg;
    jsonx_del(object, "metadata.finalizers");
}

int
projectput_remove(struct ctl *ctl, const struct obj_ref *ref, struct err *err)
{
    struct change c = { drop_finalizers, NULL };

    if ((obj_update(ctl->store, ref, &all, apply, &c, NULL, NULL, err) < 0 ||
         obj_delete(ctl->store, ref, &all, NULL, NULL, err) < 0) &&
        err->code != ERR_NOT_FOUND)
        return -1;
    return 0;
}
