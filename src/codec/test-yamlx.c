/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "codec/yamlx.h"
#include "test.h"

static void
parses_to(const char *text, const char *want)
{
    struct err err = { 0 };
    CLEANUP(json_decref) json_t *v = yamlx_parse(text, strlen(text), &err);

    if (v == NULL)
        test_fail(__FILE__, __LINE__, text, err.msg);
    CLEANUP(mem_free) char *got = jsonx_canonical(v);

    if (strcmp(got, want) != 0)
        test_fail(__FILE__, __LINE__, want, got);
}

static void
is_refused(const char *text)
{
    struct err err = { 0 };

    if (yamlx_parse(text, strlen(text), &err) != NULL)
        test_fail(__FILE__, __LINE__, text, " was not refused");
    CHECK_INT(err.code, ==, ERR_INVALID);
}

static void
manifests_become_json(void)
{
    parses_to("apiVersion: snapshot.kubevirt.io/v1beta1\n"
              "kind: VirtualMachineSnapshot\n"
              "metadata: {name: snap-larry, namespace: default}\n"
              "spec:\n"
              "  source:\n"
              "    apiGroup: kubevirt.io\n"
              "  failureDeadline: 1m   # optional\n"
              "  list:\n"
              "  - a\n"
              "  - |\n"
              "    two\n"
              "    lines\n",
              "{\"apiVersion\":\"snapshot.kubevirt.io/v1beta1\",\"kind\":"
              "\"VirtualMachineSnapshot\",\"metadata\":{\"name\":"
              "\"snap-larry\",\"namespace\":\"default\"},\"spec\":{"
              "\"failureDeadline\":\"1m\",\"list\":[\"a\",\"two\\nlines\\n\"],"
              "\"source\":{\"apiGroup\":\"kubevirt.io\"}}}");
    parses_to("{\"a\": [1, null, \"x\"]}", "{\"a\":[1,null,\"x\"]}");
}

