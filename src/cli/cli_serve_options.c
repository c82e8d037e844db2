/* The options of `vane serve`; Prometheus' own spellings are accepted where they mean the same. */
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"
#include "base/num.h"
#include "cli/cli_serve.h"

enum serve_option {
    OPT_CONFIG = 256,
    OPT_DATA,
    OPT_LISTEN,
    OPT_OTLP_LISTEN,
    OPT_NO_OTLP,
    OPT_OTLP_GRPC_LISTEN,
    OPT_NO_OTLP_GRPC,
    OPT_RETENTION,
    OPT_RETENTION_SIZE,
    OPT_INSECURE,
    OPT_NO_HOST,
    OPT_NO_SELF,
    OPT_FEATURE,
    OPT_LOG_LEVEL,
    OPT_LOG_FORMAT,
    OPT_EXTERNAL_URL,
    OPT_CORS,
    OPT_WEB_CONFIG,
    OPT_LIFECYCLE,
    OPT_ADMIN,
    OPT_IGNORED, /* accepted so that a Prometheus command line works: what it asks for is always on */
};

static const struct option long_options[] = {
    { "config", required_argument, NULL, OPT_CONFIG },
    { "config.file", required_argument, NULL, OPT_CONFIG },
    { "data", required_argument, NULL, OPT_DATA },
    { "storage.tsdb.path", required_argument, NULL, OPT_DATA },
    { "storage.agent.path", required_argument, NULL, OPT_DATA },
    { "listen", required_argument, NULL, OPT_LISTEN },
    { "web.listen-address", required_argument, NULL, OPT_LISTEN },
    { "otlp-listen", required_argument, NULL, OPT_OTLP_LISTEN },
    { "no-otlp-listen", no_argument, NULL, OPT_NO_OTLP },
    { "otlp-grpc-listen", required_argument, NULL, OPT_OTLP_GRPC_LISTEN },
    { "no-otlp-grpc-listen", no_argument, NULL, OPT_NO_OTLP_GRPC },
    { "retention", required_argument, NULL, OPT_RETENTION },
    { "storage.tsdb.retention.time", required_argument, NULL, OPT_RETENTION },
    { "retention-size", required_argument, NULL, OPT_RETENTION_SIZE },
    { "storage.tsdb.retention.size", required_argument, NULL, OPT_RETENTION_SIZE },
    { "insecure", no_argument, NULL, OPT_INSECURE },
    { "no-host-metrics", no_argument, NULL, OPT_NO_HOST },
    { "no-self-metrics", no_argument, NULL, OPT_NO_SELF },
    { "enable-feature", required_argument, NULL, OPT_FEATURE },
    { "log-level", required_argument, NULL, OPT_LOG_LEVEL },
    { "log.level", required_argument, NULL, OPT_LOG_LEVEL },
    { "log-format", required_argument, NULL, OPT_LOG_FORMAT },
    { "log.format", required_argument, NULL, OPT_LOG_FORMAT },
    { "external-url", required_argument, NULL, OPT_EXTERNAL_URL },
    { "web.external-url", required_argument, NULL, OPT_EXTERNAL_URL },
    { "web-config", required_argument, NULL, OPT_WEB_CONFIG },
    { "web.config.file", required_argument, NULL, OPT_WEB_CONFIG },
    { "web.cors.origin", required_argument, NULL, OPT_CORS },
    { "enable-lifecycle", no_argument, NULL, OPT_LIFECYCLE },
    { "web.enable-lifecycle", no_argument, NULL, OPT_LIFECYCLE },
    { "enable-admin-api", no_argument, NULL, OPT_ADMIN },
    { "web.enable-admin-api", no_argument, NULL, OPT_ADMIN },
    { "web.enable-remote-write-receiver", no_argument, NULL, OPT_IGNORED },
    { "web.enable-otlp-receiver", no_argument, NULL, OPT_IGNORED },
    { "help", no_argument, NULL, 'h' },
    { 0 },
};

