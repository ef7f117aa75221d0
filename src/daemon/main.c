/* SPDX-License-Identifier: Apache-2.0 */
/* daemon/main.c: vmkeepd.
 *
 * Everything is opened in the order in which it is needed and closed in the
 * reverse one. Crash-only: stopping properly is a courtesy to clients; after
 * SIGKILL the next start finds the same. What a crash left is settled before
 * it can do harm: freezes are thawed by recover_open(), a VM's disks by
 * whoever first takes its lock (controller/recover.h), and the API opens last.
 */
#include <sys/stat.h>

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "api/api.h"
#include "base/clock.h"
#include "base/effect.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "controller/job.h"
#include "controller/project.h"
#include "controller/recover.h"
#include "daemon/config.h"

#define DEFAULT_CONFIG "/etc/vmkeep/vmkeep.conf"
/* A stop takes 0.1 to 0.4 s, but for a program that is awaited (qemu-img in a
 * merge, a qemu-nbd that does not come up). One that takes longer than this is
 * no better than a crash, and a crash is fine. */
#define STOP_LIMIT_S 5
/* Backups and restores that move data at the same time; each has a worker per
 * core and up to 256 MiB of its own. */
#define JOBS_AT_ONCE 2
/* A libvirtd that is there takes 20 ms; what goes on after a restart would
 * begin with an error for each object. */
#define LIBVIRT_FIRST_MS 500
#define ASKS_AT_ONCE     32

struct daemon {
    struct config *config;
    char node[256];
    const struct gvr **gvrs;
    struct ctl ctl;
    struct api *api;
};

static const struct ctl_part *const parts[] = {
    &project_part, &snapshot_part,        &content_part,   &restore_part,
    &target_part,  &target_maintain_part, &vmbackup_part,  &hrestore_part,
    &tidy_part,    &action_part,          &namespace_part, &ownergc_part,
    NULL,
};

/* Who looks at the log shall see why there are no virtual machines. */
static void
tell_libvirt(const char *uri, enum virt_event event, const char *why)
{
    if (event == VIRT_EVENT_CONNECTED)
        log_info("libvirt %s: connected", uri);
    if (event == VIRT_EVENT_DISCONNECTED)
        log_warn(
            "libvirt %s: the connection ended; virtual machines run on, what is asked of them waits until it is back",
            uri);
    if (event == VIRT_EVENT_UNREACHABLE)
        log_warn(
            "libvirt %s: no connection: %s; trying on. Is it up (systemctl status libvirtd virtqemud), is libvirt_uri right?",
            uri, why);
}

static void
on_virt_event(void *arg, enum virt_event event, const char *uuid)
{
    const struct ctl *ctl = arg;

    tell_libvirt(ctl->config.libvirt_uri, event, uuid);
    project_event(arg, event, uuid);
}

static void
set_node_name(struct daemon *d)
{
    if (gethostname(d->node, sizeof d->node - 1) < 0)
        (void)snprintf(d->node, sizeof d->node, "localhost");
    for (char *p = d->node; *p != 0; p++)
        if (*p >= 'A' && *p <= 'Z')
            *p = (char)(*p - 'A' + 'a');
}

static int
make_dirs(const struct config *c, struct err *err)
{
    struct stat st;

    if (file_make_dirs(c->state_dir, 0700, err) < 0 ||
        file_make_dirs(c->run_dir, 0711, err) < 0)
        return -1;
    if (stat(c->state_dir, &st) < 0)
        return err_sys(err, errno, "%s", c->state_dir);
    if ((st.st_mode & 022) != 0)
        return err_set(
            err, ERR_DENIED,
            "%s: others than root may write there, and so could be root: look at what is in it, then chmod 700",
            c->state_dir);
    /* The run directory holds the socket: others may pass, not look. Whoever
     * made it (we with our umask, systemd, tmpfiles) may have shut them out. */
    if (stat(c->run_dir, &st) < 0 ||
        ((st.st_mode & 0011) != 0011 &&
         chmod(c->run_dir, (st.st_mode & 07777) | 0011) < 0))
        return err_sys(err, errno, "%s", c->run_dir);
    return 0;
}

/* Nothing is frozen without it: each snapshot of a guest with an agent would
 * say so, one by one. */
static void
look_for_guard(const struct config *c)
{
    if (access(c->guard, X_OK) < 0)
        log_warn(
            "%s: %s: without vmkeep-guard no guest is frozen, and snapshots and backups of running guests with an agent fail: install it, or set guard",
            c->guard, strerrordesc_np(errno));
}

static void
set_config(struct daemon *d)
{
    const struct config *c = d->config;

    d->ctl.config = (struct ctl_config){
        .state_dir = c->state_dir,
        .run_dir = c->run_dir,
        .node = d->node,
        .guard = c->guard,
        .libvirt_uri = c->libvirt_uri,
        .restore_dir = c->restore_dir,
        .scratch_dir = c->scratch_dir,
        .target_roots = (const char *const *)c->target_roots,
        .trash_s = c->trash_hours * 3600,
        .min_free = c->min_free,
        .agent_timeout_ms = c->agent_timeout_ms,
    };
}

static int
open_store(struct daemon *d, struct err *err)
{
    CLEANUP(mem_free)
    char *dir = xasprintf("%s/objects", d->config->state_dir);
    size_t n = 0;

    while (kind_table[n] != NULL)
        n++;
    d->gvrs = xcalloc(n + 1, sizeof(void *));
    for (size_t i = 0; i < n; i++)
        d->gvrs[i] = &kind_table[i]->gvr;
    d->ctl.store = store_open_sqlite(dir, err);
    if (d->ctl.store == NULL)
        return -1;
    d->ctl.cache = cache_new(d->ctl.store, d->gvrs, err);
    return d->ctl.cache == NULL ? -1 : 0;
}

