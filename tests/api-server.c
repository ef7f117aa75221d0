/* The API server over a store of its own, without libvirt or controllers:
 * for tests/api-conformance.sh and bench/api.
 *
 *     api-server STATE_DIR SOCKET [LISTEN]
 *
 * Prints "port N" when it serves; ends on SIGTERM or SIGINT.
 */
#include <signal.h>
#include <stdio.h>

#include "api/api.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/obj.h"
#include "types/kind.h"

static int
make_default_namespace(struct store *s, struct err *err)
{
    CLEANUP(json_decref)
    json_t *ns = json_pack("{s:s, s:s, s:{s:s}}", "apiVersion", "v1", "kind",
                           "Namespace", "metadata", "name", "default");
    struct obj_write how = { .part = OBJ_MAIN };
    CLEANUP(object_unref) struct object *made = NULL;

    if (obj_create(s, &kind_namespace.gvr, "", ns, &how, &made, err) < 0 &&
        err->code != ERR_EXISTS)
        return -1;
    return 0;
}

static int
serve(struct store *s, struct cache *c, const struct api_config *cfg,
      struct err *err)
{
    CLEANUP(api_free) struct api *a = api_new(cfg, s, c, err);
    sigset_t set;
    int sig;

    if (a == NULL)
        return -1;
    printf("port %u\n", api_port(a));
    (void)fflush(stdout);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigwait(&set, &sig);
    return 0;
}

static int
run(const struct api_config *cfg, struct err *err)
{
    CLEANUP(store_close)
    struct store *s = store_open_sqlite(cfg->state_dir, err);
    const struct gvr *gvrs[64] = { NULL };
    struct cache *c;
    int rc;

    if (s == NULL || make_default_namespace(s, err) < 0)
        return -1;
    for (size_t i = 0; kind_table[i] != NULL && i < ARRAY_SIZE(gvrs) - 1; i++)
        gvrs[i] = &kind_table[i]->gvr;
    c = cache_new(s, gvrs, err);
    if (c == NULL)
        return -1;
    rc = serve(s, c, cfg, err);
    cache_free(c);
    return rc;
}

int
main(int argc, char **argv)
{
    struct api_config cfg = { 0 };
    struct err err = { 0 };
    sigset_t set;

    if (argc < 3) {
        fprintf(stderr, "usage: api-server STATE_DIR SOCKET [LISTEN]\n");
        return 2;
    }
    log_init();
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    cfg.state_dir = argv[1];
    cfg.socket = argv[2];
    cfg.listen = argc > 3 ? argv[3] : NULL;
    if (run(&cfg, &err) < 0) {
        fprintf(stderr, "api-server: %s\n", err.msg);
        return 1;
    }
    return 0;
}
