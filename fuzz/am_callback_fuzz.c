/* What comes in from providers of calls and text messages: nothing without a signature acknowledges. */
#include <stddef.h>
#include <stdint.h>

#include "alerting/am_callback.h"
#include "base/check.h"

static const char yaml[] =
    "route: {receiver: r}\nreceivers:\n- name: r\n  sms_configs:\n"
    "  - {provider: twilio, account: a, secret: s, from: '1', to: '2'}\n"
    "  - {provider: vonage, account: a, secret: s, from: '1', to: '2', callback_secret: c}\n"
    "  - {provider: http, api_url: 'http://x', to: '2', callback_secret: c}\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct am_config *c;
    AUTO_ARENA struct arena a;
    struct am_callback_deed d;
    struct err_text why;
    str in = str_n((const char *)data, size), parts[5] = { STR(""), STR(""), STR(""), STR(""), STR("") }, type;
    str groups[] = { STR("{}:{}") };
    arena_init(&a, 0);
    if (!c && am_config_parse(STR("am.yml"), str_c(yaml), &c, NULL, &why) != OK)
        ASSERT(!"the configuration");
    for (size_t i = 0; i < ARRAY_LEN(parts) - 1 && str_cut(&in, '\n', &parts[i]); i++)
        ;
    struct http_pair q = { STR("code"), parts[0] };
    struct am_callback cb = { .kind = AM_SMS,
                              .receiver = STR("r"),
                              .index = size % 4,
                              .external_url = STR("http://v"),
                              .query = &q,
                              .n_query = size & 1,
                              .content_type = size & 2 ? STR("application/x-www-form-urlencoded") : STR("application/json"),
                              .body = in,
                              .twilio_signature = parts[1],
                              .authorization = parts[2],
                              .vane_signature = parts[3],
                              .groups = groups,
                              .n_groups = 1 };
    am_callback_read(c, &cb, fs_os(), &a, &d);
    ASSERT(d.status != 200 || d.text.n > 0);
    (void)am_callback_answer(c, &cb, d.text, &a, &type);
    return 0;
}
