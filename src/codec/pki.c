/* SPDX-License-Identifier: Apache-2.0 */
#include "codec/pki.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

#define CA_DAYS     3650
#define SERVER_DAYS 825 /* what strict clients accept at most */
#define RENEW_S     (30L * 86400)
#define PEM_MAX     (64u << 10)

DEFINE_CLEANUP(X509_free, X509 *)
DEFINE_CLEANUP(BIO_free_all, BIO *)

/* A certificate and its key. */
struct pair {
    X509 *crt;
    EVP_PKEY *key;
};

static void
pair_fini_p(struct pair *p)
{
    X509_free(p->crt);
    EVP_PKEY_free(p->key);
}

static int
ssl_error(struct err *err, const char *what)
{
    char text[160];

    ERR_error_string_n(ERR_get_error(), text, sizeof text);
    ERR_clear_error();
    return err_set(err, ERR_INTERNAL, "%s: %s", what, text);
}

static char *
bio_text(BIO *bio)
{
    char *data;
    long len = BIO_get_mem_data(bio, &data);

    return xstrndup(data, (size_t)len);
}

static char *
crt_pem(X509 *crt)
{
    CLEANUP(BIO_free_all) BIO *bio = BIO_new(BIO_s_mem());

    if (bio == NULL || PEM_write_bio_X509(bio, crt) != 1)
        return NULL;
    return bio_text(bio);
}

