/* SPDX-License-Identifier: Apache-2.0 */
/* store/test-store-dir.h: an empty store in a directory of its own, for the
 * tests of this folder. */
#pragma once
#include <sys/wait.h>

#include <unistd.h>

#include "base/mem.h"
#include "store/store.h"
#include "test.h"

static char test_dir[64];

static inline void
test_dir_clear(void)
{
    const char *argv[] = { "rm", "-rf", "--", test_dir, NULL };
    pid_t pid;

    if (test_dir[0] == 0)
        (void)snprintf(test_dir, sizeof test_dir, "/tmp/vmkeep-test.%d",
                       (int)getpid());
    pid = fork();
    if (pid == 0) {
        (void)execvp(argv[0], (char **)(uintptr_t)argv);
        _exit(127);
    }
    (void)waitpid(pid, NULL, 0);
}

static inline struct store *
test_store_new(void)
{
    struct err err;
    struct store *s;

    test_dir_clear();
    s = store_open_sqlite(test_dir, &err);
    if (s == NULL)
        test_fail(__FILE__, __LINE__, "store_open_sqlite", err.msg);
    return s;
}
