/* SPDX-License-Identifier: Apache-2.0 */
#include "test.h"
#include "virt/guardproto.h"

static const char uuid[] = "11111111-2222-3333-4444-555555555555";

static void
what_is_encoded_is_decoded(void)
{
    struct err err;

    for (unsigned i = 0; i <= GUARDPROTO_REFUSED; i++) {
        struct guardproto in = { .verb = (enum guardproto_verb)i,
                                 .id = UINT64_MAX - i };
        struct guardproto out;
        char text[GUARDPROTO_MAX];

        if (in.verb == GUARDPROTO_ARM) {
            memcpy(in.uuid, uuid, sizeof uuid);
            in.thaw = true;
            in.deadline_ms = 86400000;
        }
        size_t n = guardproto_encode(&in, text);
        CHECK_INT(n, <, GUARDPROTO_MAX);
        CHECK_OK(guardproto_decode(text, n, &out, &err), &err);
        CHECK(in.verb == out.verb && in.id == out.id);
        CHECK(strcmp(in.uuid, out.uuid) == 0);
        CHECK(in.resume == out.resume && in.thaw == out.thaw);
        CHECK(in.deadline_ms == out.deadline_ms);
    }
}

static void
the_text_is_that_of_the_header(void)
{
    struct guardproto m = {
        .verb = GUARDPROTO_ARM, .id = 7, .resume = true, .deadline_ms = 1500
    };
    char text[GUARDPROTO_MAX];

    memcpy(m.uuid, uuid, sizeof uuid);
    guardproto_encode(&m, text);
    CHECK(strcmp(text, "ARM 7 11111111-2222-3333-4444-555555555555 resume=1 "
                       "thaw=0 deadline_ms=1500") == 0);
}

static void
everything_else_is_refused(void)
{
    static const char *const bad[] = {
        "",
        "ARM",
        "ARM ",
        "ARM 1",
        "DISARM",
        "DISARM ",
        "DISARM -1",
        "DISARM 01",
        "DISARM 1 ",
        "DISARM 1\n",
        "disarm 1",
        "DISARMX 1",
        "D 1",
        " 1",
        "DISARM 18446744073709551616",
        "ARM 1 x resume=0 thaw=1 deadline_ms=1",
        "ARM 1 11111111-2222-3333-4444-55555555555 resume=0 thaw=1 deadline_ms=1",
        "ARM 1 11111111-2222-3333-4444-555555555555 resume=2 thaw=1 deadline_ms=1",
        "ARM 1 11111111-2222-3333-4444-555555555555 thaw=1 resume=1 deadline_ms=1",
        "ARM 1 11111111-2222-3333-4444-555555555555 resume=0 thaw=1 deadline_ms=",
        "ARM 1 11111111-2222-3333-4444-555555555555 resume=0 thaw=1 deadline_ms=86400001",
        "ARM 1 11111111-2222-3333-4444-555555555555 resume=0 thaw=1 deadline_ms=1 x",
    };
    struct guardproto out;
    struct err err;
    char *big = calloc(1, 5000);

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        CHECK_ERR(guardproto_decode(bad[i], strlen(bad[i]), &out, &err), &err,
                  ERR_INVALID);
    memset(big, '1', 5000);
    CHECK_ERR(guardproto_decode(big, 5000, &out, &err), &err, ERR_INVALID);
    CHECK_ERR(guardproto_decode("DISARM 1\0", 9, &out, &err), &err,
              ERR_INVALID);
    free(big);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "what is encoded is decoded", what_is_encoded_is_decoded },
        { "the text is that of the header", the_text_is_that_of_the_header },
        { "everything else is refused", everything_else_is_refused },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
