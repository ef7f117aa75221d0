/* SPDX-License-Identifier: Apache-2.0 */
/* Server-side apply and strategic merge. An input is {"live": ..., "config":
 * ...}: neither is changed, a second apply changes nothing, and managedFields
 * that a client invented are survived.
 */
#include "api/patch.h"
#include "api/ssa.h"
#include "fuzz.h"

static const struct ssa_writer who = { "fuzz", "v1", "2026-01-01T00:00:00Z" };

static void
check_apply(const json_t *live, const json_t *config)
{
    struct ssa_conflicts conflicts = { .n = 0 };
    CLEANUP(json_decref)
    json_t *out = ssa_apply(live, config, &who, true, &conflicts);
    CLEANUP(json_decref) json_t *again = NULL;

    FUZZ_CHECK(out != NULL);
    again = ssa_apply(out, config, &who, false, &conflicts);
    FUZZ_CHECK(again != NULL && jsonx_equal(out, again));
}

static void
check_track(const json_t *live, const json_t *config)
{
    CLEANUP(json_decref) json_t *object = json_deep_copy(config);
    CLEANUP(json_decref) json_t *created = json_deep_copy(config);

    ssa_track(live, object, &who);
    ssa_track(NULL, created, &who);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct err err = { 0 };
    CLEANUP(json_decref)
    json_t *v = jsonx_parse((const char *)data, len, &err);
    const json_t *live = json_object_get(v, "live");
    const json_t *config = json_object_get(v, "config");

    if (!json_is_object(live) || !json_is_object(config))
        return 0;
    CLEANUP(json_decref) json_t *before = json_deep_copy(v);
    CLEANUP(json_decref) json_t *merged = patch_strategic(live, config);

    FUZZ_CHECK(merged != NULL);
    check_apply(live, config);
    check_track(live, config);
    FUZZ_CHECK(jsonx_equal(before, v));
    return 0;
}
