/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "test.h"
#include "types/kind.h"
#include "types/restorepatch.h"

static json_t *
parse(const char *text)
{
    struct err err = { 0 };
    json_t *v = jsonx_parse(text, strlen(text), &err);

    if (v == NULL)
        test_fail(__FILE__, __LINE__, text, err.msg);
    return v;
}

/* A small world: "resource/name" -> object. */
static json_t *world;

static json_t *
get(void *arg, const struct gvr *gvr, const char *ns, const char *name)
{
    char key[200];

    (void)snprintf(key, sizeof key, "%s/%s", gvr->resource, name);
    return json_incref(json_object_get(world, key));
}

static json_t *
list(void *arg, const struct gvr *gvr, const char *ns)
{
    json_t *out = json_array();
    const char *key;
    json_t *v;

    json_object_foreach(world, key, v)
    {
        if (strncmp(key, gvr->resource, strlen(gvr->resource)) == 0)
            json_array_append(out, v);
    }
    return out;
}

static const struct kind_lookup lookup = { NULL, get, list };

#define TARGET(name)                                                           \
    "\"target\":{\"apiGroup\":\"kubevirt.io\",\"kind\":\"VirtualMachine\","    \
    "\"name\":\"" name "\"},\"virtualMachineSnapshotName\":\"s1\""

static const char *note; /* annotations of what is created */

static int
create(const char *spec, struct causes *causes, struct err *err)
{
    CLEANUP(json_decref) json_t *object = json_object();
    struct kind_request rq = { KIND_CREATE, "default", object, NULL, &lookup };

    json_object_set_new(object, "spec", parse(spec));
    if (note != NULL)
        jsonx_set(object, "metadata.annotations", parse(note));
    causes->n = 0;
    return kind_vmrestore.validate(&rq, causes, err);
}

static void
rules_have_their_words(void)
{
    static const struct {
        const char *spec, *field, *message;
    } bad[] = {
        { "{\"target\":{\"kind\":\"VirtualMachine\",\"name\":\"x\"}}",
          "spec.target.apiGroup", "missing apiGroup: want \"kubevirt.io\"" },
        { "{" TARGET("No Name") "}", "spec.target.name",
          "Invalid value: \"No Name\": a lowercase RFC 1123 label must consist "
          "of lower case alphanumeric characters or '-', and must start and "
          "end with an alphanumeric character, 63 at most" },
        { "{" TARGET("x") ",\"volumeRestorePolicy\":\"X\"}",
          "spec.volumeRestorePolicy",
          "volume restore policy \"X\" doesn't exist: want InPlace, RandomizeNames or PrefixTargetName" },
        { "{" TARGET("x") ",\"volumeOwnershipPolicy\":\"X\"}",
          "spec.volumeOwnershipPolicy",
          "volume ownership policy \"X\" doesn't exist: want Vm or None" },
        { "{" TARGET("x") ",\"volumeRestoreOverrides\":[{\"restoreName\":"
                          "\"a\"}]}",
          "spec.volumeRestoreOverrides[0].volumeName",
          "must provide a volume name" },
        { "{" TARGET("x") ",\"volumeRestoreOverrides\":[{\"volumeName\":"
                          "\"a\"}]}",
          "spec.volumeRestoreOverrides[0]",
          "must provide at least one overriden field" },
        { "{" TARGET("x") ",\"volumeRestoreOverrides\":[{\"volumeName\":"
                          "\"a\",\"restoreName\":\"../../etc/x\"}]}",
          "spec.volumeRestoreOverrides[0].restoreName",
          "Invalid value: \"../../etc/x\": a lowercase RFC 1123 subdomain must "
          "consist of at most 253 lower case alphanumeric characters, '-' or "
          "'.'" },
        { "{" TARGET("x") ",\"volumeRestoreOverrides\":[{\"volumeName\":\"a\","
                          "\"restoreName\":\"c\"},{\"volumeName\":\"b\","
                          "\"restoreName\":\"c\"}]}",
          "spec.volumeRestoreOverrides[1].restoreName",
          "Duplicate value: \"c\"" },
        { "{" TARGET("x") ",\"volumeRestoreOverrides\":[{\"volumeName\":\"a\","
                          "\"labels\":{\"k\":\"a b\"}}]}",
          "spec.volumeRestoreOverrides[0].labels",
          "Invalid value: \"a b\": a label has at most 63 letters, digits, "
          "'-', '_' or '.', and begins and ends with a letter or digit" },
        { "{" TARGET("x") ",\"volumeRestoreOverrides\":[{\"volumeName\":\"a\","
                          "\"annotations\":{\"no key\":\"v\"}}]}",
          "spec.volumeRestoreOverrides[0].annotations",
          "Invalid value: \"no key\": a name has at most 63 letters, digits, "
          "'-', '_' or '.', and a prefix with a slash before it is a DNS "
          "name" },
    };
    struct causes c;
    struct err err = { 0 };

    world = json_object();
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        CHECK_OK(create(bad[i].spec, &c, &err), &err);
        CHECK_INT(c.n, ==, 1);
        CHECK(strcmp(c.v[0].field, bad[i].field) == 0);
        CHECK(strcmp(c.v[0].message, bad[i].message) == 0);
    }
    CHECK_OK(create("{" TARGET("x") "}", &c, &err), &err);
    CHECK_INT(c.n, ==, 0); /* before its snapshot is there */
    json_decref(world);
}

