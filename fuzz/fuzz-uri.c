/* SPDX-License-Identifier: Apache-2.0 */
/* Request targets and Accept headers. */
#include <string.h>

#include "api/accept.h"
#include "api/uri.h"
#include "base/mem.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    CLEANUP(mem_free) char *text = xstrndup((const char *)data, len);
    struct err err = { 0 };
    struct uri u;

    (void)accept_form(text, NULL);
    (void)accept_discovery(text);
    if (uri_parse(text, &u, &err) < 0) {
        FUZZ_CHECK(err.code == ERR_INVALID);
        return 0;
    }
    FUZZ_CHECK(u.nseg <= URI_SEGMENTS_MAX && u.npairs <= URI_PAIRS_MAX);
    for (size_t i = 0; i < u.nseg; i++)
        FUZZ_CHECK(strlen(u.seg[i]) <= len);
    (void)uri_query_bool(&u, "watch");
    uri_fini(&u);
    return 0;
}
