/* SPDX-License-Identifier: Apache-2.0 */
/* api/render.h: objects as the client asked for them: plain, as rows of a
 * table, or metadata alone.
 *
 * Plain objects are spliced from stored text; nothing is parsed for them.
 * source  spec k8swire 6
 */
#pragma once
#include "api/accept.h"
#include "api/ctx.h"

enum render_include {
    RENDER_METADATA, /* row.object is PartialObjectMetadata */
    RENDER_OBJECT,   /* ... the whole object */
    RENDER_NONE,
};

struct render {
    const struct target *target;
    enum form form;
    const char *form_version; /* "v1", "v1beta1" */
    enum render_include include;
    const char *other_version; /* for object_text() */
    char version[API_VERSION_SIZE];
};

/* `rq` outlives the struct. */
void render_init(struct render *r, const struct request *rq);

/* One object as a whole answer, or as the object of a watch event. */
void render_object(const struct render *r, const struct object *o,
                   bool with_columns, struct buf *out);

/* A list: begin, items, end. */
void render_list_begin(const struct render *r, struct buf *out);
void render_list_item(const struct render *r, const struct object *o,
                      bool is_first, struct buf *out);
/* `next`: continue token or NULL; `remaining` < 0: unknown. */
void render_list_end(const struct render *r, uint64_t rev, const char *next,
                     int64_t remaining, struct buf *out);

/* The object of a BOOKMARK event. */
void render_bookmark(const struct render *r, uint64_t rev, bool is_initial_end,
                     struct buf *out);
