/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/ctl.h"

#include <string.h>

#include "base/clock.h"
#include "controller/loop.h"

static void *
part_start(const struct ctl_part *part, struct ctl *ctl, struct err *err)
{
    struct loop *l;

    if (part->loop == NULL)
        return part->start(ctl, err);
    l = loop_new(ctl, part->loop, NULL);
    if (loop_start(l, err) == 0)
        return l;
    loop_free(l);
    return NULL;
}

static void
part_stop(const struct ctl_part *part, void *state)
{
    if (part->loop == NULL)
        part->stop(state);
    else
        loop_free(state);
}

int
ctl_start(struct ctl *ctl, const struct ctl_part *const *parts, struct err *err)
{
    ctl->parts = parts;
    ctl->n_started = 0;
    for (size_t i = 0; parts[i] != NULL; i++) {
        void *state =
            i == CTL_MAX_PARTS ? NULL : part_start(parts[i], ctl, err);

        if (state == NULL) {
            ctl_stop(ctl);
            return err_wrap(err, "controller %s", parts[i]->name);
        }
        ctl->states[ctl->n_started++] = state;
    }
    return 0;
}

void
ctl_stop(struct ctl *ctl)
{
    while (ctl->n_started > 0) {
        ctl->n_started--;
        part_stop(ctl->parts[ctl->n_started], ctl->states[ctl->n_started]);
    }
}

struct object *
ctl_vm(struct ctl *ctl, const char *ns, const char *name, struct err *err)
{
    struct obj_ref ref = { &kind_vm.gvr, ns, name };
    struct object *vm = cache_get(ctl->cache, &ref);

    if (vm == NULL)
        return err_set_null(err, ERR_NOT_FOUND,
                            "virtualmachines.kubevirt.io \"%s\" not found",
                            name);
    return vm;
}

struct object *
ctl_vm_by_uid(struct ctl *ctl, const char *uid)
{
    struct object_list vms;
    struct object *found = NULL;

    cache_list(ctl->cache, &kind_vm.gvr, NULL, &vms);
    for (size_t i = 0; i < vms.n && found == NULL; i++)
        if (strcmp(object_uid(vms.v[i]), uid) == 0)
            found = object_ref(vms.v[i]);
    object_list_fini(&vms);
    return found;
}

static json_t *
find_condition(const json_t *object, const char *type)
{
    return jsonx_find(jsonx_get(object, "status.conditions"), "type", type);
}

const char *
ctl_condition_get(const json_t *object, const char *type)
{
    return jsonx_str(find_condition(object, type), "status");
}

const char *
ctl_condition_message(const json_t *object, const char *type)
{
    return jsonx_str_or(find_condition(object, type), "message", "");
}

bool
ctl_condition_set(json_t *object, const char *type, const char *status,
                  const char *reason, const char *message,
                  int64_t observed_generation)
{
    json_t *c = find_condition(object, type);
    CLEANUP(json_decref) json_t *before = json_deep_copy(c);
    char now[CLOCK_RFC3339_SIZE];

    if (c == NULL) {
        json_t *list = jsonx_get(object, "status.conditions");

        if (list == NULL) {
            jsonx_set(object, "status.conditions", json_array());
            list = jsonx_get(object, "status.conditions");
        }
        c = json_object();
        (void)json_array_append_new(list, c);
    }
    if (strcmp(jsonx_str_or(c, "status", ""), status) != 0) {
        clock_format_rfc3339(clock_wall_s(), now);
        jsonx_set_str(c, "lastTransitionTime", now);
    }
    jsonx_set_str(c, "type", type);
    jsonx_set_str(c, "status", status);
    jsonx_set_str(c, "reason", reason);
    jsonx_set_str(c, "message", message);
    if (observed_generation != 0)
        jsonx_set(c, "observedGeneration", json_integer(observed_generation));
    return before == NULL || !jsonx_equal(before, c);
}

void
ctl_condition_remove(json_t *object, const char *type)
{
    json_t *list = jsonx_get(object, "status.conditions");

    for (size_t i = json_array_size(list); i-- > 0;)
        if (strcmp(jsonx_str_or(json_array_get(list, i), "type", ""), type) ==
            0)
            (void)json_array_remove(list, i);
}
