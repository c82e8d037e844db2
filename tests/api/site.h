/* A whole site for tests of the API: memory store, engine, api, server on a free port, client. */
#ifndef VANE_TESTS_API_SITE_H
#define VANE_TESTS_API_SITE_H

#include "memory_store.h"
#include "store/store.h"

struct site {
    struct memory_store store;
    struct store *disk; /* site_open_tsdb: the real store in a folder of its own, instead of the memory store */
    struct tsdb *db;
    struct ingest *ingest;
    struct api_store_pair pair;
    struct promql_source *db_source;
    char dir[64];
    struct promql_source *source;
    struct promql_engine *engine;
    struct api_process process;
    struct api_scrape scrape;
    struct clock clock;
    struct api *api;
    struct http_server *server;
    struct http_client *client;
    struct arena a; /* of answers; site_reset empties it */
    bool ready, reload_fails, quit_called;
    int reloads;
    int64_t now_ms;
    char base[64];
};
extern struct site site;
struct api_alertmanager;
extern const struct api_alertmanager *site_alertmanager; /* set before a site is opened; NULL: none */

int site_open(void **state);
int site_open_tsdb(void **state);
int site_open_tenants(void **state); /* the same, with tenants; the default one is "anonymous" */
void site_copy_to_tsdb(void); /* what the memory store holds */
int site_close(void **state);

struct answer {
    int status;
    str body, content_type;
    struct http_result r;
};
struct answer site_get(const char *path_and_query);
/* type NULL: none; encoding NULL: none */
struct answer site_post(const char *path, const char *type, const char *encoding, str body);
struct answer site_ask(enum http_method method, const char *path_and_query, const struct http_pair *headers, size_t n,
                       str body);

#endif
