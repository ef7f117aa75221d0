/* SPDX-License-Identifier: Apache-2.0 */
/* Event: what happened to an object. Written by controllers and by clients.
 * source  spec k8swire 4
 */
#include <string.h>

#include "types/rules.h"
#include "types/schema.h"

static const char *const versions[] = { "v1", NULL };
static const char *const short_names[] = { "ev", NULL };
static const struct kind_column columns[] = {
    { "Last Seen", "date", ".lastTimestamp", "When it happened last.", 0 },
    { "Type", "string", ".type", "Normal or Warning.", 0 },
    { "Reason", "string", ".reason", "One word.", 0 },
    { "Object", "string", NULL, "To what it happened.", 0 },
    { "Source", "string", ".source.component", "Who says so.", 1 },
    { "Message", "string", ".message", "What happened.", 0 },
    { "First Seen", "date", ".firstTimestamp", "When it happened first.", 1 },
    { "Count", "integer", ".count", "How often.", 1 },
    { "Name", "string", ".metadata.name", "Of the event itself.", 1 },
    { NULL },
};

/* "virtualmachine/web", as kubectl names things. */
static char *
cell(const struct kind_column *col, const json_t *object)
{
    struct buf out = BUF_INIT;

    for (const char *p = jsonx_str_or(object, "involvedObject.kind", "");
         *p != 0; p++)
        buf_add_char(&out,
                     (char)(*p >= 'A' && *p <= 'Z' ? *p - 'A' + 'a' : *p));
    buf_printf(&out, "/%s", jsonx_str_or(object, "involvedObject.name", ""));
    return buf_take_str(&out);
}

static int
validate(const struct kind_request *rq, struct causes *causes, struct err *err)
{
    const char *ns;

    if (rq->op != KIND_CREATE && rq->op != KIND_UPDATE)
        return 0;
    ns = jsonx_str_or(rq->object, "involvedObject.namespace", "");
    if (*ns != 0 && strcmp(ns, rq->ns) != 0)
        causes_add(causes, "FieldValueInvalid", "involvedObject.namespace",
                   "Invalid value: \"%.63s\": does not match event.namespace",
                   ns);
    return 0;
}

const struct kind kind_event = {
    .gvr = { "", "v1", "events", "Event", true, false, false },
    .versions = versions,
    .singular = "event",
    .short_names = short_names,
    .verbs = rules_verbs,
    .columns = columns,
    .cell = cell,
    .validate = validate,
    .schema_json = schema_event,
};
