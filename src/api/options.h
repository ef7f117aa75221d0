/* SPDX-License-Identifier: Apache-2.0 */
/* api/options.h: what a request asks for besides its object: the query's
 * parameters, and DeleteOptions.
 *
 * A value that cannot be is refused and never taken for another: 400 where it
 * is of another type, 422 where it is none of those that there are or does not
 * go with the others, as in Kubernetes. Parameters that nobody knows are
 * ignored. Each function answers itself (`rp`) when it returns false.
 * Threads: pure functions of the request.
 * source  spec k8swire 4, 7, 8; Kubernetes' ValidateListOptions() and the like
 */
#pragma once
#include <stddef.h>

#include "api/request.h"

struct options_list {
    size_t limit;      /* 0: all */
    const char *token; /* continue; NULL: none */
    bool has_rev;      /* resourceVersion was given */
    uint64_t rev;
    bool is_exact;        /* resourceVersionMatch=Exact */
    bool has_match;       /* any resourceVersionMatch */
    bool has_initial;     /* sendInitialEvents was given ... */
    bool wants_initial;   /* ... and true */
    bool wants_bookmarks; /* allowWatchBookmarks */
    uint64_t timeout_s;   /* timeoutSeconds; 0: not said */
};

/* Of a list or a watch. */
bool options_list_read(const struct request *rq, bool is_watch,
                       struct options_list *ret, struct reply *rp);
/* GET of one object: resourceVersion, 0 if there is none. */
bool options_get_read(const struct request *rq, uint64_t *ret_rev,
                      struct reply *rp);
/* Of a create, update or patch: dryRun, fieldManager, fieldValidation; `kind`
 * is "CreateOptions" or the like. */
bool options_write_read(const struct request *rq, const char *kind,
                        bool *ret_is_dry_run, struct reply *rp);
/* Who writes, for managedFields: the query's fieldManager, else the program in
 * User-Agent. Caller frees. */
char *options_manager(const struct request *rq);

struct options_delete {
    bool is_dry_run, is_orphan;
    const char *uid, *resource_version; /* preconditions; borrowed from body */
};
/* `body`: DeleteOptions, or an empty object. */
bool options_delete_read(const struct request *rq, const json_t *body,
                         struct options_delete *ret, struct reply *rp);

/* dryRun in `body`, as in DeleteOptions: null, [] or ["All"]. */
bool options_body_dry_run(const json_t *body, bool *ret_is_dry_run,
                          struct reply *rp);
