/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "test.h"
#include "volume/plan.h"

/* Trees are written as words: "a=S b=A^a" is a sealed root and an active
 * layer on it. S sealed, R sealed and referenced, A active, T trash,
 * D detached, F foreign, K a copy, H sealed and held by a restore. Lower-case
 * names are made by vmkeep except the first; '!' after the state: not made. */

struct scene {
    struct layer_table *t;
    struct plan_facts f;
};

static void
id_of(char name, char id[UUID_STR_SIZE])
{
    (void)snprintf(id, UUID_STR_SIZE, "aaaaaaaa-0000-4000-8000-0000000000%02x",
                   name);
}

static size_t
row_of(const struct scene *s, char name)
{
    char id[UUID_STR_SIZE];

    id_of(name, id);
    return (size_t)(layer_find(s->t, id) - s->t->layers);
}

static struct file_id
file_of(const struct scene *s, char name)
{
    return s->t->layers[row_of(s, name)].file;
}

static void
add_user(struct scene *s, enum plan_user_kind kind, bool is_own, bool is_top,
         char name)
{
    struct plan_facts *f = &s->f;

    f->users = xrealloc(f->users, f->n_users + 1, sizeof *f->users);
    f->users[f->n_users++] = (struct plan_user){
        .kind = kind,
        .is_own = is_own,
        .is_top = is_top,
        .file = file_of(s, name),
        .target = "vda",
        .who = xstrdup("who"),
    };
}

static void
add_row(struct scene *s, const char *word)
{
    static const struct {
        char letter;
        enum layer_state state;
    } states[] = { { 'S', LAYER_SEALED },  { 'R', LAYER_SEALED },
                   { 'H', LAYER_SEALED },  { 'A', LAYER_ACTIVE },
                   { 'T', LAYER_TRASH },   { 'D', LAYER_DETACHED },
                   { 'F', LAYER_FOREIGN }, { 'P', LAYER_PLANNED },
                   { 'K', LAYER_KEPT } };
    char id[UUID_STR_SIZE], parent[UUID_STR_SIZE], path[16];
    const char *caret = memchr(word, '^', strcspn(word, " "));
    struct layer *l;
    size_t i = 0;

    while (states[i].letter != word[2])
        i++;
    id_of(word[0], id);
    if (caret != NULL)
        id_of(caret[1], parent);
    (void)snprintf(path, sizeof path, "/d/%c", word[0]);
    l = layer_add(s->t, id, caret == NULL ? NULL : parent, "vda",
                  states[i].state, "qcow2", path, 100);
    l->file = (struct file_id){ .dev = 1, .ino = (uint64_t)word[0] };
    l->is_made = caret != NULL && word[3] != '!' && word[2] != 'F';
    if (l->state == LAYER_TRASH)
        l->was = xstrdup("/d/was");
    if (word[2] == 'R' || word[2] == 'H')
        layer_ref_add(s->t, word[2] == 'R' ? LAYER_REF_CUT : LAYER_REF_RESTORE,
                      id, "vda", id);
}

static struct scene
scene_of(const char *words, bool is_live)
{
    struct scene s = {
        .t = layer_table_new("11111111-1111-4111-8111-111111111111"),
        .f = { .has_domain = true,
               .is_persistent = true,
               .is_live = is_live,
               .is_steady = true },
    };

    for (const char *p = words; *p != 0; p += strcspn(p, " ")) {
        p += *p == ' ';
        add_row(&s, p);
    }
    s.f.files = xcalloc(s.t->n_layers, sizeof *s.f.files);
    for (size_t i = 0; i < s.t->n_layers; i++) {
        struct layer *l = &s.t->layers[i];
        struct layer *parent = layer_parent(s.t, l);

        s.f.files[i] =
            (struct plan_file){ true, true, true, parent != NULL, { 0 }, 100 };
        if (parent != NULL)
            s.f.files[i].backing = parent->file;
        if (l->state != LAYER_ACTIVE)
            continue;
        for (struct layer *p = l; p != NULL; p = layer_parent(s.t, p)) {
            add_user(&s, PLAN_USER_INACTIVE, true, p == l, p->path[3]);
            if (is_live)
                add_user(&s, PLAN_USER_LIVE, true, p == l, p->path[3]);
        }
    }
    return s;
}

static void
scene_fini(struct scene *s)
{
    layer_table_free(s->t);
    plan_facts_fini(&s->f);
}

