/* SPDX-License-Identifier: Apache-2.0 */
/* api/handlers.h: what route.c calls once it knows what a request is about.
 *
 * Each fills `rp`. The user is known and allowed. Threads: any.
 */
#pragma once
#include "api/ctx.h"

void list_get(struct request *rq, struct reply *rp);        /* one object */
void list_collection(struct request *rq, struct reply *rp); /* spec 7 */
void watch_start(struct request *rq, struct reply *rp);     /* spec 8 */

void write_create(struct request *rq, struct reply *rp);
/* Create this object as if it were the body; `rq->target` is its kind. */
void write_new(struct request *rq, struct reply *rp, json_t *object);
void write_replace(struct request *rq, struct reply *rp);
void write_patch(struct request *rq, struct reply *rp);
void delete_one(struct request *rq, struct reply *rp);
void delete_collection(struct request *rq, struct reply *rp);

void review_create(struct request *rq, struct reply *rp);    /* spec 3.6 */
void crd_get(struct request *rq, struct reply *rp);          /* or list */
void subresource_put(struct request *rq, struct reply *rp);  /* start, ... */
void local_kubeconfig(struct request *rq, struct reply *rp); /* docs/api.md */
void local_metrics(struct request *rq, struct reply *rp);
/* /v1/harvester/...: what the path is about, as target; false: nothing here. */
bool harvester_target(struct request *rq);
void harvester_handle(struct request *rq, struct reply *rp);
