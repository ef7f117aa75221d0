/* SPDX-License-Identifier: Apache-2.0 */
/* virt/ against libvirt's own test driver, which is in the library. What QEMU
 * and the agent do is in tests/virt.sh.
 */
#include <libvirt/libvirt.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/clock.h"
#include "test.h"
#include "virt/block.h"
#include "virt/virt.h"

#define URI "test:///default"

static struct err err;

struct seen {
    atomic_int connected, disconnected, changed, undefined;
    atomic_int after_close;
    atomic_bool is_closed;
};

static void
count(void *arg, enum virt_event event, const char *uuid)
{
    struct seen *s = arg;

    if (atomic_load(&s->is_closed))
        atomic_fetch_add(&s->after_close, 1);
    if (event == VIRT_EVENT_CONNECTED)
        atomic_fetch_add(&s->connected, 1);
    if (event == VIRT_EVENT_DISCONNECTED)
        atomic_fetch_add(&s->disconnected, 1);
    if (event == VIRT_EVENT_CHANGED && uuid != NULL)
        atomic_fetch_add(&s->changed, 1);
    if (event == VIRT_EVENT_UNDEFINED && uuid != NULL)
        atomic_fetch_add(&s->undefined, 1);
}

static bool
comes(atomic_int *counter, int n)
{
    for (int i = 0; i < 500; i++) {
        if (atomic_load(counter) >= n)
            return true;
        clock_sleep_ms(10);
    }
    return false;
}

static struct virt *
opened(struct seen *s)
{
    struct virt *v = virt_open(URI, s == NULL ? NULL : count, s, &err);

    CHECK(v != NULL);
    CHECK(virt_wait_connected(v, 10000));
    return v;
}

/* The UUID of the one domain that the test driver begins with. */
static char *
only_domain(struct virt *v)
{
    char **uuids = NULL;
    size_t n = 0;

    CHECK_OK(virt_list(v, &uuids, &n, &err), &err);
    CHECK_INT(n, ==, 1);
    char *uuid = uuids[0];
    free(uuids);
    return uuid;
}

static void
the_inventory_is_read(void)
{
    CLEANUP(virt_close) struct virt *v = opened(NULL);
    CLEANUP(mem_free) char *uuid = only_domain(v);
    CLEANUP(virt_vm_free) struct virt_vm *vm = virt_vm_get(v, uuid, &err);
    CLEANUP(virt_open_files_fini) struct virt_open_files files = { 0 };

    CHECK(vm != NULL);
    CHECK(strcmp(vm->inactive->name, "test") == 0);
    CHECK_INT(vm->state, ==, VIRT_RUNNING);
    CHECK(vm->live != NULL && vm->is_persistent);
    CHECK(virt_vm_get(v, "11111111-2222-3333-4444-555555555555", &err) == NULL);
    CHECK_INT(err.code, ==, ERR_NOT_FOUND);
    CHECK_ERR(virt_open_files(v, uuid, &files, &err), &err, ERR_NOT_FOUND);
}

static void
who_uses_files_is_read_of_all_domains(void)
{
    CLEANUP(virt_close) struct virt *v = opened(NULL);
    CLEANUP(mem_free) char *uuid = only_domain(v);
    struct virt_use *uses = NULL;
    size_t n = 0;

    CHECK_OK(virt_use_list(v, &uses, &n, &err), &err);
    CHECK_INT(n, ==, 1);
    CHECK(strcmp(uses[0].uuid, uuid) == 0);
    CHECK_INT(uses[0].state, ==, VIRT_RUNNING);
    CHECK(uses[0].is_persistent && !uses[0].has_managed_save);
    CHECK(uses[0].live != NULL && strcmp(uses[0].inactive->name, "test") == 0);
    virt_use_free(uses, n);
    CHECK_OK(virt_destroy(v, uuid, &err), &err);
    CHECK_OK(virt_use_list(v, &uses, &n, &err), &err);
    CHECK_INT(n, ==, 1);
    CHECK_INT(uses[0].state, ==, VIRT_OFF);
    CHECK(uses[0].live == NULL && uses[0].inactive != NULL);
    virt_use_free(uses, n);
}

