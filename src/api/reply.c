/* SPDX-License-Identifier: Apache-2.0 */
#include "api/reply.h"

#include <string.h>

#include "base/mem.h"

void
reply_fini(struct reply *rp)
{
    buf_fini(&rp->body);
    for (size_t i = 0; i < rp->nheaders; i++)
        free(rp->header[i].value);
    if (rp->stream != NULL)
        rp->stream->free(rp->stream);
    if (rp->pending != NULL)
        rp->pending->free(rp->pending);
    *rp = (struct reply){ 0 };
}

void
reply_header(struct reply *rp, const char *name, const char *value)
{
    if (rp->nheaders == REPLY_HEADERS_MAX)
        return;
    rp->header[rp->nheaders].name = name;
    rp->header[rp->nheaders++].value = xstrdup(value);
}

/* source: RFC 9110, 5.6.4 (quoted-string) */
void
reply_warning(struct reply *rp, const char *text)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;

    buf_add_str(&b, "299 - \"");
    for (; *text != 0 && b.len < 1024; text++) {
        if (*text == '"' || *text == '\\')
            buf_add_char(&b, '\\');
        buf_add_char(&b, (unsigned char)*text < ' ' ? ' ' : *text);
    }
    buf_add_char(&b, '"');
    reply_header(rp, "Warning", buf_str(&b));
}

void
reply_text(struct reply *rp, int code, const char *text)
{
    rp->code = code;
    rp->content_type = "text/plain; charset=utf-8";
    buf_truncate(&rp->body, 0);
    buf_add_str(&rp->body, text);
}

void
reply_json(struct reply *rp, int code, const json_t *v)
{
    CLEANUP(mem_free) char *text = json_dumps(v, JSON_COMPACT);

    rp->code = code;
    rp->content_type = NULL;
    buf_truncate(&rp->body, 0);
    buf_add_str(&rp->body, text != NULL ? text : "{}");
    buf_add_char(&rp->body, '\n');
}