static char *
key_pem(EVP_PKEY *key)
{
    CLEANUP(BIO_free_all) BIO *bio = BIO_new(BIO_s_secmem());

    if (bio == NULL ||
        PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
        return NULL;
    return bio_text(bio);
}

/* Load NAME.crt and NAME.key. 1: at least one is not there, or they do not
 * fit each other. */
static int
load_pair(const char *dir, const char *name, struct pair *ret_pair,
          struct err *err)
{
    CLEANUP(mem_free) char *crt_path = xasprintf("%s/%s.crt", dir, name);
    CLEANUP(mem_free) char *key_path = xasprintf("%s/%s.key", dir, name);
    CLEANUP(buf_fini) struct buf crt = BUF_INIT, key = BUF_INIT;
    CLEANUP(BIO_free_all) BIO *crt_bio = NULL;
    CLEANUP(BIO_free_all) BIO *key_bio = NULL;
    CLEANUP(pair_fini) struct pair p = { 0 };

    if (file_read_all(crt_path, PEM_MAX, &crt, err) < 0 ||
        file_read_all(key_path, PEM_MAX, &key, err) < 0)
        return err->code == ERR_NOT_FOUND ? 1 : -1;
    crt_bio = BIO_new_mem_buf(buf_str(&crt), (int)crt.len);
    key_bio = BIO_new_mem_buf(buf_str(&key), (int)key.len);
    p.crt = PEM_read_bio_X509(crt_bio, NULL, NULL, NULL);
    p.key = PEM_read_bio_PrivateKey(key_bio, NULL, NULL, NULL);
    mem_wipe(key.data, key.len);
    if (p.crt == NULL || p.key == NULL ||
        X509_check_private_key(p.crt, p.key) != 1) {
        ERR_clear_error();
        return 1;
    }
    ret_pair->crt = TAKE(p.crt);
    ret_pair->key = TAKE(p.key);
    return 0;
}

static int
save_pair(const char *dir, const char *name, const struct pair *p,
          struct err *err)
{
    CLEANUP(mem_free) char *crt_name = xasprintf("%s.crt", name);
    CLEANUP(mem_free) char *key_name = xasprintf("%s.key", name);
    CLEANUP(mem_free) char *crt = crt_pem(p->crt);
    CLEANUP(mem_free) char *key = key_pem(p->key);
    CLEANUP(fd_close) int fd = -1;
    int rc;

    if (crt == NULL || key == NULL)
        return ssl_error(err, name);
    if (file_open_dir(dir, &fd, err) < 0)
        return -1;
    rc = file_replace(fd, key_name, key, strlen(key), 0600, err);
    mem_wipe(key, strlen(key));
    if (rc < 0)
        return -1;
    return file_replace(fd, crt_name, crt, strlen(crt), 0644, err);
}

static int
add_extension(X509 *crt, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *ext;
    int rc;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, crt, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    if (ext == NULL)
        return -1;
    rc = X509_add_ext(crt, ext, -1) == 1 ? 0 : -1;
    X509_EXTENSION_free(ext);
    return rc;
}

/* "DNS:localhost,IP:127.0.0.1": hosts come from the configuration; one that
 * holds a comma would add another name, so it is left out. */
static char *
alt_names(const char *const *hosts)
{
    struct buf b = BUF_INIT;

    for (size_t i = 0; hosts[i] != NULL; i++) {
        struct in6_addr a;
        bool is_ip = inet_pton(AF_INET, hosts[i], &a) == 1 ||
                     inet_pton(AF_INET6, hosts[i], &a) == 1;

        if (hosts[i][0] == 0 || strpbrk(hosts[i], ",:") != NULL) {
            if (!is_ip)
                continue;
        }
        buf_printf(&b, "%s%s:%s", b.len > 0 ? "," : "", is_ip ? "IP" : "DNS",
                   hosts[i]);
    }
    return buf_take_str(&b);
}

static X509 *
new_certificate(const char *common_name, long days, EVP_PKEY *key)
{
    CLEANUP(X509_free) X509 *crt = X509_new();
    CLEANUP(mem_free) unsigned char *cn = (unsigned char *)xstrdup(common_name);
    uint64_t serial;

    if (crt == NULL || RAND_bytes((void *)&serial, sizeof serial) != 1)
        return NULL;
    if (X509_set_version(crt, X509_VERSION_3) != 1 ||
        ASN1_INTEGER_set_uint64(X509_get_serialNumber(crt), serial >> 1) != 1 ||
        X509_gmtime_adj(X509_getm_notBefore(crt), -3600) == NULL ||
        X509_gmtime_adj(X509_getm_notAfter(crt), days * 86400) == NULL ||
        X509_set_pubkey(crt, key) != 1 ||
        X509_NAME_add_entry_by_txt(X509_get_subject_name(crt), "CN",
                                   MBSTRING_UTF8, cn, -1, -1, 0) != 1)
        return NULL;
    return TAKE(crt);
}

static int
make_ca(struct pair *ret_ca, struct err *err)
{
    CLEANUP(pair_fini) struct pair p = { 0 };

    p.key = EVP_EC_gen("P-256");
    if (p.key == NULL)
        return ssl_error(err, "CA key");
    p.crt = new_certificate("vmkeep CA", CA_DAYS, p.key);
    if (p.crt == NULL ||
        X509_set_issuer_name(p.crt, X509_get_subject_name(p.crt)) != 1 ||
        add_extension(p.crt, p.crt, NID_basic_constraints,
                      "critical,CA:TRUE,pathlen:0") < 0 ||
        add_extension(p.crt, p.crt, NID_key_usage,
                      "critical,keyCertSign,cRLSign") < 0 ||
        add_extension(p.crt, p.crt, NID_subject_key_identifier, "hash") < 0 ||
        X509_sign(p.crt, p.key, EVP_sha256()) == 0)
        return ssl_error(err, "CA certificate");
    ret_ca->crt = TAKE(p.crt);
    ret_ca->key = TAKE(p.key);
    return 0;
}

static int
make_server(const struct pair *ca, const char *const *hosts,
            struct pair *ret_server, struct err *err)
{
    CLEANUP(pair_fini) struct pair p = { 0 };
    CLEANUP(mem_free) char *alt = alt_names(hosts);

    p.key = EVP_EC_gen("P-256");
    if (p.key == NULL)
        return ssl_error(err, "server key");
    p.crt = new_certificate("vmkeepd", SERVER_DAYS, p.key);
    if (p.crt == NULL ||
        X509_set_issuer_name(p.crt, X509_get_subject_name(ca->crt)) != 1 ||
        add_extension(p.crt, ca->crt, NID_basic_constraints,
                      "critical,CA:FALSE") < 0 ||
        add_extension(p.crt, ca->crt, NID_key_usage,
                      "critical,digitalSignature") < 0 ||
        add_extension(p.crt, ca->crt, NID_ext_key_usage, "serverAuth") < 0 ||
        add_extension(p.crt, ca->crt, NID_authority_key_identifier, "keyid") <
            0 ||
        add_extension(p.crt, ca->crt, NID_subject_alt_name, alt) < 0 ||
        X509_sign(p.crt, ca->key, EVP_sha256()) == 0)
        return ssl_error(err, "server certificate");
    ret_server->crt = TAKE(p.crt);
    ret_server->key = TAKE(p.key);
    return 0;
}

static bool
is_server_good(const struct pair *ca, const struct pair *server,
               const char *const *hosts)
{
    time_t soon = time(NULL) + RENEW_S;

    if (X509_cmp_time(X509_get0_notAfter(server->crt), &soon) < 0 ||
        X509_verify(server->crt, ca->key) != 1)
        return false;
    for (size_t i = 0; hosts[i] != NULL; i++) {
        if (X509_check_ip_asc(server->crt, hosts[i], 0) != 1 &&
            X509_check_host(server->crt, hosts[i], 0, 0, NULL) != 1)
            return false;
    }
    return true;
}

static int
open_ca(const char *dir, struct pair *ret_ca, struct err *err)
{
    int rc = load_pair(dir, "ca", ret_ca, err);
    CLEANUP(mem_free) char *path = NULL;

    if (rc <= 0)
        return rc;
    path = xasprintf("%s/ca.crt", dir);
    if (access(path, F_OK) == 0)
        return err_set(
            err, ERR_CORRUPT,
            "%s and ca.key are damaged or do not belong together: restore them from a backup, or remove both and give every client a new kubeconfig",
            path);
    if (make_ca(ret_ca, err) < 0)
        return -1;
    return save_pair(dir, "ca", ret_ca, err);
}

int
pki_open(const char *dir, const char *const *hosts, struct pki *ret_pki,
         struct err *err)
{
    CLEANUP(pair_fini) struct pair ca = { 0 };
    CLEANUP(pair_fini) struct pair server = { 0 };
    CLEANUP(pki_fini) struct pki p = { 0 };
    int rc;

    if (file_make_dirs(dir, 0700, err) < 0 || open_ca(dir, &ca, err) < 0)
        return err_wrap(err, "certificate authority");
    rc = load_pair(dir, "server", &server, err);
    if (rc < 0)
        return err_wrap(err, "server certificate");
    if (rc > 0 || !is_server_good(&ca, &server, hosts)) {
        X509_free(TAKE(server.crt));
        EVP_PKEY_free(TAKE(server.key));
        if (make_server(&ca, hosts, &server, err) < 0 ||
            save_pair(dir, "server", &server, err) < 0)
            return err_wrap(err, "server certificate");
    }
    p.ca_pem = crt_pem(ca.crt);
    p.server_pem = crt_pem(server.crt);
    p.key_pem = key_pem(server.key);
    if (p.ca_pem == NULL || p.server_pem == NULL || p.key_pem == NULL)
        return ssl_error(err, "certificates");
    *ret_pki = p;
    p = (struct pki){ 0 };
    return 0;
}

void
pki_fini(struct pki *p)
{
    free(p->ca_pem);
    free(p->server_pem);
    if (p->key_pem != NULL)
        mem_wipe(p->key_pem, strlen(p->key_pem));
    free(p->key_pem);
    *p = (struct pki){ 0 };
}

char *
pki_base64(const void *data, size_t len)
{
    unsigned char *out = xcalloc((len + 2) / 3 * 4 + 1, 1);

    (void)EVP_EncodeBlock(out, data, (int)len);
    return (char *)out;
}
