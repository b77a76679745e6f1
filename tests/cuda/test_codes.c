/* Keys and values as 8-bit codes with scales: what a card stores has the bits of the CPU's.
   Rests on card.h. */
#include "cuda/card.h"

/* Codes and scales of kv_store, and of rope_store: the bits that the CPU's kv_store gives of the same rows. */
static void check_codes(device *dev)
{
    static const int32_t dims[] = {2, 16, 48, 64, 128, 130, 256, 512};

    for (int i = 0; i < 16; i++) {
        int32_t d = dims[i / 2], q_heads = i % 4, kv = 1 + i % 3, width = (q_heads + 2 * kv) * d;
        int64_t n = 1 + i * 5, ld = width + i % 3, stride = n + 4, slots[1 + 15 * 5], rows = kv * stride;
        buffer c = random_buffer(dev, DTYPE_F32, n * d / 2, 1), s = random_buffer(dev, DTYPE_F32, n * d / 2, 1);
        buffer x = random_buffer(dev, dev->act, n * ld, i % 5 ? 2 : 1e-30f), scales[4];
        int8_t *want = malloc((size_t)(rows * d)), *got = malloc((size_t)(rows * d));
        float *want_scales = calloc((size_t)rows, sizeof *want_scales);
        void *side[2], *stored[2];

        assert_true(want && got && want_scales);
        for (int64_t t = 0; t < n; t++) {
            slots[t] = t % 5 == 4 ? -1 : t + 2;
        }
        void *places = sent(dev, slots, (size_t)n * sizeof *slots);
        for (int j = 0; j < 4; j++) {
            scales[j] = poisoned_buffer(dev, DTYPE_F32, rows);
            assert_int_equal(dev->ops->reserve(dev, (size_t)(rows * d), "codes", j < 2 ? &side[j] : &stored[j - 2]), LARIAT_OK);
        }
        rotation rotate = {.x = x.data, .ld = ld, .heads = q_heads + kv, .kv_heads = kv, .dims = d, .cos = c.data,
                           .sin = s.data, .style = i % 2 ? ROPE_PAIRS : ROPE_HALVES};
        dev->ops->rope_store(dev, &rotate, side, (float *const[]){scales[0].data, scales[1].data}, DTYPE_I8, stride, places, n,
                             d);
        /* The same rows again, now rotated in place. */
        dev->ops->rope(dev, &(rotation){.x = act_at(dev, x.data, q_heads * d), .ld = ld, .heads = kv, .kv_heads = kv, .dims = d,
                                        .cos = c.data, .sin = s.data, .style = rotate.style}, n, d);
        float *rotated = buffer_get(&x);
        for (int j = 0; j < 2; j++) {
            int64_t first = (q_heads + j * kv) * d;
            dev->ops->kv_store(dev, stored[j], scales[2 + j].data, DTYPE_I8, stride, places, act_at(dev, x.data, first), ld, n,
                               kv, d);
            cpu->ops->kv_store(cpu, want, want_scales, DTYPE_I8, stride, slots, rotated + first, ld, n, kv, d);
            for (int way = 0; way < 2; way++) {
                float *got_scales = buffer_get(&scales[2 * way + j]);
                dev->ops->download(dev, got, way ? stored[j] : side[j], (size_t)(rows * d));
                assert_int_equal(dev->ops->finish(dev), LARIAT_OK);
                for (int64_t r = 0; r < rows; r++) {
                    int64_t t = r % stride - 2;
                    if (t >= 0 && t < n && t % 5 != 4) {
                        assert_memory_equal(got + r * d, want + r * d, (size_t)d);
                        assert_memory_equal(&got_scales[r], &want_scales[r], sizeof *got_scales);
                    }
                }
                free(got_scales);
            }
        }
        for (int j = 0; j < 4; j++) {
            buffer_free(&scales[j]);
            dev->ops->release(dev, j < 2 ? side[j] : stored[j - 2], (size_t)(rows * d));
        }
        dev->ops->release(dev, places, (size_t)n * sizeof *slots);
        buffer_free(&c);
        buffer_free(&s);
        buffer_free(&x);
        free(rotated);
        free(want);
        free(got);
        free(want_scales);
    }
}

static void codes_are_the_same_bits_as_on_cpus(void **state)
{
    (void)state;
    for_every_type(check_codes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_the_same_bits_as_on_cpus),
    };
    int opened = open_cards(), failed = opened ? opened : cmocka_run_group_tests(tests, NULL, NULL);

    close_cards();
    return failed;
}
