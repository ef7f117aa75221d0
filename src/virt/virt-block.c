/* SPDX-License-Identifier: Apache-2.0 */
/* Merging layers of a running domain, and jobs that are in the way.
 *
 * An active commit copies the top down into `base`, stays "ready" while the
 * guest writes to both, and ends when it is told to pivot. A commit of middle
 * layers ends by itself. libvirt does not say afterwards whether a job that is
 * gone has succeeded, so the chain in the live XML is the judge: it must not
 * name `top` any more.
 *
 * A crash of this program during a job leaves the job running in QEMU, and so
 * does a libvirtd that is killed: the job goes on until it is "ready", and no
 * pivot follows (spec guest.md 7). Both are found by virt_block_commit_resume()
 * and pivoted.
 *
 * Not aborted: a libvirtd killed in the first milliseconds of a job has written
 * down the job, but not yet where it copies to (no <mirror> in the XML). After
 * its restart libvirt 9.0 pivots such a job well, and dies of a NULL pointer
 * when it is aborted, or when the guest is shut down from inside (measured,
 * each time). So a job that makes no progress is aborted only if its <mirror>
 * is there.
 */
#include <libvirt/virterror.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "virt/apparmor.h"
#include "virt/block.h"
#include "virt/virt-priv.h"

enum {
    POLL_MIN_MS = 5,
    POLL_MAX_MS = 200
};

struct commit {
    virDomainPtr dom;
    const struct virt_commit *how;
    bool is_active; /* top is what the guest writes to */
};

/* The disk as the live XML has it now. */
static int
read_disk(virDomainPtr dom, const char *target, struct domxml **ret_d,
          const struct domxml_disk **ret_disk, struct err *err)
{
    CLEANUP(mem_free) char *xml = virDomainGetXMLDesc(dom, 0);
    CLEANUP(domxml_free) struct domxml *d = NULL;

    if (xml == NULL)
        return virt_error(err, "XML");
    d = virt_vm_parse(virDomainGetConnect(dom), xml, err);
    if (d == NULL)
        return -1;
    *ret_disk = domxml_disk(d, target);
    if (*ret_disk == NULL)
        return err_set(err, ERR_NOT_FOUND, "there is no such disk");
    *ret_d = TAKE(d);
    return 0;
}

/* Place of `path` in the chain; -1: not there. Names first, then identity:
 * libvirt may print a path that differs by a link. */
static int
place_in_chain(const struct domxml_disk *disk, const char *path)
{
    struct file_id wanted;
    struct err unused;

    for (size_t i = 0; i < disk->chain_len; i++)
        if (strcmp(disk->chain[i].path, path) == 0)
            return (int)i;
    if (file_id_of_path(path, &wanted, &unused) < 0)
        return -1;
    for (size_t i = 0; i < disk->chain_len; i++)
        if (file_is_at(disk->chain[i].path, &wanted))
            return (int)i;
    return -1;
}

static int
begin(struct commit *c, struct err *err)
{
    CLEANUP(domxml_free) struct domxml *d = NULL;
    const struct domxml_disk *disk;
    int top, base;
    struct effect e;
    struct err unused;
    int rc;

    if (read_disk(c->dom, c->how->target, &d, &disk, err) < 0)
        return -1;
    top = place_in_chain(disk, c->how->top);
    base = place_in_chain(disk, c->how->base);
    if (top < 0 || base < 0)
        return err_set(err, ERR_NOT_FOUND, "%s is not in the disk's chain",
                       top < 0 ? c->how->top : c->how->base);
    if (base <= top)
        return err_set(err, ERR_INVALID, "%s does not lie below %s",
                       c->how->base, c->how->top);
    c->is_active = top == 0;
    /* If that fails the commit does too, and says more. */
    (void)!apparmor_undeny(APPARMOR_DIR, c->how->uuid, disk->chain[base].path,
                           &unused);
    /* libvirt looks the names up in its own chain: give it its own spelling. */
    e = effect_begin("commit", c->how->target);
    rc = virDomainBlockCommit(
        c->dom, c->how->target, disk->chain[base].path, disk->chain[top].path,
        0, c->is_active ? VIR_DOMAIN_BLOCK_COMMIT_ACTIVE : 0);
    effect_end(&e);
    if (rc == 0)
        return 0;
    virt_errors_set(err, "begin of commit");
    if (strstr(err->msg, "Permission denied") != NULL)
        return err_wrap(
            err,
            "QEMU may not write to %s (its owner, AppArmor's or SELinux's rules?); it is merged when the domain is off",
            disk->chain[base].path);
    return -1;
}

