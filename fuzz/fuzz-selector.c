/* SPDX-License-Identifier: Apache-2.0 */
/* Label and field selectors: refused, or within their bounds and usable. */
#include <string.h>

#include "api/selector.h"
#include "base/mem.h"
#include "fuzz.h"

static const char *
get(void *arg, const char *key)
{
    return key[0] % 2 == 0 ? key : NULL;
}

static void
use(struct selector *s)
{
    FUZZ_CHECK(s->n <= SELECTOR_TERMS_MAX);
    (void)selector_match(s, get, NULL);
    (void)selector_exact(s, "metadata.name");
    selector_fini(s);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    CLEANUP(mem_free) char *text = xstrndup((const char *)data, len);
    struct err err = { 0 };
    struct selector s;

    if (selector_parse_labels(text, &s, &err) == 0)
        use(&s);
    else
        FUZZ_CHECK(err.code == ERR_INVALID);
    if (selector_parse_fields(text, &s, &err) == 0)
        use(&s);
    else
        FUZZ_CHECK(err.code == ERR_INVALID);
    return 0;
}
