/* SPDX-License-Identifier: Apache-2.0 */
/* Table-driven: a message is a list of fields; unknown fields are skipped, as
 * protobuf wants. gogo-protobuf writes every scalar that is no pointer in Go,
 * set or not, and Go's JSON leaves empty ones out; so do we, but for fields
 * marked KEEP, which are pointers in Go: an empty storageClassName says
 * something. Nesting is as deep as the tables, so recursion is bounded.
 */
#include "codec/protobuf.h"

#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"

enum type {
    T_TEXT,
    T_BYTES, /* as base64 */
    T_INT,
    T_BOOL,
    T_MESSAGE,
    T_TIME,
    T_MICRO_TIME,
    T_QUANTITY,
    T_RAW_JSON, /* FieldsV1 */
    T_TEXT_MAP,
    T_BYTES_MAP,
    T_QUANTITY_MAP,
};

enum flag {
    REPEATED = 1,
    KEEP = 2, /* a pointer in Go: kept when empty */
};

struct field {
    uint32_t number;
    const char *name;
    enum type type;
    const struct field *message; /* of T_MESSAGE; ends with name NULL */
    int flags;
};

#define END                                                                    \
    {                                                                          \
        0, NULL, T_TEXT, NULL, 0                                               \
    }

static const struct field owner[] = {
    { 1, "kind", T_TEXT, NULL, 0 },
    { 3, "name", T_TEXT, NULL, 0 },
    { 4, "uid", T_TEXT, NULL, 0 },
    { 5, "apiVersion", T_TEXT, NULL, 0 },
    { 6, "controller", T_BOOL, NULL, KEEP },
    { 7, "blockOwnerDeletion", T_BOOL, NULL, KEEP },
    END,
};
static const struct field managed[] = {
    { 1, "manager", T_TEXT, NULL, 0 },
    { 2, "operation", T_TEXT, NULL, 0 },
    { 3, "apiVersion", T_TEXT, NULL, 0 },
    { 4, "time", T_TIME, NULL, 0 },
    { 6, "fieldsType", T_TEXT, NULL, 0 },
    { 7, "fieldsV1", T_RAW_JSON, NULL, 0 },
    { 8, "subresource", T_TEXT, NULL, 0 },
    END,
};
static const struct field meta[] = {
    { 1, "name", T_TEXT, NULL, 0 },
    { 2, "generateName", T_TEXT, NULL, 0 },
    { 3, "namespace", T_TEXT, NULL, 0 },
    { 4, "selfLink", T_TEXT, NULL, 0 },
    { 5, "uid", T_TEXT, NULL, 0 },
    { 6, "resourceVersion", T_TEXT, NULL, 0 },
    { 7, "generation", T_INT, NULL, 0 },
    { 8, "creationTimestamp", T_TIME, NULL, 0 },
    { 9, "deletionTimestamp", T_TIME, NULL, 0 },
    { 10, "deletionGracePeriodSeconds", T_INT, NULL, KEEP },
    { 11, "labels", T_TEXT_MAP, NULL, 0 },
    { 12, "annotations", T_TEXT_MAP, NULL, 0 },
    { 13, "ownerReferences", T_MESSAGE, owner, REPEATED },
    { 14, "finalizers", T_TEXT, NULL, REPEATED },
    { 17, "managedFields", T_MESSAGE, managed, REPEATED },
    END,
};
static const struct field namespace_spec[] = {
    { 1, "finalizers", T_TEXT, NULL, REPEATED },
    END,
};
static const struct field namespace_status[] = {
    { 1, "phase", T_TEXT, NULL, 0 },
    END,
};
static const struct field namespace[] = {
    { 1, "metadata", T_MESSAGE, meta, 0 },
    { 2, "spec", T_MESSAGE, namespace_spec, 0 },
    { 3, "status", T_MESSAGE, namespace_status, 0 },
    END,
};
static const struct field secret[] = {
    { 1, "metadata", T_MESSAGE, meta, 0 },
    { 2, "data", T_BYTES_MAP, NULL, 0 },
    { 3, "type", T_TEXT, NULL, 0 },
    { 4, "stringData", T_TEXT_MAP, NULL, 0 },
    { 5, "immutable", T_BOOL, NULL, KEEP },
    END,
};
static const struct field config_map[] = {
    { 1, "metadata", T_MESSAGE, meta, 0 },
    { 2, "data", T_TEXT_MAP, NULL, 0 },
    { 3, "binaryData", T_BYTES_MAP, NULL, 0 },
    { 4, "immutable", T_BOOL, NULL, KEEP },
    END,
};
static const struct field reference[] = {
    { 1, "kind", T_TEXT, NULL, 0 },
    { 2, "namespace", T_TEXT, NULL, 0 },
    { 3, "name", T_TEXT, NULL, 0 },
    { 4, "uid", T_TEXT, NULL, 0 },
    { 5, "apiVersion", T_TEXT, NULL, 0 },
    { 6, "resourceVersion", T_TEXT, NULL, 0 },
    { 7, "fieldPath", T_TEXT, NULL, 0 },
    END,
};
static const struct field event_source[] = {
    { 1, "component", T_TEXT, NULL, 0 },
    { 2, "host", T_TEXT, NULL, 0 },
    END,
};
static const struct field event_series[] = {
    { 1, "count", T_INT, NULL, 0 },
    { 2, "lastObservedTime", T_MICRO_TIME, NULL, 0 },
    END,
};
static const struct field event[] = {
    { 1, "metadata", T_MESSAGE, meta, 0 },
    { 2, "involvedObject", T_MESSAGE, reference, 0 },
    { 3, "reason", T_TEXT, NULL, 0 },
    { 4, "message", T_TEXT, NULL, 0 },
    { 5, "source", T_MESSAGE, event_source, 0 },
    { 6, "firstTimestamp", T_TIME, NULL, 0 },
    { 7, "lastTimestamp", T_TIME, NULL, 0 },
    { 8, "count", T_INT, NULL, 0 },
    { 9, "type", T_TEXT, NULL, 0 },
    { 10, "eventTime", T_MICRO_TIME, NULL, 0 },
    { 11, "series", T_MESSAGE, event_series, 0 },
    { 12, "action", T_TEXT, NULL, 0 },
    { 13, "related", T_MESSAGE, reference, 0 },
    { 14, "reportingComponent", T_TEXT, NULL, 0 },
    { 15, "reportingInstance", T_TEXT, NULL, 0 },
    END,
};
static const struct field resources[] = {
    { 1, "limits", T_QUANTITY_MAP, NULL, 0 },
    { 2, "requests", T_QUANTITY_MAP, NULL, 0 },
    END,
};
static const struct field expression[] = {
    { 1, "key", T_TEXT, NULL, 0 },
    { 2, "operator", T_TEXT, NULL, 0 },
    { 3, "values", T_TEXT, NULL, REPEATED },
    END,
};
static const struct field selector[] = {
    { 1, "matchLabels", T_TEXT_MAP, NULL, 0 },
    { 2, "matchExpressions", T_MESSAGE, expression, REPEATED },
    END,
};
static const struct field data_source[] = {
    { 1, "apiGroup", T_TEXT, NULL, KEEP },
    { 2, "kind", T_TEXT, NULL, 0 },
    { 3, "name", T_TEXT, NULL, 0 },
    { 4, "namespace", T_TEXT, NULL, KEEP },
    END,
};
static const struct field claim_spec[] = {
    { 1, "accessModes", T_TEXT, NULL, REPEATED },
    { 2, "resources", T_MESSAGE, resources, 0 },
    { 3, "volumeName", T_TEXT, NULL, 0 },
    { 4, "selector", T_MESSAGE, selector, 0 },
    { 5, "storageClassName", T_TEXT, NULL, KEEP },
    { 6, "volumeMode", T_TEXT, NULL, KEEP },
    { 7, "dataSource", T_MESSAGE, data_source, 0 },
    { 8, "dataSourceRef", T_MESSAGE, data_source, 0 },
    END,
};
static const struct field claim_status[] = {
    { 1, "phase", T_TEXT, NULL, 0 },
    { 2, "accessModes", T_TEXT, NULL, REPEATED },
    { 3, "capacity", T_QUANTITY_MAP, NULL, 0 },
    END,
};
static const struct field claim[] = {
    { 1, "metadata", T_MESSAGE, meta, 0 },
    { 2, "spec", T_MESSAGE, claim_spec, 0 },
    { 3, "status", T_MESSAGE, claim_status, 0 },
    END,
};
static const struct field lease_spec[] = {
    { 1, "holderIdentity", T_TEXT, NULL, KEEP },
    { 2, "leaseDurationSeconds", T_INT, NULL, KEEP },
    { 3, "acquireTime", T_MICRO_TIME, NULL, 0 },
    { 4, "renewTime", T_MICRO_TIME, NULL, 0 },
    { 5, "leaseTransitions", T_INT, NULL, KEEP },
    END,
};
static const struct field lease[] = {
    { 1, "metadata", T_MESSAGE, meta, 0 },
    { 2, "spec", T_MESSAGE, lease_spec, 0 },
    END,
};
static const struct field resource_attributes[] = {
    { 1, "namespace", T_TEXT, NULL, 0 }, { 2, "verb", T_TEXT, NULL, 0 },
    { 3, "group", T_TEXT, NULL, 0 },     { 4, "version", T_TEXT, NULL, 0 },
    { 5, "resource", T_TEXT, NULL, 0 },  { 6, "subresource", T_TEXT, NULL, 0 },
    { 7, "name", T_TEXT, NULL, 0 },      END,
};
static const struct field path_attributes[] = {
    { 1, "path", T_TEXT, NULL, 0 },
    { 2, "verb", T_TEXT, NULL, 0 },
    END,
};
static const struct field access_spec[] = {
    { 1, "resourceAttributes", T_MESSAGE, resource_attributes, 0 },
    { 2, "nonResourceAttributes", T_MESSAGE, path_attributes, 0 },
    END,
};
static const struct field access_review[] = {
    { 1, "metadata", T_MESSAGE, meta, 0 },
    { 2, "spec", T_MESSAGE, access_spec, 0 },
    END,
};
static const struct field rules_spec[] = {
    { 1, "namespace", T_TEXT, NULL, 0 },
    END,
};
static const struct field rules_review[] = {
    { 1, "metadata", T_MESSAGE, meta, 0 },
    { 2, "spec", T_MESSAGE, rules_spec, 0 },
    END,
};
static const struct field subject_review[] = {
    { 1, "metadata", T_MESSAGE, meta, 0 },
    END,
};
static const struct field preconditions[] = {
    { 1, "uid", T_TEXT, NULL, KEEP },
    { 2, "resourceVersion", T_TEXT, NULL, KEEP },
    END,
};
static const struct field delete_options[] = {
    { 1, "gracePeriodSeconds", T_INT, NULL, KEEP },
    { 2, "preconditions", T_MESSAGE, preconditions, 0 },
    { 3, "orphanDependents", T_BOOL, NULL, KEEP },
    { 4, "propagationPolicy", T_TEXT, NULL, KEEP },
    { 5, "dryRun", T_TEXT, NULL, REPEATED },
    END,
};

