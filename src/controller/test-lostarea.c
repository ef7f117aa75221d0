/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/lostarea.h"
#include "test.h"

/* A disk of bytes: chunks of 4, blocks of 1. '.' is a hole. */
#define CHUNK 4

static int
extent(void *arg, uint64_t off, uint64_t max, bool *ret_is_data,
       uint64_t *ret_len, struct err *err)
{
    const char *parent = arg;

    (void)err;
    *ret_is_data = false; /* chunk by chunk, as the repository has it */
    for (uint64_t i = off / CHUNK * CHUNK;
         i < (off / CHUNK + 1) * CHUNK && parent[i] != 0; i++)
        if (parent[i] != '.')
            *ret_is_data = true;
    *ret_len = (off / CHUNK + 1) * CHUNK - off;
    if (*ret_len > max)
        *ret_len = max;
    return 0;
}

/* What is read: 'x' for the chunks in `want` afterwards. */
static const char *
read_of(const char *parent, const char *now, const char *marked)
{
    static char out[65];
    CLEANUP(ranges_fini) struct ranges want = RANGES_INIT;
    CLEANUP(ranges_fini) struct ranges data = RANGES_INIT;
    struct lostarea_parent p = { .arg = (char *)(uintptr_t)parent,
                                 .extent = extent };
    struct err err = { 0 };
    size_t now_size = strlen(now);
    size_t size = strlen(parent) < now_size ? strlen(parent) : now_size;

    for (size_t i = 0; i < now_size; i++) {
        if (now[i] != '.')
            ranges_add(&data, i, 1);
        if (marked[i] == 'm')
            ranges_add(&want, i, 1);
    }
    ranges_align_out(&want, CHUNK);
    CHECK_OK(lostarea_add(&want, &data, size, CHUNK, &p, &err), &err);
    for (size_t i = 0; i < now_size; i++)
        out[i] = ranges_overlaps(&want, i, 1) ? 'x' : '-';
    out[now_size] = 0;
    return out;
}
#define READ(parent, now, marked, is)                                          \
    CHECK(strcmp(read_of(parent, now, marked), is) == 0)

static void
an_area_that_was_cut_off_is_read(void)
{
    /* at a chunk's edge, within one, within the last */
    READ("aaaabbbbccccdddd", "aaaabbbb........", "                ",
         "--------xxxxxxxx");
    READ("aaaabbbbccccdddd", "aaaabb..........", "                ",
         "----xxxxxxxxxxxx");
    READ("aaaabbbbccccdddd", "aaaabbbbccccd...", "                ",
         "------------xxxx");
    /* the guest wrote again to some of it */
    READ("aaaabbbbccccdddd", "aaaabb..eeee....", "        mmmm    ",
         "----xxxxxxxxxxxx");
    READ("aaaabbbbccccdddd", "aaaabb..eeeeffff", "        mmmmmmmm",
         "----xxxxxxxxxxxx");
    /* a disk that does not end with a chunk */
    READ("aaaabbbbcc", "aaaa......", "          ", "----xxxxxx");
}

static void
nothing_else_is_read(void)
{
    READ("aaaa........dddd", "aaaa........dddd", "                ",
         "----------------");
    READ("aa..........d..d", "aa..........d..d", "                ",
         "----------------");
    READ("aaaa....cc..dddd", "aaaa....cc..dddd", "mmmm            ",
         "xxxx------------");
    /* grown: the new area is the bitmaps' business */
    READ("aaaabbbb", "aaaabbbb........", "                ",
         "----------------");
    READ("........", "........", "        ", "--------");
    READ("", "....", "    ", "----");
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "an area that was cut off is read",
          an_area_that_was_cut_off_is_read },
        { "nothing else is read", nothing_else_is_read },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