static int
abort_job(virDomainPtr dom, const char *target, unsigned flags, struct err *err)
{
    struct effect e = effect_begin(flags == 0 ? "job-abort" : "pivot", target);
    int rc = virDomainBlockJobAbort(dom, target, flags);

    effect_end(&e);
    if (rc < 0)
        return virt_error(err, flags == 0 ? "abort of job" : "pivot");
    return 0;
}

/* Poll until the job is ready (active commit) or gone (the others). */
static int
wait_for_job(struct commit *c, bool *ret_is_gone, struct err *err)
{
    uint64_t progress_ms = clock_mono_ms(), pause_ms = POLL_MIN_MS;
    unsigned long long last = 0;

    for (;;) {
        virDomainBlockJobInfo info;
        int rc = virDomainGetBlockJobInfo(c->dom, c->how->target, &info, 0);

        if (rc < 0)
            return virt_error(err, "state of job");
        *ret_is_gone = rc == 0;
        if (rc == 0 || (c->is_active && info.cur == info.end && info.end > 0))
            return 0;
        if (info.cur != last) {
            last = info.cur;
            progress_ms = clock_mono_ms();
        }
        if (c->how->cancel != NULL && *c->how->cancel)
            return err_set(err, ERR_CANCELLED, "commit: asked to stop");
        if (clock_mono_ms() - progress_ms > c->how->timeout_ms)
            return err_set(err, ERR_TIMEOUT,
                           "commit: no progress for %llu ms at %llu of %llu "
                           "bytes",
                           (unsigned long long)c->how->timeout_ms, info.cur,
                           info.end);
        clock_sleep_ms(pause_ms);
        pause_ms = pause_ms < POLL_MAX_MS ? pause_ms * 2 : POLL_MAX_MS;
    }
}

/* cur == end is true a moment before libvirt lets us pivot. */
static int
pivot(struct commit *c, struct err *err)
{
    uint64_t until_ms = clock_mono_ms() + c->how->timeout_ms;

    if (c->how->before_pivot != NULL &&
        c->how->before_pivot(c->how->arg, err) < 0)
        return -1;
    while (abort_job(c->dom, c->how->target, VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT,
                     err) < 0) {
        if (!virt_errors_is(VIR_ERR_BLOCK_COPY_ACTIVE) ||
            clock_mono_ms() >= until_ms ||
            (c->how->cancel != NULL && *c->how->cancel))
            return -1;
        clock_sleep_ms(20);
    }
    return 0;
}

static int
judge(struct commit *c, struct err *err)
{
    CLEANUP(domxml_free) struct domxml *d = NULL;
    const struct domxml_disk *disk;

    if (read_disk(c->dom, c->how->target, &d, &disk, err) < 0)
        return -1;
    if (place_in_chain(disk, c->how->top) >= 0)
        return err_set(err, ERR_INTERNAL,
                       "the commit of %s ended without success: is the file "
                       "system of %s full? See the log of libvirtd",
                       c->how->top, c->how->base);
    return 0;
}

static int
commit(struct commit *c, struct err *err)
{
    bool is_gone = false;
    int rc;

    if (begin(c, err) < 0)
        return -1;
    rc = wait_for_job(c, &is_gone, err);
    if (rc == 0 && c->is_active && !is_gone)
        rc = pivot(c, err);
    if (rc < 0) {
        struct err ignored;

        /* The job may be gone with its domain or libvirtd; if it is left, the
         * next one who looks finds it. */
        (void)!abort_job(c->dom, c->how->target, 0, &ignored);
        return -1;
    }
    return judge(c, err);
}

int
virt_block_commit(struct virt *v, const struct virt_commit *how,
                  struct err *err)
{
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = virt_connect_domain(v, how->uuid, err);
    struct commit c = { .dom = dom, .how = how };

    if (dom == NULL)
        return -1;
    if (commit(&c, err) < 0)
        return err_wrap(err, "domain %s: disk %s", how->uuid, how->target);
    return 0;
}

/* ---- a job that was left over ---- */

/* Is the job on this disk the one that `c` describes? */
static int
recognise(struct commit *c, const virDomainBlockJobInfo *info,
          bool *ret_has_mirror, struct err *err)
{
    CLEANUP(domxml_free) struct domxml *d = NULL;
    const struct domxml_disk *disk;
    struct file_id wanted, is;

    c->is_active = info->type == VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT;
    if (!c->is_active && info->type != VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT)
        return err_set(err, ERR_BUSY,
                       "a block job that is not vmkeep's is running; end it "
                       "first (virsh blockjob)");
    if (read_disk(c->dom, c->how->target, &d, &disk, err) < 0)
        return -1;
    *ret_has_mirror = disk->mirror != NULL;
    if (disk->mirror == NULL)
        return 0;
    if (file_id_of_path(c->how->base, &wanted, err) < 0 ||
        file_id_of_path(disk->mirror, &is, err) < 0)
        return -1;
    if (!file_id_equal(&wanted, &is))
        return err_set(err, ERR_BUSY,
                       "a merge into %s that is not vmkeep's is running; end "
                       "it first (virsh blockjob)",
                       disk->mirror);
    return 0;
}

