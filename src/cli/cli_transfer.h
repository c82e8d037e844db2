/* What `vane import` and `vane export` share: a data folder that no process has open, or a running vane. */
#ifndef VANE_CLI_CLI_TRANSFER_H
#define VANE_CLI_CLI_TRANSFER_H

#include "cli/cli.h"
#include "cli/cli_config.h"
#include "http/http.h"
#include "store/store.h"
#include "transfer/transfer.h"

/* ---- a data folder, opened for this command alone ---- */
struct cli_folder {
    struct store *st;
    struct tsdb *db;
};
/* must_exist: do not make a new one. cfg's limits count, its retention does not: nothing is dropped while it is open. */
enum err cli_folder_open(const char *dir, bool must_exist, const struct cli_config *cfg, struct cli_folder *ret,
                         struct err_text *reterr) MUST_CHECK;
void cli_folder_close(struct cli_folder *f);

/* ---- samples sent to a running vane (POST /api/v1/admin/tsdb/import) ---- */
struct cli_remote;
enum err cli_remote_open(const char *url, struct cli_remote **ret, struct err_text *reterr) MUST_CHECK;
void cli_remote_close(struct cli_remote *r); /* NULL is fine */
struct transfer_sink cli_remote_sink(struct cli_remote *r);
/* What is still here goes out. ret as the server counted. */
enum err cli_remote_flush(struct cli_remote *r, struct tsdb_bulk_result *ret, struct err_text *reterr) MUST_CHECK;
/* The server's retention; 0 = for ever. */
enum err cli_remote_retention(struct cli_remote *r, int64_t *ret_ms, struct err_text *reterr) MUST_CHECK;
/* GET of URL + path into write, piece by piece. */
enum err cli_remote_get(struct cli_remote *r, const char *path, bool (*data)(void *ctx, str piece), void *ctx,
                        struct err_text *reterr) MUST_CHECK;

bool cli_parse_time_option(const char *text, int64_t *ret_ms);

#endif
