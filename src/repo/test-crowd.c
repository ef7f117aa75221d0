/* SPDX-License-Identifier: Apache-2.0 */
/* F24: fifty hosts commit at the same moment: all do, each is told the truth,
 * and nobody tries more often than others were faster. */
#include <sys/wait.h>

#include <unistd.h>

#include "base/mem.h"
#include "repo/repo-private.h"
#include "repo/test-model.h"

#define HOSTS 50u

struct word {
    unsigned host;
    unsigned changes; /* of the store, by it; 0: it waits for the start */
    char id[REPO_ID_SIZE];
};

static struct testing_disk
disk_of(unsigned host)
{
    struct testing_disk d = { .name = "d", .size = 4 << 16, .log2 = 16 };

    testing_disk_set(&d, 0, TESTING_RANDOM, 1); /* all have that one */
    testing_disk_set(&d, 2, TESTING_RANDOM, 10 + host);
    return d;
}

static void
say(int fd, const struct word *w)
{
    CHECK_INT(write(fd, w, sizeof *w), ==, sizeof *w);
}

static void
listen_for(int fd, struct word *w)
{
    CHECK_INT(read(fd, w, sizeof *w), ==, sizeof *w);
}

/* A process: its own view of the store, nothing shared. */
static void
be_host(unsigned host, int start_fd, int said_fd)
{
    struct repo *repo = testing_repo_open((struct blob_fault_plan){ 0 });
    struct repo_backup_options o = { .threads = 1 };
    struct testing_disk d = disk_of(host);
    struct word w = { .host = host };
    struct repo_backup *b = NULL;
    struct err err = { 0 };
    unsigned n;
    char c;

    CHECK_OK(repo_backup_begin(repo, &o, &b, &err), &err);
    memcpy(w.id, repo_backup_id(b), sizeof w.id);
    CHECK_OK(repo_backup_add_disk(b, d.name, d.size, d.log2, &n, &err), &err);
    CHECK_OK(testing_disk_write(&d, b, n, &err), &err);
    say(said_fd, &w);
    CHECK_INT(read(start_fd, &c, 1), ==, 0); /* until all are there */
    CHECK_OK(repo_backup_commit(b, "meta", 4, "uid", &err), &err);
    w.changes = (unsigned)blob_fault_changes(repo->blob);
    say(said_fd, &w);
    repo_backup_free(b);
    repo_close(repo);
    testing_disk_fini(&d);
    _exit(0);
}

/* What one does who is alone. */
static unsigned
changes_of_one(void)
{
    int pipes[2][2];
    struct word w;
    pid_t pid;

    CHECK(pipe(pipes[0]) == 0 && pipe(pipes[1]) == 0);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        (void)close(pipes[0][1]);
        be_host(HOSTS, pipes[0][0], pipes[1][1]);
    }
    (void)close(pipes[0][1]);
    listen_for(pipes[1][0], &w);
    listen_for(pipes[1][0], &w);
    CHECK_INT(waitpid(pid, NULL, 0), ==, pid);
    (void)close(pipes[0][0]);
    (void)close(pipes[1][0]);
    (void)close(pipes[1][1]);
    return w.changes;
}

static void
check_all(char (*ids)[REPO_ID_SIZE], size_t entries_before)
{
    CLEANUP(repo_close)
    struct repo *repo = testing_repo_open((struct blob_fault_plan){ 0 });
    CLEANUP(blob_free) struct blob *blob = testing_blob();
    CLEANUP(blob_names_fini) struct blob_names log = { 0 };
    CLEANUP(mem_free) struct repo_entry *e = NULL;
    struct err err = { 0 };
    size_t n = 0, damage = 9;

    CHECK_OK(repo_list(repo, &e, &n, &damage, &err), &err);
    CHECK_INT(n, ==, HOSTS + 1);
    CHECK_INT(damage, ==, 0);
    for (unsigned i = 0; i < HOSTS; i++) {
        struct testing_disk d = disk_of(i);

        testing_backup_check(repo, ids[i], &d);
        testing_disk_fini(&d);
    }
    /* An OPEN and a COMMIT of each, none twice. */
    CHECK_OK(blob_list(blob, "log/", &log, &err), &err);
    CHECK_INT(log.count, ==, entries_before + 2 * HOSTS);
    testing_check_sound(repo);
}

static void
fifty_commit_at_the_same_moment(void)
{
    static char ids[HOSTS][REPO_ID_SIZE];
    int start[2], said[2];
    pid_t pids[HOSTS];
    unsigned alone, most = 0;
    size_t entries;

    testing_dir_make();
    repo_close(testing_repo_create(true));
    alone = changes_of_one();
    {
        CLEANUP(blob_free) struct blob *blob = testing_blob();
        CLEANUP(blob_names_fini) struct blob_names log = { 0 };
        struct err err = { 0 };

        CHECK_OK(blob_list(blob, "log/", &log, &err), &err);
        entries = log.count;
    }
    CHECK(pipe(start) == 0 && pipe(said) == 0);
    for (unsigned i = 0; i < HOSTS; i++) {
        pids[i] = fork();
        CHECK(pids[i] >= 0);
        if (pids[i] == 0) {
            (void)close(start[1]);
            be_host(i, start[0], said[1]);
        }
    }
    for (unsigned i = 0; i < HOSTS; i++) {
        struct word w;

        listen_for(said[0], &w);
        CHECK_INT(w.changes, ==, 0);
        memcpy(ids[w.host], w.id, REPO_ID_SIZE);
    }
    (void)close(start[1]); /* go */
    for (unsigned i = 0; i < HOSTS; i++) {
        struct word w;

        listen_for(said[0], &w);
        most = w.changes > most ? w.changes : most;
    }
    for (unsigned i = 0; i < HOSTS; i++) {
        int status = -1;

        CHECK_INT(waitpid(pids[i], &status, 0), ==, pids[i]);
        CHECK_INT(status, ==, 0);
    }
    printf("# changes of the store by one host: %u, alone %u\n", most, alone);
    /* An entry that is not written is one that somebody else wrote: of the
     * others each has two. */
    CHECK_INT(most, <=, alone + 2 * (HOSTS - 1));
    check_all(ids, entries);
    (void)close(start[0]);
    (void)close(said[0]);
    (void)close(said[1]);
    testing_dir_remove();
}

int
main(void)
{
    static const struct test_case tests[] = {
        { "fifty commit at the same moment", fifty_commit_at_the_same_moment },
    };

    testing_seed(24);
    return test_main(tests, ARRAY_SIZE(tests));
}
