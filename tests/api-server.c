/* SPDX-License-Identifier: Apache-2.0 */
/* The API server over a store of its own, without libvirt or controllers:
 * for tests/api-conformance.sh and bench/api.
 *
 *     api-server STATE_DIR SOCKET [LISTEN [SEED]]
 *
 * SEED: a file with a JSON array of objects to create first, as the projection
 * does (so VMs too). An object with "copies": N is made N times, "-I" added to
 * its name.
 * Prints "port N" when it serves; ends on SIGTERM or SIGINT.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "api/api.h"
#include "base/file.h"
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
seed_one(struct store *s, json_t *v, struct err *err)
{
    const char *version = jsonx_str_or(v, "apiVersion", "");
    const char *slash = strchr(version, '/');
    CLEANUP(mem_free)
    char *group =
        xstrndup(version, slash != NULL ? (size_t)(slash - version) : 0);
    const struct kind *k = kind_by_kind(group, jsonx_str_or(v, "kind", ""));
    struct obj_write how = { .part = OBJ_ALL };
    CLEANUP(object_unref) struct object *made = NULL;

    if (k == NULL)
        return err_set(err, ERR_INVALID, "seed: unknown kind");
    if (obj_create(s, &k->gvr, k->gvr.is_namespaced ? "default" : "", v, &how,
                   &made, err) < 0 &&
        err->code != ERR_EXISTS)
        return -1;
    return 0;
}

static int
seed_copies(struct store *s, json_t *v, struct err *err)
{
    int64_t n = jsonx_int(v, "copies", 0);
    CLEANUP(mem_free) char *name = xstrdup(jsonx_str(v, "metadata.name"));

    (void)json_object_del(v, "copies");
    if (n == 0)
        return seed_one(s, v, err);
    for (int64_t i = 0; i < n; i++) {
        CLEANUP(mem_free) char *full = xasprintf("%s-%lld", name, (long long)i);

        jsonx_set_str(v, "metadata.name", full);
        if (seed_one(s, v, err) < 0)
            return -1;
    }
    return 0;
}

static int
seed(struct store *s, const char *path, struct err *err)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    CLEANUP(json_decref) json_t *list = NULL;

    if (file_read_all(path, 16u << 20, &b, err) < 0)
        return -1;
    list = jsonx_parse(buf_str(&b), b.len, err);
    if (list == NULL)
        return -1;
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (seed_copies(s, json_array_get(list, i), err) < 0)
            return -1;
    }
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
run(const struct api_config *cfg, const char *seed_path, struct err *err)
{
    CLEANUP(store_close)
    struct store *s = store_open_sqlite(cfg->state_dir, err);
    const struct gvr *gvrs[64] = { NULL };
    struct cache *c;
    int rc;

    if (s == NULL || make_default_namespace(s, err) < 0 ||
        (seed_path != NULL && seed(s, seed_path, err) < 0))
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
        fprintf(stderr, "usage: api-server STATE_DIR SOCKET [LISTEN [SEED]]\n");
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
    if (run(&cfg, argc > 4 ? argv[4] : NULL, &err) < 0) {
        fprintf(stderr, "api-server: %s\n", err.msg);
        return 1;
    }
    return 0;
}
