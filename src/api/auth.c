/* SPDX-License-Identifier: Apache-2.0 */
#include "api/auth.h"

#include <sys/socket.h>

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>

#include "api/status.h"
#include "base/mem.h"

struct auth {
    int64_t group; /* -1: none */
    struct tokens *tokens;
};

struct auth *
auth_new(const char *group, struct tokens *tokens)
{
    struct auth *a = xcalloc(1, sizeof *a);
    struct group g, *found = NULL;
    char text[4096];

    a->tokens = tokens;
    a->group = -1;
    if (getgrnam_r(group, &g, text, sizeof text, &found) == 0 && found != NULL)
        a->group = found->gr_gid;
    return a;
}

void
auth_free(struct auth *a)
{
    free(a);
}

int64_t
auth_group(const struct auth *a)
{
    return a->group;
}

static bool
has_peer_group(int fd, int64_t group)
{
    gid_t gids[256];
    socklen_t len = sizeof gids;

    if (group < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, gids, &len) < 0)
        return false;
    for (size_t i = 0; i < len / sizeof *gids; i++) {
        if (gids[i] == (gid_t)group)
            return true;
    }
    return false;
}

static void
name_of_uid(uid_t uid, char *name, size_t size)
{
    struct passwd p, *found = NULL;
    char text[4096];

    if (getpwuid_r(uid, &p, text, sizeof text, &found) == 0 && found != NULL)
        (void)snprintf(name, size, "%s", found->pw_name);
    else
        (void)snprintf(name, size, "uid:%u", uid);
}

static bool
identify_local(const struct auth *a, struct request *rq, struct reply *rp)
{
    struct ucred cred = { 0 };
    socklen_t len = sizeof cred;
    char name[256];

    if (getsockopt(rq->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0) {
        status_reply(rp, 401, "Unauthorized", "the peer is unknown");
        return false;
    }
    name_of_uid(cred.uid, name, sizeof name);
    user_set(&rq->user, name);
    if (cred.uid == 0 || cred.uid == geteuid() ||
        (a->group >= 0 && cred.gid == (gid_t)a->group) ||
        has_peer_group(rq->fd, a->group))
        user_add_group(&rq->user, USER_GROUP_MASTERS);
    user_add_group(&rq->user, USER_GROUP_AUTH);
    return true;
}

/* Whose token it is, the caller's to free; NULL: none, or not a valid one. */
static char *
token_user(const struct auth *a, const struct request *rq)
{
    const char *header = request_header(rq, "Authorization");

    if (header == NULL || a->tokens == NULL ||
        strncasecmp(header, "Bearer ", 7) != 0)
        return NULL;
    return tokens_find(a->tokens, header + 7 + strspn(header + 7, " "));
}

bool
auth_is_stranger(const struct auth *a, const struct request *rq)
{
    CLEANUP(mem_free) char *name = NULL;

    if (rq->is_local)
        return false;
    name = token_user(a, rq);
    return name == NULL;
}

static bool
identify_token(const struct auth *a, struct request *rq, struct reply *rp)
{
    CLEANUP(mem_free) char *name = NULL;

    if (request_header(rq, "Authorization") == NULL) {
        user_set(&rq->user, "system:anonymous");
        user_add_group(&rq->user, USER_GROUP_ANONYMOUS);
        return true;
    }
    name = token_user(a, rq);
    if (name == NULL) {
        status_reply(rp, 401, "Unauthorized", "Unauthorized");
        return false;
    }
    user_set(&rq->user, name);
    user_add_group(&rq->user, USER_GROUP_MASTERS);
    user_add_group(&rq->user, USER_GROUP_AUTH);
    return true;
}

static bool
impersonate(struct request *rq, struct reply *rp)
{
    const char *as = request_header(rq, "Impersonate-User");
    const char *groups[USER_GROUPS_MAX];
    size_t n =
        rq->headers(rq->conn, "Impersonate-Group", groups, ARRAY_SIZE(groups));

    if (as == NULL && n == 0 && request_header(rq, "Impersonate-Uid") == NULL)
        return true;
    if (as == NULL) {
        status_bad_request(rp, "impersonation needs Impersonate-User");
        return false;
    }
    if (!user_in_group(&rq->user, USER_GROUP_MASTERS)) {
        status_reply(
            rp, 403, "Forbidden",
            "users \"%s\" is forbidden: User \"%s\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
            as, rq->user.name);
        return false;
    }
    user_set(&rq->user, as);
    for (size_t i = 0; i < n && i < ARRAY_SIZE(groups); i++)
        user_add_group(&rq->user, groups[i]);
    user_add_group(&rq->user, USER_GROUP_AUTH);
    return true;
}

bool
auth_identify(const struct auth *a, struct request *rq, struct reply *rp)
{
    bool ok =
        rq->is_local ? identify_local(a, rq, rp) : identify_token(a, rq, rp);

    return ok && impersonate(rq, rp);
}

int
auth_mint(const struct auth *a, const char *user, char ret_token[TOKEN_SIZE],
          struct err *err)
{
    if (a->tokens == NULL)
        return err_set(err, ERR_UNAVAILABLE, "vmkeepd does not listen on TLS");
    return tokens_mint(a->tokens, user, ret_token, err);
}
