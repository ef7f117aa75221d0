/* SPDX-License-Identifier: Apache-2.0 */
/* checklog FILE [MIN]: is this a log of the writer without a gap, up to at
 * least record MIN?
 *
 * Prints "ok|bad records=N last=N quiesced=yes|no torn=N gaps=N"; exit code 0
 * for ok. One torn or zero record at the very end is what a power cut leaves.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "record.h"

int
main(int argc, char **argv)
{
    static struct record r;
    uint64_t records = 0, last = 0, torn = 0, gaps = 0, min;
    uint32_t flags = 0;
    FILE *f = argc > 1 ? fopen(argv[1], "rb") : NULL;
    size_t got;

    if (f == NULL) {
        printf("bad: no log %s\n", argc > 1 ? argv[1] : "");
        return 2;
    }
    while ((got = fread(&r, 1, sizeof r, f)) > 0) {
        if (got < sizeof r || !record_is_good(&r)) {
            torn++;
            continue;
        }
        /* a good record after a bad one is a hole in the middle */
        if (r.seq != last + 1 || torn > 0)
            gaps++;
        last = r.seq;
        flags = r.flags;
        records++;
    }
    fclose(f);
    min = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;

    int ok = gaps == 0 && torn <= 1 && records > 0 && last >= min;

    printf("%s records=%llu last=%llu quiesced=%s torn=%llu gaps=%llu\n",
           ok ? "ok" : "bad", (unsigned long long)records,
           (unsigned long long)last, flags & RECORD_QUIESCED ? "yes" : "no",
           (unsigned long long)torn, (unsigned long long)gaps);
    return ok ? 0 : 1;
}
