/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/mem.h"
#include "codec/crc.h"
#include "codec/keys-text.h"
#include "codec/le.h"
#include "test.h"

static const uint8_t repo_uuid[16] = { 1 };
static const uint8_t root[KEYS_SIZE] = { 7 };

/* A slot of a repository with two epochs. */
static void
make_slot(enum keys_slot_kind kind, enum keys_role role,
          const struct keys_secret *secret, const uint8_t *box, struct buf *out)
{
    static const uint8_t root2[KEYS_SIZE] = { 8 }, rotation[16] = { 9 };
    struct keys_slot head = { .kind = kind,
                              .role = role,
                              .cipher = 1,
                              .uuid = { 2 },
                              .created_unix_s = 1234,
                              .label = "office" };
    struct err err = { 0 };
    struct keys k;

    keys_init(&k, root);
    CHECK(keys_add_epoch(&k, root2, rotation));
    memcpy(head.repo_uuid, repo_uuid, 16);
    if (kind == KEYS_SLOT_PASSPHRASE)
        keys_slot_set_limits(&head, true);
    if (box != NULL)
        memcpy(head.box_public, box, KEYS_SIZE);
    CHECK_OK(keys_slot_encode(&k, &head, secret, out, &err), &err);
}

static bool
open_slot(const struct buf *b, const struct keys_secret *secret,
          struct keys *ret)
{
    uint8_t box[KEYS_SIZE];
    struct keys_slot s;
    struct err err = { 0 };
    bool matched = false;

    CHECK_OK(keys_slot_decode((const uint8_t *)b->data, b->len, repo_uuid, 1,
                              &s, &err),
             &err);
    CHECK(strcmp(s.label, "office") == 0 && s.created_unix_s == 1234);
    CHECK_INT(s.epoch, ==, 1);
    CHECK_OK(keys_slot_open(&s, secret, &matched, ret, box, &err), &err);
    return matched;
}

static void
a_slot_opens_with_its_secret_only(void)
{
    CLEANUP(buf_fini) struct buf slot = BUF_INIT;
    CLEANUP(buf_fini) struct buf second = BUF_INIT;
    struct keys_secret file = { .kind = KEYS_SLOT_FILE, .key = { 9 } };
    struct keys_secret pass = { .kind = KEYS_SLOT_PASSPHRASE,
                                .passphrase = "correct horse" };
    struct keys want, got;

    keys_init(&want, root);
    make_slot(KEYS_SLOT_FILE, KEYS_ROLE_FULL, &file, NULL, &slot);
    CHECK(open_slot(&slot, &file, &got));
    CHECK(memcmp(&got.id, &want.id, sizeof got.id) == 0);
    CHECK(memcmp(&got.epochs[0], &want.epochs[0], sizeof got.epochs[0]) == 0);
    CHECK_INT(got.epoch_count, ==, 2);
    CHECK(memcmp(got.epochs[1].data, got.epochs[0].data, KEYS_SIZE) != 0);
    CHECK(!open_slot(&slot, &pass, &got));
    file.key[31] = 1;
    CHECK(!open_slot(&slot, &file, &got));

    make_slot(KEYS_SLOT_PASSPHRASE, KEYS_ROLE_FULL, &pass, NULL, &second);
    CHECK(open_slot(&second, &pass, &got));
    CHECK(memcmp(&got.log, &want.log, sizeof got.log) == 0);
    pass.passphrase = "correct horsf";
    CHECK(!open_slot(&second, &pass, &got));
}

static void
any_flipped_bit_of_a_slot_is_seen(void)
{
    CLEANUP(buf_fini) struct buf slot = BUF_INIT;
    struct keys_secret file = { .kind = KEYS_SLOT_FILE };
    struct keys_slot s;
    struct err err;

    make_slot(KEYS_SLOT_FILE, KEYS_ROLE_FULL, &file, NULL, &slot);
    for (size_t i = 0; i < slot.len; i++) {
        slot.data[i] ^= 4;
        CHECK(keys_slot_decode((const uint8_t *)slot.data, slot.len, repo_uuid,
                               1, &s, &err) < 0);
        slot.data[i] ^= 4;
    }
    for (size_t len = 0; len < slot.len; len++)
        CHECK(keys_slot_decode((const uint8_t *)slot.data, len, repo_uuid, 1,
                               &s, &err) < 0);
}

/* The checksum is nobody's secret: what a slot says of itself is bound to what
 * it wraps. (The signature at its end is looked at by who rotates.) */
