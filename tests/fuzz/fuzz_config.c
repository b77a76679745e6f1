/* Any bytes as config.json and, after a zero byte, generation_config.json: refused with one line, or a configuration in range.
   Rests on base/json.c and model/config.c. See fuzz.h. */
#include "fuzz/fuzz.h"
#include "model/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const char *second = memchr(data, 0, size);
    size_t first_size = second ? (size_t)(second - text) : size;
    json_t *config = NULL;
    json_t *generation = NULL;
    model_config c;

    if (!was_read(json_read("config.json", text, first_size, &config))) {
        return 0;
    }
    if (second && !was_read(json_read("generation_config.json", second + 1, size - first_size - 1, &generation))) {
        json_decref(config);
        return 0;
    }
    if (was_read(config_from_json("config.json", config, "generation_config.json", generation, &c))) {
        CHECK(c.n_heads % c.n_kv_heads == 0 && c.n_end_ids >= 0 && c.n_end_ids <= CONFIG_MAX_END_IDS);
        CHECK(was_read(config_check("config.json", &c)));
    }
    json_decref(config);
    json_decref(generation);
    return 0;
}
