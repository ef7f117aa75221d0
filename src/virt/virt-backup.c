/* SPDX-License-Identifier: Apache-2.0 */
/* A job of ours is known by its socket, whose path has the backup's UID: a job
 * that an administrator began is never ended.
 *
 * What a scratch file can need: QEMU copies each cluster of the disk into it at
 * most once, in clusters of 64 KiB, with their tables: 8 bytes of L2 and 2 of
 * reference counts a cluster, and the header. The reservation is made by
 * fallocate() behind the end of the file, which QEMU then grows into: blocks
 * are the file's own from then on, whoever fills the file system.
 */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <libvirt/virterror.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "virt/backup.h"
#include "virt/domxml-xml.h"
#include "virt/virt-priv.h"

#define CLUSTER    ((uint64_t)64 << 10)
#define HEAD_BYTES ((uint64_t)4 << 20)
#define END_MS     70000 /* spec guest.md, fact 6: an abort may take 60 s */
#define POLL_MS    50

static char *
request(const struct virt_backup *b)
{
    CLEANUP(xmlFreeDoc) xmlDocPtr doc = xmlNewDoc(NULL);
    xmlNode *root =
        xmlNewDocNode(doc, NULL, domxml_xml_str("domainbackup"), NULL);
    xmlNode *server, *disks;

    if (root == NULL)
        abort();
    (void)xmlDocSetRootElement(doc, root);
    domxml_xml_set(root, "mode", "pull");
    server = domxml_xml_add(root, "server", NULL);
    domxml_xml_set(server, "transport", "unix");
    domxml_xml_set(server, "socket", b->socket);
    disks = domxml_xml_add(root, "disks", NULL);
    for (size_t i = 0; i < b->n; i++) {
        xmlNode *disk = domxml_xml_add(disks, "disk", NULL);
        xmlNode *driver, *scratch;

        domxml_xml_set(disk, "name", b->disks[i].target);
        domxml_xml_set(disk, "backup", "yes");
        domxml_xml_set(disk, "type", "file");
        domxml_xml_set(disk, "exportname", b->disks[i].target);
        driver = domxml_xml_add(disk, "driver", NULL);
        domxml_xml_set(driver, "type", "qcow2");
        scratch = domxml_xml_add(disk, "scratch", NULL);
        domxml_xml_set(scratch, "file", b->disks[i].scratch);
    }
    return domxml_xml_print(doc);
}

int
virt_backup_begin(struct virt *v, const char *uuid, const struct virt_backup *b,
                  struct err *err)
{
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = virt_connect_domain(v, uuid, err);
    CLEANUP(mem_free) char *xml = NULL;
    struct effect e;
    int rc;

    if (dom == NULL)
        return -1;
    xml = request(b);
    e = effect_begin("backup-begin", uuid);
    rc = virDomainBackupBegin(dom, xml, NULL, 0);
    effect_end(&e);
    return rc < 0 ? virt_error(err, "domain %s: begin a backup job", uuid) : 0;
}

/* The socket of the domain's backup job; NULL in *ret: it has none. */
static int
socket_of(virDomainPtr dom, char **ret, struct err *err)
{
    CLEANUP(xmlFreeDoc) xmlDocPtr doc = NULL;
    CLEANUP(mem_free) char *xml = virDomainBackupGetXMLDesc(dom, 0);

    *ret = NULL;
    if (xml == NULL && virt_errors_is(VIR_ERR_NO_DOMAIN_BACKUP))
        return 0;
    if (xml == NULL && virDomainIsActive(dom) == 0)
        return 0;
    if (xml == NULL)
        return virt_error(err, "its backup job");
    doc = domxml_xml_read_as(xml, "domainbackup", err);
    if (doc == NULL)
        return -1;
    *ret = domxml_xml_attr(
        domxml_xml_child(xmlDocGetRootElement(doc), "server"), "socket");
    return 0;
}

/* The same, if it is the job of this name. */
static int
our_socket_of(virDomainPtr dom, const char *name, char **ret, struct err *err)
{
    CLEANUP(mem_free) char *socket = NULL;

    *ret = NULL;
    if (socket_of(dom, &socket, err) < 0)
        return -1;
    if (socket != NULL && strstr(socket, name) != NULL)
        *ret = TAKE(socket);
    return 0;
}

int
virt_backup_socket(struct virt *v, const char *uuid, const char *name,
                   char **ret_socket, struct err *err)
{
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = virt_connect_domain(v, uuid, err);

    if (dom == NULL)
        return -1;
    return our_socket_of(dom, name, ret_socket, err) < 0
               ? err_wrap(err, "domain %s", uuid)
               : 0;
}

static int
abort_job(virDomainPtr dom, const char *uuid)
{
    struct effect e = effect_begin("backup-end", uuid);
    int rc = virDomainAbortJob(dom);

    effect_end(&e);
    return rc;
}

int
virt_backup_end(struct virt *v, const char *uuid, const char *name,
                struct err *err)
{
    CLEANUP(virt_domain_unref)
    virDomainPtr dom = virt_connect_domain(v, uuid, err);
    uint64_t until_ms = clock_mono_ms() + END_MS;
    bool is_aborted = false;

    if (dom == NULL)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    for (;;) {
        CLEANUP(mem_free) char *socket = NULL;

        if (our_socket_of(dom, name, &socket, err) < 0)
            return err_wrap(err, "domain %s", uuid);
        if (socket == NULL)
            return 0;
        /* It may have ended by itself just now: the next look says. */
        if (!is_aborted)
            is_aborted = abort_job(dom, uuid) == 0;
        if (clock_mono_ms() >= until_ms)
            return err_set(err, ERR_TIMEOUT,
                           "domain %s: its backup job does not end", uuid);
        clock_sleep_ms(POLL_MS);
    }
}

uint64_t
virt_backup_need(uint64_t size)
{
    uint64_t clusters = (size + CLUSTER - 1) / CLUSTER;

    return clusters * (CLUSTER + 16) + HEAD_BYTES;
}

int
virt_backup_reserve(const char *scratch, uint64_t size, struct err *err)
{
    CLEANUP(fd_close)
    int fd = open(scratch, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    struct effect e;
    struct stat st;
    int rc;

    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, errno, "%s", scratch);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_CONFLICT, "%s is not a file", scratch);
    e = effect_begin("fallocate", scratch);
    rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)virt_backup_need(size))
             ? errno
             : 0;
    effect_end(&e);
    if (rc == EOPNOTSUPP)
        return err_set(
            err, ERR_UNSUPPORTED,
            "%s: this file system cannot promise room: scratch_dir wants ext4, XFS, btrfs or NFS 4.2",
            scratch);
    return rc == 0 ? 0 : err_sys(err, rc, "%s: reserve room", scratch);
}
