/* CPUs of machines that are made up: cores, nodes, hybrid processors, quotas of control groups, and where ranks go.
   Rests on support/fake_root.h; the last test binds a thread of this machine. */
#include "base/cpus.h"
#include "base/threads.h"
#include "support/fake_root.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { RANKS_MOST = 64 };

static cpus c;

static bool has(const cpu_set *s, int32_t i)
{
    return s->bits[i / 64] >> (i % 64) & 1;
}

static int count(const cpu_set *s)
{
    int n = 0;

    for (int32_t i = 0; i < CPUS_MAX; i++) {
        n += has(s, i);
    }
    return n;
}

static void permit(const char *list)
{
    char text[128];

    snprintf(text, sizeof text, "Cpus_allowed:\tff\nCpus_allowed_list:\t%s\n", list);
    fake_file(text, "proc/thread-self/status");
}

/* --- cores --- */

static void a_core_gets_one_thread_however_many_it_could_run(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 4; threads *= 2) {
        char name[16];
        snprintf(name, sizeof name, "smt%d", threads);
        fake_machine(name);
        fake_servers(1, 6, threads);
        cpus_read(fake_root(), &c);
        assert_int_equal(c.n, 6 * threads);
        assert_int_equal(c.granted, 6 * threads);
        assert_int_equal(c.cores, 6);
        assert_int_equal(c.nodes, 1);
        assert_int_equal(cpus_default_threads(&c), 6);
    }
}

static void only_what_is_permitted_and_online_counts(void **state)
{
    (void)state;
    fake_machine("permitted");
    fake_servers(1, 4, 2); /* cores 0 to 3, their second threads 4 to 7 */
    permit("1-2,5-63");    /* many more than there are, as virtual machines tell */
    cpus_read(fake_root(), &c);
    assert_int_equal(c.n, 5); /* 1 2 5 6 7 */
    assert_int_equal(c.cores, 3);
    fake_file("0-5\n", "sys/devices/system/cpu/online");
    cpus_read(fake_root(), &c);
    assert_int_equal(c.n, 3); /* 1 2 5 */
    assert_int_equal(cpus_default_threads(&c), 2);
}

static void a_system_that_tells_of_siblings_in_the_old_way_is_read(void **state)
{
    (void)state;
    fake_machine("old");
    permit("0-3");
    for (int i = 0; i < 4; i++) {
        fake_file(i % 2 ? "1,3\n" : "0,2\n", "sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", i);
    }
    cpus_read(fake_root(), &c);
    assert_int_equal(c.n, 4);
    assert_int_equal(cpus_default_threads(&c), 2);
    fake_machine("mute"); /* tells nothing of its cores */
    permit("0-3");
    cpus_read(fake_root(), &c);
    assert_int_equal(cpus_default_threads(&c), 4);
}

static void a_machine_without_proc_has_the_cpus_that_are_online(void **state)
{
    (void)state;
    fake_machine("nothing");
    cpus_read(fake_root(), &c);
    assert_in_range(c.n, 1, CPUS_MAX);
    assert_in_range(cpus_default_threads(&c), 1, c.n);
}

/* --- fast cores first --- */

/* Eight fast cores of two threads, eight slow ones of one, as desktops have them. */
static void fake_hybrid(const char *name, const char *file, const char *fast, const char *favoured, const char *slow)
{
    fake_machine(name);
    permit("0-23");
    for (int i = 0; i < 24; i++) {
        char siblings[16];
        snprintf(siblings, sizeof siblings, i < 16 ? "%d-%d\n" : "%d\n", i < 16 ? i / 2 * 2 : i, i / 2 * 2 + 1);
        fake_file(siblings, "sys/devices/system/cpu/cpu%d/topology/core_cpus_list", i);
        fake_file(i >= 16 ? slow : i / 2 == 3 ? favoured : fast, "sys/devices/system/cpu/cpu%d/%s", i, file);
    }
    cpus_read(fake_root(), &c);
}

static void check_hybrid(void)
{
    cpu_set set;

    assert_int_equal(c.cores, 16);
    assert_int_equal(c.fast_cores, 8);
    assert_int_equal(cpus_default_threads(&c), 16);
    assert_false(cpus_of_node(&c, CPU_NODE_ANY, 16, &set)); /* all are needed */
    assert_false(cpus_of_node(&c, CPU_NODE_ANY, 9, &set));
    for (int32_t threads = 1; threads <= 8; threads++) {
        assert_true(cpus_of_node(&c, CPU_NODE_ANY, threads, &set));
        assert_int_equal(count(&set), 16);
        assert_true(has(&set, 0) && has(&set, 6) && has(&set, 15) && !has(&set, 16));
    }
}

