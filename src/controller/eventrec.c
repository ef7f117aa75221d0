/* SPDX-License-Identifier: Apache-2.0 */
/* controller/eventrec.c: Events.
 *
 * The name of an Event is made of the object's name and a hash of what is
 * said about it, so that a repetition finds the Event it repeats, also after
 * a restart.
 */
#include "controller/eventrec.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "types/kind.h"

#define COMPONENT "vmkeepd"

struct eventrec {
    struct store *store; /* [C] */
    struct cache *cache; /* [C] */
    const char *host;    /* [C] */
};

struct eventrec *
eventrec_new(struct store *s, struct cache *c, const char *host)
{
    struct eventrec *r = xcalloc(1, sizeof *r);

    r->store = s;
    r->cache = c;
    r->host = host;
    return r;
}

void
eventrec_free(struct eventrec *r)
{
    free(r);
}

/* FNV-1a; only has to tell apart what is said about one object. */
static uint64_t
hash_add(uint64_t h, const char *s)
{
    for (; *s != 0; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211u;
    return (h ^ 0xff) * 1099511628211u;
}

struct said {
    const struct object *about;
    const char *type, *reason, *message;
};

static char *
name_of(const struct said *said)
{
    uint64_t h = 14695981039346656037u;

    h = hash_add(h, object_uid(said->about));
    h = hash_add(h, said->type);
    h = hash_add(h, said->reason);
    h = hash_add(h, said->message);
    return xasprintf("%.230s.%016" PRIx64, object_name(said->about), h);
}

static const char *
namespace_of(const struct object *about)
{
    return object_ns(about)[0] == 0 ? "default" : object_ns(about);
}

static json_t *
involved(const struct object *about)
{
    const struct gvr *gvr = object_gvr(about);
    char api[192];
    char rev[24];
    json_t *v;

    (void)snprintf(api, sizeof api, "%s%s%s", gvr->group,
                   gvr->group[0] == 0 ? "" : "/", gvr->version);
    (void)snprintf(rev, sizeof rev, "%" PRIu64, object_rev(about));
    v = json_pack("{s:s, s:s, s:s, s:s, s:s}", "apiVersion", api, "kind",
                  gvr->kind, "name", object_name(about), "uid",
                  object_uid(about), "resourceVersion", rev);
    if (object_ns(about)[0] != 0)
        jsonx_set_str(v, "namespace", object_ns(about));
    return v;
}

static json_t *
make(const struct eventrec *r, const struct said *said, const char *name,
     const char *now)
{
    json_t *v = json_pack(
        "{s:{s:s, s:s}, s:o, s:s, s:s, s:s, s:i, s:s, s:s, s:{s:s, s:s},"
        " s:s, s:s}",
        "metadata", "name", name, "namespace", namespace_of(said->about),
        "involvedObject", involved(said->about), "type", said->type, "reason",
        said->reason, "message", said->message, "count", 1, "firstTimestamp",
        now, "lastTimestamp", now, "source", "component", COMPONENT, "host",
        r->host, "reportingComponent", COMPONENT, "reportingInstance", r->host);

    if (v == NULL)
        log_debug("event %s: not UTF-8", name);
    return v;
}

static int
count_up(void *arg, json_t *object, struct err *err)
{
    (void)err;
    jsonx_set(object, "count", json_integer(jsonx_int(object, "count", 1) + 1));
    jsonx_set_str(object, "lastTimestamp", arg);
    return 0;
}

static int
record(struct eventrec *r, const struct said *said, struct err *err)
{
    static const struct obj_write how = { .part = OBJ_MAIN };
    CLEANUP(mem_free) char *name = name_of(said);
    CLEANUP(json_decref) json_t *v = NULL;
    CLEANUP(object_unref) struct object *o = NULL;
    struct obj_ref ref = { &kind_event.gvr, namespace_of(said->about), name };
    char now[CLOCK_RFC3339_SIZE];

    clock_format_rfc3339(clock_wall_s(), now);
    if (obj_update(r->store, &ref, &how, count_up, now, &o, NULL, err) == 0)
        return 0;
    if (err->code != ERR_NOT_FOUND)
        return -1;
    v = make(r, said, name, now);
    if (v == NULL)
        return 0;
    return obj_create(r->store, ref.gvr, ref.ns, v, &how, &o, err);
}

static void
say(struct eventrec *r, const struct object *about, const char *type,
    const char *reason, const char *message)
{
    struct said said = { about, type, reason, message };
    bool is_warning = strcmp(type, "Warning") == 0;
    const char *ns = object_ns(about), *slash = *ns == 0 ? "" : "/";
    struct err err;

    if (is_warning)
        log_warn("%s %s%s%s: %s: %s", object_gvr(about)->kind, ns, slash,
                 object_name(about), reason, message);
    else
        log_info("%s %s%s%s: %s: %s", object_gvr(about)->kind, ns, slash,
                 object_name(about), reason, message);
    /* DENIED, NOT_FOUND: its namespace ends or has ended. */
    if (record(r, &said, &err) < 0 && err.code != ERR_DENIED &&
        err.code != ERR_NOT_FOUND)
        log_warn("event about %s %s/%s: %s", object_gvr(about)->kind,
                 object_ns(about), object_name(about), err.msg);
}

/* Kubernetes takes at most 1024 bytes. */
#define MESSAGE_SIZE 1024

void
eventrec_normal(struct eventrec *r, const struct object *about,
                const char *reason, const char *fmt, ...)
{
    char message[MESSAGE_SIZE];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    say(r, about, "Normal", reason, message);
}

void
eventrec_warn(struct eventrec *r, const struct object *about,
              const char *reason, const char *fmt, ...)
{
    char message[MESSAGE_SIZE];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    say(r, about, "Warning", reason, message);
}

static bool
is_older(const struct object *o, int64_t before_s)
{
    CLEANUP(json_decref) json_t *v = object_json(o);
    const char *stamp = jsonx_str(v, "lastTimestamp");
    struct err err;
    int64_t at_s;

    if (stamp == NULL)
        stamp = jsonx_str_or(v, "metadata.creationTimestamp", "");
    return clock_parse_rfc3339(stamp, &at_s, &err) == 0 && at_s < before_s;
}

void
eventrec_sweep(struct eventrec *r, int64_t max_age_s)
{
    static const struct obj_write how = { .part = OBJ_MAIN };
    int64_t before_s = clock_wall_s() - max_age_s;
    struct object_list events;

    cache_list(r->cache, &kind_event.gvr, NULL, &events);
    for (size_t i = 0; i < events.n; i++) {
        struct object *o = events.v[i];
        struct obj_ref ref = { object_gvr(o), object_ns(o), object_name(o) };
        CLEANUP(object_unref) struct object *gone = NULL;
        struct err err;

        if (is_older(o, before_s) &&
            obj_delete(r->store, &ref, &how, &gone, NULL, &err) < 0 &&
            err.code != ERR_NOT_FOUND)
            log_warn("old event %s/%s: %s", ref.ns, ref.name, err.msg);
    }
    object_list_fini(&events);
}
