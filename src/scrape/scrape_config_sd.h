/* Private to the room scrape: settings of the discoveries beyond static, file, http and dns. All of them decode into one
 * struct of common parts; which slot holds what is in the rows of scrape_config_sd.c, and here for those that run. */
#ifndef VANE_SCRAPE_SCRAPE_CONFIG_SD_H
#define VANE_SCRAPE_SCRAPE_CONFIG_SD_H

#include "scrape/scrape_config_int.h"

struct sd_filter {
    str name;
    CONF_LIST_OF(str) values;
};
struct sd_selector {
    str role, label, field;
};
struct sd_namespaces {
    bool own;
    CONF_LIST_OF(str) names;
};
struct sd_metadata {
    bool node, namespace;
};
struct sd_any {
    struct http_config http;
    struct tls_config tls;
    str s[20];
    struct conf_secret secret[4];
    CONF_LIST_OF(str) list[4];
    CONF_LIST_OF(struct sd_filter) filters;
    CONF_LIST_OF(struct sd_selector) selectors;
    CONF_DICT_OF(str) dict;
    struct sd_namespaces namespaces;
    struct sd_metadata metadata;
    int64_t refresh_ms, timeout_ms, number[4];
    bool flag[4];
};
/* Slots: S_<kind>_<key>. */
enum { S_KUBE_ROLE = 0, S_KUBE_SERVER = 1, S_KUBE_CONFIG = 2 };
enum {
    S_CONSUL_SERVER = 0,
    S_CONSUL_PREFIX = 1,
    S_CONSUL_DC = 2,
    S_CONSUL_NAMESPACE = 3,
    S_CONSUL_SEPARATOR = 4,
    S_CONSUL_SCHEME = 5,
    S_CONSUL_USER = 6,
    S_CONSUL_PARTITION = 7,
    S_CONSUL_FILTER = 8,
    S_CONSUL_HEALTH_FILTER = 9,
    SEC_CONSUL_TOKEN = 0,
    SEC_CONSUL_PASSWORD = 1,
    FLAG_CONSUL_STALE = 0,
    LIST_CONSUL_SERVICES = 0,
    LIST_CONSUL_TAGS = 1,
};
enum { S_DOCKER_HOST = 0, S_DOCKER_NETWORK_HOST = 1, FLAG_DOCKER_FIRST_NETWORK = 0, NUMBER_DOCKER_PORT = 0 };
enum {
    S_EC2_ENDPOINT = 0,
    S_EC2_REGION = 1,
    S_EC2_ACCESS_KEY = 2,
    S_EC2_PROFILE = 3,
    S_EC2_ROLE_ARN = 4,
    S_EC2_EXTERNAL_ID = 5,
    SEC_EC2_SECRET_KEY = 0,
    NUMBER_EC2_PORT = 0,
};

/* The configs of a kind that runs here; and their place in struct sd_configs.others. */
enum sd_other { SD_OTHER_KUBERNETES, SD_OTHER_CONSUL, SD_OTHER_DOCKER, SD_OTHER_EC2 };
size_t sd_other_index(enum sd_other kind);

#endif