static struct plan_item
item_of(const struct scene *s, char name)
{
    struct plan_item items[32];

    plan_collect(s->t, &s->f, items);
    return items[row_of(s, name)];
}

static void
trees_of_every_shape(void)
{
    static const struct {
        const char *tree;
        bool is_live;
        char row;
        enum plan_verb verb;
        enum plan_why why;
        char child;
    } cases[] = {
        { "a=A", false, 'a', PLAN_KEEP, 0, 0 },
        { "a=R b=A^a", false, 'a', PLAN_KEEP, 0, 0 },
        { "a=S b=A^a", false, 'a', PLAN_MERGE, 0, 'b' },
        { "a=S b=A^a", true, 'a', PLAN_MERGE, 0, 'b' },
        { "a=S b=R^a c=A^b", true, 'a', PLAN_MERGE, 0, 'b' },
        { "a=R b=S^a c=R^b d=A^c", true, 'b', PLAN_MERGE, 0, 'c' },
        /* two children, of every kind */
        { "a=S b=R^a c=A^a", false, 'a', PLAN_HIDDEN, PLAN_WHY_CHILDREN, 0 },
        { "a=S b=S^a c=A^a", false, 'a', PLAN_HIDDEN, PLAN_WHY_CHILDREN, 0 },
        { "a=S b=S^a c=A^a", false, 'b', PLAN_UNLINK, 0, 0 },
        { "a=S b=T^a c=A^a", false, 'a', PLAN_HIDDEN, PLAN_WHY_CHILDREN, 0 },
        { "a=S b=D^a c=A^a", false, 'a', PLAN_HIDDEN, PLAN_WHY_CHILDREN, 0 },
        { "a=S b=R^a c=R^a d=A^a", false, 'a', PLAN_HIDDEN, PLAN_WHY_CHILDREN,
          0 },
        /* leaves */
        { "a=R b=S^a c=A^a", false, 'b', PLAN_UNLINK, 0, 0 },
        { "a=R b=S!^a c=A^a", false, 'b', PLAN_FORGET, 0, 0 },
        { "a=R b=T^a c=A^a", false, 'b', PLAN_HIDDEN, PLAN_WHY_TRASH, 0 },
        { "a=R b=D^a c=A^a", false, 'b', PLAN_KEEP, 0, 0 },
        { "a=R b=H^a c=A^a", false, 'b', PLAN_HIDDEN, PLAN_WHY_HELD, 0 },
        /* the one child is not one that can be merged */
        { "a=R b=S^a c=T^b d=A^a", false, 'b', PLAN_HIDDEN, PLAN_WHY_TRASH, 0 },
        { "a=R b=S^a c=D^b d=A^a", false, 'b', PLAN_HIDDEN, PLAN_WHY_DETACHED,
          0 },
        { "a=S b=H^a c=A^b", false, 'a', PLAN_HIDDEN, PLAN_WHY_HELD, 0 },
        { "a=S b=A!^a", false, 'a', PLAN_HIDDEN, PLAN_WHY_NOT_OURS, 0 },
        { "a=S b=P^a", false, 'a', PLAN_HIDDEN, PLAN_WHY_JOB, 0 },
        /* foreign base below */
        { "a=F b=S!^a c=A^b", false, 'a', PLAN_KEEP, 0, 0 },
        { "a=F b=S!^a c=A^b", false, 'b', PLAN_MERGE, 0, 'c' },
        /* not in the running chain: offline, while the VM runs */
        { "a=R b=S^a c=R^b d=A^a", true, 'b', PLAN_MERGE, 0, 'c' },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct scene s = scene_of(cases[i].tree, cases[i].is_live);
        struct plan_item item = item_of(&s, cases[i].row);

        printf("# %s: %c\n", cases[i].tree, cases[i].row);
        CHECK_INT(item.verb, ==, cases[i].verb);
        CHECK_INT(item.why, ==, cases[i].why);
        if (item.verb == PLAN_MERGE)
            CHECK_INT(item.child, ==, row_of(&s, cases[i].child));
        scene_fini(&s);
    }
}

static void
a_merge_is_live_only_in_the_running_chain(void)
{
    struct scene s = scene_of("a=R b=S^a c=R^b d=A^a", true);
    struct scene u = scene_of("a=S b=R^a c=A^b", true);

    CHECK(!item_of(&s, 'b').is_live);
    CHECK(item_of(&u, 'a').is_live);
    scene_fini(&s);
    scene_fini(&u);
}