static int
open_host(struct daemon *d, struct err *err)
{
    CLEANUP(mem_free) char *dir = xasprintf("%s/layers", d->config->state_dir);

    d->ctl.virt =
        virt_open(d->config->libvirt_uri, on_virt_event, &d->ctl, err);
    if (d->ctl.virt == NULL)
        return -1;
    d->ctl.volume = volume_open(dir, d->ctl.virt, err);
    return d->ctl.volume == NULL ? -1 : 0;
}

static int
start(struct daemon *d, struct err *err)
{
    struct api_config api = { .state_dir = d->config->state_dir,
                              .socket = d->config->socket,
                              .listen = d->config->listen };

    if (make_dirs(d->config, err) < 0 || open_store(d, err) < 0 ||
        open_host(d, err) < 0)
        return -1;
    (void)virt_wait_connected(d->ctl.virt, LIBVIRT_FIRST_MS);
    d->ctl.locks = vmlock_new();
    d->ctl.jobs = job_pool_new(JOBS_AT_ONCE);
    d->ctl.asks = job_pool_new(ASKS_AT_ONCE);
    d->ctl.events = eventrec_new(d->ctl.store, d->ctl.cache, d->node);
    d->ctl.recover = recover_open(&d->ctl, err);
    if (d->ctl.recover == NULL || ctl_start(&d->ctl, parts, err) < 0)
        return -1;
    d->api = api_new(&api, d->ctl.store, d->ctl.cache, err);
    return d->api == NULL ? -1 : 0;
}

static void
stop(struct daemon *d)
{
    api_free(d->api);
    if (d->ctl.jobs != NULL)
        job_pool_stop(d->ctl.jobs);
    if (d->ctl.asks != NULL)
        job_pool_stop(d->ctl.asks);
    ctl_stop(&d->ctl);
    job_pool_free(d->ctl.jobs);
    job_pool_free(d->ctl.asks);
    recover_close(d->ctl.recover);
    eventrec_free(d->ctl.events);
    vmlock_free(d->ctl.locks);
    volume_close(d->ctl.volume);
    virt_close(d->ctl.virt);
    cache_free(d->ctl.cache);
    store_close(d->ctl.store);
    free(d->gvrs);
}

/* Before any thread exists, so that all have it. */
static void
block_signals(sigset_t *set)
{
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGTERM);
    (void)sigaddset(set, SIGINT);
    (void)sigaddset(set, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGCHLD, SIG_DFL); /* base/spawn.c waits for its children */
}

/* Wait for the word to stop; tell systemd's watchdog that we live. */
static void
serve(const sigset_t *set)
{
    struct timespec tick = { .tv_sec = 10 };
    int sig;

    do {
        sig = sigtimedwait(set, NULL, &tick);
        if (sig < 0 && errno == EAGAIN)
            (void)sd_notify(0, "WATCHDOG=1");
        if (sig == SIGHUP)
            log_info("SIGHUP: the configuration is read at start only");
    } while (sig != SIGTERM && sig != SIGINT);
    log_info("stopping");
    (void)sd_notify(0, "STOPPING=1");
    (void)alarm(STOP_LIMIT_S);
}

static int
run(const char *config_path)
{
    struct daemon d = { 0 };
    struct err err = { 0 };
    sigset_t signals;
    int rc;

    d.config = config_load(config_path, &err);
    if (d.config == NULL) {
        log_error("%s", err.msg);
        return err_code_exit(err.code);
    }
    set_node_name(&d);
    set_config(&d);
    block_signals(&signals);
    look_for_guard(d.config);
    rc = start(&d, &err);
    if (rc < 0) {
        log_error("cannot start: %s", err.msg);
    } else {
        log_info("vmkeepd %s serves %s on %s and %s", VMKEEP_VERSION,
                 d.config->libvirt_uri, d.config->socket, d.config->listen);
        (void)sd_notify(0, "READY=1");
        serve(&signals);
    }
    stop(&d);
    config_free(d.config);
    return rc < 0 ? err_code_exit(err.code) : 0;
}

static const char usage[] =
    "Usage: vmkeepd [--config FILE]\n"
    "Snapshots, backups and restores of this host's virtual machines.\n"
    "\n"
    "  --config FILE  instead of " DEFAULT_CONFIG "\n"
    "  --help         this text\n"
    "  --version      the version\n"
    "\n"
    "See vmkeepd(8) and vmkeep.conf(5).\n";

int
main(int argc, char **argv)
{
    static const struct option options[] = {
        { "config", required_argument, NULL, 'c' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'v' },
        { NULL, 0, NULL, 0 },
    };
    const char *config_path = DEFAULT_CONFIG;
    int option;

    // NOLINTNEXTLINE(concurrency-mt-unsafe): no other thread yet
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'c':
            config_path = optarg;
            break;
        case 'h':
            (void)fputs(usage, stdout);
            return 0;
        case 'v':
            puts("vmkeepd " VMKEEP_VERSION);
            return 0;
        default:
            (void)fputs(usage, stderr);
            return 2;
        }
    }
    if (optind != argc) {
        (void)fputs(usage, stderr);
        return 2;
    }
    (void)umask(077);
    log_init();
    effect_init();
    clock_init();
    return run(config_path);
}
