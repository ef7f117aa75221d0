/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "codec/protobuf.h"
#include "test.h"

static void
decodes_to(const void *data, size_t len, const char *want)
{
    struct err err = { 0 };
    CLEANUP(json_decref) json_t *v = protobuf_decode(data, len, &err);

    if (v == NULL)
        test_fail(__FILE__, __LINE__, want, err.msg);
    CLEANUP(mem_free) char *got = jsonx_canonical(v);

    if (strcmp(got, want) != 0)
        test_fail(__FILE__, __LINE__, want, got);
}

/* What kubectl 1.32 sends for: create ns ck1; create secret generic cks
 * --from-literal=a=b --from-literal=c=hello -n ck1. */
static const char ns[] =
    "k8s\0\n\17\n\2v1\22\11Namespace\22\33\n\23\n\3ck1\22\0\32\0\"\0*\0002\0008"
    "\0B\0\22\0\32\2\n\0\32\0\"\0";
static const char secret[] =
    "k8s\0\n\14\n\2v1\22\6Secret\22.\n\26\n\3cks\22\0\32\3ck1\"\0*\0002\0008\0"
    "B\0\22\6\n\1a\22\1b\22\n\n\1c\22\5hello\32\0\"\0";

static void
bodies_of_kubectl_become_json(void)
{
    decodes_to(ns, sizeof ns - 1,
               "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":"
               "{\"name\":\"ck1\"},\"spec\":{},\"status\":{}}");
    decodes_to(secret, sizeof secret - 1,
               "{\"apiVersion\":\"v1\",\"data\":{\"a\":\"Yg==\",\"c\":"
               "\"aGVsbG8=\"},\"kind\":\"Secret\",\"metadata\":{\"name\":"
               "\"cks\",\"namespace\":\"ck1\"}}");
}

static void
times_numbers_and_lists_are_read(void)
{
    static const char event[] =
        "k8s\000\012\013\012\002v1\022\005Event\022\216\001\012B\012\002e1"
        "\022\000B\000Z\006\012\001k\022\001vj+\012\016VirtualMachine\032"
        "\001w\042\002u1*\016kubevirt.io/v10\0008\001r\003fin\022\023\012"
        "\016VirtualMachine\032\001w\032\007Started*\000:\012\010\247\207"
        "\267\323\006\020\340\306[@\007R\012\010\247\207\267\323\006\020"
        "\340\306[\235\006abcd\221\006abcdefgh";
    static const char claim[] =
        "k8s\000\012\033\012\002v1\022\025PersistentVolumeClaim\022,\012"
        "\003\012\001p\022%\012\015ReadWriteOnce\022\022\022\020\012\007sto"
        "rage\022\005\012\0031Gi*\000";
    static const char options[] =
        "k8s\000\012\023\012\002v1\022\015DeleteOptions\022\034\010\000\022"
        "\007\012\005uid-1\042\012Background*\003All";

    decodes_to(event, sizeof event - 1,
               "{\"apiVersion\":\"v1\",\"count\":7,\"eventTime\":"
               "\"2026-08-01T10:00:07.001500Z\",\"involvedObject\":{\"kind\":"
               "\"VirtualMachine\",\"name\":\"w\"},\"kind\":\"Event\","
               "\"lastTimestamp\":\"2026-08-01T10:00:07Z\",\"metadata\":{"
               "\"finalizers\":[\"fin\"],\"labels\":{\"k\":\"v\"},\"name\":"
               "\"e1\",\"ownerReferences\":[{\"apiVersion\":"
               "\"kubevirt.io/v1\",\"blockOwnerDeletion\":true,"
               "\"controller\":false,\"kind\":\"VirtualMachine\",\"name\":"
               "\"w\",\"uid\":\"u1\"}]},\"reason\":\"Started\",\"source\":{}}");
    decodes_to(claim, sizeof claim - 1,
               "{\"apiVersion\":\"v1\",\"kind\":\"PersistentVolumeClaim\","
               "\"metadata\":{\"name\":\"p\"},\"spec\":{\"accessModes\":["
               "\"ReadWriteOnce\"],\"resources\":{\"requests\":{\"storage\":"
               "\"1Gi\"}},\"storageClassName\":\"\"}}");
    decodes_to(options, sizeof options - 1,
               "{\"apiVersion\":\"v1\",\"dryRun\":[\"All\"],"
               "\"gracePeriodSeconds\":0,\"kind\":\"DeleteOptions\","
               "\"preconditions\":{\"uid\":\"uid-1\"},"
               "\"propagationPolicy\":\"Background\"}");
}

static void
every_prefix_is_refused_or_decoded_but_never_harmful(void)
{
    for (size_t i = 0; i < sizeof secret - 1; i++) {
        struct err err = { 0 };
        uint8_t *copy = xcalloc(1, i + 1); /* exact size, for sanitizers */

        memcpy(copy, secret, i);
        CLEANUP(json_decref) json_t *v = protobuf_decode(copy, i, &err);

        CHECK(v != NULL || err.code == ERR_INVALID ||
              err.code == ERR_UNSUPPORTED);
        free(copy);
    }
}

static void
unknown_kinds_are_unsupported(void)
{
    static const char pod[] = "k8s\0\n\11\n\2v1\22\3Pod";
    struct err err = { 0 };

    CHECK(protobuf_decode((const uint8_t *)pod, sizeof pod - 1, &err) == NULL);
    CHECK_INT(err.code, ==, ERR_UNSUPPORTED);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "bodies of kubectl become JSON", bodies_of_kubectl_become_json },
        { "times, numbers and lists are read",
          times_numbers_and_lists_are_read },
        { "every prefix is refused or decoded, but never harmful",
          every_prefix_is_refused_or_decoded_but_never_harmful },
        { "unknown kinds are unsupported", unknown_kinds_are_unsupported },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