static void threads_that_fit_the_fast_cores_go_there(void **state)
{
    (void)state;
    fake_hybrid("frequencies", "cpufreq/cpuinfo_max_freq", "5000000\n", "5200000\n", "3800000\n");
    check_hybrid();
    fake_hybrid("capacities", "cpu_capacity", "1000\n", "1024\n", "446\n");
    check_hybrid();
}

static void cores_that_differ_a_little_are_of_one_kind(void **state)
{
    cpu_set set;

    (void)state;
    fake_hybrid("favoured", "cpufreq/cpuinfo_max_freq", "5500000\n", "5750000\n", "5300000\n");
    assert_int_equal(c.fast_cores, c.cores);
    assert_false(cpus_of_node(&c, CPU_NODE_ANY, 4, &set));
}

static void a_quota_on_a_hybrid_processor_is_spent_on_fast_cores(void **state)
{
    cpu_set set;

    (void)state;
    fake_hybrid("few", "cpu_capacity", "1024\n", "1024\n", "300\n");
    fake_group(NULL, "/", "/sys/fs/cgroup", "/box");
    fake_groups_done();
    fake_file("400000 100000\n", "sys/fs/cgroup/box/cpu.max");
    cpus_read(fake_root(), &c);
    assert_int_equal(cpus_default_threads(&c), 4);
    assert_true(cpus_of_node(&c, CPU_NODE_ANY, cpus_default_threads(&c), &set));
    assert_false(has(&set, 16));
}

/* --- quotas --- */

static void assert_granted(int32_t granted, int32_t threads)
{
    cpus_read(fake_root(), &c);
    assert_int_equal(c.n, 16);
    assert_int_equal(c.granted, granted);
    assert_int_equal(cpus_default_threads(&c), threads);
}

static void a_quota_of_version_2_bounds_the_threads(void **state)
{
    (void)state;
    fake_machine("v2");
    fake_servers(1, 8, 2);
    fake_group(NULL, "/", "/sys/fs/cgroup", "/a/b");
    fake_groups_done();
    assert_granted(16, 8); /* no file, no quota */
    fake_file("max 100000\n", "sys/fs/cgroup/a/b/cpu.max");
    assert_granted(16, 8);
    fake_file("300000 100000\n", "sys/fs/cgroup/a/b/cpu.max");
    assert_granted(3, 3);
    fake_file("1200000 100000\n", "sys/fs/cgroup/a/b/cpu.max"); /* more than cores, fewer than threads of them */
    assert_granted(12, 8);
    fake_file("250000 100000\n", "sys/fs/cgroup/a/b/cpu.max"); /* whole ones */
    assert_granted(2, 2);
    fake_file("5000 100000\n", "sys/fs/cgroup/a/b/cpu.max");
    assert_granted(1, 1);
    fake_file("300000 100000\n", "sys/fs/cgroup/a/b/cpu.max");
    fake_file("100000 50000\n", "sys/fs/cgroup/a/cpu.max"); /* the group around it has less */
    assert_granted(2, 2);
}

static void a_quota_of_version_1_bounds_the_threads(void **state)
{
    (void)state;
    fake_machine("v1");
    fake_servers(1, 8, 2);
    fake_group("memory", "/", "/sys/fs/cgroup/memory", "/box");
    fake_group("cpu,cpuacct", "/", "/sys/fs/cgroup/cpu,cpuacct", "/box");
    fake_group("cpuset", "/", "/sys/fs/cgroup/cpuset", "/other");
    fake_groups_done();
    fake_file("100000\n", "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us");
    fake_file("-1\n", "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us");
    assert_granted(16, 8);
    fake_file("500000\n", "sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us");
    assert_granted(5, 5);
    fake_file("200000\n", "sys/fs/cgroup/cpuset/other/cpu.cfs_quota_us"); /* of no meaning there */
    assert_granted(5, 5);
}

