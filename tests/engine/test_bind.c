/* Ranks on a machine of two NUMA nodes: bound to one each, the caller's thread only while a call runs, and none with no_bind.
   Rests on two CPUs of this machine, told to be two nodes (support/fake_root.h); tests/CMakeLists.txt wraps cpus_read() and
   cpus_enter(). */
#include "base/cpus.h"
#include "lariat/measure.h"
#include "support/fake_root.h"
#include "support/oracle.h"
#include "support/reference.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TOKENS = 20 };

static int32_t number[2]; /* of the two CPUs */
static pthread_t caller;
static atomic_int entered[2]; /* sets of one CPU that other threads entered */
static int caller_entered, caller_left;

void __real_cpus_read(const char *root, cpus *out);
void __wrap_cpus_read(const char *root, cpus *out);
void __wrap_cpus_read(const char *root, cpus *out)
{
    (void)root;
    __real_cpus_read(fake_root(), out);
}

static cpu_set only(int i)
{
    cpu_set s = {0};

    (void)cpu_set_add(&s, number[i]);
    return s;
}

static bool is_only(const cpu_set *s, int i)
{
    cpu_set one = only(i);

    return memcmp(s, &one, sizeof one) == 0;
}

bool __real_cpus_enter(const cpu_set *set, cpu_set *before);
bool __wrap_cpus_enter(const cpu_set *set, cpu_set *before);
bool __wrap_cpus_enter(const cpu_set *set, cpu_set *before)
{
    bool done = __real_cpus_enter(set, before);

    assert_true(done);
    if (pthread_equal(pthread_self(), caller)) {
        caller_entered += is_only(set, 0);
        caller_left += is_only(before, 0) && !is_only(set, 0);
    } else {
        entered[0] += is_only(set, 0);
        entered[1] += is_only(set, 1);
    }
    return done;
}

/* --- what the system says --- */

/* Threads of this process that may run on that CPU alone. */
static int bound_to(int i)
{
    DIR *d = opendir("/proc/self/task");
    int n = 0;

    assert_non_null(d);
    for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
        cpu_set now = {0};
        long id = strtol(e->d_name, NULL, 10);
        n += id > 0 && sched_getaffinity((pid_t)id, sizeof now, (cpu_set_t *)&now) == 0 && is_only(&now, i);
    }
    closedir(d);
    return n;
}

static cpu_set own_set(void)
{
    cpu_set now = {0};

    assert_int_equal(sched_getaffinity(0, sizeof now, (cpu_set_t *)&now), 0);
    return now;
}

static void make_two_nodes(const char *name)
{
    char text[64];

    fake_machine(name);
    snprintf(text, sizeof text, "Cpus_allowed_list:\t%d,%d\n", number[0], number[1]);
    fake_file(text, "proc/thread-self/status");
    fake_file("0-1\n", "sys/devices/system/node/online");
    for (int i = 0; i < 2; i++) {
        snprintf(text, sizeof text, "%d\n", number[i]);
        fake_file(text, "sys/devices/system/node/node%d/cpulist", i);
    }
}

static int start_anew(void **state)
{
    (void)state;
    make_two_nodes("two");
    caller = pthread_self();
    atomic_store(&entered[0], 0);
    atomic_store(&entered[1], 0);
    caller_entered = caller_left = 0;
    return 0;
}

/* --- tests --- */

static lariat_plan plan_of(lariat_options o)
{
    lariat_plan plan;

    o.device = LARIAT_DEVICE_CPU;
    o.context = 64;
    assert_int_equal(lariat_plan_make("random:smollm2-135m", &o, &plan), LARIAT_OK);
    return plan;
}

static void a_plan_says_to_how_many_nodes_ranks_are_bound(void **state)
{
    (void)state;
    assert_int_equal(plan_of((lariat_options){.ranks = 2}).nodes, 2);
    assert_int_equal(plan_of((lariat_options){.ranks = 4}).nodes, 2);
    assert_int_equal(plan_of((lariat_options){.ranks = 1, .threads = 1}).nodes, 1);
    assert_int_equal(plan_of((lariat_options){.ranks = 1}).nodes, 0); /* its two threads need both */
    assert_int_equal(plan_of((lariat_options){.ranks = 2, .no_bind = true}).nodes, 0);
    assert_int_equal(plan_of((lariat_options){.ranks = 2}).threads, 2);
    assert_int_equal(plan_of((lariat_options){.ranks = 2}).cpus, 2);
    fake_file("0\n", "sys/devices/system/node/online"); /* one node again */
    assert_int_equal(plan_of((lariat_options){.ranks = 2}).nodes, 0);
}