const char serve_help[] =
    "usage: vane serve [options]\n"
    "\n"
    "Collects, stores, answers and shows. Without options: http://127.0.0.1:9090, OTLP/HTTP on 127.0.0.1:4318, "
    "OTLP/gRPC on\n"
    "127.0.0.1:4317, data in ./vane-data, this machine's own metrics, 15 days of retention.\n"
    "\n"
    "  --config FILE           vane.yaml or prometheus.yml (SIGHUP or POST /-/reload read it again)\n"
    "  --data DIR              where data is kept (default ./vane-data)\n"
    "  --listen ADDR:PORT      UI and all HTTP APIs; may be repeated; port 0 takes a free one (default "
    "127.0.0.1:9090)\n"
    "  --otlp-listen ADDR:PORT OTLP/HTTP (default 127.0.0.1:4318); --no-otlp-listen turns it off\n"
    "  --otlp-grpc-listen ADDR:PORT\n"
    "                          OTLP/gRPC (default 127.0.0.1:4317); --no-otlp-grpc-listen turns it off\n"
    "  --insecure              allow addresses beyond loopback although there is no authentication\n"
    "  --retention DURATION    15d, 8w, 1y; 0 keeps for ever        --retention-size BYTES   10GiB; 0 = no limit\n"
    "  --no-host-metrics       do not collect this machine's metrics\n"
    "  --no-self-metrics       do not store vane's own metrics\n"
    "  --enable-feature LIST   promql-experimental-functions, promql-extended-range-selectors, ...\n"
    "  --web-config FILE       Prometheus' web configuration file: TLS, users (basic_auth_users), headers\n"
    "  --external-url URL      the address people reach this server by\n"
    "  --enable-lifecycle      allow POST /-/quit\n"
    "  --enable-admin-api      allow deleting series, cleaning tombstones and snapshots (/api/v1/admin/tsdb/...)\n"
    "  --log-level LEVEL       debug, info (default), warn, error   --log-format FORMAT      logfmt (default), json\n"
    "  -h, --help\n"
    "\n"
    "Prometheus' spellings (--config.file, --storage.tsdb.path, --web.listen-address, ...) are accepted as well.\n";

const char agent_help[] =
    "usage: vane agent --config FILE [options]\n"
    "\n"
    "Collects and forwards, and keeps nothing but the log of what is not forwarded yet: scraping, host metrics and "
    "all\n"
    "push protocols as `vane serve`, and remote_write of the same configuration file. No queries, no rules. When a\n"
    "receiver is away, the log waits for it up to limits.log (1 GiB); then the oldest is given up, counted and "
    "logged.\n"
    "\n"
    "  --config FILE           vane.yaml or prometheus.yml with remote_write (SIGHUP or POST /-/reload read it again)\n"
    "  --data DIR              where the log is kept (default ./vane-agent-data); a folder of the agent's own\n"
    "  --listen ADDR:PORT      push protocols, status and metrics; may be repeated (default 127.0.0.1:9090)\n"
    "  --otlp-listen ADDR:PORT OTLP/HTTP (default 127.0.0.1:4318); --no-otlp-listen turns it off\n"
    "  --otlp-grpc-listen ADDR:PORT\n"
    "                          OTLP/gRPC (default 127.0.0.1:4317); --no-otlp-grpc-listen turns it off\n"
    "  --insecure              allow addresses beyond loopback although there is no authentication\n"
    "  --no-host-metrics       do not collect this machine's metrics\n"
    "  --no-self-metrics       do not forward vane's own metrics\n"
    "  --web-config FILE       Prometheus' web configuration file: TLS, users (basic_auth_users), headers\n"
    "  --enable-lifecycle      allow POST /-/quit\n"
    "  --log-level LEVEL       debug, info (default), warn, error   --log-format FORMAT      logfmt (default), json\n"
    "  -h, --help\n"
    "\n"
    "Prometheus' spellings (--config.file, --storage.agent.path, --web.listen-address, ...) are accepted as well.\n";

static const struct {
    const char *name;
    unsigned bit;
} features[] = {
    { "promql-experimental-functions", PROMQL_EXPERIMENTAL_FUNCTIONS },
    { "promql-duration-expr", PROMQL_DURATION_EXPR },
    { "promql-extended-range-selectors", PROMQL_EXTENDED_RANGE },
    { "promql-binop-fill-modifiers", PROMQL_FILL },
    { "type-and-unit-labels", PROMQL_TYPE_AND_UNIT },
    { "promql-delayed-name-removal", PROMQL_DELAYED_NAME_REMOVAL },
    { "use-start-timestamps", PROMQL_START_TIMESTAMPS },
};

bool cli_parse_features(const char *list, unsigned *bits, str *ret_bad)
{
    str rest = str_c(list), one;
    while (str_cut(&rest, ',', &one)) {
        bool known = false;
        for (size_t i = 0; i < ARRAY_LEN(features); i++)
            if (str_eq(one, str_c(features[i].name))) {
                *bits |= features[i].bit;
                known = true;
            }
        if (!known) {
            *ret_bad = one;
            return false;
        }
    }
    return true;
}

static bool parse_retention(const char *text, int64_t *ret_ms)
{
    return num_parse_duration(str_c(text), ret_ms);
}

