/* SPDX-License-Identifier: Apache-2.0 */
/* Written by libyaml's emitter: it knows which text can stand plain. What it
 * does not know is what the text would mean; that is asked of the reader's own
 * table, and such text is quoted.
 */
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/mem.h"
#include "codec/yamlx-scalar.h"
#include "codec/yamlx.h"

static int
write_out(void *arg, unsigned char *data, size_t len)
{
    buf_add(arg, data, len);
    return 1;
}

/* The emitter fails when memory is out, or when an event is out of order. */
static void
emit(yaml_emitter_t *e, yaml_event_t *ev)
{
    if (yaml_emitter_emit(e, ev) == 0)
        abort();
}

/* Text that other readers of YAML 1.1 take for a time stamp or for a number to
 * base 60: "2026-08-01T10:00:07Z", "52:54:00". Go quotes it too. */
static bool
is_time_like(const char *s)
{
    size_t digits = strspn(s, "0123456789");

    if (digits == 4 && s[4] == '-')
        return true;
    return digits > 0 && s[digits] == ':' && s[strspn(s, "0123456789:._")] == 0;
}

static yaml_scalar_style_t
style_of(const char *s, size_t len)
{
    CLEANUP(json_decref) json_t *v = yamlx_scalar_resolve(s, len);

    if (v == NULL || !json_is_string(v) || strcmp(s, "<<") == 0 ||
        strcmp(s, "=") == 0 || is_time_like(s))
        return YAML_DOUBLE_QUOTED_SCALAR_STYLE;
    if (strchr(s, '\n') != NULL)
        return YAML_LITERAL_SCALAR_STYLE;
    return YAML_PLAIN_SCALAR_STYLE; /* or what the emitter must make of it */
}

static void
emit_text(yaml_emitter_t *e, const char *s, size_t len,
          yaml_scalar_style_t style)
{
    yaml_event_t ev;

    if (yaml_scalar_event_initialize(&ev, NULL, NULL, (const yaml_char_t *)s,
                                     (int)len, 1, 1, style) == 0)
        abort();
    emit(e, &ev);
}

static void
emit_scalar(yaml_emitter_t *e, const json_t *v)
{
    if (json_is_string(v)) {
        const char *s = json_string_value(v);
        size_t len = json_string_length(v);

        emit_text(e, s, len, style_of(s, len));
        return;
    }
    CLEANUP(mem_free) char *text = jsonx_canonical(v);

    emit_text(e, text, strlen(text), YAML_PLAIN_SCALAR_STYLE);
}

static int
compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static const char **
sorted_keys(const json_t *object)
{
    const char **keys = xcalloc(json_object_size(object) + 1, sizeof *keys);
    const char *key;
    json_t *unused;
    size_t n = 0;

    json_object_foreach((json_t *)(uintptr_t)object, key, unused) keys[n++] =
        key;
    qsort(keys, n, sizeof *keys, compare_keys);
    return keys;
}

static void emit_value(yaml_emitter_t *e, const json_t *v);

static void
emit_object(yaml_emitter_t *e, const json_t *v)
{
    bool is_empty = json_object_size(v) == 0;
    const char **keys = sorted_keys(v);
    yaml_event_t ev;

    if (yaml_mapping_start_event_initialize(
            &ev, NULL, NULL, 1,
            is_empty ? YAML_FLOW_MAPPING_STYLE : YAML_BLOCK_MAPPING_STYLE) == 0)
        abort();
    emit(e, &ev);
    for (size_t i = 0; keys[i] != NULL; i++) {
        emit_text(e, keys[i], strlen(keys[i]),
                  style_of(keys[i], strlen(keys[i])));
        emit_value(e, json_object_get(v, keys[i]));
    }
    if (yaml_mapping_end_event_initialize(&ev) == 0)
        abort();
    emit(e, &ev);
    free(keys);
}

static void
emit_array(yaml_emitter_t *e, const json_t *v)
{
    bool is_empty = json_array_size(v) == 0;
    yaml_event_t ev;

    if (yaml_sequence_start_event_initialize(
            &ev, NULL, NULL, 1,
            is_empty ? YAML_FLOW_SEQUENCE_STYLE : YAML_BLOCK_SEQUENCE_STYLE) ==
        0)
        abort();
    emit(e, &ev);
    for (size_t i = 0; i < json_array_size(v); i++)
        emit_value(e, json_array_get(v, i));
    if (yaml_sequence_end_event_initialize(&ev) == 0)
        abort();
    emit(e, &ev);
}

/* Recursion is as deep as the value, which a parser bounded to 100 levels. */
static void
emit_value(yaml_emitter_t *e, const json_t *v)
{
    if (json_is_object(v))
        emit_object(e, v);
    else if (json_is_array(v))
        emit_array(e, v);
    else
        emit_scalar(e, v);
}

void
yamlx_print(const json_t *v, struct buf *out)
{
    yaml_emitter_t e;
    yaml_event_t ev;

    if (yaml_emitter_initialize(&e) == 0)
        abort();
    yaml_emitter_set_output(&e, write_out, out);
    yaml_emitter_set_unicode(&e, 1);
    yaml_emitter_set_width(&e, -1);
    if (yaml_stream_start_event_initialize(&ev, YAML_UTF8_ENCODING) == 0)
        abort();
    emit(&e, &ev);
    if (yaml_document_start_event_initialize(&ev, NULL, NULL, NULL, 1) == 0)
        abort();
    emit(&e, &ev);
    emit_value(&e, v);
    if (yaml_document_end_event_initialize(&ev, 1) == 0)
        abort();
    emit(&e, &ev);
    if (yaml_stream_end_event_initialize(&ev) == 0)
        abort();
    emit(&e, &ev);
    yaml_emitter_delete(&e);
}
