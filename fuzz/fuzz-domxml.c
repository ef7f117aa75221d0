/* SPDX-License-Identifier: Apache-2.0 */
/* A domain that can be read can be edited, and what comes out can be read. What
 * is rebuilt carries no path but ours, and is rebuilt to itself.
 */
#include <string.h>

#include "base/mem.h"
#include "fuzz.h"
#include "virt/domxml.h"

static void
check_edits(const char *xml)
{
    CLEANUP(mem_free) char *redacted = NULL;
    CLEANUP(mem_free) char *again = NULL;
    struct err err;

    FUZZ_CHECK(domxml_redact(xml, &redacted, &err) == 0);
    FUZZ_CHECK(domxml_redact(redacted, &again, &err) == 0);
    FUZZ_CHECK(strcmp(redacted, again) == 0);
}

static void
check_rebuild(const char *xml)
{
    CLEANUP(mem_free) char *out = NULL;
    CLEANUP(mem_free) char *dropped = NULL;
    struct domxml_rebuild how = { .keep_identity = true };
    CLEANUP(domxml_free) struct domxml *d = NULL;
    struct err err;

    if (domxml_rebuild(xml, &how, &out, &dropped, &err) < 0)
        return;
    d = domxml_parse(out, &err);
    FUZZ_CHECK(d != NULL && d->n_disks == 0 && d->emulator == NULL &&
               d->nvram == NULL);
    FUZZ_CHECK(strstr(out, "<script") == NULL &&
               strstr(out, "<hostdev") == NULL &&
               strstr(out, "<kernel") == NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    CLEANUP(mem_free) char *xml = xstrndup((const char *)data, len);
    struct err err = { 0 };
    CLEANUP(domxml_free) struct domxml *d = domxml_parse(xml, &err);

    if (d == NULL) {
        FUZZ_CHECK(err.code == ERR_INVALID);
        return 0;
    }
    for (size_t i = 0; i < d->n_disks; i++) {
        struct domxml_source s = { d->disks[i].target, "/x", "raw" };
        CLEANUP(mem_free) char *out = NULL;

        if (s.target != NULL)
            FUZZ_CHECK(domxml_retarget(xml, &s, 1, &out, &err) == 0);
    }
    check_edits(xml);
    check_rebuild(xml);
    return 0;
}
