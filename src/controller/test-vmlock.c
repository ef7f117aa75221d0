/* SPDX-License-Identifier: Apache-2.0 */
#include <stdatomic.h>

#include "base/clock.h"
#include "controller/vmlock.h"
#include "test.h"

#define VM "11111111-2222-3333-4444-555555555555"

static bool
take(struct vmlock *t, enum vmlock_reason reason, const char *holder)
{
    struct err err;

    return vmlock_take(t, VM, reason, holder, NULL, NULL, &err) == 0;
}

static void
reasons_exclude_each_other_as_the_table_says(void)
{
    static const char *const table[6] = { "--y---", "------", "y-yy-y",
                                          "--y--y", "------", "--yy--" };

    for (int a = 0; a < 6; a++)
        for (int b = 0; b < 6; b++) {
            struct vmlock *t = vmlock_new();

            CHECK(take(t, (enum vmlock_reason)a, "one"));
            CHECK_INT(take(t, (enum vmlock_reason)b, "two"), ==,
                      table[a][b] == 'y');
            vmlock_free(t);
        }
}

static void
a_holder_gets_it_again_and_gives_it_up_once(void)
{
    struct vmlock *t = vmlock_new();
    struct err err;

    CHECK(take(t, VMLOCK_CUT, "snapshot default/a"));
    CHECK(take(t, VMLOCK_CUT, "snapshot default/a"));
    CHECK_ERR(
        vmlock_take(t, VM, VMLOCK_CUT, "snapshot default/b", NULL, NULL, &err),
        &err, ERR_BUSY);
    CHECK(strstr(err.msg, "snapshot default/a") != NULL);
    vmlock_release(t, VM, "snapshot default/a");
    vmlock_release(t, VM, "snapshot default/a");
    CHECK(take(t, VMLOCK_CUT, "snapshot default/b"));
    vmlock_free(t);
}

static int
count(void *arg, const char *key, int64_t *ret_again_ms, struct err *err)
{
    (void)key;
    (void)ret_again_ms;
    (void)err;
    atomic_fetch_add((atomic_uint *)arg, 1);
    return 0;
}

static void
who_waits_is_called_when_the_vm_is_free(void)
{
    struct vmlock *t = vmlock_new();
    atomic_uint calls = 0;
    struct queue *q = queue_new("t", 1, count, &calls);
    struct err err;

    queue_start(q);
    CHECK(take(t, VMLOCK_RESTORE, "r"));
    CHECK_INT(vmlock_take(t, VM, VMLOCK_CUT, "s", q, "default/s", &err), <, 0);
    CHECK_INT(vmlock_take(t, VM, VMLOCK_CUT, "s", q, "default/s", &err), <, 0);
    CHECK_INT(calls, ==, 0);
    vmlock_release(t, VM, "r");
    CHECK(queue_wait_idle(q, 5000));
    CHECK_INT(calls, ==, 1);
    CHECK(take(t, VMLOCK_RESTORE, "r"));
    CHECK_INT(vmlock_take(t, VM, VMLOCK_CUT, "s", q, "default/s", &err), <, 0);
    vmlock_forget_queue(t, q);
    vmlock_release(t, VM, "r");
    CHECK(queue_wait_idle(q, 5000));
    CHECK_INT(calls, ==, 1);
    queue_free(q);
    vmlock_free(t);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "reasons exclude each other as the table says",
          reasons_exclude_each_other_as_the_table_says },
        { "a holder gets it again, and gives it up once",
          a_holder_gets_it_again_and_gives_it_up_once },
        { "who waits is called when the VM is free",
          who_waits_is_called_when_the_vm_is_free },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
