/* The templates that a receiver without ones of its own uses: names and results are Alertmanager's, so that
 * configurations that call them read the same. */
#include "base/check.h"
#include "tmpl/tmpl_lib.h"

#define ALERTS(head, list)                                             \
    "\n{{ if gt (len .Alerts.Firing) 0 }}\n" head "Alerts Firing:\n"   \
    "{{ template \"" list "\" .Alerts.Firing }}\n{{ end }}\n"          \
    "{{ if gt (len .Alerts.Resolved) 0 }}\n" head "Alerts Resolved:\n" \
    "{{ template \"" list "\" .Alerts.Resolved }}\n{{ end }}\n"
#define TEXT_ALERTS     ALERTS("", "__text_alert_list")
#define MARKDOWN_ALERTS ALERTS("# ", "__text_alert_list_markdown")
#define TIGHT_ALERTS                                                    \
    "\n{{ if gt (len .Alerts.Firing) 0 -}}\nAlerts Firing:\n"           \
    "{{ template \"__text_alert_list\" .Alerts.Firing }}\n{{- end }}\n" \
    "{{ if gt (len .Alerts.Resolved) 0 -}}\nAlerts Resolved:\n"         \
    "{{ template \"__text_alert_list\" .Alerts.Resolved }}\n{{- end }}"
#define COMMON_ANNOTATIONS "{{ .CommonAnnotations.SortedPairs.Values | join \" \" }}"
#define DEFINE(name, body) STR_INIT("{{ define \"" name "\" }}" body "{{ end }}"),
#define USE(name)          "{{ template \"" name "\" . }}"

#define SUBJECT                                                                                    \
    "[{{ .Status | toUpper }}{{ if eq .Status \"firing\" }}:{{ .Alerts.Firing | len }}{{ end }}] " \
    "{{ .GroupLabels.SortedPairs.Values | join \" \" }} "                                          \
    "{{ if gt (len .CommonLabels) (len .GroupLabels) }}"                                           \
    "({{ with .CommonLabels.Remove .GroupLabels.Names }}{{ .Values | join \" \" }}{{ end }}){{ end }}"