/* Each outsider vetoes the merge of a with b and the unlink of d. */
static void
outsiders_veto(void)
{
    static const struct {
        enum plan_user_kind kind;
        enum plan_why why;
    } outsiders[] = {
        { PLAN_USER_LIVE, PLAN_WHY_OTHER_DOMAIN },
        { PLAN_USER_INACTIVE, PLAN_WHY_OTHER_DOMAIN },
        { PLAN_USER_HEADER, PLAN_WHY_FOREIGN_CHILD },
        { PLAN_USER_TABLE, PLAN_WHY_OTHER_TABLE },
    };
    static const char tree[] = "a=S b=R^a c=A^b d=S^b";

    for (size_t i = 0; i < ARRAY_SIZE(outsiders); i++)
        for (const char *at = "abd"; *at != 0; at++)
            for (int top = 0; top < 2; top++) {
                struct scene s = scene_of(tree, false);
                char row = *at == 'd' ? 'd' : 'a';

                CHECK_INT(item_of(&s, row).why, ==, 0);
                add_user(&s, outsiders[i].kind, false, top == 1, *at);
                CHECK_INT(item_of(&s, row).verb, ==, PLAN_HIDDEN);
                CHECK_INT(item_of(&s, row).why, ==, outsiders[i].why);
                scene_fini(&s);
            }
}

static void
what_is_not_as_recorded_is_not_touched(void)
{
    static const char tree[] = "a=S b=R^a c=A^b d=S^b";

    for (int how = 0; how < 5; how++)
        for (const char *at = "abcd"; *at != 0; at++) {
            struct scene s = scene_of(tree, false);
            struct plan_file *file = &s.f.files[row_of(&s, *at)];

            if (how == 0)
                file->is_there = false;
            else if (how == 1)
                file->is_same = false;
            else if (how == 2)
                file->is_sane = false;
            else if (how == 3)
                file->has_backing = false;
            else
                file->backing.ino = 999;
            if (!(*at == 'a' && how >= 3))
                CHECK_INT(item_of(&s, 'a').verb, ==, PLAN_HIDDEN);
            if (*at == 'd' && how == 1)
                CHECK_INT(item_of(&s, 'd').why, ==, PLAN_WHY_CHANGED);
            if (*at == 'd' && how == 0)
                CHECK_INT(item_of(&s, 'd').verb, ==, PLAN_FORGET);
            scene_fini(&s);
        }
}

static void
a_row_with_another_parent_than_its_header_vetoes(void)
{
    struct scene s = scene_of("a=R b=S^a c=A^a d=R^a", false);

    CHECK_INT(item_of(&s, 'b').verb, ==, PLAN_UNLINK);
    s.f.files[row_of(&s, 'd')].backing = file_of(&s, 'b');
    CHECK_INT(item_of(&s, 'b').why, ==, PLAN_WHY_HEADER);
    scene_fini(&s);
}

static void
nothing_is_done_without_the_domain_or_during_a_job(void)
{
    static const char tree[] = "a=S b=R^a c=A^b d=S^b";
    struct scene s = scene_of(tree, false);

    s.f.has_domain = false;
    CHECK_INT(item_of(&s, 'a').why, ==, PLAN_WHY_NO_DOMAIN);
    CHECK_INT(item_of(&s, 'd').why, ==, PLAN_WHY_NO_DOMAIN);
    s.f.has_domain = true;
    layer_job_begin(s.t, LAYER_JOB_CUT, NULL, NULL);
    CHECK_INT(item_of(&s, 'a').why, ==, PLAN_WHY_JOB);
    CHECK_INT(item_of(&s, 'd').why, ==, PLAN_WHY_JOB);
    scene_fini(&s);
}

static void
a_domain_that_names_something_else_vetoes(void)
{
    struct scene s = scene_of("a=S b=A^a", true);

    CHECK_INT(item_of(&s, 'a').verb, ==, PLAN_MERGE);
    s.f.is_steady = false;
    CHECK_INT(item_of(&s, 'a').why, ==, PLAN_WHY_UNSTEADY);
    s.f.is_steady = true;
    s.f.files[1].size = 50;
    CHECK_INT(item_of(&s, 'a').why, ==, PLAN_WHY_SHRUNK);
    s.f.files[1].size = 100;
    add_user(&s, PLAN_USER_INACTIVE, true, true, 'a');
    CHECK_INT(item_of(&s, 'a').why, ==, PLAN_WHY_NAMED);
    s.f.n_users--;
    free(s.f.users[s.f.n_users].who);
    for (size_t i = 0; i < s.f.n_users; i++)
        if (s.f.users[i].kind == PLAN_USER_INACTIVE)
            s.f.users[i].file.ino = 999;
    CHECK_INT(item_of(&s, 'a').why, ==, PLAN_WHY_NAMED);
    scene_fini(&s);
}

