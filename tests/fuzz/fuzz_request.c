/* Any JSON as a request: it is read, and within bounds, or refused with a reason.
   Rests on schedule/request.h. See fuzz.h. */
#include "fuzz/fuzz.h"
#include "schedule/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    json_t *object = json_loadb((const char *)data, size, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    char why[REQUEST_WHY] = "";
    lariat_sampler *sampler;
    lariat_stops *stops;
    request r, copy;

    if (!object) {
        return 0;
    }
    request_init(&r);
    if (request_read(&r, object, why)) {
        CHECK(r.most >= REQUEST_UNBOUNDED && r.most <= LARIAT_CONTEXT_MAX);
        CHECK(r.samples >= 1 && r.samples <= REQUEST_SAMPLES && request_n_top(&r) <= LARIAT_TOP_MAX);
        CHECK(request_copy(&copy, &r));
        if (was_read(lariat_sampler_open(&copy.sampling, 1000, &sampler))) {
            lariat_sampler_close(sampler);
        }
        if (r.n_stops) {
            CHECK(lariat_stops_open(copy.stops, copy.n_stops, &stops) == LARIAT_OK);
            lariat_stops_close(stops);
        }
        request_free(&copy);
    } else {
        CHECK(*why && memchr(why, 0, sizeof why));
    }
    request_free(&r);
    json_decref(object);
    return 0;
}
