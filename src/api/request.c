/* SPDX-License-Identifier: Apache-2.0 */
#include "api/request.h"

const char *
request_header(const struct request *rq, const char *name)
{
    const char *v = NULL;

    (void)rq->headers(rq->conn, name, &v, 1);
    return v;
}
