/* SPDX-License-Identifier: Apache-2.0 */
/* api/route.h: from URL and method to a handler, by way of who and may she. */
#pragma once
#include "api/request.h"

/* A server_handle_fn. */
void route_handle(struct request *rq, struct reply *rp);
