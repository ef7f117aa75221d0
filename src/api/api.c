/* SPDX-License-Identifier: Apache-2.0 */
/* Putting the server together: certificates, tokens, sockets. */
#include "api/api.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "api/ctx.h"
#include "api/route.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "codec/pki.h"

#define BACKLOG       256
#define CATCH_UP_MS   2000
#define DEFAULT_GROUP "vmkeep"

/* --- helpers of ctx.h ------------------------------------------------ */

void
api_wait_rev(struct api *a, uint64_t rev)
{
    if (!cache_wait_rev(a->cache, rev, CATCH_UP_MS))
        log_debug("api: the cache is late");
}

/* A reading of nothing tells the store's newest revision. */
void
api_catch_up(struct api *a)
{
    struct store_items items = { 0 };
    struct err err = { 0 };

    if (store_list(a->store, "/k/none/none/", NULL, 1, 0, &items, &err) < 0) {
        log_debug("api: %s", err.msg);
        return;
    }
    api_wait_rev(a, items.head_rev);
    store_items_fini(&items);
}

char *
api_version_of(const struct target *t)
{
    const char *group = t->kind->gvr.group;

    return group[0] == 0 ? xstrdup(t->version)
                         : xasprintf("%s/%s", group, t->version);
}

const char *
api_other_version(const struct target *t, char buf[API_VERSION_SIZE])
{
    const struct gvr *g = &t->kind->gvr;

    if (strcmp(t->version, g->version) == 0)
        return NULL;
    (void)snprintf(buf, API_VERSION_SIZE, "%s%s%s", g->group,
                   g->group[0] != 0 ? "/" : "", t->version);
    return buf;
}

void
api_wake(struct api *a, uint64_t waker)
{
    server_wake(a->server, waker);
}

/* --- the UNIX socket ------------------------------------------------- */

/* A socket file that nobody serves is left from a daemon that was killed. */
static int
remove_stale_socket(const struct sockaddr_un *addr, struct err *err)
{
    CLEANUP(fd_close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct stat st;

    if (fd < 0)
        return err_sys(err, errno, "socket");
    if (lstat(addr->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : err_sys(err, errno, "%s", addr->sun_path);
    if (!S_ISSOCK(st.st_mode))
        return err_set(err, ERR_EXISTS,
                       "%s is there and is no socket: remove it",
                       addr->sun_path);
    if (connect(fd, (const struct sockaddr *)addr, sizeof *addr) == 0)
        return err_set(err, ERR_EXISTS, "another vmkeepd serves %s",
                       addr->sun_path);
    return file_unlink_path(addr->sun_path, err);
}

/* root and the group may connect; who they are is asked per connection. */
static int
bind_unix(const struct api *a, int fd, const struct sockaddr_un *addr,
          struct err *err)
{
    int64_t group = auth_group(a->auth);
    mode_t mask = umask(0177);
    int rc = bind(fd, (const struct sockaddr *)addr, sizeof *addr);
    int why = errno;

    (void)umask(mask);
    if (rc < 0)
        return err_sys(err, why, "%s: bind", addr->sun_path);
    if (group >= 0 && geteuid() == 0 &&
        (lchown(addr->sun_path, (uid_t)-1, (gid_t)group) < 0 ||
         chmod(addr->sun_path, 0660) < 0))
        return err_sys(err, errno, "%s: group", addr->sun_path);
    if (listen(fd, BACKLOG) < 0)
        return err_sys(err, errno, "%s: listen", addr->sun_path);
    return 0;
}

static int
listen_unix(struct api *a, struct err *err)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    CLEANUP(fd_close) int fd = -1;
    struct server_listener l = { .is_local = true };

    if (strlen(a->cfg.socket) >= sizeof addr.sun_path)
        return err_set(err, ERR_INVALID, "socket: %s is longer than %zu bytes",
                       a->cfg.socket, sizeof addr.sun_path - 1);
    memcpy(addr.sun_path, a->cfg.socket, strlen(a->cfg.socket) + 1);
    if (remove_stale_socket(&addr, err) < 0)
        return -1;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return err_sys(err, errno, "socket");
    if (bind_unix(a, fd, &addr, err) < 0)
        return -1;
    a->has_socket = true;
    l.fd = fd;
    fd = -1; /* the server's */
    return server_listen(a->server, &l, err);
}

/* --- TLS ------------------------------------------------------------- */

struct address {
    char host[128], port[16];
};

/* "127.0.0.1:7443", "[::1]:7443", "host:7443" */
static int
parse_listen(const char *text, struct address *ret, struct err *err)
{
    const char *colon = strrchr(text, ':');
    size_t len = colon != NULL ? (size_t)(colon - text) : 0;
    struct address a = { 0 };
    bool is_port = colon != NULL && colon[1] != 0 && strlen(colon) <= 6 &&
                   colon[1 + strspn(colon + 1, "0123456789")] == 0 &&
                   strtoul(colon + 1, NULL, 10) <= UINT16_MAX;
    const char *whole = text;

    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    }
    if (!is_port || len == 0 || len >= sizeof a.host)
        return err_set(
            err, ERR_INVALID,
            "listen: \"%s\" is not ADDRESS:PORT, as 127.0.0.1:7443 or [::1]:7443",
            whole);
    memcpy(a.host, text, len);
    (void)snprintf(a.port, sizeof a.port, "%s", colon + 1);
    *ret = a;
    return 0;
}

static int
open_tcp(const struct address *a, int *ret_fd, unsigned *ret_port,
         struct err *err)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM,
                              .ai_flags = AI_PASSIVE };
    struct addrinfo *found = NULL;
    struct sockaddr_storage have = { .ss_family = AF_UNSPEC };
    socklen_t len = sizeof have;
    CLEANUP(fd_close) int fd = -1;
    int on = 1;
    int rc = getaddrinfo(a->host, a->port, &hints, &found);

    if (rc != 0)
        return err_set(err, ERR_INVALID, "listen: %s: %s", a->host,
                       gai_strerror(rc));
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    rc = fd < 0 ? -1 : bind(fd, found->ai_addr, found->ai_addrlen);
    rc = rc < 0 ? -1 : listen(fd, BACKLOG);
    rc = rc < 0 ? errno : 0;
    freeaddrinfo(found);
    if (rc != 0)
        return err_sys(
            err, rc,
            "listen on %s port %s (set listen in vmkeep.conf, if others have that port or this host not that address)",
            a->host, a->port);
    if (getsockname(fd, (struct sockaddr *)&have, &len) < 0)
        return err_sys(err, errno, "getsockname");
    /* The kernel wrote it: NOLINTNEXTLINE(clang-analyzer-core.*) */
    *ret_port = ntohs(have.ss_family == AF_INET6
                          ? ((struct sockaddr_in6 *)&have)->sin6_port
                          : ((struct sockaddr_in *)&have)->sin_port);
    *ret_fd = fd;
    fd = -1;
    return 0;
}

