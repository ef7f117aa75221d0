/* SPDX-License-Identifier: Apache-2.0 */
#include "base/uuid.h"
#include "test.h"

static void
random_ones_are_version_4(void)
{
    char a[UUID_STR_SIZE], b[UUID_STR_SIZE];

    for (int i = 0; i < 1000; i++) {
        uuid_random(a);
        uuid_random(b);
        CHECK(uuid_is_valid(a));
        CHECK(strcmp(a, b) != 0);
        CHECK_INT(a[14], ==, '4');
        CHECK(strchr("89ab", a[19]) != NULL);
    }
}

static void
only_uuids_are_valid(void)
{
    static const char *const bad[] = {
        "",
        "12345678-1234-1234-1234-12345678901",
        "12345678-1234-1234-1234-1234567890123",
        "12345678x1234-1234-1234-123456789012",
        "g2345678-1234-1234-1234-123456789012",
        "../../../../../../../../../../../etc",
        "{2345678-1234-1234-1234-12345678901}",
    };

    CHECK(uuid_is_valid("12345678-ABCD-abcd-1234-123456789012"));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        CHECK(!uuid_is_valid(bad[i]));
}

static void
suffixes_use_the_whole_alphabet_and_no_vowel(void)
{
    unsigned seen[256] = { 0 };
    char s[6];

    for (int i = 0; i < 5400; i++) {
        uuid_random_suffix(s, 5);
        CHECK_INT(strlen(s), ==, 5);
        for (size_t j = 0; j < 5; j++)
            seen[(unsigned char)s[j]]++;
    }
    for (const char *p = "bcdfghjklmnpqrstvwxz2456789"; *p != 0; p++) {
        /* 1000 expected each; 5 standard deviations either way */
        CHECK_INT(seen[(unsigned char)*p], >, 840);
        CHECK_INT(seen[(unsigned char)*p], <, 1160);
    }
    CHECK_INT(seen['a'] + seen['e'] + seen['0'] + seen['1'], ==, 0);
    uuid_random_suffix(s, 0);
    CHECK_INT(s[0], ==, 0);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "random ones are version 4", random_ones_are_version_4 },
        { "only UUIDs are valid", only_uuids_are_valid },
        { "suffixes use the whole alphabet, and no vowel",
          suffixes_use_the_whole_alphabet_and_no_vowel },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