static const struct {
    const char *kind;
    const struct field *message;
} kinds[] = {
    { "Namespace", namespace },
    { "Secret", secret },
    { "ConfigMap", config_map },
    { "Event", event },
    { "PersistentVolumeClaim", claim },
    { "Lease", lease },
    { "SelfSubjectAccessReview", access_review },
    { "SelfSubjectRulesReview", rules_review },
    { "SelfSubjectReview", subject_review },
    { "DeleteOptions", delete_options },
};

static const struct field type_meta[] = {
    { 1, "apiVersion", T_TEXT, NULL, 0 },
    { 2, "kind", T_TEXT, NULL, 0 },
    END,
};

/* ---- wire format ---- */

enum wire {
    WIRE_VARINT = 0,
    WIRE_FIXED64 = 1,
    WIRE_BYTES = 2,
    WIRE_FIXED32 = 5,
};

struct span {
    const uint8_t *at;
    size_t len;
};

/* One field as it stands in the bytes. */
struct token {
    uint32_t number;
    enum wire wire;
    uint64_t value;    /* WIRE_VARINT */
    struct span bytes; /* WIRE_BYTES */
};

static int
read_varint(struct span *s, uint64_t *ret_value, struct err *err)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64 && s->len > 0; shift += 7) {
        uint8_t b = *s->at;

        s->at++;
        s->len--;
        v |= (uint64_t)(b & 0x7f) << shift;
        if ((b & 0x80) == 0) {
            *ret_value = v;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID, "protobuf: a number is cut short");
}

