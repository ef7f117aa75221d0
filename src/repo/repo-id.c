/* SPDX-License-Identifier: Apache-2.0 */
#include "repo/repo-id.h"

#include <stdlib.h>
#include <string.h>

void
repo_id_format(const uint8_t id[REPO_ID_BYTES], char text[UUID_STR_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    char *p = text;

    for (int i = 0; i < REPO_ID_BYTES; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        *p++ = digits[id[i] >> 4];
        *p++ = digits[id[i] & 15];
    }
    *p = 0;
}

static int
digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool
repo_id_parse(const char *text, uint8_t id[REPO_ID_BYTES])
{
    if (strlen(text) != UUID_STR_SIZE - 1)
        return false;
    for (int i = 0; i < REPO_ID_BYTES; i++) {
        int hi, lo;

        if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-')
            return false;
        hi = digit(*text++);
        lo = hi < 0 ? -1 : digit(*text++);
        if (lo < 0)
            return false;
        id[i] = (uint8_t)(hi << 4 | lo);
    }
    return true;
}

void
repo_id_random(uint8_t id[REPO_ID_BYTES])
{
    char text[UUID_STR_SIZE];

    uuid_random(text);
    if (!repo_id_parse(text, id))
        abort(); /* uuid_random() writes lower case */
}

void
repo_id_of_digest(const uint8_t *digest, uint8_t id[REPO_ID_BYTES])
{
    memcpy(id, digest, REPO_ID_BYTES);
    id[6] = (uint8_t)((id[6] & 0x0f) | 0x40);
    id[8] = (uint8_t)((id[8] & 0x3f) | 0x80);
}