static void
one_restore_of_a_target_at_a_time(void)
{
    struct causes c;
    struct err err = { 0 };

    world = json_object();
    json_object_set_new(
        world, "virtualmachinerestores/r1",
        parse("{\"metadata\":{\"name\":\"r1\"},\"spec\":{" TARGET("x") "}}"));
    CHECK_OK(create("{" TARGET("x") "}", &c, &err), &err);
    CHECK_INT(c.n, ==, 1);
    CHECK(strcmp(c.v[0].message, "VirtualMachineRestore \"r1\" in progress") ==
          0);
    CHECK_OK(create("{" TARGET("y") "}", &c, &err), &err);
    CHECK_INT(c.n, ==, 0);
    jsonx_set(json_object_get(world, "virtualmachinerestores/r1"),
              "status.complete", json_true());
    CHECK_OK(create("{" TARGET("x") "}", &c, &err), &err);
    CHECK_INT(c.n, ==, 0);
    json_decref(world);
}

static void
firmware_state_stays_with_its_vm(void)
{
    struct causes c;
    struct err err = { 0 };

    world = json_object();
    json_object_set_new(world, "virtualmachinesnapshots/s1",
                        parse("{\"status\":{\"sourceUID\":\"u1\"}}"));
    CHECK_ERR(create("{" TARGET("new") "}", &c, &err), &err, ERR_INVALID);
    CHECK(strstr(err.msg, "snapshot content name is nil") != NULL);
    jsonx_set_str(json_object_get(world, "virtualmachinesnapshots/s1"),
                  "status.virtualMachineSnapshotContentName", "c1");
    json_object_set_new(
        world, "virtualmachinesnapshotcontents/c1",
        parse("{\"spec\":{\"source\":{\"virtualMachine\":{\"metadata\":{"
              "\"name\":\"old\"},\"spec\":{\"template\":{\"spec\":{\"domain\":{"
              "\"devices\":{\"tpm\":{\"persistent\":true}}}}}}}}}}"));
    CHECK_OK(create("{" TARGET("new") "}", &c, &err), &err);
    CHECK_INT(c.n, ==, 1);
    CHECK(strncmp(c.v[0].message, "Restore to a different VM", 25) == 0);
    CHECK_OK(create("{" TARGET("old") "}", &c, &err), &err);
    CHECK_INT(c.n, ==, 0); /* it is gone, and comes back */
    note = "{\"vmkeep.io/tpm\":\"Copy\"}";
    CHECK_OK(create("{" TARGET("new") "}", &c, &err), &err);
    CHECK_INT(c.n, ==, 0); /* it was said what becomes of the TPM */
    note = "{\"vmkeep.io/tpm\":\"copy\"}";
    CHECK_OK(create("{" TARGET("new") "}", &c, &err), &err);
    CHECK_INT(c.n, ==, 1);
    CHECK(strcmp(c.v[0].field, "metadata.annotations[vmkeep.io/tpm]") == 0);
    note = NULL;
    json_object_set_new(
        world, "virtualmachinesnapshotcontents/c1",
        parse("{\"spec\":{\"source\":{\"virtualMachine\":{\"metadata\":{"
              "\"name\":\"old\"},\"spec\":{\"template\":{\"spec\":{\"domain\":{"
              "\"firmware\":{\"bootloader\":{\"efi\":{\"persistent\":true}}}"
              "}}}}}}}}"));
    CHECK_OK(create("{" TARGET("new") "}", &c, &err), &err);
    CHECK_INT(c.n, ==, 0); /* UEFI variables are copied */
    json_object_set_new(world, "virtualmachines/vm",
                        parse("{\"metadata\":{\"uid\":\"u1\"}}"));
    CHECK_OK(create("{" TARGET("vm") "}", &c, &err), &err);
    CHECK_INT(c.n, ==, 0);
    json_decref(world);
}