static int
take_bytes(struct span *s, uint64_t len, struct span *ret, struct err *err)
{
    if (len > s->len)
        return err_set(err, ERR_INVALID, "protobuf: a field is cut short");
    *ret = (struct span){ s->at, (size_t)len };
    s->at += len;
    s->len -= (size_t)len;
    return 0;
}

static int
read_token(struct span *s, struct token *ret, struct err *err)
{
    uint64_t key, len;

    if (read_varint(s, &key, err) < 0)
        return -1;
    if (key >> 3 == 0 || key >> 3 > 0x1fffffff)
        return err_set(err, ERR_INVALID, "protobuf: bad field number");
    ret->number = (uint32_t)(key >> 3);
    ret->wire = (enum wire)(key & 7);
    ret->value = 0;
    switch (key & 7) {
    case WIRE_VARINT:
        return read_varint(s, &ret->value, err);
    case WIRE_FIXED64:
        return take_bytes(s, 8, &ret->bytes, err);
    case WIRE_FIXED32:
        return take_bytes(s, 4, &ret->bytes, err);
    case WIRE_BYTES:
        if (read_varint(s, &len, err) < 0)
            return -1;
        return take_bytes(s, len, &ret->bytes, err);
    default:
        return err_set(err, ERR_INVALID, "protobuf: bad wire type");
    }
}