static int
resume(struct commit *c, bool *ret_found, struct err *err)
{
    virDomainBlockJobInfo info = { 0 };
    bool has_mirror = false, is_gone = false;
    int rc = virDomainIsActive(c->dom);

    *ret_found = false;
    if (rc == 1)
        rc = virDomainGetBlockJobInfo(c->dom, c->how->target, &info, 0);
    if (rc < 0)
        return virt_error(err, "job");
    if (rc == 0)
        return 0;
    *ret_found = true;
    if (recognise(c, &info, &has_mirror, err) < 0)
        return -1;
    rc = wait_for_job(c, &is_gone, err);
    if (rc == 0 && c->is_active && !is_gone)
        rc = pivot(c, err);
    if (rc < 0) {
        struct err ignored;

        if (err->code == ERR_TIMEOUT && (has_mirror || !c->is_active))
            (void)!abort_job(c->dom, c->how->target, 0, &ignored);
        return -1;
    }
    return judge(c, err);
}

int
virt_block_commit_resume(struct virt *v, const struct virt_commit *how,
                         bool *ret_found, struct err *err)
{
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = virt_connect_domain(v, how->uuid, err);
    struct commit c = { .dom = dom, .how = how };

    if (dom == NULL)
        return -1;
    if (resume(&c, ret_found, err) < 0)
        return err_wrap(err, "domain %s: disk %s: left-over job", how->uuid,
                        how->target);
    return 0;
}

int
virt_block_job(struct virt *v, const char *uuid, const char *target,
               bool *ret_is_active, bool *ret_is_ready, struct err *err)
{
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = virt_connect_domain(v, uuid, err);
    virDomainBlockJobInfo info = { 0 };
    int rc;

    if (dom == NULL)
        return -1;
    rc = virDomainIsActive(dom);
    if (rc == 1)
        rc = virDomainGetBlockJobInfo(dom, target, &info, 0);
    if (rc < 0)
        return virt_error(err, "domain %s: disk %s: job", uuid, target);
    *ret_is_active = rc == 1;
    *ret_is_ready = rc == 1 && info.cur == info.end && info.end > 0;
    return 0;
}

int
virt_block_job_end(struct virt *v, const char *uuid, const char *target,
                   bool is_pivot, struct err *err)
{
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = virt_connect_domain(v, uuid, err);
    unsigned flags = is_pivot ? VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT : 0;

    if (dom == NULL)
        return -1;
    if (abort_job(dom, target, flags, err) < 0)
        return err_wrap(err, "domain %s: disk %s", uuid, target);
    return 0;
}

/* source  libvirt-domain.h, virDomainJobOperation, in its order */
static const char *const operations[] = {
    "unknown job", "start",           "save",
    "restore",     "migration in",    "migration out",
    "snapshot",    "snapshot revert", "dump",
    "backup",      "snapshot delete",
};

int
virt_domain_job(struct virt *v, const char *uuid, bool *ret_is_active,
                char *ret_what, size_t what_size, struct err *err)
{
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = virt_connect_domain(v, uuid, err);
    virTypedParameterPtr params = NULL;
    int type = VIR_DOMAIN_JOB_NONE, n = 0, operation = 0, rc;

    if (dom == NULL)
        return -1;
    rc = virDomainIsActive(dom);
    if (rc == 1)
        rc = virDomainGetJobStats(dom, &type, &params, &n, 0);
    if (rc < 0)
        return virt_error(err, "domain %s: job", uuid);
    (void)virTypedParamsGetInt(params, n, VIR_DOMAIN_JOB_OPERATION, &operation);
    virTypedParamsFree(params, n);
    if (operation < 0 || operation >= (int)ARRAY_SIZE(operations))
        operation = 0;
    *ret_is_active =
        type != VIR_DOMAIN_JOB_NONE && type != VIR_DOMAIN_JOB_COMPLETED &&
        type != VIR_DOMAIN_JOB_FAILED && type != VIR_DOMAIN_JOB_CANCELLED;
    (void)snprintf(ret_what, what_size, "%s",
                   *ret_is_active ? operations[operation] : "");
    return 0;
}