/* As Go's yaml.v2 reads them. */
static void
scalars_mean_what_they_mean_to_kubernetes(void)
{
    static const struct {
        const char *text, *want;
    } rows[] = {
        { "yes", "true" },
        { "On", "true" },
        { "y", "true" },
        { "no", "false" },
        { "oFF", "\"oFF\"" },
        { "\"yes\"", "\"yes\"" },
        { "'1'", "\"1\"" },
        { "~", "null" },
        { "0x1F", "31" },
        { "0o17", "15" },
        { "017", "15" },
        { "08", "8" },
        { "0b11", "3" },
        { "-5", "-5" },
        { "+7", "7" },
        { "1_000", "1000" },
        { "1e3", "1000" },
        { "1.5", "1.5" },
        { ".5", "0.5" },
        { "1.", "1" },
        { "9223372036854775807", "9223372036854775807" },
        { "-9223372036854775808", "-9223372036854775808" },
        { "1.2.3", "\"1.2.3\"" },
        { "5m0s", "\"5m0s\"" },
        { "52:54:00", "\"52:54:00\"" },
        { "2026-08-01T10:00:07Z", "\"2026-08-01T10:00:07Z\"" },
        { "-", "[null]" },
        { "!!str 12", "\"12\"" },
        { "!!int \"12\"", "12" },
        { "0x", "\"0x\"" },
        { "0x-5", "\"0x-5\"" },
        { "1Gi", "\"1Gi\"" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        char text[100], want[100];

        (void)snprintf(text, sizeof text, "k: %s\n", rows[i].text);
        if (strcmp(rows[i].text, "-") == 0)
            (void)snprintf(text, sizeof text, "k:\n-\n");
        (void)snprintf(want, sizeof want, "{\"k\":%s}", rows[i].want);
        parses_to(text, want);
    }
    parses_to("on: 1\n8080: 2\n", "{\"8080\":2,\"true\":1}");
}

static void
anchors_and_merge_keys_are_followed(void)
{
    parses_to("a: &x {b: 1, c: 2}\nd: *x\n",
              "{\"a\":{\"b\":1,\"c\":2},\"d\":{\"b\":1,\"c\":2}}");
    parses_to("a: &x {b: 1, c: 2}\nd:\n  c: 3\n  <<: *x\n",
              "{\"a\":{\"b\":1,\"c\":2},\"d\":{\"b\":1,\"c\":3}}");
    parses_to("- &x {b: 1}\n- &y {b: 2, c: 2}\n- {<<: [*x, *y]}\n",
              "[{\"b\":1},{\"b\":2,\"c\":2},{\"b\":1,\"c\":2}]");
}

static void
hostile_text_is_refused(void)
{
    static const char bomb[] = "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
                               "b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n"
                               "c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
                               "d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n"
                               "e: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n"
                               "f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
    char deep[402];

    is_refused(bomb);
    is_refused("a: 1\na: 2\n");
    is_refused("a: *nope\n");
    is_refused("a: &x [*x]\n");
    is_refused("{[1]: 2}\n");
    is_refused("~: 2\n");
    is_refused("a: .inf\n");
    is_refused("a: !!binary aGk=\n");
    is_refused("a: !foo b\n");
    is_refused("a: \"\\0\"\n");
    is_refused("a: \xff\n");
    is_refused("a: b: c\n");
    is_refused("<<: 1\n");
    is_refused("");
    is_refused("---\na: 1\n---\nb: 2\n");
    memset(deep, '[', 200);
    memset(deep + 200, ']', 200);
    deep[400] = 0;
    is_refused(deep);
}

static void
a_stream_holds_many_documents(void)
{
    static const char text[] = "---\na: 1\n---\n# nothing\n---\nb: 2\n...\n";
    struct err err = { 0 };
    CLEANUP(json_decref)
    json_t *v = yamlx_parse_all(text, strlen(text), &err);

    CHECK(v != NULL);
    CHECK_INT(json_array_size(v), ==, 2);
    CHECK_INT(jsonx_int(v, "1.b", 0), ==, 2);
}

static void
printing_is_stable_and_reads_back(void)
{
    static const char text[] =
        "{\"kind\":\"K\",\"apiVersion\":\"v1\",\"metadata\":{\"labels\":{"
        "\"on\":\"yes\",\"n\":\"1\"},\"e\":{},\"l\":[],\"s\":\"\"},\"list\":["
        "{\"a\":true,\"b\":null},1.5,\"two\\nlines\\n\",\"- x\",\"a: b\","
        "\"\\u00e4 # c\",\" lead\",\"0x10\",\"<<\",\"5m0s\",\"~\",\"\\t\","
        "\"2026-08-01T10:00:07Z\",\"52:54:00\"]}";
    struct err err = { 0 };
    CLEANUP(json_decref) json_t *v = jsonx_parse(text, strlen(text), &err);
    CLEANUP(buf_fini) struct buf out = BUF_INIT;

    CHECK(v != NULL);
    yamlx_print(v, &out);
    CLEANUP(json_decref) json_t *back = yamlx_parse(out.data, out.len, &err);

    if (back == NULL)
        test_fail(__FILE__, __LINE__, buf_str(&out), err.msg);
    if (!jsonx_equal(v, back))
        test_fail(__FILE__, __LINE__, buf_str(&out), jsonx_canonical(back));
    CHECK(strncmp(buf_str(&out),
                  "apiVersion: v1\nkind: K\nlist:\n- a: true\n  b: null\n"
                  "- 1.5\n- |\n  two\n  lines\n",
                  70) == 0);
    CHECK(strstr(buf_str(&out), "- \"2026-08-01T10:00:07Z\"\n") != NULL);
    CHECK(strstr(buf_str(&out), "- \"52:54:00\"\n") != NULL);
    CHECK(strstr(buf_str(&out), "    \"n\": \"1\"\n    \"on\": \"yes\"\n") !=
          NULL);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "manifests become JSON", manifests_become_json },
        { "scalars mean what they mean to Kubernetes",
          scalars_mean_what_they_mean_to_kubernetes },
        { "anchors and merge keys are followed",
          anchors_and_merge_keys_are_followed },
        { "hostile text is refused", hostile_text_is_refused },
        { "a stream holds many documents", a_stream_holds_many_documents },
        { "printing is stable and reads back",
          printing_is_stable_and_reads_back },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
