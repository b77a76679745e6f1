/* Products of matrices that lie one behind the other, which a card may take as one. Rests on card.h. */
#include "cuda/card.h"

/* Gate and up one behind the other, as in a model: the bits of one matrix of all rows, and then silu_mul. */
static void check_gated_neighbours(device *dev)
{
    enum { ROWS = 320, COLS = 512 };
    static const int64_t counts[] = {17, 32, 100, 128};
    buffer w = random_buffer(dev, dev->act, 2 * ROWS * COLS, 0.3f);
    const matrix both = {.type = dev->act, .rows = 2 * ROWS, .cols = COLS, .data = w.data,
                         .row_bytes = dtype_row_bytes(dev->act, COLS)};
    matrix gate = both, up = both;

    gate.rows = up.rows = ROWS;
    up.data = act_at(dev, w.data, ROWS * COLS);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        int64_t n = counts[i];
        buffer x = random_buffer(dev, dev->act, n * COLS, 1), whole = poisoned_buffer(dev, dev->act, n * 2 * ROWS);
        buffer y[2] = {poisoned_buffer(dev, dev->act, n * ROWS), poisoned_buffer(dev, dev->act, n * ROWS)};
        const linear_job one = {.w = &both, .rows = 2 * ROWS, .type = dev->act, .y = whole.data, .ldy = 2 * ROWS};
        const linear_job a = {.w = &gate, .rows = ROWS, .type = dev->act, .y = y[0].data, .ldy = ROWS};
        const linear_job b = {.w = &up, .rows = ROWS, .type = dev->act, .y = y[1].data, .ldy = ROWS};
        dev->ops->linear(dev, x.data, COLS, n, &one, 1);
        dev->ops->silu_mul(dev, whole.data, 2 * ROWS, act_at(dev, whole.data, ROWS), 2 * ROWS, n, ROWS);
        dev->ops->linear_gated(dev, x.data, COLS, n, &a, &b);
        float *want = buffer_get(&whole), *got = buffer_get(&y[0]);
        for (int64_t t = 0; t < n; t++) {
            assert_memory_equal(got + t * ROWS, want + t * 2 * ROWS, ROWS * sizeof *got);
        }
        free(want);
        free(got);
        buffer_free(&x);
        buffer_free(&whole);
        buffer_free(&y[0]);
        buffer_free(&y[1]);
    }
    buffer_free(&w);
}

static void gated_products_of_neighbours_have_the_bits_of_one_matrix(void **state)
{
    (void)state;
    for_every_type(check_gated_neighbours);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gated_products_of_neighbours_have_the_bits_of_one_matrix),
    };
    int opened = open_cards(), failed = opened ? opened : cmocka_run_group_tests(tests, NULL, NULL);

    close_cards();
    return failed;
}
