/* SPDX-License-Identifier: Apache-2.0 */
#include "disk/qcow2.h"

#include <sys/types.h>

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "disk/qcow2-priv.h"

enum {
    HEADER_V2 = 72,
    HEADER_V3 = 104,
    HEADER_MAX = 4096, /* none is longer; QEMU writes 112 */
    FIRST_READ = 4096, /* holds the header of nearly every image */
    SECOND_READ = 65536,
    CLUSTER_BITS_MIN = 9,
    CLUSTER_BITS_MAX = 21,
    EXTENSIONS_MAX = 64,
    FORMAT_MAX = 15,
    L1_MAX = 32 << 20, /* bytes, QEMU's own limit */
};

/* Incompatible feature bits. */
#define FEATURE_DIRTY       0x1u
#define FEATURE_CORRUPT     0x2u
#define FEATURE_DATA_FILE   0x4u
#define FEATURE_COMPRESSION 0x8u
#define FEATURE_EXTL2       0x10u
#define EXTENSION_END       0u
#define EXTENSION_FORMAT    0xe2792acau
#define EXTENSION_BITMAPS   0x23852875u

/* Autoclear bits: a program that does not know them clears them. */
#define AUTOCLEAR_BITMAPS 0x1u

void
qcow2_info_fini(struct qcow2_info *i)
{
    free(i->backing);
    free(i->backing_format);
    *i = (struct qcow2_info){ .version = 0 };
}

/* The fields up to the header's length. */
static int
decode_fixed(const uint8_t *d, size_t len, struct qcow2_info *i,
             uint64_t *ret_header_len, struct err *err)
{
    uint64_t features = 0;

    if (len < 8 || memcmp(d, "QFI\xfb", 4) != 0)
        return err_set(err, ERR_INVALID, "not a qcow2 file");
    i->version = qcow2_be32(d + 4);
    if ((i->version != 2 && i->version != 3) ||
        len < (i->version == 2 ? HEADER_V2 : HEADER_V3))
        return err_set(err, ERR_CORRUPT, "qcow2 header: version %u, %zu bytes",
                       i->version, len);
    i->cluster_bits = qcow2_be32(d + 20);
    i->size = qcow2_be64(d + 24);
    i->is_encrypted = qcow2_be32(d + 32) != 0;
    i->l1_entries = qcow2_be32(d + 36);
    i->l1_offset = qcow2_be64(d + 40);
    i->n_snapshots = qcow2_be32(d + 60);
    *ret_header_len = HEADER_V2;
    if (i->version == 3) {
        features = qcow2_be64(d + 72);
        i->has_bitmaps = (qcow2_be64(d + 88) & AUTOCLEAR_BITMAPS) != 0;
        *ret_header_len = qcow2_be32(d + 100);
    }
    i->is_dirty = features & FEATURE_DIRTY;
    i->is_corrupt = features & FEATURE_CORRUPT;
    i->has_data_file = features & FEATURE_DATA_FILE;
    i->has_subclusters = features & FEATURE_EXTL2;
    i->has_unknown_feature =
        (features &
         ~(uint64_t)(FEATURE_DIRTY | FEATURE_CORRUPT | FEATURE_DATA_FILE |
                     FEATURE_COMPRESSION | FEATURE_EXTL2)) != 0;
    if (i->cluster_bits < CLUSTER_BITS_MIN ||
        i->cluster_bits > CLUSTER_BITS_MAX || i->size > INT64_MAX ||
        i->l1_entries > L1_MAX / 8 || i->l1_offset > INT64_MAX ||
        *ret_header_len > HEADER_MAX ||
        (i->version == 3 && *ret_header_len < HEADER_V3))
        return err_set(err, ERR_CORRUPT, "qcow2 header: a field is not sane");
    return 0;
}

/* Where the bitmaps are. The extension counts only while the autoclear bit
 * stands: else somebody wrote to the image who knew no bitmaps. */
static int
decode_bitmaps(const uint8_t *d, uint32_t size, struct qcow2_info *i,
               struct err *err)
{
    if (size != 24)
        return err_set(err, ERR_CORRUPT, "qcow2 header: bitmaps");
    i->n_bitmaps = qcow2_be32(d);
    i->bitmaps_size = qcow2_be64(d + 8);
    i->bitmaps_offset = qcow2_be64(d + 16);
    if (i->n_bitmaps == 0 || i->n_bitmaps > QCOW2_BITMAPS_MAX ||
        i->bitmaps_size > QCOW2_BITMAPS_SIZE_MAX ||
        i->bitmaps_offset > INT64_MAX - QCOW2_BITMAPS_SIZE_MAX)
        return err_set(err, ERR_CORRUPT, "qcow2 header: bitmaps");
    return 0;
}