/* One more address of a kind: optarg. */
static int take_listen(const struct cli_command *self, struct cli_listen *list, size_t *n)
{
    struct cli_listen l;
    if (!cli_listen_parse(str_c(optarg), &l))
        return cli_usage(self, "'%s' is no ADDRESS:PORT (127.0.0.1:9090, [::1]:9090)", optarg);
    if (*n == SERVE_LISTENERS_MAX / 2)
        return cli_usage(self, "at most %d addresses of a kind", SERVE_LISTENERS_MAX / 2);
    list[(*n)++] = l;
    return CLI_OK;
}

/* One option into o; a message (CLI_USAGE) or CLI_OK. */
static int take(const struct cli_command *self, struct serve_options *o, int opt)
{
    str bad;
    switch (opt) {
    case OPT_CONFIG:
        o->config_path = optarg;
        break;
    case OPT_DATA:
        o->data_dir = optarg;
        break;
    case OPT_LISTEN:
        return take_listen(self, o->listen, &o->n_listen);
    case OPT_OTLP_LISTEN:
        return take_listen(self, o->otlp_listen, &o->n_otlp_listen);
    case OPT_OTLP_GRPC_LISTEN:
        return take_listen(self, o->otlp_grpc_listen, &o->n_otlp_grpc_listen);
    case OPT_NO_OTLP_GRPC:
        o->no_otlp_grpc = true;
        break;
    case OPT_NO_OTLP:
        o->no_otlp = true;
        break;
    case OPT_RETENTION:
        if (!parse_retention(optarg, &o->retention_ms))
            return cli_usage(self, "'%s' is no duration (15d, 8w, 1y, 0)", optarg);
        break;
    case OPT_RETENTION_SIZE:
        if (!num_parse_bytes(str_c(optarg), &o->retention_bytes))
            return cli_usage(self, "'%s' is no size (512MB, 10GiB, 0)", optarg);
        o->retention_bytes_given = true;
        break;
    case OPT_INSECURE:
        o->insecure = true;
        break;
    case OPT_NO_HOST:
        o->no_host_metrics = true;
        break;
    case OPT_NO_SELF:
        o->no_self_metrics = true;
        break;
    case OPT_FEATURE:
        if (!cli_parse_features(optarg, &o->features, &bad))
            return cli_usage(self, "unknown feature '" STR_FMT "'", STR_ARG(bad));
        break;
    case OPT_LOG_LEVEL:
        o->log_level = optarg;
        break;
    case OPT_LOG_FORMAT:
        o->log_format = optarg;
        break;
    case OPT_EXTERNAL_URL:
        o->external_url = optarg;
        break;
    case OPT_CORS:
        o->cors_origin = optarg;
        break;
    case OPT_WEB_CONFIG:
        o->web_config = optarg;
        break;
    case OPT_LIFECYCLE:
        o->lifecycle = true;
        break;
    case OPT_ADMIN:
        o->admin = true;
        break;
    default:
        break;
    }
    return CLI_OK;
}

static int flag_cmp(const void *a, const void *b)
{
    return str_cmp(((const struct http_pair *)a)->name, ((const struct http_pair *)b)->name);
}

/* status/flags shows Prometheus' names: dashboards and scripts read them. */
static void show_flag(struct serve_options *o, const char *name, const char *value)
{
    if (o->n_flags < ARRAY_LEN(o->flags))
        o->flags[o->n_flags++] = (struct http_pair){ str_c(name), arena_str(o->a, str_c(value)) };
}

bool serve_options_parse(const struct cli_command *self, int argc, char **argv, struct arena *a,
                         struct serve_options *o, int *ret_exit)
{
    *o = (struct serve_options){ .retention_ms = -1,
                                 .features = CLI_FEATURES_DEFAULT,
                                 .agent = self == &cli_agent,
                                 .data_dir = self == &cli_agent ? "./vane-agent-data" : NULL,
                                 .a = a }; /* on by default since Prometheus 3.14 */
    enum log_level level;
    for (int opt, at = 0; (opt = getopt_long(argc, argv, "h", long_options, &at)) != -1;) {
        if (cli_option_ends(self, opt, ret_exit))
            return false;
        if ((*ret_exit = take(self, o, opt)) != CLI_OK)
            return false;
        show_flag(o, long_options[at].name, optarg ? optarg : "true");
    }
    *ret_exit = CLI_USAGE;
    if (optind < argc)
        return cli_usage(self, "unexpected word '%s'", argv[optind]), false;
    if (o->log_level && !log_level_parse(str_c(o->log_level), &level))
        return cli_usage(self, "--log-level is debug, info, warn or error, not '%s'", o->log_level), false;
    if (o->log_format && strcmp(o->log_format, "json") != 0 && strcmp(o->log_format, "logfmt") != 0)
        return cli_usage(self, "--log-format is logfmt or json, not '%s'", o->log_format), false;
    qsort(o->flags, o->n_flags, sizeof(o->flags[0]), flag_cmp);
    return true;
}
