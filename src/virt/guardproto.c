/* SPDX-License-Identifier: Apache-2.0 */
#include "virt/guardproto.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DEADLINE_MAX_MS (24u * 3600 * 1000)

static const char *const verbs[] = {
    [GUARDPROTO_ARM] = "ARM",         [GUARDPROTO_DISARM] = "DISARM",
    [GUARDPROTO_ARMED] = "ARMED",     [GUARDPROTO_DISARMED] = "DISARMED",
    [GUARDPROTO_REFUSED] = "REFUSED",
};

size_t
guardproto_encode(const struct guardproto *msg, char text[GUARDPROTO_MAX])
{
    int n;

    if (msg->verb == GUARDPROTO_ARM)
        n = snprintf(
            text, GUARDPROTO_MAX,
            "ARM %" PRIu64 " %s resume=%d thaw=%d deadline_ms=%" PRIu64,
            msg->id, msg->uuid, msg->resume, msg->thaw, msg->deadline_ms);
    else
        n = snprintf(text, GUARDPROTO_MAX, "%s %" PRIu64, verbs[msg->verb],
                     msg->id);
    return (size_t)n;
}

/* Take a fixed text from the front of *p. */
static bool
take(const char **p, const char *word)
{
    size_t n = strlen(word);

    if (strncmp(*p, word, n) != 0)
        return false;
    *p += n;
    return true;
}

/* A decimal number without sign, blanks or useless zeros. */
static bool
take_number(const char **p, uint64_t *ret_n)
{
    const char *start = *p;
    uint64_t n = 0;

    for (; **p >= '0' && **p <= '9'; (*p)++) {
        uint64_t digit = (uint64_t)(**p - '0');

        if (n > (UINT64_MAX - digit) / 10)
            return false;
        n = n * 10 + digit;
    }
    *ret_n = n;
    return *p > start && (*start != '0' || *p == start + 1);
}

static bool
take_flag(const char **p, const char *name, bool *ret_flag)
{
    uint64_t n;

    if (!take(p, name) || !take_number(p, &n) || n > 1)
        return false;
    *ret_flag = n == 1;
    return true;
}

static bool
take_uuid(const char **p, char uuid[UUID_STR_SIZE])
{
    if (strnlen(*p, UUID_STR_SIZE - 1) < UUID_STR_SIZE - 1)
        return false;
    memcpy(uuid, *p, UUID_STR_SIZE - 1);
    uuid[UUID_STR_SIZE - 1] = 0;
    *p += UUID_STR_SIZE - 1;
    return uuid_is_valid(uuid);
}

static bool
decode(const char *p, struct guardproto *msg)
{
    const char *blank = strchr(p, ' ');
    size_t verb = 0;

    if (blank == NULL)
        return false;
    while (verb < ARRAY_SIZE(verbs) &&
           (strncmp(p, verbs[verb], (size_t)(blank - p)) != 0 ||
            verbs[verb][blank - p] != 0))
        verb++;
    if (verb == ARRAY_SIZE(verbs))
        return false;
    msg->verb = (enum guardproto_verb)verb;
    p = blank + 1;
    if (!take_number(&p, &msg->id))
        return false;
    if (msg->verb != GUARDPROTO_ARM)
        return *p == 0;
    return take(&p, " ") && take_uuid(&p, msg->uuid) &&
           take_flag(&p, " resume=", &msg->resume) &&
           take_flag(&p, " thaw=", &msg->thaw) && take(&p, " deadline_ms=") &&
           take_number(&p, &msg->deadline_ms) &&
           msg->deadline_ms <= DEADLINE_MAX_MS && *p == 0;
}

int
guardproto_decode(const char *text, size_t len, struct guardproto *ret_msg,
                  struct err *err)
{
    struct guardproto msg = { 0 };
    char copy[GUARDPROTO_MAX];

    if (len >= sizeof copy || memchr(text, 0, len) != NULL)
        return err_set(err, ERR_INVALID, "guard: not a message (%zu bytes)",
                       len);
    memcpy(copy, text, len);
    copy[len] = 0;
    if (!decode(copy, &msg))
        return err_set(err, ERR_INVALID, "guard: not a message: %s", copy);
    *ret_msg = msg;
    return 0;
}
