/* SPDX-License-Identifier: Apache-2.0 */
/* Words of requests and names in a target's listing: times, durations, names
 * of packs and segments. What parses is printed, and parses to the same.
 */
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/uuid.h"
#include "fuzz.h"
#include "repo/pack.h"
#include "repo/repo-id.h"
#include "repo/retain.h"
#include "repo/segment.h"

static void
check_times(const char *text)
{
    char stamp[CLOCK_RFC3339_SIZE];
    struct err err = { 0 };
    int64_t t, again;
    uint64_t within;

    if (clock_parse_rfc3339(text, &t, &err) == 0) {
        clock_format_rfc3339(t, stamp);
        FUZZ_CHECK(clock_parse_rfc3339(stamp, &again, &err) == 0 && again == t);
    }
    if (clock_parse_duration(text, &t, &err) < 0)
        FUZZ_CHECK(err.code == ERR_INVALID);
    if (retain_parse_within(text, &within, &err) < 0)
        FUZZ_CHECK(err.code == ERR_INVALID);
}

static void
check_names(const char *text)
{
    char name[PACK_NAME_SIZE], segment[SEGMENT_NAME_SIZE], id[UUID_STR_SIZE];
    uint8_t uuid[16];
    struct pack_id pack;

    if (pack_name_parse(text, &pack)) {
        pack_name(&pack, name);
        FUZZ_CHECK(strcmp(name, text) == 0);
    }
    if (segment_name_parse(text, uuid)) {
        segment_name(uuid, segment);
        FUZZ_CHECK(strcmp(segment, text) == 0);
    }
    if (repo_id_parse(text, uuid)) {
        repo_id_format(uuid, id);
        FUZZ_CHECK(strcmp(id, text) == 0);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    CLEANUP(mem_free) char *text = xstrndup((const char *)data, len);

    check_times(text);
    check_names(text);
    return 0;
}
