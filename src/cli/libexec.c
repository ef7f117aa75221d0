/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/libexec.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

/* Beside our own file: installed, in a build directory, copied together. */
static const char *const places[] = { "../libexec/vmkeep", "../repotool", "." };

bool
libexec_has(int argc, char **argv)
{
    return argc > 1 && strcmp(argv[1], "repo") == 0;
}

int
libexec_exec(char **argv, struct err *err)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);

    if (n < 0)
        return err_sys(err, errno, "/proc/self/exe");
    self[n] = 0;
    CLEANUP(mem_free) char *dir = file_dirname(self);

    for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
        CLEANUP(mem_free)
        char *path = xasprintf("%s/%s/vmkeep-%s", dir, places[i], argv[1]);

        (void)execv(path, argv + 1);
        if (errno != ENOENT && errno != ENOTDIR)
            return err_sys(err, errno, "%s", path);
    }
    return err_set(
        err, ERR_NOT_FOUND,
        "vmkeep-%s is not installed (looked in %s/../libexec/vmkeep)", argv[1],
        dir);
}
