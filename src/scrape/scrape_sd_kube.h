/* Private to the room scrape: Kubernetes discovery. scrape_sd_kube.c keeps copies of the API server's objects up to date
 * (list, then watch), scrape_sd_kube_labels.c makes targets of them. */
#ifndef VANE_SCRAPE_SCRAPE_SD_KUBE_H
#define VANE_SCRAPE_SCRAPE_SD_KUBE_H

#include <jansson.h>

#include "scrape/scrape_sd_remote.h"

enum kube_resource {
    KUBE_POD,
    KUBE_SERVICE,
    KUBE_ENDPOINTS,
    KUBE_ENDPOINTSLICE,
    KUBE_NODE,
    KUBE_INGRESS,
    KUBE_NAMESPACE,
    KUBE_RESOURCES
};

/* What is known: per resource and namespace asked for, objects by "namespace/name" (cluster-wide ones: "/name"). */
struct kube_view {
    struct {
        json_t *const *sets;
        size_t n;
    } of[KUBE_RESOURCES];
    enum kube_resource role;
    bool with_nodes, with_namespaces;
};
struct sd_groups *kube_groups(const struct kube_view *v);
/* Takes out what no label is made of, so that copies stay small. */
void kube_prune(json_t *object, enum kube_resource what);

/* Member by path "spec.nodeName"; NULL if absent. And its text, or "". */
json_t *kube_at(json_t *object, const char *path);
str kube_str(json_t *object, const char *path);

extern const char *sd_kube_account_dir; /* tests: instead of /var/run/secrets/kubernetes.io/serviceaccount */

#endif
