/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>

#include <errno.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "volume/volume-priv.h"

/* Which of two files does the guest write to, when libvirt cannot be believed?
 *
 * QEMU's open files say it if only one of them is open for writing. Both are
 * in the midst of a pivot, and stay so when libvirtd died before it tidied up:
 * no descriptor tells them apart. Then time does. Without a job the guest
 * writes to one file, and nothing ever writes to the other; while a commit is
 * ready, what is written to `top` reaches `base` within a fraction of a second.
 * So `base` is it if `base` changes and `top` does not for LAG_MS; `top` is it
 * if `top` changes. A guest that writes nothing gives no answer, and the caller
 * asks again later.
 *
 * When no QEMU has them open, the same lag counts: LAG_MS between the last
 * write to `top` and the last one to `base` cannot be a commit that was ready.
 * Less than that is decided by the content, if that is the same. */

enum {
    LAG_MS = 5000,
    LOOK_MS = 250,
    WATCH_MS = 12000
};

static int
open_state(struct volume *v, const char *vm_uuid, const struct layer *top,
           const struct layer *base, bool *ret_top, bool *ret_base,
           struct err *err)
{
    CLEANUP(virt_open_files_fini) struct virt_open_files open = { .n = 0 };

    *ret_top = *ret_base = false;
    if (virt_open_files(v->virt, vm_uuid, &open, err) < 0)
        return -1;
    for (size_t i = 0; i < open.n; i++) {
        if (!open.v[i].is_writable)
            continue;
        *ret_top |= file_id_equal(&open.v[i].id, &top->file);
        *ret_base |= file_id_equal(&open.v[i].id, &base->file);
    }
    return 0;
}

int
volume_writer(struct volume *v, const char *vm_uuid, const struct layer *top,
              const struct layer *base, enum volume_writer *ret,
              struct err *err)
{
    bool top_is, base_is;

    *ret = VOLUME_WRITER_NONE;
    if (open_state(v, vm_uuid, top, base, &top_is, &base_is, err) < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    if (top_is && base_is)
        *ret = VOLUME_WRITER_UNKNOWN;
    else if (top_is || base_is)
        *ret = top_is ? VOLUME_WRITER_TOP : VOLUME_WRITER_BASE;
    return 0;
}

static int
written_ms(const struct layer *l, int64_t *ret_ms, struct err *err)
{
    struct stat st;

    if (stat(l->path, &st) < 0)
        return err_sys(err, errno, "%s", l->path);
    *ret_ms = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
    return 0;
}

int
volume_writer_watch(const struct layer *top, const struct layer *base,
                    enum volume_writer *ret, struct err *err)
{
    uint64_t until_ms = clock_mono_ms() + WATCH_MS;
    int64_t top_ms, base_ms, first_top_ms, last_base_ms;
    unsigned changes = 0;

    *ret = VOLUME_WRITER_UNKNOWN;
    if (written_ms(top, &first_top_ms, err) < 0 ||
        written_ms(base, &last_base_ms, err) < 0)
        return -1;
    while (clock_mono_ms() < until_ms) {
        clock_sleep_ms(LOOK_MS);
        if (written_ms(top, &top_ms, err) < 0 ||
            written_ms(base, &base_ms, err) < 0)
            return -1;
        if (top_ms != first_top_ms) {
            *ret = VOLUME_WRITER_TOP;
            return 0;
        }
        changes += base_ms != last_base_ms;
        last_base_ms = base_ms;
        if (changes >= 2 && base_ms - top_ms > LAG_MS) {
            *ret = VOLUME_WRITER_BASE;
            return 0;
        }
    }
    return 0;
}

int
volume_writer_last(const struct layer *top, const struct layer *base,
                   const struct imglock *locks, enum volume_writer *ret,
                   struct err *err)
{
    struct qimg_keep keep;
    int64_t top_ms, base_ms;
    bool is_same;

    if (written_ms(top, &top_ms, err) < 0 ||
        written_ms(base, &base_ms, err) < 0)
        return -1;
    *ret = VOLUME_WRITER_BASE;
    if (base_ms - top_ms > LAG_MS)
        return 0;
    keep.fds = imglock_fds(locks, &keep.n);
    if (qimg_compare(top->path, &(struct qimg_file){ base->path, base->format },
                     &keep, &is_same, err) < 0)
        return -1;
    *ret = is_same ? VOLUME_WRITER_NONE : VOLUME_WRITER_UNKNOWN;
    return 0;
}
