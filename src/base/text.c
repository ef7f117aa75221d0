/* SPDX-License-Identifier: Apache-2.0 */
#include "base/text.h"

#include <string.h>

size_t
text_utf8_length(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t n = s[0] < 0x80                    ? 1
               : s[0] >= 0xc2 && s[0] <= 0xdf ? 2
               : s[0] >= 0xe0 && s[0] <= 0xef ? 3
               : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4
                                              : 0;

    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) ||
        (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

size_t
text_fit(const char *s, size_t room)
{
    size_t len = 0, n;

    for (; s[len] != 0; len += n) {
        n = text_utf8_length(s + len);
        n = n == 0 ? 1 : n;
        if (len + n > room)
            break;
    }
    return len;
}

/* C0, DEL, C1 (of which some terminals take U+009B for ESC [), and the
 * directional overrides, which show a line in another order than it has. */
static bool
is_control(const unsigned char *s, size_t n)
{
    if (n == 1)
        return s[0] < 0x20 || s[0] == 0x7f;
    if (n == 2)
        return s[0] == 0xc2 && s[1] < 0xa0;
    return n == 3 && s[0] == 0xe2 &&
           ((s[1] == 0x80 && s[2] >= 0xaa && s[2] <= 0xae) ||
            (s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9));
}

void
text_clean(char *s, bool keeps_lines)
{
    while (*s != 0) {
        size_t n = text_utf8_length(s);

        if (n == 0) {
            *s++ = '?';
            continue;
        }
        if (is_control((const unsigned char *)s, n) &&
            !(keeps_lines && *s == '\n'))
            memset(s, '?', n);
        s += n;
    }
}