static int
listen_tls(struct api *a, const char *pki_dir, struct err *err)
{
    struct address addr;
    char host[256] = "localhost";
    const char *hosts[] = { "localhost", "127.0.0.1", "::1",
                            addr.host,   host,        NULL };
    CLEANUP(pki_fini) struct pki pki = { 0 };
    struct server_listener l = { .fd = -1 };

    if (parse_listen(a->cfg.listen, &addr, err) < 0)
        return -1;
    (void)gethostname(host, sizeof host - 1);
    if (pki_open(pki_dir, hosts, &pki, err) < 0 ||
        open_tcp(&addr, &l.fd, &a->port, err) < 0)
        return -1;
    a->ca_pem = xstrdup(pki.ca_pem);
    l.key_pem = pki.key_pem;
    l.cert_pem = pki.server_pem;
    return server_listen(a->server, &l, err);
}

/* --- the whole ------------------------------------------------------- */

static int
start(struct api *a, struct err *err)
{
    CLEANUP(mem_free) char *pki_dir = xasprintf("%s/pki", a->cfg.state_dir);
    const char *group = a->cfg.group != NULL ? a->cfg.group : DEFAULT_GROUP;

    if (a->cfg.listen != NULL) {
        if (file_make_dirs(pki_dir, 0700, err) < 0)
            return -1;
        a->tokens = tokens_open(pki_dir, err);
        if (a->tokens == NULL)
            return -1;
    }
    a->auth = auth_new(group, a->tokens);
    a->discovery = discovery_new();
    a->openapi = openapi_new();
    a->server = server_new(a, route_handle);
    /* TLS first: whoever finds the socket may ask for a kubeconfig at once. */
    if (a->cfg.listen != NULL && listen_tls(a, pki_dir, err) < 0)
        return -1;
    if (a->cfg.socket != NULL && listen_unix(a, err) < 0)
        return -1;
    return 0;
}

struct api *
api_new(const struct api_config *cfg, struct store *store, struct cache *cache,
        struct err *err)
{
    struct api *a = xcalloc(1, sizeof *a);

    a->cfg = *cfg;
    a->store = store;
    a->cache = cache;
    if (start(a, err) < 0) {
        api_free(a);
        return err_wrap_null(err, "API server");
    }
    return a;
}

void
api_free(struct api *a)
{
    struct err err = { 0 };

    if (a == NULL)
        return;
    server_free(a->server);
    if (a->has_socket && file_unlink_path(a->cfg.socket, &err) < 0)
        log_debug("api: %s", err.msg);
    openapi_free(a->openapi);
    discovery_free(a->discovery);
    auth_free(a->auth);
    tokens_free(a->tokens);
    free(a->ca_pem);
    free(a);
}

unsigned
api_port(const struct api *a)
{
    return a->port;
}