/* ---- values ---- */

static json_t *decode_message(struct span s, const struct field *fields,
                              struct err *err);

static json_t *
decode_text(struct span s, struct err *err)
{
    json_t *v = memchr(s.at, 0, s.len) != NULL
                    ? NULL
                    : json_stringn((const char *)s.at, s.len);

    if (v == NULL)
        return err_set_null(err, ERR_INVALID, "protobuf: text is not UTF-8");
    return v;
}

static json_t *
decode_base64(struct span s)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz0123456789+/";
    CLEANUP(buf_fini) struct buf out = BUF_INIT;

    for (size_t i = 0; i < s.len; i += 3) {
        size_t n = s.len - i < 3 ? s.len - i : 3;
        uint32_t v = (uint32_t)s.at[i] << 16;

        if (n > 1)
            v |= (uint32_t)s.at[i + 1] << 8;
        if (n > 2)
            v |= s.at[i + 2];
        buf_add_char(&out, digits[v >> 18]);
        buf_add_char(&out, digits[v >> 12 & 63]);
        buf_add_char(&out, n > 1 ? digits[v >> 6 & 63] : '=');
        buf_add_char(&out, n > 2 ? digits[v & 63] : '=');
    }
    return json_string(buf_str(&out));
}

/* Years 1 to 9999, as RFC 3339 can say them. */
#define TIME_MIN_S (-62135596800)
#define TIME_MAX_S 253402300799