static enum plan_why
unlink_why(const struct scene *s, char name)
{
    return plan_unlink_why(s->t, &s->f, row_of(s, name));
}

static void
what_is_named_is_not_unlinked(void)
{
    struct scene s = scene_of("a=R b=S^a c=A^a d=T^b e=D^a", true);

    CHECK_INT(unlink_why(&s, 'a'), ==, PLAN_WHY_CHILDREN);
    CHECK_INT(unlink_why(&s, 'b'), ==, PLAN_WHY_CHILDREN);
    CHECK_INT(unlink_why(&s, 'c'), ==, PLAN_WHY_NAMED);
    CHECK_INT(unlink_why(&s, 'd'), ==, PLAN_WHY_NONE);
    CHECK_INT(unlink_why(&s, 'e'), ==, PLAN_WHY_NONE);
    add_user(&s, PLAN_USER_INACTIVE, true, true, 'e');
    CHECK_INT(unlink_why(&s, 'e'), ==, PLAN_WHY_NAMED);
    add_user(&s, PLAN_USER_TABLE, false, false, 'd');
    CHECK_INT(unlink_why(&s, 'd'), ==, PLAN_WHY_OTHER_TABLE);
    scene_fini(&s);
}

static void
a_managed_save_holds_everything(void)
{
    struct scene s = scene_of("a=S b=R^a c=A^b d=S^b", false);

    s.f.is_saved = true;
    CHECK_INT(item_of(&s, 'a').why, ==, PLAN_WHY_SAVED);
    CHECK_INT(item_of(&s, 'd').why, ==, PLAN_WHY_SAVED);
    scene_fini(&s);
}

static void
what_the_table_alone_can_tell(void)
{
    static const struct {
        const char *tree;
        bool is_idle;
        size_t hidden;
    } cases[] = {
        { "a=A", true, 0 },
        { "a=R b=A^a", true, 0 },
        { "a=R b=T^a c=A^a", true, 1 },
        { "a=H b=A^a", true, 1 },
        { "a=S b=A^a", false, 0 },
        { "a=R b=S^a c=A^b", false, 0 },
        { "a=A b=K", false, 0 },
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct scene s = scene_of(cases[i].tree, false);
        size_t hidden;

        CHECK(plan_is_idle(s.t, &hidden) == cases[i].is_idle);
        if (cases[i].is_idle)
            CHECK_INT(hidden, ==, cases[i].hidden);
        scene_fini(&s);
    }
}

static void
unlinks_come_first_then_merges_from_the_root(void)
{
    struct scene s = scene_of("a=S b=S^a c=S^b d=A^c e=S^c", false);
    struct plan_item items[8];

    plan_collect(s.t, &s.f, items);
    CHECK_INT(plan_next(s.t, items), ==, row_of(&s, 'e'));
    items[row_of(&s, 'e')].verb = PLAN_KEEP;
    CHECK_INT(plan_next(s.t, items), ==, row_of(&s, 'a'));
    scene_fini(&s);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "trees of every shape", trees_of_every_shape },
        { "a merge is live only in the running chain",
          a_merge_is_live_only_in_the_running_chain },
        { "every outsider vetoes", outsiders_veto },
        { "what is not as recorded is not touched",
          what_is_not_as_recorded_is_not_touched },
        { "a row with another parent than its header vetoes",
          a_row_with_another_parent_than_its_header_vetoes },
        { "nothing is done without the domain or during a job",
          nothing_is_done_without_the_domain_or_during_a_job },
        { "a domain that names something else vetoes",
          a_domain_that_names_something_else_vetoes },
        { "what is named is not unlinked", what_is_named_is_not_unlinked },
        { "a managed save holds everything", a_managed_save_holds_everything },
        { "what the table alone can tell", what_the_table_alone_can_tell },
        { "unlinks come first, then merges from the root",
          unlinks_come_first_then_merges_from_the_root },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