static void
a_slot_made_anew_from_another_opens_nothing(void)
{
    CLEANUP(buf_fini) struct buf slot = BUF_INIT;
    struct keys_secret file = { .kind = KEYS_SLOT_FILE };
    uint8_t other_uuid[16] = { 2 }, box[KEYS_SIZE];
    struct keys_slot s;
    struct keys k;
    struct err err;
    bool matched = false;
    size_t end;

    make_slot(KEYS_SLOT_FILE, KEYS_ROLE_RESTORE, &file, NULL, &slot);
    end = slot.len - 4 - KEYS_SIGN_SIZE;
    for (size_t i = 0; i < end; i++) {
        slot.data[i] ^= 1;
        le_put32((uint8_t *)slot.data + slot.len - 4,
                 crc_32c(0, slot.data, slot.len - 4));
        matched = false;
        if (keys_slot_decode((const uint8_t *)slot.data, slot.len, repo_uuid, 1,
                             &s, &err) == 0)
            CHECK(keys_slot_open(&s, &file, &matched, &k, box, &err) < 0 ||
                  !matched);
        slot.data[i] ^= 1;
    }
    le_put32((uint8_t *)slot.data + slot.len - 4,
             crc_32c(0, slot.data, slot.len - 4));
    CHECK_OK(keys_slot_decode((const uint8_t *)slot.data, slot.len, repo_uuid,
                              1, &s, &err),
             &err);
    CHECK_OK(keys_slot_open(&s, &file, &matched, &k, box, &err), &err);
    CHECK(matched);
    /* Nor does it serve another repository, or one in clear. */
    CHECK_ERR(keys_slot_decode((const uint8_t *)slot.data, slot.len, other_uuid,
                               1, &s, &err),
              &err, ERR_CORRUPT);
    CHECK_ERR(keys_slot_decode((const uint8_t *)slot.data, slot.len, repo_uuid,
                               0, &s, &err),
              &err, ERR_CORRUPT);
}

static bool
has(const uint8_t key[KEYS_SIZE])
{
    static const uint8_t none[KEYS_SIZE];

    return memcmp(key, none, KEYS_SIZE) != 0;
}

/* What a thief of each finds in it. */
static void
a_role_gets_what_it_needs_and_no_more(void)
{
    static const struct {
        enum keys_role role;
        bool has_root, has_data, has_admin;
    } want[] = {
        { KEYS_ROLE_FULL, true, true, true },
        { KEYS_ROLE_BACKUP, false, false, false },
        { KEYS_ROLE_RESTORE, false, true, false },
        { KEYS_ROLE_MAINTAIN, false, false, true },
    };
    struct keys_secret file = { .kind = KEYS_SLOT_FILE, .key = { 9 } };

    for (size_t i = 0; i < ARRAY_SIZE(want); i++) {
        CLEANUP(buf_fini) struct buf slot = BUF_INIT;
        enum keys_role again;
        struct keys k;

        make_slot(KEYS_SLOT_FILE, want[i].role, &file, NULL, &slot);
        CHECK(open_slot(&slot, &file, &k));
        CHECK_INT(k.role, ==, want[i].role);
        CHECK_INT(has(k.admin_seed), ==, want[i].has_admin);
        CHECK_INT(keys_can_delete(&k), ==, want[i].has_admin);
        for (unsigned e = 0; e < k.epoch_count; e++) {
            CHECK_INT(has(k.epochs[e].root), ==, want[i].has_root);
            CHECK_INT(has(k.epochs[e].data), ==, want[i].has_data);
            CHECK_INT(has(k.epochs[e].box_secret), ==, want[i].has_data);
            CHECK(has(k.epochs[e].meta) && has(k.epochs[e].box_public));
        }
        CHECK_INT(keys_can_read(&k), ==, want[i].has_data);
        CHECK(keys_role_parse(keys_role_name(want[i].role), &again) &&
              again == want[i].role);
    }
}

static void
a_recipient_opens_what_is_sealed_to_it(void)
{
    CLEANUP(buf_fini) struct buf slot = BUF_INIT;
    struct keys_secret secret = { .kind = KEYS_SLOT_RECIPIENT, .key = { 3 } };
    uint8_t box[KEYS_SIZE];
    struct keys k;

    keys_box_public(secret.key, box);
    make_slot(KEYS_SLOT_RECIPIENT, KEYS_ROLE_BACKUP, NULL, box, &slot);
    CHECK(open_slot(&slot, &secret, &k));
    CHECK_INT(k.role, ==, KEYS_ROLE_BACKUP);
    secret.key[9] ^= 1;
    CHECK(!open_slot(&slot, &secret, &k));
}

