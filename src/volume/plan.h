/* SPDX-License-Identifier: Apache-2.0 */
/* volume/plan.h: what to unlink, what to merge, what stays and why.
 *
 * Pure: a table and facts in, a plan out; no I/O, no clock. The reasons why
 * the plan is safe stand at the top of plan.c.
 * source  DESIGN 5, invariants 1 and 3 of DESIGN 10
 */
#pragma once
#include "volume/layer.h"

/* What was seen of a layer's file. */
struct plan_file {
    bool is_there; /* the path leads to a regular file */
    bool is_same;  /* and it is the recorded file */
    bool is_sane;  /* and a header that can be read and is of the format */
    bool has_backing;
    struct file_id backing; /* 0:0: named, but not found */
    uint64_t size;          /* bytes, virtual */
};

enum plan_user_kind {
    PLAN_USER_LIVE,     /* a running domain's chain */
    PLAN_USER_INACTIVE, /* the chain of what a definition names */
    PLAN_USER_HEADER,   /* a qcow2 header, of a file that is no row */
    PLAN_USER_TABLE,    /* the layer table of another VM */
};
/* Somebody who names a file. */
struct plan_user {
    enum plan_user_kind kind;
    struct file_id file;
    bool is_own; /* the domain of this table */
    bool is_top; /* LIVE, INACTIVE: its disk, not a backing file of it */
    char target[LAYER_TARGET_SIZE];
    char *who; /* the domain's name or the file's path, for messages */
};

struct plan_facts {
    struct plan_file *files; /* one per row of the table, same order */
    struct plan_user *users;
    size_t n_users;
    bool has_domain;    /* it was seen on a live connection */
    bool is_persistent; /* it has an inactive XML */
    bool is_live;
    bool is_steady; /* if live: running or paused by whom ever, not on its
                       way somewhere */
    bool is_saved;  /* a managed save names files as they were then */
};
void plan_facts_fini(struct plan_facts *f);
static inline void
plan_facts_fini_p(struct plan_facts *f)
{
    plan_facts_fini(f);
}

enum plan_verb {
    PLAN_KEEP,   /* in use: referenced, active, detached, foreign */
    PLAN_HIDDEN, /* nobody needs it, but it must stay, see `why` */
    PLAN_UNLINK,
    PLAN_FORGET, /* drop the row: the file is not of our making, or gone */
    PLAN_MERGE,  /* commit `child` into it */
};

enum plan_why {
    PLAN_WHY_NONE,
    PLAN_WHY_JOB,
    PLAN_WHY_NO_DOMAIN,
    PLAN_WHY_CHILDREN,
    PLAN_WHY_TRASH,
    PLAN_WHY_DETACHED,
    PLAN_WHY_FOREIGN_CHILD,
    PLAN_WHY_OTHER_DOMAIN,
    PLAN_WHY_OTHER_TABLE,
    PLAN_WHY_NAMED,
    PLAN_WHY_HELD,
    PLAN_WHY_NOT_OURS,
    PLAN_WHY_MISSING,
    PLAN_WHY_CHANGED,
    PLAN_WHY_HEADER,
    PLAN_WHY_SHRUNK,
    PLAN_WHY_UNSTEADY,
    PLAN_WHY_SAVED,
    PLAN_WHY_COUNT,
};
const char *plan_why_text(enum plan_why why);

struct plan_item {
    enum plan_verb verb;
    enum plan_why why;
    size_t child; /* PLAN_MERGE: index of its row */
    bool is_live; /* PLAN_MERGE: the running domain has both open */
};

/* Would the plan do nothing, whatever the facts? Then `ret_hidden` is how many
 * rows it would hide. */
bool plan_is_idle(const struct layer_table *t, size_t *ret_hidden);
/* One item per row; `items` holds table->n_layers. */
void plan_collect(const struct layer_table *t, const struct plan_facts *f,
                  struct plan_item *items);
/* The one to do first (facts are read again after it): unlinks, then merges
 * from the roots up. table->n_layers: nothing can be done. */
size_t plan_next(const struct layer_table *t, const struct plan_item *items);
/* May the file of this row go, whatever its state and references? NONE: yes. */
enum plan_why plan_unlink_why(const struct layer_table *t,
                              const struct plan_facts *f, size_t row);