static void
what_is_so_already_is_a_conflict(void)
{
    CLEANUP(virt_close) struct virt *v = opened(NULL);
    CLEANUP(mem_free) char *uuid = only_domain(v);

    CHECK_ERR(virt_resume(v, uuid, &err), &err, ERR_CONFLICT);
    CHECK_OK(virt_suspend(v, uuid, &err), &err);
    CHECK_ERR(virt_suspend(v, uuid, &err), &err, ERR_CONFLICT);
    CHECK_OK(virt_wait_state(v, uuid, VIRT_PAUSED, 1000, &err), &err);
    CHECK_OK(virt_resume(v, uuid, &err), &err);
    CHECK_OK(virt_destroy(v, uuid, &err), &err);
    CHECK_OK(virt_wait_state(v, uuid, VIRT_OFF, 1000, &err), &err);
    CHECK_ERR(virt_wait_state(v, uuid, VIRT_RUNNING, 50, &err), &err,
              ERR_TIMEOUT);
    CHECK_OK(virt_start(v, uuid, false, &err), &err);
}

/* The test driver knows none of the flags of virt_undefine(). It shares its
 * domains between the connections of a process. */
static void
undefine(const char *uuid)
{
    virConnectPtr conn = virConnectOpen(URI);
    virDomainPtr dom = virDomainLookupByUUIDString(conn, uuid);

    CHECK_INT(virDomainUndefine(dom), ==, 0);
    virDomainFree(dom);
    virConnectClose(conn);
}

static void
changes_are_events(void)
{
    static const char xml[] =
        "<domain type='test'><name>two</name>"
        "<uuid>22222222-2222-3333-4444-555555555555</uuid>"
        "<memory>1024</memory><os><type>hvm</type></os></domain>";
    struct seen s = { 0 };
    struct virt *v = opened(&s);
    CLEANUP(mem_free) char *uuid = only_domain(v);

    CHECK(comes(&s.connected, 1));
    CHECK_OK(virt_suspend(v, uuid, &err), &err);
    CHECK(comes(&s.changed, 1));
    CHECK_OK(virt_define(v, xml, &err), &err);
    CHECK(comes(&s.changed, 2));
    undefine("22222222-2222-3333-4444-555555555555");
    CHECK(comes(&s.undefined, 1));
    virt_close(v);
    atomic_store(&s.is_closed, true);
    clock_sleep_ms(50);
    CHECK_INT(s.after_close, ==, 0);
}

static void
closing_in_the_middle_of_events_is_safe(void)
{
    for (int i = 0; i < 10; i++) {
        struct seen s = { 0 };
        struct virt *v = opened(&s);
        CLEANUP(mem_free) char *uuid = only_domain(v);

        for (int k = 0; k < 20; k++) {
            CHECK_OK(virt_suspend(v, uuid, &err), &err);
            CHECK_OK(virt_resume(v, uuid, &err), &err);
        }
        virt_close(v);
        atomic_store(&s.is_closed, true);
        CHECK_INT(s.after_close, ==, 0);
    }
}

static void
a_libvirt_that_is_away_is_waited_for(void)
{
    uint64_t since_ms = clock_mono_ms();
    struct virt *v = virt_open("qemu+unix:///system?socket=/nonexistent/sock",
                               NULL, NULL, &err);
    char **uuids;
    size_t n;

    CHECK(v != NULL);
    CHECK(!virt_wait_connected(v, 200));
    CHECK_ERR(virt_list(v, &uuids, &n, &err), &err, ERR_UNAVAILABLE);
    CHECK(virt_vm_get(v, "x", &err) == NULL);
    CHECK_INT(err.code, ==, ERR_UNAVAILABLE);
    virt_close(v);
    CHECK_INT(clock_mono_ms() - since_ms, <, 20000);
}

static void *
call_often(void *arg)
{
    struct virt *v = arg;

    for (int i = 0; i < 200; i++) {
        struct err mine;
        char **uuids;
        size_t n;

        if (virt_list(v, &uuids, &n, &mine) < 0)
            continue;
        for (size_t k = 0; k < n; k++) {
            virt_vm_free(virt_vm_get(v, uuids[k], &mine));
            free(uuids[k]);
        }
        free(uuids);
    }
    return NULL;
}

static void
many_threads_share_the_connection(void)
{
    CLEANUP(virt_close) struct virt *v = opened(NULL);
    pthread_t threads[4];

    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        CHECK_INT(pthread_create(&threads[i], NULL, call_often, v), ==, 0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        pthread_join(threads[i], NULL);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "the inventory is read", the_inventory_is_read },
        { "who uses files is read of all domains",
          who_uses_files_is_read_of_all_domains },
        { "what is so already is a conflict",
          what_is_so_already_is_a_conflict },
        { "changes are events", changes_are_events },
        { "closing in the middle of events is safe",
          closing_in_the_middle_of_events_is_safe },
        { "a libvirt that is away is waited for",
          a_libvirt_that_is_away_is_waited_for },
        { "many threads share the connection",
          many_threads_share_the_connection },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
