/* SPDX-License-Identifier: Apache-2.0 */
/* What a restore takes from outside to make a domain: an input is the patches
 * of a VirtualMachineRestore, a NUL, and the VM as a backup's metadata has it.
 * Patches that are taken never reach beyond what manifest_read() can refuse.
 */
#include <string.h>

#include "base/mem.h"
#include "controller/manifest.h"
#include "fuzz.h"
#include "types/restorepatch.h"

static void
check_read(const json_t *vm)
{
    struct manifest_domain d = { 0 };
    struct err err = { 0 };
    char mac[18];

    if (manifest_read(vm, &d, &err) < 0)
        FUZZ_CHECK(err.code == ERR_INVALID);
    for (size_t i = 0; i < 3; i++)
        if (manifest_mac(vm, i, mac))
            FUZZ_CHECK(strlen(mac) < sizeof mac);
}

static void
check_patch(const char *text, json_t *vm)
{
    struct err err = { 0 };
    CLEANUP(json_decref)
    json_t *operations = restorepatch_parse(text, "new", &err);

    if (operations == NULL) {
        FUZZ_CHECK(err.code == ERR_INVALID);
        return;
    }
    if (manifest_patch(vm, operations, &err) < 0) {
        FUZZ_CHECK(err.code == ERR_INVALID);
        return;
    }
    check_read(vm);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    CLEANUP(mem_free) char *text = xstrndup((const char *)data, len);
    size_t at = strlen(text) < len ? strlen(text) + 1 : len;
    struct err err = { 0 };
    CLEANUP(json_decref)
    json_t *vm = jsonx_parse((const char *)data + at, len - at, &err);
    uint64_t bytes;

    if (manifest_quantity(text, &bytes, &err) < 0)
        FUZZ_CHECK(err.code == ERR_INVALID);
    if (vm == NULL)
        vm = json_object();
    check_read(vm);
    check_patch(text, vm);
    return 0;
}