static void
a_grant_counts_only_with_the_owners_signature(void)
{
    CLEANUP(buf_fini) struct buf grant = BUF_INIT;
    uint8_t secret[KEYS_SIZE] = { 4 }, box[KEYS_SIZE],
            wrong[KEYS_SIZE] = { 4, 1 };
    struct keys k, got;
    struct keys_slot s;
    struct err err = { 0 };
    bool matched = false;

    keys_init(&k, root);
    keys_box_public(secret, box);
    make_slot(KEYS_SLOT_GRANT, KEYS_ROLE_RESTORE, NULL, box, &grant);
    CHECK_OK(keys_slot_decode((const uint8_t *)grant.data, grant.len, repo_uuid,
                              1, &s, &err),
             &err);
    CHECK(keys_slot_is_signed(&s, k.owner_public));
    CHECK_OK(keys_slot_open_grant(&s, secret, &matched, &got, &err), &err);
    CHECK(matched && got.epoch_count == 2);
    CHECK_OK(keys_slot_open_grant(&s, wrong, &matched, &got, &err), &err);
    CHECK(!matched);
    keys_init(&k, wrong);
    CHECK(!keys_slot_is_signed(&s, k.owner_public));
}

static void
a_key_file_reads_back(void)
{
    struct keys_secret got;
    struct err err = { 0 };
    uint8_t key[KEYS_SIZE], public_key[KEYS_SIZE];
    char text[KEYS_TEXT_SIZE];

    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)(i * 37);
    keys_text_format(KEYS_SLOT_FILE, key, text);
    CHECK_OK(keys_text_parse(text, strlen(text), &got, &err), &err);
    CHECK(got.kind == KEYS_SLOT_FILE && memcmp(key, got.key, 32) == 0);
    text[20] = 'x';
    CHECK_ERR(keys_text_parse(text, strlen(text), &got, &err), &err,
              ERR_INVALID);
    keys_text_format(KEYS_SLOT_RECIPIENT, key, text);
    CHECK_OK(keys_text_parse(text, strlen(text), &got, &err), &err);
    CHECK(got.kind == KEYS_SLOT_RECIPIENT && memcmp(key, got.key, 32) == 0);
    CHECK(keys_text_parse_public(text, strlen(text), public_key, &err) < 0);
    keys_text_format_public(key, text);
    CHECK(keys_text_parse(text, strlen(text), &got, &err) < 0);
    CHECK_OK(keys_text_parse_public(text, strlen(text), public_key, &err),
             &err);
    CHECK(memcmp(key, public_key, 32) == 0);
}

static void
add_lines(const uint8_t key[KEYS_SIZE], struct buf *out)
{
    char line[KEYS_TEXT_SIZE];

    buf_add_str(out, "VMKEEP RESTORE KIT\n  key slot: 1234\n");
    for (unsigned i = 1; i <= KEYS_TEXT_LINES; i++) {
        keys_text_line(key, i, line);
        buf_printf(out, "  %s\n", line);
    }
}

/* One digit, two that change places, and two lines that change places: what
 * happens to who types. */
static void
a_key_is_typed_again_and_every_slip_is_found(void)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    uint8_t key[KEYS_SIZE], got[KEYS_SIZE];
    struct err err = { 0 };
    char *line;

    for (size_t i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)(i * 91 + 13);
    add_lines(key, &text);
    CHECK_OK(keys_text_collect(buf_str(&text), text.len, got, &err), &err);
    CHECK(memcmp(key, got, sizeof key) == 0);
    line = strstr((char *)text.data, "  2:");
    CHECK(line != NULL);
    for (char *c = line + 4; *c != '\n'; c++) {
        char was = *c;

        if (was == ' ')
            continue;
        *c = was == '0' ? '1' : '0';
        CHECK_ERR(keys_text_collect(buf_str(&text), text.len, got, &err), &err,
                  ERR_INVALID);
        CHECK(strstr(err.msg, "line 2") != NULL);
        *c = was;
        if (c[1] != ' ' && c[1] != '\n' && c[1] != was) {
            c[0] = c[1];
            c[1] = was;
            CHECK(keys_text_collect(buf_str(&text), text.len, got, &err) < 0);
            c[1] = c[0];
            c[0] = was;
        }
    }
    line[2] = '3'; /* typed under the wrong number */
    CHECK(keys_text_collect(buf_str(&text), text.len, got, &err) < 0);
    memset(line, ' ', 4);
    CHECK_ERR(keys_text_collect(buf_str(&text), text.len, got, &err), &err,
              ERR_INVALID);
    CHECK(strstr(err.msg, "line 2 of the key is missing") != NULL);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a slot opens with its secret only",
          a_slot_opens_with_its_secret_only },
        { "any flipped bit of a slot is seen",
          any_flipped_bit_of_a_slot_is_seen },
        { "a slot made anew from another opens nothing",
          a_slot_made_anew_from_another_opens_nothing },
        { "a role gets what it needs and no more",
          a_role_gets_what_it_needs_and_no_more },
        { "a recipient opens what is sealed to it",
          a_recipient_opens_what_is_sealed_to_it },
        { "a grant counts only with the owner's signature",
          a_grant_counts_only_with_the_owners_signature },
        { "a key file reads back", a_key_file_reads_back },
        { "a key is typed again and every slip is found",
          a_key_is_typed_again_and_every_slip_is_found },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
