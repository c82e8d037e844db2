/* Times and durations of the API: never outside upstream's range, whatever the text. */
#include <stdlib.h>

#include "api/api_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    str text = { (const char *)data, size };
    int64_t ms = 0;
    const char *why;
    if (api_parse_time(text, &ms) && (ms < API_TIME_MIN || ms > API_TIME_MAX))
        abort();
    if (!api_parse_duration(text, &ms, &why) && !why)
        abort();
    return 0;
}
