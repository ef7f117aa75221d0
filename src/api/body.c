/* SPDX-License-Identifier: Apache-2.0 */
#include "api/body.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "api/status.h"
#include "codec/protobuf.h"
#include "codec/yamlx.h"

static const char *
content_type(const struct request *rq)
{
    const char *type = request_header(rq, "Content-Type");

    return type != NULL ? type : "";
}

bool
body_has_type(const struct request *rq, const char *type)
{
    const char *have = content_type(rq);
    size_t n = strcspn(have, "; \t");

    return n == strlen(type) && strncasecmp(have, type, n) == 0;
}

static json_t *
parse_json(const struct request *rq, struct reply *rp)
{
    struct err err = { 0 };
    json_t *v = jsonx_parse(buf_str(&rq->body), rq->body.len, &err);

    if (v == NULL)
        status_bad_request(rp, "the body is not valid: %s", err.msg);
    return v;
}

static json_t *
parse_protobuf(const struct request *rq, struct reply *rp)
{
    struct err err = { 0 };
    json_t *v = protobuf_decode((const uint8_t *)buf_str(&rq->body),
                                rq->body.len, &err);

    if (v == NULL && err.code == ERR_UNSUPPORTED)
        status_reply(rp, 415, "UnsupportedMediaType", "%s", err.msg);
    else if (v == NULL)
        status_bad_request(rp, "the body is not valid: %s", err.msg);
    return v;
}

static json_t *
parse_yaml(const struct request *rq, struct reply *rp)
{
    struct err err = { 0 };
    json_t *v = yamlx_parse(buf_str(&rq->body), rq->body.len, &err);

    if (v == NULL)
        status_bad_request(rp, "the body is not valid: %s", err.msg);
    return v;
}

json_t *
body_parse(const struct request *rq, bool may_be_empty, struct reply *rp)
{
    if (rq->body.len == 0 && may_be_empty)
        return json_object();
    if (content_type(rq)[0] == 0 || body_has_type(rq, "application/json"))
        return parse_json(rq, rp);
    if (body_has_type(rq, "application/vnd.kubernetes.protobuf"))
        return parse_protobuf(rq, rp);
    if (body_has_type(rq, "application/yaml"))
        return parse_yaml(rq, rp);
    status_reply(
        rp, 415, "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf");
    return NULL;
}

json_t *
body_parse_patch(const struct request *rq, struct reply *rp)
{
    /* kubectl sends JSON under apply's YAML type; JSON is parsed as such, for
     * its numbers and for speed. */
    if (body_has_type(rq, "application/apply-patch+yaml") &&
        buf_str(&rq->body)[strspn(buf_str(&rq->body), " \t\r\n")] != '{')
        return parse_yaml(rq, rp);
    return parse_json(rq, rp);
}
