/* SPDX-License-Identifier: Apache-2.0 */
/* types/kind.h: what the API knows about a kind.
 *
 * A kind is one JSON schema file with its printer columns (src/types/schema/,
 * compiled in), one C file of validation, one controller elsewhere.
 * Threads: the table is constant.
 */
#pragma once
#include <stdint.h>

#include "base/err.h"
#include "codec/gvr.h"
#include "codec/jsonx.h"

/* A violated rule, as Kubernetes reports it. */
struct cause {
    char reason[32]; /* "FieldValueRequired", "FieldValueInvalid", ... */
    char field[128]; /* "spec.source.apiGroup" */
    char message[256];
};

#define CAUSES_MAX 16 /* a person reads them */
struct causes {
    struct cause v[CAUSES_MAX]; /* what does not fit is dropped */
    size_t n;
};
void causes_add(struct causes *c, const char *reason, const char *field,
                const char *fmt, ...) PRINTF(4, 5);

/* What validation may look up; given by the caller (the API), so that types/
 * needs no store. Returned values are new references. */
struct kind_lookup {
    void *arg;
    json_t *(*get)(void *arg, const struct gvr *gvr, const char *ns,
                   const char *name); /* NULL: not there */
    json_t *(*list)(void *arg, const struct gvr *gvr, const char *ns);
};

enum kind_op {
    KIND_CREATE,
    KIND_UPDATE,
    KIND_UPDATE_STATUS,
    KIND_DELETE
};

struct kind_request {
    enum kind_op op;
    const char *ns;
    const json_t *object; /* what is to be stored; NULL on DELETE */
    const json_t *old;    /* NULL on CREATE */
    const struct kind_lookup *lookup;
};

struct kind_column {
    const char *name; /* "SourceKind" */
    const char *type; /* string, integer, boolean, date */
    const char *path; /* ".spec.source.kind"; NULL: kind.cell() makes it */
    const char *description;
    int priority; /* > 0: with -o wide only */
};

struct kind {
    struct gvr gvr;
    const char *const *versions; /* served, preferred first, NULL at end */
    const char *singular;
    const char *const *short_names; /* NULL at end; NULL: none */
    const char *const *categories;  /* NULL at end; NULL: none */
    const char *const *verbs;       /* what discovery lists */
    /* libvirt (or vmkeep) is its source: validate() refuses CREATE with
     * UNSUPPORTED, which the API answers as 405, before any other check, and
     * DELETE with DENIED or CONFLICT; the text says what to do instead. */
    bool is_projected;
    /* After NAME, unless one of them is called "Name"; name NULL at the
     * end. */
    const struct kind_column *columns;
    /* Text of a column without a path. Caller frees; NULL: blank. */
    char *(*cell)(const struct kind_column *col, const json_t *object);
    /* Fill in defaults before validation. May be NULL. */
    void (*set_defaults)(json_t *object);
    /* 422 with `causes`, or -1 with err for a plain refusal (err's code says
     * which status). 0 and no causes: fine. May be NULL. */
    int (*validate)(const struct kind_request *rq, struct causes *causes,
                    struct err *err);
    const char *schema_json; /* openAPIV3Schema; NULL: none published */
};

extern const struct kind *const kind_table[]; /* NULL at the end */

/* The value of a column for a table: a string, boolean, integer or null. The
 * caller's. Dates become ages as of `now_s`. */
json_t *kind_cell(const struct kind *k, const struct kind_column *col,
                  const json_t *object, int64_t now_s) NODISCARD;

/* By what a URL says; NULL: unknown. Any served version. */
const struct kind *kind_by_resource(const char *group, const char *version,
                                    const char *resource);
const struct kind *kind_by_kind(const char *group, const char *kind);

/* Structural check against the published schema and that of metadata: types,
 * enums, required; null counts as absent. `unknown_fields` (NULL: not wanted)
 * gets the JSON paths of fields that the schema does not know, one per line.
 * Returns 0 when there are no causes, else -1. */
int kind_check_schema(const struct kind *k, const json_t *object,
                      struct causes *causes, struct buf *unknown_fields);

/* The names of labels, annotations and finalizers that `old` (NULL: there is
 * none) does not have. */
void kind_check_names(const json_t *object, const json_t *old,
                      struct causes *causes);

/* Of a restore into another VM: "Copy" or "New". */
#define KIND_NOTE_TPM "vmkeep.io/tpm"

/* The kinds, for code that names them. */
extern const struct kind kind_namespace, kind_event, kind_pvc, kind_vm,
    kind_vmi, kind_action, kind_vmsnapshot, kind_vmsnapshotcontent,
    kind_vmrestore, kind_node, kind_storageclass, kind_vmbackup, kind_hrestore,
    kind_backuptarget;
