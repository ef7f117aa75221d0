/* SPDX-License-Identifier: Apache-2.0 */
/* replay DIRECTORY...: run the target over every file. For builds without
 * libFuzzer; a crash names its file on the last line.
 */
#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "fuzz.h"

#define MAX_FILE (4 << 20)

static int
run_file(const char *dir, const char *name)
{
    CLEANUP(mem_free) char *path = xasprintf("%s/%s", dir, name);
    CLEANUP(buf_fini) struct buf data = BUF_INIT;
    struct err err;

    if (file_read_all(path, MAX_FILE, &data, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        return -1;
    }
    /* An allocation of the exact size shows reads beyond it. */
    CLEANUP(mem_free) uint8_t *copy = xcalloc(1, data.len + 1);

    memcpy(copy, buf_str(&data), data.len);
    copy = xrealloc(copy, data.len > 0 ? data.len : 1, 1);
    printf("# %s\n", name);
    fflush(stdout);
    (void)LLVMFuzzerTestOneInput(copy, data.len);
    return 0;
}

static int
run_dir(const char *dir)
{
    DIR *d = opendir(dir);
    int n = 0;

    if (d == NULL) {
        perror(dir);
        return -1;
    }
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        if (e->d_name[0] == '.')
            continue;
        if (run_file(dir, e->d_name) < 0) {
            closedir(d);
            return -1;
        }
        n++;
    }
    closedir(d);
    return n;
}

int
main(int argc, char **argv)
{
    printf("1..%d\n", argc - 1);
    for (int i = 1; i < argc; i++) {
        int n = run_dir(argv[i]);

        if (n <= 0) {
            printf("not ok %d - %s\n", i, argv[i]);
            return 1;
        }
        printf("ok %d - %d inputs of %s\n", i, n, file_basename(argv[i]));
    }
    return 0;
}