static void a_quota_bounds_the_threads_of_a_plan(void **state)
{
    (void)state;
    fake_group("cpu", "/", "/sys/fs/cgroup/cpu", "/box");
    fake_groups_done();
    fake_file("150000\n", "sys/fs/cgroup/cpu/box/cpu.cfs_quota_us");
    fake_file("100000\n", "sys/fs/cgroup/cpu/box/cpu.cfs_period_us");
    assert_int_equal(plan_of((lariat_options){.ranks = 1}).threads, 1);
    assert_int_equal(plan_of((lariat_options){.ranks = 1}).cpus, 1);
    assert_int_equal(plan_of((lariat_options){.ranks = 1, .threads = 5}).threads, 5); /* who asks gets them */
}

static void read_tokens(lariat_engine *e)
{
    static const int32_t tokens[TOKENS];
    lariat_session *s;

    assert_int_equal(lariat_session_open(e, 0, &s), LARIAT_OK);
    lariat_work item = {.session = s, .tokens = tokens, .count = TOKENS};
    assert_int_equal(lariat_step(e, &item, 1), LARIAT_OK);
    lariat_session_close(s);
}

static void check_engine(bool bound)
{
    char *path = reference_path("reference/models/mha-bf16");
    cpu_set before = own_set();

    assert_non_null(path);
    while (bound_to(0) + bound_to(1) > 0) { /* threads that were joined may be listed for a moment still */
        sched_yield();
    }
    lariat_engine *e = open_or_fail(path, (lariat_options){.device = LARIAT_DEVICE_CPU, .ranks = 2, .threads = 4,
                                                           .context = TOKENS, .no_bind = !bound});
    for (int i = 0; i < 2; i++) {
        /* Rank 0: the caller's thread, free here, and one more. Rank 1: two. */
        assert_int_equal(bound_to(i), !bound ? 0 : 1 + i);
        cpu_set after = own_set();
        assert_memory_equal(&before, &after, sizeof before);
        int steps = caller_entered;
        read_tokens(e);
        assert_true(bound ? caller_entered > steps : caller_entered == 0);
        assert_int_equal(caller_left, caller_entered);
    }
    assert_int_equal(lariat_engine_close(e), LARIAT_OK);
    cpu_set after = own_set();
    assert_memory_equal(&before, &after, sizeof before);
    free(path);
}

static void ranks_are_bound_and_the_caller_is_free_between_calls(void **state)
{
    (void)state;
    check_engine(true);
}

static void with_no_bind_nobody_is_bound(void **state)
{
    (void)state;
    check_engine(false);
}

static void hops_are_measured_between_ranks_as_a_run_binds_them(void **state)
{
    lariat_options o = {.device = LARIAT_DEVICE_CPU, .ranks = 2};
    lariat_hop hop;

    (void)state;
    assert_int_equal(lariat_measure_hop(&o, LARIAT_HOP_KEYS, 1 << 16, 1, &hop), LARIAT_OK);
    assert_int_equal(hop.threads, 2);
    assert_true(caller_entered > 0); /* as rank 0 */
    assert_int_equal(caller_left, caller_entered);
    assert_int_equal(atomic_load(&entered[0]), 0);
    assert_int_equal(atomic_load(&entered[1]), 1);
    int before = caller_entered;
    o.no_bind = true;
    assert_int_equal(lariat_measure_hop(&o, LARIAT_HOP_KEYS, 1 << 16, 1, &hop), LARIAT_OK);
    assert_int_equal(atomic_load(&entered[0]) + atomic_load(&entered[1]) + caller_entered, before + 1);
}

int main(void)
{
    static cpus here;
    char *there = reference_path("reference/models");

    __real_cpus_read("", &here);
    if (!there || here.n < 2) {
        printf("skipped: %s\n", there ? "one CPU is no two nodes" : "no reference data; see tests/support/reference.h");
        free(there);
        return TEST_SKIPPED;
    }
    free(there);
    number[0] = here.list[0].number;
    number[1] = here.list[here.n - 1].number;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_plan_says_to_how_many_nodes_ranks_are_bound, start_anew),
        cmocka_unit_test_setup(a_quota_bounds_the_threads_of_a_plan, start_anew),
        cmocka_unit_test_setup(ranks_are_bound_and_the_caller_is_free_between_calls, start_anew),
        cmocka_unit_test_setup(with_no_bind_nobody_is_bound, start_anew),
        cmocka_unit_test_setup(hops_are_measured_between_ranks_as_a_run_binds_them, start_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
