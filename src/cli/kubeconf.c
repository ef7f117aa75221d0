/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/kubeconf.h"

#include <stdint.h>
#include <string.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "codec/yamlx.h"

#define MAX_FILE (1 << 20)

DEFINE_CLEANUP(kubeconf_free, struct kubeconf *)

void
kubeconf_free(struct kubeconf *k)
{
    if (k == NULL)
        return;
    free(k->server);
    free(k->ns);
    free(k->ca_pem);
    free(k->cert_pem);
    if (k->key_pem != NULL)
        mem_wipe(k->key_pem, strlen(k->key_pem));
    free(k->key_pem);
    if (k->token != NULL)
        mem_wipe(k->token, strlen(k->token));
    free(k->token);
    free(k);
}

/* The text behind base64; NULL: it is none. */
static char *
decode_base64(const char *s)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "abcdefghijklmnopqrstuvwxyz0123456789+/";
    struct buf out = BUF_INIT;
    uint32_t bits = 0;
    unsigned n = 0;

    for (; *s != 0 && *s != '='; s++) {
        const char *at = strchr(digits, *s);

        if (strchr(" \t\r\n", *s) != NULL)
            continue;
        if (at == NULL) {
            buf_fini(&out);
            return NULL;
        }
        bits = bits << 6 | (uint32_t)(at - digits);
        n += 6;
        if (n >= 8) {
            n -= 8;
            buf_add_char(&out, (char)(bits >> n & 0xff));
        }
    }
    return buf_take_str(&out);
}

/* The entry of a named list: [{name: x, cluster: {...}}]. */
static const json_t *
find_named(const json_t *conf, const char *list, const char *name,
           const char *what)
{
    const json_t *v = json_object_get(conf, list);

    return name == NULL ? NULL
                        : json_object_get(jsonx_find(v, "name", name), what);
}

static int
read_text(const char *dir, const char *path, char **ret, struct err *err)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    CLEANUP(mem_free)
    char *full = *path == '/' || dir == NULL ? xstrdup(path)
                                             : xasprintf("%s/%s", dir, path);

    if (file_read_all(full, MAX_FILE, &text, err) < 0)
        return -1;
    *ret = buf_take_str(&text);
    return 0;
}

/* `key`-data in base64, or `key` naming a file; absent is fine. */
static int
read_pem(const json_t *v, const char *dir, const char *key, char **ret,
         struct err *err)
{
    CLEANUP(mem_free) char *data_key = xasprintf("%s-data", key);
    const char *data = json_string_value(json_object_get(v, data_key));
    const char *path = json_string_value(json_object_get(v, key));

    if (data != NULL) {
        *ret = decode_base64(data);
        return *ret != NULL
                   ? 0
                   : err_set(err, ERR_INVALID, "%s is not base64", data_key);
    }
    return path == NULL ? 0 : read_text(dir, path, ret, err);
}

static int
read_token(const json_t *user, const char *dir, struct kubeconf *k,
           struct err *err)
{
    const char *token = jsonx_str(user, "token");
    const char *path = jsonx_str(user, "tokenFile");

    if (token != NULL) {
        k->token = xstrdup(token);
        return 0;
    }
    if (path == NULL)
        return 0;
    if (read_text(dir, path, &k->token, err) < 0)
        return -1;
    k->token[strcspn(k->token, "\r\n")] = 0;
    return 0;
}

static int
read_context(const json_t *conf, const char *dir, struct kubeconf *k,
             struct err *err)
{
    const char *name = jsonx_str(conf, "current-context");
    const json_t *context = find_named(conf, "contexts", name, "context");
    const json_t *cluster =
        find_named(conf, "clusters", jsonx_str(context, "cluster"), "cluster");
    const json_t *user =
        find_named(conf, "users", jsonx_str(context, "user"), "user");

    if (cluster == NULL || jsonx_str(cluster, "server") == NULL)
        return err_set(err, ERR_INVALID,
                       "its current context does not lead to a server");
    k->server = xstrdup(jsonx_str(cluster, "server"));
    k->ns = xstrdup(jsonx_str(context, "namespace"));
    if (read_pem(cluster, dir, "certificate-authority", &k->ca_pem, err) < 0 ||
        read_pem(user, dir, "client-certificate", &k->cert_pem, err) < 0 ||
        read_pem(user, dir, "client-key", &k->key_pem, err) < 0)
        return -1;
    return read_token(user, dir, k, err);
}

static int
read_environment(struct kubeconf *k, struct err *err)
{
    const char *token = getenv("VMKEEP_TOKEN");
    const char *ca = getenv("VMKEEP_CA");

    k->token = xstrdup(token);
    return ca == NULL ? 0 : read_text(NULL, ca, &k->ca_pem, err);
}

struct kubeconf *
kubeconf_load(const char *path, struct err *err)
{
    CLEANUP(kubeconf_free) struct kubeconf *k = xcalloc(1, sizeof *k);
    CLEANUP(buf_fini) struct buf text = BUF_INIT;

    if (path == NULL)
        return read_environment(k, err) < 0 ? NULL : TAKE(k);
    if (file_read_all(path, MAX_FILE, &text, err) < 0)
        return NULL;
    CLEANUP(json_decref)
    json_t *conf = yamlx_parse(buf_str(&text), text.len, err);
    const char *slash = strrchr(path, '/');
    CLEANUP(mem_free)
    char *dir = slash == NULL ? xstrdup(".")
                              : xstrndup(path, (size_t)(slash - path) + 1);

    if (conf == NULL || read_context(conf, dir, k, err) < 0)
        return err_wrap_null(err, "%s", path);
    return TAKE(k);
}
