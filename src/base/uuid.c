/* SPDX-License-Identifier: Apache-2.0 */
#include "base/uuid.h"

#include <sys/random.h>

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
uuid_random_bytes(void *buf, size_t len)
{
    uint8_t *p = buf;

    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            abort();
        p += n;
        len -= (size_t)n;
    }
}

void
uuid_random(char buf[UUID_STR_SIZE])
{
    uint8_t b[16];

    uuid_random_bytes(b, sizeof b);
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    (void)snprintf(buf, UUID_STR_SIZE,
                   "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
                   "%02x%02x%02x%02x%02x%02x",
                   b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9],
                   b[10], b[11], b[12], b[13], b[14], b[15]);
}

bool
uuid_is_valid(const char *s)
{
    if (strlen(s) != UUID_STR_SIZE - 1)
        return false;
    for (int i = 0; i < UUID_STR_SIZE - 1; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (dash ? s[i] != '-' : !isxdigit((unsigned char)s[i]))
            return false;
    }
    return true;
}

void
uuid_random_suffix(char *buf, size_t len)
{
    static const char alphabet[] = "bcdfghjklmnpqrstvwxz2456789";
    static const unsigned n = sizeof alphabet - 1;

    for (size_t i = 0; i < len;) {
        uint8_t b;

        uuid_random_bytes(&b, 1);
        if (b >= 256u / n * n)
            continue; /* else the first letters would come more often */
        buf[i++] = alphabet[b % n];
    }
    buf[len] = 0;
}
