/* SPDX-License-Identifier: Apache-2.0 */
/* vmkeep.conf: taken with every value in its bounds, or refused with the line.
 */
#include <string.h>

#include "base/mem.h"
#include "daemon/config.h"
#include "fuzz.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    CLEANUP(mem_free) char *text = xstrndup((const char *)data, len);
    struct err err = { 0 };
    CLEANUP(config_free) struct config *c = config_parse("conf", text, &err);

    if (c == NULL) {
        FUZZ_CHECK(err.code == ERR_INVALID);
        FUZZ_CHECK(strncmp(err.msg, "conf:", 5) == 0);
        return 0;
    }
    FUZZ_CHECK(c->state_dir != NULL && c->run_dir != NULL &&
               c->target_roots != NULL);
    for (size_t i = 0; c->target_roots[i] != NULL; i++)
        FUZZ_CHECK(c->target_roots[i][0] == '/');
    return 0;
}
