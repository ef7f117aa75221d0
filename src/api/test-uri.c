/* SPDX-License-Identifier: Apache-2.0 */
#include "api/accept.h"
#include "api/uri.h"
#include "test.h"

static void
a_target_is_split_before_it_is_decoded(void)
{
    struct uri u;
    struct err err = { 0 };

    CHECK_OK(uri_parse("//apis/a%2Fb//%24(id)?x=1+2%26&watch&y=%3D", &u, &err),
             &err);
    CHECK_INT(u.nseg, ==, 3);
    CHECK(strcmp(u.seg[1], "a/b") == 0);
    CHECK(strcmp(u.seg[2], "$(id)") == 0);
    CHECK(strcmp(uri_query(&u, "x"), "1 2&") == 0);
    CHECK(strcmp(uri_query(&u, "y"), "=") == 0);
    CHECK(uri_query(&u, "z") == NULL);
    CHECK(uri_query_bool(&u, "watch"));
    uri_fini(&u);
}

static void
hostile_targets_are_refused(void)
{
    static const char *const bad[] = {
        "",     "x",      "/%", "/%4",     "/a%00b",
        "/%zz", "/a?b=%", "*",  "/?a=%00", "/1/2/3/4/5/6/7/8/9/10/11/12/13"
    };
    struct uri u;
    struct err err = { 0 };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        CHECK_ERR(uri_parse(bad[i], &u, &err), &err, ERR_INVALID);
}

static void
booleans_are_read_as_go_does(void)
{
    struct uri u;
    struct err err = { 0 };

    CHECK_OK(uri_parse("/?a=true&b=True&c=0&d=FALSE&e=&f=1", &u, &err), &err);
    CHECK(uri_query_bool(&u, "a") && uri_query_bool(&u, "b"));
    CHECK(!uri_query_bool(&u, "c") && !uri_query_bool(&u, "d"));
    CHECK(uri_query_bool(&u, "e") && uri_query_bool(&u, "f"));
    CHECK(!uri_query_bool(&u, "g"));
    uri_fini(&u);
}

static void
accept_parameters_are_a_set(void)
{
    const char *v;

    CHECK(strcmp(accept_discovery("application/json;v=v2;g=apidiscovery.k8s.io;"
                                  "as=APIGroupDiscoveryList,application/json"),
                 "v2") == 0);
    CHECK(strcmp(accept_discovery(
                     "application/json;g=apidiscovery.k8s.io;v=v2beta1;"
                     "as=APIGroupDiscoveryList, application/json"),
                 "v2beta1") == 0);
    CHECK(accept_discovery("application/json") == NULL);
    CHECK(accept_discovery(NULL) == NULL);
    CHECK_INT(accept_form("application/json;as=Table;v=v1;g=meta.k8s.io,"
                          "application/json",
                          &v),
              ==, FORM_TABLE);
    CHECK(strcmp(v, "v1") == 0);
    CHECK_INT(accept_form("application/json ; as=PartialObjectMetadataList ; "
                          "g=meta.k8s.io;v=v1",
                          NULL),
              ==, FORM_PARTIAL);
    CHECK_INT(accept_form("application/json,application/json;as=Table;v=v1;"
                          "g=meta.k8s.io",
                          NULL),
              ==, FORM_PLAIN);
    CHECK_INT(
        accept_form(";;;,,=;as=,application/vnd.kubernetes.protobuf", NULL), ==,
        FORM_PLAIN);
}

int
main(void)
{
    static const struct test_case cases[] = {
        { "a target is split before it is decoded",
          a_target_is_split_before_it_is_decoded },
        { "hostile targets are refused", hostile_targets_are_refused },
        { "booleans are read as Go does", booleans_are_read_as_go_does },
        { "Accept's parameters are a set", accept_parameters_are_a_set },
    };

    return test_main(cases, ARRAY_SIZE(cases));
}
