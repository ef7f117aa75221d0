/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "controller/loop.h"
#include "test.h"

struct script {
    int calls;
    int rest_at;        /* this call says "at rest" */
    enum err_code code; /* else the first call fails with it */
};

static int
play(void *pass, int64_t *ret_again_ms, struct err *err)
{
    struct script *s = pass;

    s->calls++;
    if (s->rest_at == 0)
        return s->code == 0 ? 0 : err_set(err, s->code, "no luck");
    if (s->calls < s->rest_at)
        return 0;
    *ret_again_ms = 77;
    return 1;
}

static void
steps_go_on_until_one_rests(void)
{
    struct script s = { .rest_at = 5 };
    int64_t again_ms = 1;
    struct err err;

    CHECK_OK(loop_steps(play, &s, "Thing", "d/x", &again_ms, &err), &err);
    CHECK_INT(s.calls, ==, 5);
    CHECK_INT(again_ms, ==, 77);
}

static void
steps_in_circles_end_and_the_key_comes_again(void)
{
    struct script s = { .rest_at = 0 };
    int64_t again_ms = 1;
    struct err err;

    CHECK_OK(loop_steps(play, &s, "Thing", "d/x", &again_ms, &err), &err);
    CHECK_INT(s.calls, ==, 16);
    CHECK_INT(again_ms, ==, LOOP_LATER_MS);
}

static void
an_error_names_the_object_and_what_is_gone_is_no_error(void)
{
    struct script bad = { .code = ERR_CONFLICT };
    struct script gone = { .code = ERR_NOT_FOUND };
    int64_t again_ms = 1;
    struct err err;

    CHECK_ERR(loop_steps(play, &bad, "Thing", "d/x", &again_ms, &err), &err,
              ERR_CONFLICT);
    CHECK(strcmp(err.msg, "Thing d/x: no luck") == 0);
    CHECK_OK(loop_steps(play, &gone, "Thing", "d/x", &again_ms, &err), &err);
    CHECK_INT(gone.calls, ==, 1);
    CHECK_INT(again_ms, ==, LOOP_LATER_MS);
}

static void
the_lock_of_a_vm_names_the_loop_and_the_key(void)
{
    static const char uuid[] = "6f5ad5a2-37a1-4d24-a8c4-5a2a3a4d1a11";
    static const struct loop_spec one = { .name = "one", .workers = 1 };
    static const struct loop_spec two = { .name = "two", .workers = 1 };
    struct ctl ctl = { .locks = vmlock_new() };
    struct loop *a = loop_new(&ctl, &one, NULL);
    struct loop *b = loop_new(&ctl, &two, NULL);
    int64_t again_ms = -1;
    struct err err;

    CHECK(loop_ctl(a) == &ctl);
    CHECK_INT(loop_take_vm(a, uuid, VMLOCK_CUT, "d/x", &again_ms, &err), ==, 0);
    CHECK_INT(again_ms, ==, -1);
    CHECK_INT(loop_take_vm(b, uuid, VMLOCK_CUT, "d/x", &again_ms, &err), ==, 1);
    CHECK_INT(again_ms, ==, LOOP_LATER_MS);
    CHECK(strstr(err.msg, "one d/x") != NULL);
    /* The same key in another loop releases nothing of ours. */
    loop_give_vm(b, uuid, "d/x");
    CHECK_INT(loop_take_vm(b, uuid, VMLOCK_CUT, "d/x", &again_ms, &err), ==, 1);
    loop_give_vm(a, uuid, "d/x");
    CHECK_INT(loop_take_vm(b, uuid, VMLOCK_CUT, "d/x", &again_ms, &err), ==, 0);
    loop_free(a);
    loop_free(b);
    vmlock_free(ctl.locks);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "steps go on until one rests", steps_go_on_until_one_rests },
        { "steps in circles end, and the key comes again",
          steps_in_circles_end_and_the_key_comes_again },
        { "an error names the object, and what is gone is no error",
          an_error_names_the_object_and_what_is_gone_is_no_error },
        { "the lock of a VM names the loop and the key",
          the_lock_of_a_vm_names_the_loop_and_the_key },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