/* An empty message is Go's zero time, which is null in JSON. */
static json_t *
decode_time(struct span s, bool has_micros, struct err *err)
{
    char stamp[CLOCK_RFC3339_SIZE + 8];
    uint64_t nanos = 0;
    int64_t at_s = 0;

    if (s.len == 0)
        return json_null();
    while (s.len > 0) {
        struct token t;

        if (read_token(&s, &t, err) < 0)
            return NULL;
        if (t.number == 1)
            at_s = (int64_t)t.value;
        else if (t.number == 2)
            nanos = t.value;
    }
    if (at_s < TIME_MIN_S || at_s > TIME_MAX_S || nanos > 999999999)
        return err_set_null(err, ERR_INVALID, "protobuf: no such time");
    clock_format_rfc3339(at_s, stamp);
    if (has_micros)
        (void)snprintf(stamp + strlen(stamp) - 1, 9, ".%06uZ",
                       (unsigned)(nanos / 1000));
    return json_string(stamp);
}

/* Messages whose field 1 is all that they have. */
static json_t *
decode_wrapped(struct span s, bool is_json, struct err *err)
{
    struct span inner = { s.at, 0 };

    while (s.len > 0) {
        struct token t;

        if (read_token(&s, &t, err) < 0)
            return NULL;
        if (t.number == 1 && t.wire == WIRE_BYTES)
            inner = t.bytes;
    }
    if (!is_json)
        return decode_text(inner, err);
    if (inner.len == 0)
        return json_object();
    return jsonx_parse((const char *)inner.at, inner.len, err);
}

static json_t *
decode_map_value(struct span s, enum type type, struct err *err)
{
    switch (type) {
    case T_BYTES_MAP:
        return decode_base64(s);
    case T_QUANTITY_MAP:
        return decode_wrapped(s, false, err);
    case T_TEXT:
    case T_BYTES:
    case T_INT:
    case T_BOOL:
    case T_MESSAGE:
    case T_TIME:
    case T_MICRO_TIME:
    case T_QUANTITY:
    case T_RAW_JSON:
    case T_TEXT_MAP:
    default:
        return decode_text(s, err);
    }
}

static int
decode_map_entry(struct span s, enum type type, json_t *map, struct err *err)
{
    struct span key = { s.at, 0 }, value = { s.at, 0 };

    while (s.len > 0) {
        struct token t;

        if (read_token(&s, &t, err) < 0)
            return -1;
        if (t.wire == WIRE_BYTES && t.number == 1)
            key = t.bytes;
        else if (t.wire == WIRE_BYTES && t.number == 2)
            value = t.bytes;
    }
    CLEANUP(json_decref) json_t *name = decode_text(key, err);

    if (name == NULL)
        return -1;
    json_t *v = decode_map_value(value, type, err);

    if (v == NULL)
        return -1;
    json_object_set_new(map, json_string_value(name), v);
    return 0;
}

static json_t *
decode_bytes(const struct field *f, struct span s, struct err *err)
{
    switch (f->type) {
    case T_TEXT:
        return decode_text(s, err);
    case T_BYTES:
        return decode_base64(s);
    case T_MESSAGE:
        return decode_message(s, f->message, err);
    case T_TIME:
        return decode_time(s, false, err);
    case T_MICRO_TIME:
        return decode_time(s, true, err);
    case T_QUANTITY:
        return decode_wrapped(s, false, err);
    case T_RAW_JSON:
        return decode_wrapped(s, true, err);
    case T_INT:
    case T_BOOL:
    case T_TEXT_MAP:
    case T_BYTES_MAP:
    case T_QUANTITY_MAP:
    default:
        return err_set_null(err, ERR_INVALID, "protobuf: %s: bad wire type",
                            f->name);
    }
}

static json_t *
decode_number(const struct field *f, uint64_t value, struct err *err)
{
    if (f->type == T_INT)
        return json_integer((json_int_t)value);
    if (f->type == T_BOOL)
        return json_boolean(value != 0);
    return err_set_null(err, ERR_INVALID, "protobuf: %s: bad wire type",
                        f->name);
}