/* Without a namespace of its own a container is named by its path on the host, but sees its own group at the mount. */
static void a_container_finds_its_own_group(void **state)
{
    (void)state;
    fake_machine("container");
    fake_servers(1, 8, 2);
    fake_group("cpu,cpuacct", "/docker/1\\040a", "/sys/fs/cgroup/cpu", "/docker/1 a");
    fake_groups_done();
    fake_file("100000\n", "sys/fs/cgroup/cpu/cpu.cfs_period_us");
    fake_file("400000\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us");
    assert_granted(4, 4);
    fake_machine("inner"); /* and a group inside of that */
    fake_servers(1, 8, 2);
    fake_group(NULL, "/docker/1", "/sys/fs/cgroup", "/docker/1/job");
    fake_groups_done();
    fake_file("600000 100000\n", "sys/fs/cgroup/cpu.max");
    assert_granted(6, 6);
    fake_file("200000 100000\n", "sys/fs/cgroup/job/cpu.max");
    assert_granted(2, 2);
    fake_machine("stranger"); /* what is mounted belongs to others */
    fake_servers(1, 8, 2);
    fake_group(NULL, "/docker/2", "/mnt", "/docker/22");
    fake_groups_done();
    fake_file("100000 100000\n", "mnt/cpu.max");
    assert_granted(16, 8);
}

/* --- nodes --- */

/* The nodes of a run's ranks, as one string: "001-", where - is any. */
static const char *places(int32_t n_ranks, int32_t threads)
{
    static char text[RANKS_MOST + 1];
    int32_t node[RANKS_MOST];

    cpus_assign_nodes(&c, n_ranks, threads, node);
    for (int32_t r = 0; r < n_ranks; r++) {
        text[r] = node[r] == CPU_NODE_ANY ? '-' : (char)('0' + node[r]);
    }
    text[n_ranks] = 0;
    return text;
}

static void ranks_are_dealt_out_over_the_nodes(void **state)
{
    (void)state;
    fake_machine("two");
    fake_servers(2, 16, 2);
    cpus_read(fake_root(), &c);
    assert_int_equal(c.nodes, 2);
    assert_int_equal(cpus_default_threads(&c), 32);
    assert_string_equal(places(1, 32), "-"); /* needs both */
    assert_string_equal(places(1, 16), "0");
    assert_string_equal(places(2, 32), "01");
    assert_string_equal(places(2, 2), "01"); /* both nodes' memory is read */
    assert_string_equal(places(4, 32), "0011");
    assert_string_equal(places(8, 32), "00001111");
    assert_string_equal(places(2, 64), "01"); /* two threads a core, as it was asked for */
    assert_string_equal(places(3, 32), "01-"); /* the last one takes what is left of both */
    fake_machine("one");
    fake_servers(1, 16, 2);
    cpus_read(fake_root(), &c);
    assert_string_equal(places(4, 16), "----"); /* there is nothing to choose */
}

static void no_node_gets_more_threads_than_its_share(void **state)
{
    int32_t node[RANKS_MOST];

    (void)state;
    for (int nodes = 1; nodes <= 8; nodes *= 2) {
        char name[16];
        snprintf(name, sizeof name, "nodes%d", nodes);
        fake_machine(name);
        fake_servers(nodes, 6, 1);
        cpus_read(fake_root(), &c);
        for (int32_t n = 1; n <= RANKS_MOST; n++) {
            for (int32_t threads = n; threads <= 2 * RANKS_MOST; threads += 7) {
                int32_t on[8] = {0}, share = (threads + nodes - 1) / nodes, bound = 0;
                cpus_assign_nodes(&c, n, threads, node);
                for (int32_t r = 0; r < n; r++) {
                    assert_true(node[r] == CPU_NODE_ANY || (node[r] >= 0 && node[r] < nodes));
                    on[node[r] == CPU_NODE_ANY ? 0 : node[r]] += node[r] == CPU_NODE_ANY ? 0 : threads_of_rank(threads, n, r);
                    bound += node[r] != CPU_NODE_ANY;
                }
                for (int k = 0; k < nodes; k++) {
                    assert_in_range(on[k], 0, share > 6 ? share : 6);
                }
                assert_true(nodes == 1 ? bound == 0 : n < nodes || bound >= nodes);
            }
        }
    }
}