/* Header extensions stand between the header and the backing file's name. */
static int
decode_extensions(const uint8_t *d, size_t at, size_t end, struct qcow2_info *i,
                  struct err *err)
{
    for (int n = 0; n < EXTENSIONS_MAX && at + 8 <= end; n++) {
        uint32_t type = qcow2_be32(d + at);
        uint32_t size = qcow2_be32(d + at + 4);

        at += 8;
        if (type == EXTENSION_END)
            return 0;
        if (size > end - at)
            return err_set(err, ERR_CORRUPT,
                           "qcow2 header: an extension leaves its bounds");
        if (type == EXTENSION_FORMAT && i->backing_format == NULL) {
            if (size == 0 || size > FORMAT_MAX ||
                memchr(d + at, 0, size) != NULL)
                return err_set(err, ERR_CORRUPT,
                               "qcow2 header: format of the backing file");
            i->backing_format = xstrndup((const char *)d + at, size);
        }
        if (type == EXTENSION_BITMAPS && i->has_bitmaps && i->n_bitmaps == 0 &&
            decode_bitmaps(d + at, size, i, err) < 0)
            return -1;
        at += ((size_t)size + 7) & ~(size_t)7;
    }
    return 0;
}

int
qcow2_decode(const uint8_t *data, size_t len, struct qcow2_info *ret_info,
             size_t *ret_need, struct err *err)
{
    CLEANUP(qcow2_info_fini) struct qcow2_info i = { .version = 0 };
    uint64_t header_len, name_at, end;
    uint32_t name_len;

    if (decode_fixed(data, len, &i, &header_len, err) < 0)
        return -1;
    name_at = qcow2_be64(data + 8);
    name_len = qcow2_be32(data + 16);
    end = name_at;
    if (name_at == 0) { /* extensions may go on to the end of the cluster */
        end = (uint64_t)1 << i.cluster_bits;
        end = end > SECOND_READ ? SECOND_READ : end;
        end = end > len ? len : end;
        name_len = 0;
    } else if (name_len == 0 || name_len > QCOW2_BACKING_MAX ||
               name_at < header_len ||
               /* in this order: the sum could wrap */
               name_at > (uint64_t)1 << i.cluster_bits ||
               name_at + name_len > (uint64_t)1 << i.cluster_bits) {
        return err_set(err, ERR_CORRUPT,
                       "qcow2 header: name of the backing file");
    }
    if (end + name_len > len || header_len > len) {
        *ret_need = end + name_len > header_len ? (size_t)(end + name_len)
                                                : (size_t)header_len;
        return 0;
    }
    if (decode_extensions(data, (size_t)header_len, (size_t)end, &i, err) < 0)
        return -1;
    if (name_len > 0) {
        if (memchr(data + name_at, 0, name_len) != NULL)
            return err_set(err, ERR_CORRUPT,
                           "qcow2 header: name of the backing file");
        i.backing = xstrndup((const char *)data + name_at, name_len);
    }
    *ret_info = i;
    i = (struct qcow2_info){ .version = 0 };
    *ret_need = 0;
    return 0;
}

int
qcow2_read_at(int fd, const char *what, uint64_t at, uint8_t *data, size_t want,
              size_t *ret_got, struct err *err)
{
    size_t got = 0;

    while (got < want) {
        ssize_t n = pread(fd, data + got, want - got, (off_t)(at + got));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, errno, "%s: read", what);
        if (n == 0)
            break;
        got += (size_t)n;
    }
    *ret_got = got;
    return 0;
}

/* Does the list of header extensions end within these bytes? */
static bool
is_all_there(const uint8_t *d, size_t len)
{
    size_t at = HEADER_V2;

    if (len >= HEADER_V3 && qcow2_be32(d + 4) == 3)
        at = qcow2_be32(d + 100);
    for (int n = 0; n < EXTENSIONS_MAX && at + 8 <= len; n++) {
        if (qcow2_be32(d + at) == EXTENSION_END)
            return true;
        at += 8 + (((size_t)qcow2_be32(d + at + 4) + 7) & ~(size_t)7);
    }
    return false;
}

int
qcow2_read(int fd, const char *what, struct qcow2_info *ret_info,
           struct err *err)
{
    size_t want = FIRST_READ, got, need = 0;

    for (int round = 0; round < 3; round++) {
        CLEANUP(mem_free) uint8_t *data = mem_try(want, what, err);

        if (data == NULL ||
            qcow2_read_at(fd, what, 0, data, want, &got, err) < 0)
            return -1;
        if (round == 0 && got == want && !is_all_there(data, got)) {
            want = SECOND_READ;
            continue;
        }
        if (qcow2_decode(data, got, ret_info, &need, err) < 0)
            return err_wrap(err, "%s", what);
        if (need == 0)
            return 0;
        if (got < want)
            break; /* the file ends there */
        want = need;
    }
    return err_set(err, ERR_CORRUPT, "%s: qcow2 header: cut off", what);
}

int
qcow2_has_data(int fd, const char *what, const struct qcow2_info *info,
               bool *ret_has_data, struct err *err)
{
    uint8_t block[65536];
    uint64_t at = info->l1_offset;
    uint64_t end = at + (uint64_t)info->l1_entries * 8;
    size_t got;

    for (; at < end; at += got) {
        size_t want =
            end - at < sizeof block ? (size_t)(end - at) : sizeof block;

        if (qcow2_read_at(fd, what, at, block, want, &got, err) < 0)
            return -1;
        if (got == 0)
            return err_set(err, ERR_CORRUPT, "%s: qcow2 table: cut off", what);
        for (size_t i = 0; i < got; i++)
            if (block[i] != 0) {
                *ret_has_data = true;
                return 0;
            }
    }
    *ret_has_data = false;
    return 0;
}