static const str texts[] = {
    DEFINE("__alertmanager", "Alertmanager") DEFINE("__alertmanagerURL",
                                                    "{{ .ExternalURL }}/#/alerts?receiver={{ .Receiver | urlquery }}")
        DEFINE("__subject", SUBJECT) DEFINE("__description", "") DEFINE(
            "__text_alert_list",
            "{{ range . }}Labels:\n{{ range .Labels.SortedPairs }} - {{ .Name }} = {{ .Value }}\n{{ end }}"
            "Annotations:\n{{ range .Annotations.SortedPairs }} - {{ .Name }} = {{ .Value }}\n{{ end }}"
            "Source: {{ .GeneratorURL }}\n{{ end }}")
            DEFINE("__text_alert_list_markdown",
                   "{{ range . }}\nLabels:\n{{ range .Labels.SortedPairs }}  - {{ .Name }} = {{ .Value }}\n{{ end }}"
                   "\nAnnotations:\n{{ range .Annotations.SortedPairs }}  - {{ .Name }} = {{ .Value }}\n{{ end }}"
                   "\nSource: {{ .GeneratorURL }}\n{{ end }}\n")
    /* Slack */
    DEFINE("slack.default.title", USE("__subject")) DEFINE("slack.default.username", USE("__alertmanager"))
        DEFINE("slack.default.fallback", USE("slack.default.title") " | " USE("slack.default.titlelink"))
            DEFINE("slack.default.callbackid", "") DEFINE("slack.default.pretext", "")
                DEFINE("slack.default.titlelink", USE("__alertmanagerURL")) DEFINE("slack.default.iconemoji", "")
                    DEFINE("slack.default.iconurl", "") DEFINE("slack.default.text", "")
                        DEFINE("slack.default.footer", "")
                            DEFINE("slack.default.color", "{{ if eq .Status \"firing\" }}danger{{ else }}good{{ end }}")
    /* PagerDuty, Opsgenie, WeChat, VictorOps, Pushover, SNS, Telegram */
    DEFINE("pagerduty.default.description", USE("__subject")) DEFINE("pagerduty.default.client", USE("__alertmanager"))
        DEFINE("pagerduty.default.clientURL", USE("__alertmanagerURL")) DEFINE("pagerduty.default.instances",
                                                                               USE("__text_alert_list"))
            DEFINE("opsgenie.default.message", USE("__subject")) DEFINE("opsgenie.default.description",
                                                                        COMMON_ANNOTATIONS TIGHT_ALERTS)
                DEFINE("opsgenie.default.source", USE("__alertmanagerURL"))
                    DEFINE("wechat.default.message", USE("__subject") "\n" COMMON_ANNOTATIONS TIGHT_ALERTS
                                                                      "\nAlertmanagerUrl:\n" USE("__alertmanagerURL"))
                        DEFINE("wechat.default.to_user", "") DEFINE("wechat.default.to_party", "")
                            DEFINE("wechat.default.to_tag", "") DEFINE("wechat.default.agent_id", "")
                                DEFINE("victorops.default.state_message", COMMON_ANNOTATIONS TIGHT_ALERTS)
                                    DEFINE("victorops.default.entity_display_name", USE("__subject"))
                                        DEFINE("victorops.default.monitoring_tool",
                                               USE("__alertmanager")) DEFINE("pushover.default.title", USE("__subject"))
                                            DEFINE("pushover.default.message", COMMON_ANNOTATIONS TEXT_ALERTS)
                                                DEFINE("pushover.default.url", USE("__alertmanagerURL"))
                                                    DEFINE("sns.default.subject", USE("__subject"))
                                                        DEFINE("sns.default.message", COMMON_ANNOTATIONS TEXT_ALERTS)
                                                            DEFINE("telegram.default.message", TEXT_ALERTS)
    /* chat */
    DEFINE("discord.default.content", "") DEFINE("discord.default.title", USE("__subject")) DEFINE(
        "discord.default.message", TEXT_ALERTS) DEFINE("webex.default.message", COMMON_ANNOTATIONS TEXT_ALERTS)
        DEFINE("msteams.default.summary", USE("__subject")) DEFINE("msteams.default.title", USE("__subject"))
            DEFINE("msteams.default.text", MARKDOWN_ALERTS) DEFINE("msteamsv2.default.title", USE("__subject")) DEFINE(
                "msteamsv2.default.text", MARKDOWN_ALERTS) DEFINE("jira.default.summary", USE("__subject"))
                DEFINE("jira.default.description", MARKDOWN_ALERTS) DEFINE(
                    "jira.default.priority",
                    "{{- $p := \"\" }}{{ $of := .Alerts.Firing }}{{ if not $of }}{{ $of = .Alerts.Resolved }}{{ end }}"
                    "{{ range $of }}{{ $s := .Labels.severity }}"
                    "{{ if eq $s \"critical\" }}{{ $p = \"High\" }}"
                    "{{ else if and (eq $s \"warning\") (ne $p \"High\") }}{{ $p = \"Medium\" }}"
                    "{{ else if and (eq $s \"info\") (eq $p \"\") }}{{ $p = \"Low\" }}{{ end }}{{ end }}{{ $p }}")
                    DEFINE("rocketchat.default.title", USE("__subject"))
                        DEFINE("rocketchat.default.alias", USE("__alertmanager"))
                            DEFINE("rocketchat.default.titlelink", USE("__alertmanagerURL"))
                                DEFINE("rocketchat.default.emoji", "") DEFINE("rocketchat.default.iconurl", "")
                                    DEFINE("rocketchat.default.text", "")
                                        DEFINE("mattermost.default.color",
                                               "{{ if eq .Status \"firing\" }}danger{{ else }}good{{ end }}")
                                            DEFINE("mattermost.default.username", USE("__alertmanager"))
                                                DEFINE("mattermost.default.title", USE("__subject"))
                                                    DEFINE("mattermost.default.titlelink", USE("__alertmanagerURL"))
                                                        DEFINE("mattermost.default.fallback",
                                                               USE("mattermost.default.title") " | " USE(
                                                                   "mattermost.default.titlelink"))
                                                            DEFINE("mattermost.default.text", MARKDOWN_ALERTS)
    /* mail */
    DEFINE("email.default.subject", USE("__subject")) DEFINE(
        "__email_alert",
        "<tr><td style=\"padding:12px 16px;border-top:1px solid #e3e3e3\">"
        "<p style=\"margin:0 0 6px\"><strong>Labels</strong></p>"
        "<p style=\"margin:0\">{{ range .Labels.SortedPairs }}{{ .Name }} = {{ .Value }}<br>{{ end }}</p>"
        "{{ if .Annotations }}<p style=\"margin:10px 0 6px\"><strong>Annotations</strong></p>"
        "<p style=\"margin:0\">{{ range .Annotations.SortedPairs }}{{ .Name }} = {{ .Value }}<br>{{ end }}</p>{{ end }}"
        "{{ if .GeneratorURL }}<p style=\"margin:10px 0 0\"><a href=\"{{ .GeneratorURL }}\">Source</a></p>{{ end "
        "}}</td></tr>")
        DEFINE("email.default.html",
               "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"><meta name=\"viewport\" "
               "content=\"width=device-width\">"
               "<title>" USE(
                   "__subject") "</title></head>\n"
                                "<body style=\"margin:0;background:#f4f4f5;color:#1c1c1e;font:14px/1.5 "
                                "Helvetica,Arial,sans-serif\">"
                                "<table width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" "
                                "style=\"max-width:640px;margin:24px auto;background:#fff;"
                                "border:1px solid #e3e3e3\">"
                                "<tr><td style=\"padding:16px;color:#fff;font-size:16px;background:"
                                "{{ if gt (len .Alerts.Firing) 0 }}#c62828{{ else }}#2e7d32{{ end }}\">"
                                "{{ .Alerts | len }} alert{{ if gt (len .Alerts) 1 }}s{{ end }} for "
                                "{{ range .GroupLabels.SortedPairs }}{{ .Name }}={{ .Value }} {{ end }}</td></tr>"
                                "<tr><td style=\"padding:16px\"><a href=\"" USE("__alertmanagerURL") "\">View in " USE(
                                    "__alertmanager") "</a></td></tr>"
                                                      "{{ if gt (len .Alerts.Firing) 0 }}<tr><td style=\"padding:12px "
                                                      "16px\"><strong>[{{ .Alerts.Firing | len }}] "
                                                      "Firing</strong></td></tr>"
                                                      "{{ range .Alerts.Firing }}" USE(
                                                          "__email_alert") "{{ end }}{{ end }}"
                                                                           "{{ if gt (len .Alerts.Resolved) 0 "
                                                                           "}}<tr><td style=\"padding:12px "
                                                                           "16px\"><strong>[{{ .Alerts.Resolved | len "
                                                                           "}}] Resolved</strong></td></tr>"
                                                                           "{{ range .Alerts.Resolved }}" USE(
                                                                               "__email_alert") "{{ end }}{{ end }}"
                                                                                                "</table></body></"
                                                                                                "html>\n")
};

enum err tmpl_am_defaults(struct tmpl_set *set, struct err_text *reterr)
{
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        TRY(tmpl_parse(set, STR("default"), texts[i], reterr));
    return OK;
}

#define COUNT(field, word) "{{ with .Changes." field " }}, {{ . }} " word "{{ end }}"
enum err tmpl_am_changes_defaults(struct tmpl_set *set, struct err_text *reterr)
{
    static const str changes[] = {
        STR_INIT("{{ define \"__changes\" }}{{ .Changes.New }} new" COUNT("Resolved", "resolved")
                     COUNT("Unchanged", "unchanged") "{{ end }}"),
        STR_INIT("{{ define \"__subject\" }}{{ with .RouteLabels.digest }}Digest {{ . }}: {{ end }}" SUBJECT
                 " - {{ template \"__changes\" . }}{{ end }}"),
    };
    for (size_t i = 0; i < ARRAY_LEN(changes); i++)
        TRY(tmpl_parse(set, STR("default"), changes[i], reterr));
    return OK;
}