/* What Go's omitempty leaves out. */
static bool
is_empty(const json_t *v)
{
    return json_is_null(v) || json_is_false(v) ||
           (json_is_string(v) && json_string_length(v) == 0) ||
           (json_is_integer(v) && json_integer_value(v) == 0);
}

/* An array or object that grows with each field of its number. */
static json_t *
container(json_t *object, const struct field *f)
{
    json_t *v = json_object_get(object, f->name);

    if (v == NULL) {
        v = (f->flags & REPEATED) != 0 ? json_array() : json_object();
        json_object_set_new(object, f->name, v);
    }
    return v;
}

static int
decode_field(const struct field *f, const struct token *t, json_t *object,
             struct err *err)
{
    bool is_map = f->type == T_TEXT_MAP || f->type == T_BYTES_MAP ||
                  f->type == T_QUANTITY_MAP;
    json_t *v;

    if (is_map && t->wire == WIRE_BYTES)
        return decode_map_entry(t->bytes, f->type, container(object, f), err);
    if (t->wire == WIRE_BYTES)
        v = decode_bytes(f, t->bytes, err);
    else if (t->wire == WIRE_VARINT)
        v = decode_number(f, t->value, err);
    else
        return err_set(err, ERR_INVALID, "protobuf: %s: bad wire type",
                       f->name);
    if (v == NULL)
        return -1;
    if ((f->flags & REPEATED) != 0)
        json_array_append_new(container(object, f), v);
    else if ((f->flags & KEEP) == 0 && is_empty(v))
        json_decref(v);
    else
        json_object_set_new(object, f->name, v);
    return 0;
}

static json_t *
decode_message(struct span s, const struct field *fields, struct err *err)
{
    CLEANUP(json_decref) json_t *object = json_object();

    while (s.len > 0) {
        const struct field *f = fields;
        struct token t;

        if (read_token(&s, &t, err) < 0)
            return NULL;
        while (f->name != NULL && f->number != t.number)
            f++;
        if (f->name != NULL && decode_field(f, &t, object, err) < 0)
            return NULL;
    }
    return TAKE(object);
}

/* ---- the envelope ---- */

struct unknown {
    struct span type_meta, raw, encoding;
};

static int
decode_envelope(struct span s, struct unknown *ret, struct err *err)
{
    *ret = (struct unknown){ { s.at, 0 }, { s.at, 0 }, { s.at, 0 } };
    while (s.len > 0) {
        struct token t;

        if (read_token(&s, &t, err) < 0)
            return -1;
        if (t.wire != WIRE_BYTES)
            continue;
        if (t.number == 1)
            ret->type_meta = t.bytes;
        else if (t.number == 2)
            ret->raw = t.bytes;
        else if (t.number == 3)
            ret->encoding = t.bytes;
    }
    return 0;
}

static const struct field *
find_kind(const char *kind)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (strcmp(kinds[i].kind, kind) == 0)
            return kinds[i].message;
    }
    return NULL;
}

json_t *
protobuf_decode(const uint8_t *data, size_t len, struct err *err)
{
    static const uint8_t magic[4] = { 'k', '8', 's', 0 };
    struct unknown u;

    if (len < sizeof magic || memcmp(data, magic, sizeof magic) != 0)
        return err_set_null(err, ERR_INVALID,
                            "protobuf: does not begin with k8s");
    if (decode_envelope((struct span){ data + 4, len - 4 }, &u, err) < 0)
        return NULL;
    CLEANUP(json_decref)
    json_t *type = decode_message(u.type_meta, type_meta, err);

    if (type == NULL)
        return NULL;
    const char *kind = jsonx_str_or(type, "kind", "");
    const struct field *message = find_kind(kind);

    if (message == NULL || u.encoding.len > 0)
        return err_set_null(err, ERR_UNSUPPORTED,
                            "protobuf is not understood for kind \"%.60s\": "
                            "send JSON",
                            kind);
    json_t *object = decode_message(u.raw, message, err);

    if (object != NULL)
        json_object_update(object, type);
    return object;
}