static void a_place_has_the_cpus_of_its_node(void **state)
{
    cpu_set set, all = {0};

    (void)state;
    fake_machine("sets");
    fake_servers(3, 4, 2);
    permit("0-9,12-13"); /* of the last node one core, of the first one the second threads too */
    cpus_read(fake_root(), &c);
    assert_int_equal(c.nodes, 3);
    assert_int_equal(c.node_cores[0] + c.node_cores[1] + c.node_cores[2], c.cores);
    for (int32_t k = 0; k < 3; k++) {
        assert_true(cpus_of_node(&c, k, 3, &set));
        for (int32_t i = 0; i < CPUS_MAX; i++) {
            bool permitted = i <= 9 || i == 12 || i == 13;
            assert_int_equal(has(&set, i), permitted && i % 12 / 4 == k);
            assert_true(!has(&set, i) || cpu_set_add(&all, i)); /* no CPU twice */
        }
    }
    assert_int_equal(count(&all), c.n);
    assert_false(cpus_of_node(&c, CPU_NODE_ANY, 3, &set));
    permit("4-7,16-19"); /* one node only */
    cpus_read(fake_root(), &c);
    assert_int_equal(c.nodes, 1);
    assert_int_equal(c.node_number[0], 1);
}

static void a_cards_node_is_found_by_its_number(void **state)
{
    (void)state;
    fake_machine("cards");
    fake_servers(2, 4, 1);
    fake_file("1\n", "sys/bus/pci/devices/0000:1b:00.0/numa_node");
    fake_file("-1\n", "sys/bus/pci/devices/0000:2c:00.0/numa_node");
    assert_int_equal(pci_node(fake_root(), "0000:1B:00.0"), 1);
    assert_int_equal(pci_node(fake_root(), "0000:2C:00.0"), -1);
    assert_int_equal(pci_node(fake_root(), "0000:3D:00.0"), -1);
    cpus_read(fake_root(), &c);
    assert_int_equal(cpus_node(&c, 1), 1);
    assert_int_equal(cpus_node(&c, -1), CPU_NODE_ANY);
    permit("4-7");
    cpus_read(fake_root(), &c);
    assert_int_equal(cpus_node(&c, 0), CPU_NODE_ANY);
    assert_int_equal(cpus_node(&c, 1), CPU_NODE_ANY); /* the only one */
}

/* --- this machine --- */

static void *read_own(void *arg)
{
    *(int *)arg = cpus_available();
    return NULL;
}

static void a_thread_is_bound_with_all_that_it_starts_and_set_free_again(void **state)
{
    cpu_set one = {0}, before, unused;
    pthread_t thread;
    int inside = 0;

    (void)state;
    cpus_read("", &c);
    int all = cpus_available();
    assert_int_equal(all, c.granted);
    (void)cpu_set_add(&one, c.list[c.n - 1].number);
    assert_true(cpus_enter(&one, &before));
    assert_int_equal(count(&before), c.n);
    assert_int_equal(thread_start(&thread, read_own, &inside), 0);
    pthread_join(thread, NULL);
    assert_int_equal(inside, 1);
    assert_int_equal(sched_getcpu(), c.list[c.n - 1].number);
    assert_true(cpus_enter(&before, &unused));
    assert_memory_equal(&unused, &one, sizeof one);
    assert_int_equal(cpus_available(), all);
    assert_false(cpus_enter(&(cpu_set){0}, &before)); /* no CPU at all: refused */
    assert_int_equal(cpus_available(), all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_core_gets_one_thread_however_many_it_could_run),
        cmocka_unit_test(only_what_is_permitted_and_online_counts),
        cmocka_unit_test(a_system_that_tells_of_siblings_in_the_old_way_is_read),
        cmocka_unit_test(a_machine_without_proc_has_the_cpus_that_are_online),
        cmocka_unit_test(threads_that_fit_the_fast_cores_go_there),
        cmocka_unit_test(cores_that_differ_a_little_are_of_one_kind),
        cmocka_unit_test(a_quota_on_a_hybrid_processor_is_spent_on_fast_cores),
        cmocka_unit_test(a_quota_of_version_2_bounds_the_threads),
        cmocka_unit_test(a_quota_of_version_1_bounds_the_threads),
        cmocka_unit_test(a_container_finds_its_own_group),
        cmocka_unit_test(ranks_are_dealt_out_over_the_nodes),
        cmocka_unit_test(no_node_gets_more_threads_than_its_share),
        cmocka_unit_test(a_place_has_the_cpus_of_its_node),
        cmocka_unit_test(a_cards_node_is_found_by_its_number),
        cmocka_unit_test(a_thread_is_bound_with_all_that_it_starts_and_set_free_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
