/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/tpmowner.h"

#include <sys/stat.h>

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

#define CONF_MAX  (1u << 20)
#define NAMES_MAX 65536 /* of one group, with its members */

/* The value of `key = "value"` or `key = number` in a qemu.conf, the last one;
 * NULL: there is none. The caller's to free. */
static char *
conf_value(const char *text, const char *key)
{
    const char *line = text, *end;
    char *found = NULL;

    for (; line != NULL && *line != 0; line = end == NULL ? NULL : end + 1) {
        const char *p = line + strspn(line, " \t");
        size_t n = strlen(key);

        end = strchr(line, '\n');
        if (strncmp(p, key, n) != 0)
            continue;
        p += n;
        p += strspn(p, " \t");
        if (*p != '=')
            continue;
        p++;
        p += strspn(p, " \t\"");
        free(found);
        found = xstrndup(p, strcspn(p, "\" \t\r\n#"));
    }
    return found;
}

/* "tss", "+102" or "102": a name where there is one, as libvirt has it. */
static bool
parse_id(const char *name, unsigned *ret_id)
{
    const char *digits = name[0] == '+' ? name + 1 : name;
    char *end;
    unsigned long v;

    if (digits[0] == 0 || strspn(digits, "0123456789") != strlen(digits))
        return false;
    v = strtoul(digits, &end, 10);
    if (v >= UINT32_MAX)
        return false;
    *ret_id = (unsigned)v;
    return true;
}

static bool
find_user(const char *name, struct file_owner *o)
{
    CLEANUP(mem_free) char *room = xcalloc(1, NAMES_MAX);
    struct passwd p, *found = NULL;

    if (name[0] != '+' && getpwnam_r(name, &p, room, NAMES_MAX, &found) == 0 &&
        found != NULL) {
        *o = (struct file_owner){ p.pw_uid, p.pw_gid };
        return true;
    }
    return parse_id(name, &o->uid);
}

static bool
find_group(const char *name, gid_t *ret_gid)
{
    CLEANUP(mem_free) char *room = xcalloc(1, NAMES_MAX);
    struct group g, *found = NULL;

    if (name[0] != '+' && getgrnam_r(name, &g, room, NAMES_MAX, &found) == 0 &&
        found != NULL) {
        *ret_gid = g.gr_gid;
        return true;
    }
    return parse_id(name, ret_gid);
}

static int
from_conf(const char *conf, struct file_owner *ret_owner, struct err *err)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    CLEANUP(mem_free) char *user = NULL;
    CLEANUP(mem_free) char *group = NULL;
    struct file_owner o = { 0, 0 };

    if (file_read_all(conf, CONF_MAX, &text, err) < 0 &&
        err->code != ERR_NOT_FOUND)
        return -1;
    user = conf_value(buf_str(&text), "swtpm_user");
    group = conf_value(buf_str(&text), "swtpm_group");
    if (user != NULL && !find_user(user, &o))
        return err_set(err, ERR_INVALID, "%s: swtpm_user: no user \"%s\"", conf,
                       user);
    if (user == NULL)
        (void)find_user("tss", &o); /* else root */
    if (group != NULL && !find_group(group, &o.gid))
        return err_set(err, ERR_INVALID, "%s: swtpm_group: no group \"%s\"",
                       conf, group);
    if (group == NULL)
        (void)find_group("tss", &o.gid);
    *ret_owner = o;
    return 0;
}

int
tpmowner_find(int dir, const char *conf, struct file_owner *ret_owner,
              struct err *err)
{
    static const char *const versions[] = { "tpm2", "tpm1.2" };

    for (size_t i = 0; i < ARRAY_SIZE(versions); i++) {
        struct stat st;

        if (fstatat(dir, versions[i], &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISDIR(st.st_mode)) {
            *ret_owner = (struct file_owner){ st.st_uid, st.st_gid };
            return 0;
        }
    }
    return from_conf(conf, ret_owner, err);
}