static void
patches_reach_what_is_on_the_list(void)
{
#define P(op, path, value)                                                     \
    "{\"op\":\"" op "\",\"path\":\"" path "\",\"value\":" value "}"
#define IN_DOMAIN(p) "/spec/template/spec/domain/" p
    static const char *const good[] = {
        P("replace", IN_DOMAIN("devices/interfaces/0/macAddress"),
          "\"52:54:00:aa:bb:cc\""),
        P("replace", IN_DOMAIN("devices/interfaces/0/macAddress"), "\"\""),
        "{\"op\":\"remove\",\"path\":\"" IN_DOMAIN("firmware/uuid") "\"}",
        P("add", "/metadata/labels/a~1b", "\"x.y\""),
        P("add", "/metadata/annotations/a.io~1b", "\"x:y,z\""),
        P("replace", "/metadata/labels", "{\"a\":\"b\"}"),
        P("replace", "/metadata/name", "\"copy\""),
        P("replace", IN_DOMAIN("memory/guest"), "\"2Gi\""),
        P("replace", IN_DOMAIN("cpu/cores"), "4"),
        "[" P("replace", "/spec/runStrategy", "\"Always\"") "]",
    };
    static const char *const bad[] = {
        "{\"op\":\"replace\" \"path\"",
        "7",
        P("replace", "/metadata/name", "\"other\""),
        P("replace", "/metadata/uid", "\"x\""),
        P("replace", "/status/ready", "true"),
        P("replace", IN_DOMAIN("devices/disks/0/name"), "\"x\""),
        P("replace", IN_DOMAIN("cpu/cores"), "0"),
        P("replace", IN_DOMAIN("firmware/uuid"), "\"nope\""),
        P("move", "/spec/runStrategy", "\"x\""),
        P("add", "/metadata/labels/a", "\"x:y,z\""),
        P("add", "/metadata/labels/a b", "\"x\""),
        P("add", "/metadata/annotations/a~1b~1c", "\"x\""),
        P("replace", "/metadata/labels", "{\"a\":\"no label\"}"),
        P("replace", IN_DOMAIN("memory/guest"), "\"0\""),
    };
    struct err err = { 0 };

    for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
        CLEANUP(json_decref)
        json_t *ops = restorepatch_parse(good[i], "copy", &err);

        if (ops == NULL)
            test_fail(__FILE__, __LINE__, good[i], err.msg);
        CHECK_INT(json_array_size(ops), ==, 1);
    }
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        CHECK(restorepatch_parse(bad[i], "copy", &err) == NULL);
        CHECK_INT(err.code, ==, ERR_INVALID);
    }
}

static void
defaults_are_filled_in(void)
{
    CLEANUP(json_decref) json_t *v = parse("{\"spec\":{}}");

    kind_vmrestore.set_defaults(v);
    CHECK(strcmp(jsonx_str(v, "spec.targetReadinessPolicy"),
                 "WaitGracePeriod") == 0);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "rules have their words", rules_have_their_words },
        { "one restore of a target at a time",
          one_restore_of_a_target_at_a_time },
        { "firmware state stays with its VM",
          firmware_state_stays_with_its_vm },
        { "patches reach what is on the list",
          patches_reach_what_is_on_the_list },
        { "defaults are filled in", defaults_are_filled_in },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
